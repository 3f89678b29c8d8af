import { join } from "node:path"
import { GatewayError } from "../errors.ts"

/** Longest file name of Linux file systems less what a subfolder rename needs. */
const MAX_NAME_OCTETS = 200

/** The Maildir of an account: the address with path-unsafe characters as %XX (contract: An instance). */
export function maildirOf(root: string, account: string): string {
  return join(root, safeName(account), "Maildir")
}

/** An address as a folder name: everything but `A-Z a-z 0-9 @ . _ + = -` is %XX of its UTF-8 octets, and a leading dot. */
export function safeName(account: string): string {
  const octets = Buffer.from(account, "utf8")
  const name = Array.from(octets, (octet) => {
    const c = String.fromCharCode(octet)
    return /[A-Za-z0-9@._+=-]/.test(c) ? c : `%${octet.toString(16).toUpperCase().padStart(2, "0")}`
  }).join("")
  if (name === "") throw new GatewayError("MAILBOX_NAME", "mailbox: account without a name")
  return name.startsWith(".") ? `%2E${name.slice(1)}` : name
}

/** The folder of a mailbox within a Maildir++: INBOX is the Maildir itself, `A.B` is `.A.B`. */
export function folderOf(maildir: string, mailbox: string): string {
  return mailbox === "INBOX" ? maildir : join(maildir, `.${mailbox}`)
}

/** The mailbox name with INBOX in upper case (RFC 3501 §5.1), or null when it can be no folder name here. */
export function mailboxName(name: string): string | null {
  if (/^inbox$/i.test(name)) return "INBOX"
  const valid =
    /^[\x20-\x7e]+$/.test(name) &&
    name.length <= MAX_NAME_OCTETS &&
    !name.includes("/") &&
    !/[*%]/.test(name) &&
    name.split(".").every((part) => part !== "") &&
    isModifiedUtf7(name)
  return valid ? name : null
}

/** RFC 3501 §5.1.3: `&` begins base64 of UTF-16 with `,` for `/`, ended by `-`; `&-` is `&`. */
export function isModifiedUtf7(text: string): boolean {
  return /^(?:[\x20-\x25\x27-\x7e]|&(?:[A-Za-z0-9+,]{2,})?-)*$/.test(text)
}

/** The part of a message's file name that never changes: what stands before the flags. */
export function baseOf(fileName: string): string {
  const colon = fileName.indexOf(":")
  return colon < 0 ? fileName : fileName.slice(0, colon)
}

/** The flag letters behind `:2,` in ASCII order (Maildir), or "". */
export function lettersOf(fileName: string): string {
  const at = fileName.indexOf(":2,")
  if (at < 0) return ""
  const letters = fileName.slice(at + 3).split(",", 1)[0] ?? ""
  return sortedLetters(letters)
}

/** Each letter once, in ASCII order. */
export function sortedLetters(letters: string): string {
  return letters.length < 2 ? letters : [...new Set(letters)].sort().join("")
}

/** Sizes told by the file name: `S=` octets of the file, `W=` octets with every line end as CRLF; null when not told. */
export function sizesOf(base: string): { readonly fileOctets: number | null; readonly wireOctets: number | null } {
  const file = /,S=(\d{1,15})(?=,|$)/.exec(base)
  const wire = /,W=(\d{1,15})(?=,|$)/.exec(base)
  return { fileOctets: file ? Number(file[1]) : null, wireOctets: wire ? Number(wire[1]) : null }
}
