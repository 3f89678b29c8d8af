import type { SMTPServerAddress, SMTPServerSession } from "smtp-server"
import type { Submitter, Visitors } from "./ports.ts"
import * as replies from "./replies.ts"
import { judgeRecipient, judgeSender, type RecipientRules } from "./transaction.ts"

export interface AdmissionRules extends RecipientRules {
  readonly kind: "mx" | "submission" | "submissions"
  /** null: everybody is taken as much from as he likes. */
  readonly visitors: Visitors | null
}

/** What MAIL answers, limits of the client's network included: null is 250. */
export async function admitSender(
  given: SMTPServerAddress,
  session: SMTPServerSession,
  { kind, visitors }: AdmissionRules,
): Promise<replies.Reply | null> {
  const refusal = judgeSender(given, isUtf8(session), submitterOf(session))
  if (refusal !== null || kind !== "mx" || visitors === null) return refusal
  return (await visitors.mayMail(session.remoteAddress)) ? null : replies.TOO_MANY_MESSAGES
}

/** What RCPT answers, limits of the client's network or account included: null is 250. */
export async function admitRecipient(
  given: SMTPServerAddress,
  session: SMTPServerSession,
  rules: AdmissionRules,
): Promise<replies.Reply | null> {
  const { kind, visitors } = rules
  const judge = () => judgeRecipient(given, isUtf8(session), kind !== "mx", rules)
  if (visitors === null) return judge()
  if (kind === "mx" && !(await visitors.mayAsk(session.remoteAddress))) return replies.TOO_MANY_GUESSED
  const refusal = judge()
  if (kind === "mx" && refusal === replies.UNKNOWN_RECIPIENT) await visitors.guessed(session.remoteAddress)
  if (refusal !== null) return refusal
  const submitter = submitterOf(session)
  if (submitter === null) return isEarly(given, session, visitors) ? replies.GREYLISTED : null
  return (await visitors.mayWrite(submitter.account)) ? null : replies.TOO_MANY_RECIPIENTS
}

/** Who has logged in; null at MX. */
export function submitterOf(session: SMTPServerSession): Submitter | null {
  return session.user || null
}

function isEarly(given: SMTPServerAddress, session: SMTPServerSession, visitors: Visitors): boolean {
  const { mailFrom } = session.envelope
  const sender = mailFrom ? mailFrom.address : ""
  return !visitors.mayReach(session.remoteAddress, sender, given.address)
}

function isUtf8(session: SMTPServerSession): boolean {
  return session.envelope.smtpUtf8 === true
}
