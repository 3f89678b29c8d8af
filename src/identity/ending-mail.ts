/** PURE. The message that tells somebody that a key ends. */
import { composeNotice, type Notice } from "../mime/notice.ts"
import type { Ending } from "./endings.ts"

interface EndingMail extends Pick<Notice, "from" | "to" | "messageId" | "date"> {
  readonly ending: Ending
  /** "in 14 days". */
  readonly left: string
}

/** The message; what it is about stands in its subject where that is ASCII. */
export function composeEndingMail({ ending, left, ...notice }: EndingMail): Uint8Array {
  const what = ending.kind === "correspondent" ? "A key of a correspondent" : "A key"
  const about = /^[\x00-\x7f]*$/.test(ending.about) ? `:\r\n ${ending.about}` : ""
  return composeNotice({ ...notice, subject: `${what} ends ${left}${about}`, text: textOf(ending, left) })
}

function textOf({ kind, about, fingerprint, since, until, remedy }: Ending, left: string): readonly string[] {
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
  ]
}

const AFTERWARDS: Readonly<Record<Ending["kind"], string>> = {
  account: "Afterwards others will not encrypt mail to it any more. What is stored stays readable.",
  device: "Afterwards the device's program refuses to use it: it reads no mail with it, or cannot log in.",
  server: "Afterwards mail clients will not connect, nor servers that check certificates.",
  correspondent:
    "Afterwards mail to this address cannot be encrypted to it any more, and policy decides what becomes of it.",
}
