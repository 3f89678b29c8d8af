/** PURE. A message of the gateway's own to somebody who runs it or uses it. */
import { type Address, formatAddress } from "../message/address.ts"
import { formatDateTime } from "../message/date.ts"

/** What {@link composeNotice} needs. */
export interface Notice {
  readonly from: Address
  readonly to: Address
  /** ASCII; CRLF and a blank where it is folded. */
  readonly subject: string
  /** Lines of plain text. */
  readonly text: readonly string[]
  /** `<…>` */
  readonly messageId: string
  readonly date: Date
}

/** The message, CRLF, ASCII: a text that is not stands in base64. Nothing answers it by itself (RFC 3834 §5). */
export function composeNotice({ from, to, subject, text, messageId, date }: Notice): Uint8Array {
  const written = text.join("\r\n")
  const isAscii = /^[\x00-\x7f]*$/.test(written)
  const head = [
    `From: <${formatAddress(from)}>`,
    `To: <${formatAddress(to)}>`,
    `Subject: ${subject}`,
    `Date: ${formatDateTime(date)}`,
    `Message-ID: ${messageId}`,
    "Auto-Submitted: auto-generated",
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
    `Content-Transfer-Encoding: ${isAscii ? "7bit" : "base64"}`,
  ]
  return Buffer.from([...head, "", isAscii ? written : base64Of(written), ""].join("\r\n"))
}

function base64Of(text: string): string {
  return Buffer.from(text)
    .toString("base64")
    .replace(/.{76}(?=.)/g, "$&\r\n")
}
