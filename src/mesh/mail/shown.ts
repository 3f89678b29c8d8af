/** PURE. What stands outside the encryption of a mail that came over the Mesh: what its sender shows, and else what has been stated. */

import { joined } from "../../crypto/primitives/joined.ts"
import { GatewayError } from "../../errors.ts"
import { addressKey, formatAddress, parseAddress } from "../../message/address.ts"
import { parseMailboxList } from "../../message/mailboxes.ts"
import { type Field, fieldText, parseFields } from "../../mime/header.ts"
import type { MailStatement } from "./statement.ts"

/** Of the fields that a sender shows: more leave too little of a message for the mail itself, and stay inside. */
export const MAX_SHOWN_OCTETS = 8_192

/** Fields that are for everybody's programs: who writes to whom about what, and what it answers. All others are inside only. */
const SHOWN: ReadonlySet<string> = new Set([
  "from",
  "reply-to",
  "to",
  "cc",
  "date",
  "subject",
  "message-id",
  "in-reply-to",
  "references",
])

/** Of fields that stand outside, those that are shown, as they stand. @returns null when that is nothing, or too much */
export function shownFields(outside: readonly Uint8Array[]): Uint8Array | null {
  const kept = parseFields(Buffer.concat(outside)).filter(({ name }) => SHOWN.has(name))
  const octets = joined(kept.map((field) => field.octets))
  return octets.length === 0 || octets.length > MAX_SHOWN_OCTETS ? null : octets
}

/**
 * The fields that are put outside, each whole and with its line end. What the sender shows counts if it is what it may be, and by him; else they are made of
 * what was stated, and the subject stays inside (RFC 9788 §3.2.1).
 */
export function outsideOf(statement: Pick<MailStatement, "shown" | "sender" | "recipient" | "date">): Uint8Array[] {
  const { shown, sender, recipient, date } = statement
  const fields = shown === null ? [] : parseFields(shown)
  if (shown !== null && isShowable(fields, shown.length, sender)) return fields.map(({ octets }) => octets)
  const written = (address: string): string => formatAddress(parseAddress(address))
  return [
    `From: ${written(sender)}`,
    `To: ${written(recipient)}`,
    `Date: ${date.toUTCString().replace("GMT", "+0000")}`,
    "Subject: [...]",
  ].map((line) => Buffer.from(`${line}\r\n`))
}

function isShowable(fields: readonly Field[], sizeOctets: number, sender: string): boolean {
  const whole = fields.reduce((sum, { octets }) => sum + octets.length, 0) === sizeOctets
  const names = fields.map(({ name }) => name)
  const once = new Set(names).size === names.length && names.every((name) => SHOWN.has(name))
  return whole && once && fields.every(isWellEnded) && isBy(fields, sender)
}

/** One line end behind each line, and no other: whoever reads lines more generously sees the same fields. */
function isWellEnded({ octets }: Field): boolean {
  return /^(?:[^\r\n\0]*\r\n)+$/.test(Buffer.from(octets).toString("latin1"))
}

function isBy(fields: readonly Field[], sender: string): boolean {
  const from = fields.find(({ name }) => name === "from")
  if (from === undefined) return false
  try {
    const [author, ...others] = parseMailboxList(fieldText(from))
    return author !== undefined && others.length === 0 && addressKey(author) === addressKey(parseAddress(sender))
  } catch (error) {
    if (error instanceof GatewayError) return false
    throw error
  }
}
