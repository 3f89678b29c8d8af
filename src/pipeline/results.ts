import { mayHoldResults, withoutResultsBy } from "../mime/authentication-results.ts"
import { ascii } from "../mime/compose.ts"
import { atHand, type Prepared, prefixed } from "./prepared.ts"
import { splitHeader } from "./protect.ts"

/**
 * The message as it is protected: with our Authentication-Results on top of its header, where there are any, so that they stand within the
 * encryption too; and without those that others made in our name (RFC 8601 §5). Else octet for octet.
 */
export async function withResults(message: Prepared, field: string | null, authservId: string): Promise<Prepared> {
  const source = await atHand(message)
  const { header, body } = await splitHeader(source)
  const mayBeForged = mayHoldResults(header)
  if (field === null && !mayBeForged) return source
  const kept = mayBeForged ? Buffer.concat(withoutResultsBy(header, authservId)) : header
  return prefixed(field === null ? [kept] : onTop(Buffer.from(field), kept), body)
}

function onTop(field: Uint8Array, header: Uint8Array): Uint8Array[] {
  const at = mboxLine(header)
  // A header that begins with what is no field: readers would add it to ours, as folded, and it would say there what it likes.
  const guard = FIELD_OR_END.test(line(header.subarray(at))) ? [] : [ascii("Postern-Continuation:\r\n")]
  return [header.subarray(0, at), field, ...guard, header.subarray(at)]
}

/** Length of a leading mbox `From ` line. */
function mboxLine(header: Uint8Array): number {
  return MBOX.test(line(header)) ? header.indexOf(LF) + 1 : 0
}

/** The first line, with its end. */
function line(octets: Uint8Array): string {
  const end = octets.indexOf(LF) + 1
  return Buffer.from(octets.subarray(0, end === 0 ? octets.length : end)).toString("latin1")
}

const LF = 10
/** A field (RFC 5322 §3.6.8), the empty line, or nothing. */
const FIELD_OR_END = /^(?:[\x21-\x39\x3b-\x7e]+[ \t]*:|\r?\n|$)/
/** A line, and no field called From with a blank before its colon (RFC 5322 §4.5). */
const MBOX = /^From (?![ \t]*:)/
