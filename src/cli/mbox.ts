/** PURE. One message in an mbox file, in the form that mutt, Thunderbird, Dovecot and Python read. */
import { fieldText, headerEnd, parseFields } from "../mime/header.ts"

/** A message as it was stored. */
export interface MboxMessage {
  readonly octets: Uint8Array
  readonly receivedAt: Date
  /** Maildir flag letters. */
  readonly letters: string
  readonly keywords: readonly string[]
  /** Of the mailbox it was in; null: INBOX. */
  readonly folder: string | null
}

/**
 * Separator, message with LF line ends, empty line. Lines that begin like a separator get one `>` more (mboxrd), flags are the
 * fields Status, X-Status and X-Keywords, the mailbox is X-Folder.
 */
export function mboxEntry({ octets, receivedAt, letters, keywords, folder }: MboxMessage): Uint8Array {
  const bodyStart = headerEnd(octets) ?? octets.length
  const fields = parseFields(octets.subarray(0, bodyStart)).filter(({ name }) => !OURS.has(name))
  const returnPath = fields.find(({ name }) => name === "return-path")
  const sender = /<([^<>\s]+)>/.exec(returnPath ? fieldText(returnPath) : "")?.[1] ?? "MAILER-DAEMON"
  const texts = fields.map((field) => latin1(field.octets).replace(/\r?\n?$/, "\n"))
  const more = [
    ...statusFields(letters),
    ...field("X-Keywords", keywords.join(" ")),
    ...field("X-Folder", folder ?? ""),
  ]
  const header = [...texts, ...more].join("")
  const message = `${header}\n${latin1(octets.subarray(bodyStart))}`.replaceAll("\r\n", "\n")
  const quoted = message.replaceAll(/(^|\n)(>*From )/g, "$1>$2")
  const end = quoted.endsWith("\n") ? "\n" : "\n\n"
  return Buffer.from(`From ${latin1(Buffer.from(sender))} ${ctime(receivedAt)}\n${quoted}${end}`, "latin1")
}

/** In UTF-8 (RFC 6532), on one line. */
function field(name: string, text: string): string[] {
  return text === "" ? [] : [`${name}: ${latin1(Buffer.from(text.replaceAll(/[\x00-\x1f\x7f]/g, "_")))}\n`]
}

function statusFields(letters: string): string[] {
  const status = `${letters.includes("S") ? "R" : ""}O`
  const more = [..."RFTD"].filter((letter) => letters.includes(letter)).map((letter) => X_STATUS[letter] ?? "")
  return [`Status: ${status}\n`, ...(more.length > 0 ? [`X-Status: ${more.join("")}\n`] : [])]
}

/** asctime(3) in UTC: `Fri Jan  2 03:04:05 2026`. */
function ctime(date: Date): string {
  const [day = "", number = "", month = "", year = "", time = ""] = date.toUTCString().replace(",", "").split(" ")
  return `${day} ${month} ${String(Number(number)).padStart(2)} ${time} ${year}`
}

function latin1(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString("latin1")
}

/** Maildir's answered, flagged, trashed, draft. */
const X_STATUS: Readonly<Record<string, string>> = { R: "A", F: "F", T: "D", D: "T" }
/** What an earlier program, or the sender, said there is not true here. */
const OURS: ReadonlySet<string> = new Set(["status", "x-status", "x-keywords", "x-folder"])
