import type { SMTPServerAddress, SMTPServerSession } from "smtp-server"
import { GatewayError, hasCode } from "../errors.ts"
import { type Address, addressKey, formatAddress, isNonAscii, parseAddress } from "../message/address.ts"
import type { Envelope, Recipient } from "../message/envelope.ts"
import { parseMailboxList } from "../message/mailboxes.ts"
import { type Field, fieldText } from "../mime/header.ts"
import { isSmtpPath, type SmtpPath } from "./path.ts"
import type { Recipients, Submitter } from "./ports.ts"
import * as replies from "./replies.ts"

/** What MAIL answers: null is 250. `submitter` is null at MX. */
export function judgeSender(given: SMTPServerAddress, smtpUtf8: boolean, submitter: Submitter | null) {
  const { path, args } = smtpPath(given)
  if (hasUnknown(args, MAIL_PARAMETERS)) return replies.UNKNOWN_PARAMETER
  if (path === null) return submitter ? replies.SENDER_MISSING : null
  if (path === "postmaster") throw new GatewayError("PROTOCOL", "smtp: postmaster as reverse-path")
  if (isNonAscii(path) && !smtpUtf8) return replies.UTF8_NOT_DECLARED
  return submitter && !submitter.owns(path) ? replies.SENDER_NOT_OWNED : null
}

/** What RCPT answers: null is 250. */
export function judgeRecipient(
  given: SMTPServerAddress,
  smtpUtf8: boolean,
  submission: boolean,
  sender: Address | null,
  where: RecipientRules,
) {
  const { args } = smtpPath(given)
  if (hasUnknown(args, RCPT_PARAMETERS)) return replies.UNKNOWN_PARAMETER
  const address = recipientAddress(given, where.postmasterDomain)
  if (isNonAscii(address) && !smtpUtf8) return replies.UTF8_NOT_DECLARED
  const standing = where.recipients.resolve(address, sender)
  switch (standing) {
    case "local":
      return null
    case "unknown":
      return replies.UNKNOWN_RECIPIENT
    case "foreign":
      return submission ? null : replies.RELAY_DENIED
    default:
      return standing satisfies never
  }
}

export interface RecipientRules {
  readonly recipients: Recipients
  /** The domain that `<postmaster>` alone means (RFC 5321 §4.5.1). */
  readonly postmasterDomain: string
}

/** The envelope of the transaction that has reached DATA. A recipient named twice is there once. */
export function envelopeOf(session: SMTPServerSession, rules: RecipientRules): Envelope {
  const given = session.envelope
  const sender = senderIn(session)
  const recipients = new Map<string, Recipient>()
  for (const one of given.rcptTo) {
    const recipient = recipientOf(one, rules.postmasterDomain)
    const local = rules.recipients.resolve(recipient.address, sender) === "local"
    recipients.set(local ? addressKey(recipient.address) : formatAddress(recipient.address), recipient)
  }
  const returnContent = given.dsn?.ret
  return {
    sender,
    recipients: [...recipients.values()],
    smtpUtf8: given.smtpUtf8 === true,
    ...(given.requireTLS === true ? { requireTls: true } : {}),
    envelopeId: given.dsn?.envid ?? null,
    returnContent: returnContent === "FULL" || returnContent === "HDRS" ? returnContent : null,
  }
}

/** The reverse-path of the transaction; null: the null one. */
export function senderIn({ envelope }: SMTPServerSession): Address | null {
  return envelope.mailFrom ? senderOf(envelope.mailFrom) : null
}

function senderOf(given: SMTPServerAddress): Address | null {
  const { path } = smtpPath(given)
  return path === "postmaster" ? null : path
}

/**
 * Whether every author is an address of the submitter: one From field, parsed by one parser, every mailbox owned.
 * @throws GatewayError AUTHOR_REFUSED
 */
export function checkAuthors(fields: readonly Field[], submitter: Submitter): void {
  const [from, second] = fields.filter((field) => field.name === "from")
  if (!from || second) throw new GatewayError("AUTHOR_REFUSED", "smtp: message has no From field, or several")
  let authors: readonly Address[]
  try {
    authors = parseMailboxList(fieldText(from))
  } catch (cause) {
    if (!hasCode(cause, "ADDRESS_SYNTAX")) throw cause
    throw new GatewayError("AUTHOR_REFUSED", "smtp: From can't be read", { cause })
  }
  if (!authors.every((author) => submitter.owns(author)))
    throw new GatewayError("AUTHOR_REFUSED", "smtp: From names somebody else")
}

function recipientOf(given: SMTPServerAddress, postmasterDomain: string): Recipient {
  const notify = given.dsn?.notify?.filter(isNotify)
  return {
    address: recipientAddress(given, postmasterDomain),
    notify: notify && notify.length > 0 ? notify : null,
    originalRecipient: given.dsn?.orcpt ?? null,
  }
}

function recipientAddress(given: SMTPServerAddress, postmasterDomain: string): Address {
  const { path } = smtpPath(given)
  if (path === null) throw new GatewayError("PROTOCOL", "smtp: null forward-path")
  return path === "postmaster" ? parseAddress(`postmaster@${postmasterDomain}`) : path
}

function smtpPath(given: SMTPServerAddress): SmtpPath {
  if (!isSmtpPath(given)) throw new GatewayError("PROTOCOL", "smtp: path that we did not parse")
  return given
}

function isNotify(word: string): word is "NEVER" | "SUCCESS" | "FAILURE" | "DELAY" {
  return word === "NEVER" || word === "SUCCESS" || word === "FAILURE" || word === "DELAY"
}

function hasUnknown(args: SmtpPath["args"], known: ReadonlySet<string>): boolean {
  return args !== false && Object.keys(args).some((name) => !known.has(name))
}

/** RFC 1870, 6152, 6531, 3461, 8689; AUTH (RFC 4954 §5) is read and forgotten. */
const MAIL_PARAMETERS: ReadonlySet<string> = new Set(["SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "REQUIRETLS", "AUTH"])
const RCPT_PARAMETERS: ReadonlySet<string> = new Set(["NOTIFY", "ORCPT"])
