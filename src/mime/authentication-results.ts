import { findField, parseFields } from "./header.ts"

/** Name of the field, lower case (RFC 8601 §2). */
const RESULTS_FIELD = "authentication-results"

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

/** True when a header section may hold such a field; for most mail this is all that is asked. */
export function mayHoldResults(header: Uint8Array): boolean {
  return findField(header, RESULTS_FIELD) !== null || FOLDED_NAME.test(Buffer.from(header).toString("latin1"))
}

/**
 * The Authentication-Results field, folded, with its final line end. `rows` are resinfo as RFC 8601 §2.2 writes it. Their comments are left
 * out, and in quoted strings nothing looks like a result: both hold what senders chose, and there are readers that search for `dmarc=pass`.
 */
export function resultsField(authservId: string, rows: readonly string[]): string {
  const written = rows.length === 0 ? ["none"] : rows.map((row) => folded(harmless(row)))
  return `Authentication-Results: ${authservId};\r\n\t${written.join(";\r\n\t")}\r\n`
}

function isResults(field: Uint8Array): boolean {
  return NAME.test(Buffer.from(field.subarray(0, 256)).toString("latin1"))
}

//   authres-header-field = "Authentication-Results:" authres-payload
//   authres-payload = [CFWS] authserv-id [ CFWS authres-version ] ( no-result / 1*resinfo ) [CFWS] CRLF     RFC 8601 §2.2
function claims(field: Uint8Array, authservId: string): boolean {
  const text = UTF_8.decode(field)
  const payload = withoutComments(text.slice(text.indexOf(":") + 1))
  const [, quoted, token] = payload === null ? [] : (SERVICE.exec(payload.trim()) ?? [])
  const id = quoted?.replace(/\\(.)/gs, "$1") ?? token
  if (id === undefined) return true
  return plain(id) === plain(authservId)
}

function harmless(row: string): string {
  return (withoutComments(row.replace(/[\r\n\0]/g, "?")) ?? "")
    .replace(/"(?:[^"\\]|\\.)*"/g, (quoted) => quoted.replace(/[=;()]/g, "?"))
    .replace(/ {2,}/g, " ")
    .trim()
}

function plain(id: string): string {
  return id.trim().toLowerCase().replace(/\.$/, "")
}

/** null: a comment or a quoted string does not end. */
function withoutComments(text: string): string | null {
  let kept = ""
  let depth = 0
  let quoted = false
  for (let at = 0; at < text.length; at++) {
    const char = text[at] ?? ""
    if (char === "\\" && (quoted || depth > 0)) {
      if (depth === 0) kept += char + (text[at + 1] ?? "")
      at++
    } else if (quoted) {
      quoted = char !== '"'
      kept += char
    } else if (char === "(") depth++
    else if (char === ")" && depth > 0) depth--
    else if (depth === 0) {
      quoted = char === '"'
      kept += char
    }
  }
  return quoted || depth > 0 ? null : kept
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

const NAME = /^authentication-results[ \t\r\n]*:/i
/** The same with a line end before its colon, as a hostile sender may write it and some readers take it. */
const FOLDED_NAME = /^authentication-results[ \t]*\r?\n[ \t]+:/im
/** A quoted string or a token (RFC 2045 §5.1), perhaps a version 1, and the end of the field or of this part. */
const SERVICE = /^(?:"((?:[^"\\]|\\.)*)"|([^\s()<>@,;:\\"/[\]?=]+))(?:\s+1)?\s*(?:;|$)/s
const FOLD_CHARACTERS = 78
const UTF_8 = new TextDecoder("utf-8")
