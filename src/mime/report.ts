import { type Address, formatAddress } from "../message/address.ts"
import { formatDateTime } from "../message/date.ts"
import type { Envelope } from "../message/envelope.ts"
import type { DeliveryStatus } from "../message/status.ts"
import { type Field, parseFields } from "./header.ts"

/** What is returned of a long header: whole fields up to here; nobody reads more in a report. */
export const MAX_RETURNED_OCTETS = 65_536

/** One recipient in a report. */
interface ReportedRecipient {
  readonly status: DeliveryStatus
  /** ORCPT as it came (`rfc822;…`), null: not given. */
  readonly originalRecipient: string | null
}

/** The message a report is about. */
interface ReportedMessage {
  /** Where the report goes. A null sender gets none: see {@link shouldReport}. */
  readonly sender: Address
  readonly envelopeId: string | null
  readonly smtpUtf8: boolean
  /** null: not known any more. */
  readonly arrivedAt: Date | null
  /** The header section that is public: of the protected message where there is one. Bcc is left out here. null: none is returned (RFC 6522 §3). */
  readonly header: Uint8Array | null
}

interface Report {
  /** Author of the report, such as `postmaster@example.test`. */
  readonly postmaster: Address
  /** This host, by its domain name. */
  readonly reportingHost: string
  readonly original: ReportedMessage
  /** At least one. */
  readonly recipients: readonly ReportedRecipient[]
  /** A MIME boundary that stands nowhere in the header; random. */
  readonly boundary: string
  /** `<…>` */
  readonly messageId: string
  readonly date: Date
}

/**
 * May the sender hear of this outcome? Never about a message with the null reverse-path (RFC 5321 §6.1), and only what NOTIFY
 * (RFC 3461 §4.1) asks for: failures and delays when nothing is said, success when it is named.
 */
export function shouldReport(envelope: Envelope, status: DeliveryStatus): boolean {
  if (envelope.sender === null) return false
  const recipient = envelope.recipients.find((one) => formatAddress(one.address) === status.recipient)
  const notify = recipient?.notify ?? ["FAILURE", "DELAY"]
  switch (status.action) {
    case "failed":
      return notify.includes("FAILURE")
    case "delayed":
      return notify.includes("DELAY")
    case "delivered":
    case "relayed":
      return notify.includes("SUCCESS")
    default:
      return status.action satisfies never
  }
}

/** A delivery status notification (RFC 3464) as a whole message, CRLF; internationalized (RFC 6533) only where it must be. */
export function composeReport(report: Report): Uint8Array {
  const form = formOf(report)
  const parts = [
    part("text/plain; charset=utf-8", form.global, explanation(report, form)),
    part(form.global ? "message/global-delivery-status" : "message/delivery-status", form.global, status(report, form)),
    ...(report.original.header === null ? [] : [returnedHeader(report.original.header, form)]),
  ]
  const delimiter = `--${report.boundary}`
  const body = Buffer.concat(parts.map((octets) => Buffer.concat([Buffer.from(`${delimiter}\r\n`), octets, CRLF])))
  return Buffer.concat([Buffer.from(head(report, form)), body, Buffer.from(`${delimiter}--\r\n`)])
}

interface Form {
  /** RFC 6533: addresses stand in UTF-8, and parts are message/global-…. */
  readonly global: boolean
}

function formOf({ original, recipients }: Report): Form {
  const addresses = [formatAddress(original.sender), ...recipients.map((one) => one.status.recipient)]
  return { global: original.smtpUtf8 || addresses.some((address) => NON_ASCII.test(address)) }
}

function head(report: Report, form: Form): string {
  const failed = report.recipients.some((one) => one.status.action === "failed")
  const delayed = report.recipients.some((one) => one.status.action === "delayed")
  const subject = failed ? "Undelivered mail" : delayed ? "Delayed mail" : "Delivered mail"
  return lines([
    `From: Mail delivery <${formatAddress(report.postmaster)}>`,
    `To: <${formatAddress(report.original.sender)}>`,
    `Subject: ${subject}`,
    `Date: ${formatDateTime(report.date)}`,
    `Message-ID: ${report.messageId}`,
    // RFC 3834 §5: nobody answers this automatically.
    "Auto-Submitted: auto-replied",
    "MIME-Version: 1.0",
    ...(form.global ? ["Content-Transfer-Encoding: 8bit"] : []),
    `Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="${report.boundary}"`,
    "",
    "",
  ])
}

