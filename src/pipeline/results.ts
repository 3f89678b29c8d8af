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
  const first = header[at]
  // A header that begins in the midst of a field: it would go on in ours, and say there what it likes.
  const guard = first === SPACE || first === TAB ? [ascii("Postern-Continuation:\r\n")] : []
  return [header.subarray(0, at), field, ...guard, header.subarray(at)]
}

/** Length of a leading mbox `From ` line. */
function mboxLine(header: Uint8Array): number {
  const end = header.indexOf(LF) + 1
  return MBOX.test(Buffer.from(header.subarray(0, end)).toString("latin1")) ? end : 0
}

const SPACE = 32
const TAB = 9
const LF = 10
/** A line, and no field called From with a blank before its colon (RFC 5322 §4.5). */
const MBOX = /^From (?![ \t]*:)/
