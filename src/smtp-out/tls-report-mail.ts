/** PURE. A report of TLS-RPT as a message (RFC 8460 §5.3). */
import { type Address, formatAddress } from "../message/address.ts"
import { formatDateTime } from "../message/date.ts"

/** All that a message with a report says. */
export interface TlsReportMail {
  readonly from: Address
  readonly to: Address
  /** The domain that the report is about. */
  readonly domain: string
  /** The domain that reports. */
  readonly submitter: string
  readonly reportId: string
  /** UTC, "2026-11-26". */
  readonly day: string
  /** The report: JSON, gzip. */
  readonly gzip: Uint8Array
  readonly boundary: string
  /** `<…>` */
  readonly messageId: string
  readonly date: Date
}

/** The message, CRLF. */
export function composeTlsReport(mail: TlsReportMail): Uint8Array {
  const { domain, submitter, day, boundary } = mail
  const start = Date.parse(`${day}T00:00:00Z`) / 1000
  const name = `${submitter}!${domain}!${start}!${start + 86_399}!001.json.gz`
  const lines = [
    `From: <${formatAddress(mail.from)}>`,
    `To: <${formatAddress(mail.to)}>`,
    // The form of RFC 8460 §5.3; folded, since domains may be long.
    `Subject: Report Domain: ${domain}\r\n Submitter: ${submitter}\r\n Report-ID: <${mail.reportId}>`,
    `Date: ${formatDateTime(mail.date)}`,
    `Message-ID: ${mail.messageId}`,
    `TLS-Report-Domain: ${domain}`,
    `TLS-Report-Submitter: ${submitter}`,
    // RFC 8689 §5, RFC 8460 §3: the news of broken TLS must not depend on it.
    "TLS-Required: No",
    "Auto-Submitted: auto-generated",
    "MIME-Version: 1.0",
    `Content-Type: multipart/report; report-type="tlsrpt";\r\n boundary="${boundary}"`,
    "",
    `--${boundary}`,
    "Content-Type: text/plain; charset=us-ascii",
    "",
    `This is an aggregate TLS report about ${domain} from ${submitter} for ${day} (UTC).`,
    "",
    `--${boundary}`,
    "Content-Type: application/tlsrpt+gzip",
    "Content-Transfer-Encoding: base64",
    `Content-Disposition: attachment;\r\n filename="${name}"`,
    "",
    Buffer.from(mail.gzip)
      .toString("base64")
      .replace(/.{76}(?=.)/g, "$&\r\n"),
    `--${boundary}--`,
    "",
  ]
  return Buffer.from(lines.join("\r\n"))
}