function explanation({ reportingHost, recipients }: Report, form: Form): string {
  return lines([
    `This is the mail system at ${reportingHost}.`,
    "",
    ...recipients.flatMap(({ status }) => [
      `${EXPLANATIONS[status.action]}:`,
      "",
      `    <${oneLine(status.recipient, form)}>`,
      `    ${status.status} ${oneLine(status.diagnostic, form)}`,
      ...(status.remote ? [`    said by ${oneLine(status.remote, form)}`] : []),
      "",
    ]),
  ])
}

const EXPLANATIONS: Readonly<Record<DeliveryStatus["action"], string>> = {
  failed: "Your message could not be delivered to this recipient",
  delayed: "Your message has not been delivered yet, it is still being tried",
  delivered: "Your message was delivered to this recipient",
  relayed: "Your message was handed to a mail system that sends no confirmation",
}

// RFC 3464 §2.1: per-message fields, an empty line, then one group per recipient.
function status(report: Report, form: Form): string {
  const { original } = report
  const message = [
    ...(original.envelopeId === null ? [] : [`Original-Envelope-Id: ${oneLine(original.envelopeId, form)}`]),
    `Reporting-MTA: dns; ${report.reportingHost}`,
    ...(original.arrivedAt === null ? [] : [`Arrival-Date: ${formatDateTime(original.arrivedAt)}`]),
  ]
  return lines([...message, "", ...report.recipients.flatMap((one) => [...recipientGroup(one, report, form), ""])])
}

function recipientGroup({ status, originalRecipient }: ReportedRecipient, report: Report, form: Form): string[] {
  return [
    ...(originalRecipient === null ? [] : [`Original-Recipient: ${oneLine(originalRecipient, form)}`]),
    `Final-Recipient: ${form.global ? "utf-8" : "rfc822"}; ${oneLine(status.recipient, form)}`,
    `Action: ${status.action}`,
    `Status: ${status.status}`,
    ...(status.remote ? [`Remote-MTA: dns; ${oneLine(status.remote, form)}`] : []),
    `Diagnostic-Code: ${status.remote ? "smtp" : "x-postern"}; ${oneLine(status.diagnostic, form)}`,
    `Last-Attempt-Date: ${formatDateTime(report.date)}`,
  ]
}

// RFC 3462 §2: text/rfc822-headers. 8-bit octets in a header that never was internationalized go as base64.
function returnedHeader(section: Uint8Array, form: Form): Uint8Array {
  const header = Buffer.concat(publicFields(section))
  if (form.global) return rawPart("message/global-headers", "8bit", header)
  if (!NON_ASCII.test(header.toString("latin1"))) return rawPart("text/rfc822-headers", "7bit", header)
  const wrapped = header.toString("base64").replace(/.{1,76}/g, "$&\r\n")
  return rawPart("text/rfc822-headers", "base64", Buffer.from(wrapped))
}

/** Whole fields, without those that name hidden recipients and without lines that are no field. */
function publicFields(header: Uint8Array): Uint8Array[] {
  const kept: Uint8Array[] = []
  let total = 0
  for (const field of parseFields(header)) {
    if (!isPublic(field)) continue
    total += field.octets.length
    if (total > MAX_RETURNED_OCTETS) break
    kept.push(field.octets)
  }
  return kept
}

function isPublic(field: Field): boolean {
  return field.name !== "" && field.name !== "bcc" && field.name !== "resent-bcc"
}

function part(type: string, global: boolean, text: string): Uint8Array {
  return rawPart(type, global ? "8bit" : "7bit", Buffer.from(text))
}

function rawPart(type: string, encoding: "7bit" | "8bit" | "base64", octets: Uint8Array): Uint8Array {
  const head = lines([`Content-Type: ${type}`, `Content-Transfer-Encoding: ${encoding}`, "", ""])
  return Buffer.concat([Buffer.from(head), octets])
}

function lines(text: readonly string[]): string {
  return text.join("\r\n")
}

/** What a peer said must not make a field or a line of its own. */
function oneLine(text: string, form: Form): string {
  const line = text
    .replace(/[\x00-\x1f\x7f-\x9f]+/g, " ")
    .trim()
    .slice(0, MAX_LINE_CHARACTERS)
  return form.global ? line : line.replace(/[^\x00-\x7f]/g, "?")
}

/** RFC 5322 §2.1.1 less the field name, in characters that may take 3 octets. */
const MAX_LINE_CHARACTERS = 300

const NON_ASCII = /[^\x00-\x7f]/
const CRLF = Buffer.from("\r\n")
