import { ascii } from "./compose.ts"
import { parseFields } from "./header.ts"
import { parseEntityHeader } from "./structure-header.ts"

/**
 * The header section, with its empty line, for a text whose octets are replaced by an armored message (inline PGP): Content-Type stays, and with it the
 * charset of what is inside.
 * @returns null when the message is anything but one plain text whose octets stand there as they are
 */
export function inlineTextHeader(header: Uint8Array): Uint8Array[] | null {
  const fields = parseFields(header)
  const fieldsOctets = fields.reduce((sum, { octets }) => sum + octets.length, 0)
  // Without an empty line there is no text; with a line that is no field nobody knows where it begins.
  if (fieldsOctets === header.length || fields.some(({ name }) => name === "")) return null
  if (fields.filter(({ name }) => name === "content-type").length > 1) return null
  const { type, subtype, encoding, disposition } = parseEntityHeader(fields, "text/plain")
  const isPlain = type === "text" && subtype === "plain" && /^(?:[78]bit|binary)$/i.test(encoding)
  if (!isPlain || disposition?.type.toLowerCase() === "attachment") return null
  const kept = fields.filter(({ name }) => !REPLACED.has(name)).map(({ octets }) => octets)
  return [...kept, ascii("Content-Transfer-Encoding: 7bit\r\n\r\n")]
}

/** The encoding of the armor is another; a signature or digest over the text would be wrong from now on. */
const REPLACED: ReadonlySet<string> = new Set([
  "bcc",
  "resent-bcc",
  "content-transfer-encoding",
  "content-md5",
  "content-length",
  "dkim-signature",
  "postern-encrypted",
])
