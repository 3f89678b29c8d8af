/** PURE. The message that tells somebody that a key ends. */
import { type Address, formatAddress } from "../message/address.ts"
import { formatDateTime } from "../message/date.ts"
import type { Ending } from "./endings.ts"

interface EndingMail {
  readonly from: Address
  readonly to: Address
  readonly ending: Ending
  /** "in 14 days". */
  readonly left: string
  /** `<…>` */
  readonly messageId: string
  readonly date: Date
}

/** The message, CRLF, ASCII: what is not stands in base64. */
export function composeEndingMail({ from, to, ending, left, messageId, date }: EndingMail): Uint8Array {
  const text = textOf(ending, left)
  const isAscii = /^[\x00-\x7f]*$/.test(text)
  const body = isAscii ? text : lines(Buffer.from(text).toString("base64"))
  const head = [
    `From: <${formatAddress(from)}>`,
    `To: <${formatAddress(to)}>`,
    `Subject: ${ending.kind === "correspondent" ? "A key of a correspondent" : "A key"} ends ${left}${isAscii ? `:\r\n ${ending.about}` : ""}`,
    `Date: ${formatDateTime(date)}`,
    `Message-ID: ${messageId}`,
    "Auto-Submitted: auto-generated",
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
    `Content-Transfer-Encoding: ${isAscii ? "7bit" : "base64"}`,
  ]
  return Buffer.from([...head, "", body, ""].join("\r\n"))
}

function textOf({ kind, about, fingerprint, since, until, remedy }: Ending, left: string): string {
  return [
    `This ends ${left}:`,
    "",
    `  ${about}`,
    `  fingerprint  ${fingerprint}`,
    ...(since === null ? [] : [`  since        ${since.toISOString()}`]),
    `  until        ${until.toISOString()}`,
    "",
    AFTERWARDS[kind],
    "",
    kind === "account" || kind === "device"
      ? "What to do: whoever holds your keyring (you, or your administrator) runs"
      : "What to do:",
    "",
    `  ${remedy}`,
    "",
    "Postern tells you 30, 14, 3 and 1 days before the end; postern check lists all that is near.",
  ].join("\r\n")
}

const AFTERWARDS: Readonly<Record<Ending["kind"], string>> = {
  account: "Afterwards others will not encrypt mail to it any more. What is stored stays readable.",
  device: "Afterwards the device's program refuses to use it: it reads no mail with it, or cannot log in.",
  server: "Afterwards mail clients will not connect, nor servers that check certificates.",
  correspondent:
    "Afterwards mail to this address cannot be encrypted to it any more, and policy decides what becomes of it.",
}

function lines(text: string): string {
  return text.replace(/.{76}(?=.)/g, "$&\r\n")
}
