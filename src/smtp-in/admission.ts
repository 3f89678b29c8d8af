import type { SMTPServerAddress, SMTPServerSession } from "smtp-server"
import type { Submitter, Visitor } from "./ports.ts"
import * as replies from "./replies.ts"
import { judgeRecipient, judgeSender, type RecipientRules, senderIn } from "./transaction.ts"

export interface AdmissionRules extends RecipientRules {
  readonly kind: "mx" | "submission" | "submissions"
}

/** What MAIL answers, limits of the client's network included: null is 250. `visitor`: null for one who is taken as much from as he likes. */
export async function admitSender(
  given: SMTPServerAddress,
  session: SMTPServerSession,
  { kind }: AdmissionRules,
  visitor: Visitor | null,
): Promise<replies.Reply | null> {
  const refusal = judgeSender(given, isUtf8(session), submitterOf(session))
  if (refusal !== null || kind !== "mx" || visitor === null) return refusal
  return (await visitor.mayMail()) ? null : replies.TOO_MANY_MESSAGES
}

/** The same for RCPT, limits of the account included. */
export async function admitRecipient(
  given: SMTPServerAddress,
  session: SMTPServerSession,
  rules: AdmissionRules,
  visitor: Visitor | null,
): Promise<replies.Reply | null> {
  const { kind } = rules
  const judge = () => judgeRecipient(given, isUtf8(session), kind !== "mx", senderIn(session), rules)
  if (visitor === null) return judge()
  if (kind === "mx" && !(await visitor.mayAsk())) return replies.TOO_MANY_GUESSED
  const refusal = judge()
  if (kind === "mx" && refusal === replies.UNKNOWN_RECIPIENT) await visitor.guessed()
  if (refusal !== null) return refusal
  const submitter = submitterOf(session)
  if (submitter === null) return isEarly(given, session, visitor) ? replies.GREYLISTED : null
  return (await visitor.mayWrite(submitter.account)) ? null : replies.TOO_MANY_RECIPIENTS
}

/** Who has logged in; null at MX. */
export function submitterOf(session: SMTPServerSession): Submitter | null {
  return session.user || null
}

function isEarly(given: SMTPServerAddress, session: SMTPServerSession, visitor: Visitor): boolean {
  const { mailFrom } = session.envelope
  const sender = mailFrom ? mailFrom.address : ""
  return !visitor.mayReach(sender, given.address)
}

function isUtf8(session: SMTPServerSession): boolean {
  return session.envelope.smtpUtf8 === true
}
