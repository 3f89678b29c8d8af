import { hasCode } from "../errors.ts"
import { parseDomain } from "../message/address.ts"
import { withoutComments } from "./comments.ts"
import { parseFields } from "./header.ts"

/**
 * The header section without Authentication-Results that claim to be by `authservId`, and without those that nobody can say by whom they
 * are (RFC 8601 §5); everything else octet for octet, the empty line included.
 */
export function withoutResultsBy(header: Uint8Array, authservId: string): readonly Uint8Array[] {
  const fields = parseFields(header)
  const forged = fields.filter((field) => isResults(field.octets) && claims(field.octets, authservId))
  if (forged.length === 0) return [header]
  const rest = header.subarray(fields.reduce((sum, field) => sum + field.octets.length, 0))
  return [...fields.filter((field) => !forged.includes(field)).map((field) => field.octets), rest]
}

/** False when a header section holds no such field at all; for most mail this is all that is asked. */
export function mayHoldResults(header: Uint8Array): boolean {
  return ANY_NAME.test(latin1(header))
}

/**
 * The Authentication-Results field, folded, with its final line end. `rows` are resinfo as RFC 8601 §2.2 writes it. Their comments are left
 * out, and in quoted strings nothing looks like a result: both hold what senders chose, and there are readers that search for `dmarc=pass`. All of it
 * is ASCII: a domain comes as A-labels, and what HELO or a local part hold beside is for nobody (RFC 5322 §2.2).
 */
export function resultsField(authservId: string, rows: readonly string[]): string {
  const written = rows.length === 0 ? ["none"] : rows.map((row) => folded(harmless(row)))
  return `Authentication-Results: ${authservId};\r\n\t${written.join(";\r\n\t")}\r\n`
}

function isResults(field: Uint8Array): boolean {
  return NAME.test(latin1(field))
}

//   authres-header-field = "Authentication-Results:" authres-payload
//   authres-payload = [CFWS] authserv-id [ CFWS authres-version ] ( no-result / 1*resinfo ) [CFWS] CRLF     RFC 8601 §2.2
function claims(field: Uint8Array, authservId: string): boolean {
  const text = UTF_8.decode(field)
  const colon = text.indexOf(":")
  const payload = colon < 0 ? null : withoutComments(text.slice(colon + 1))
  const [, quoted, token] = payload === null ? [] : (SERVICE.exec(payload.trim()) ?? [])
  const id = quoted?.replace(/\\(.)/gs, "$1") ?? token
  if (id === undefined) return true
  return plain(id) === plain(authservId)
}

function harmless(row: string): string {
  return (withoutComments(row.replace(/[^\x20-\x7e]/g, "?")) ?? "")
    .replace(/"(?:[^"\\]|\\.)*"/g, (quoted) => quoted.replace(/[=;()]/g, "?"))
    .replace(/ {2,}/g, " ")
    .trim()
}

function plain(id: string): string {
  const name = id.trim().toLowerCase().replace(/\.$/, "")
  if (!NON_ASCII.test(name)) return name
  try {
    return parseDomain(name)
  } catch (error) {
    if (hasCode(error, "ADDRESS_SYNTAX")) return name
    throw error
  }
}

function latin1(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString("latin1")
}

/** Breaks a line at blanks, which stay: unfolded it reads as before (RFC 5322 §2.2.3). */
function folded(row: string): string {
  let length = 8
  return row
    .split(" ")
    .map((word, index) => {
      const fits = index === 0 || length + word.length < FOLD_CHARACTERS
      length = fits ? length + word.length + 1 : word.length + 1
      return index === 0 ? word : `${fits ? " " : "\r\n "}${word}`
    })
    .join("")
}

// Line ends before the colon too, and a colon that begins the next line: as a hostile sender may write it and some readers take it.
const NAME = /^authentication-results[ \t\r\n]*(?::|$)/i
const ANY_NAME = new RegExp(NAME, "im")
const NON_ASCII = /[^\x00-\x7f]/
/** A quoted string or a token (RFC 2045 §5.1), perhaps a version 1, and the end of the field or of this part. */
const SERVICE = /^(?:"((?:[^"\\]|\\.)*)"|([^\s()<>@,;:\\"/[\]?=]+))(?:\s+1)?\s*(?:;|$)/s
const FOLD_CHARACTERS = 78
const UTF_8 = new TextDecoder("utf-8")
