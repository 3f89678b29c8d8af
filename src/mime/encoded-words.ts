/**
 * Text of a field with its encoded-words (RFC 2047) decoded, for comparing and showing. What is no encoded-word, is in an unknown charset or is
 * malformed stays as it stands.
 */
export function decodeWords(text: string): string {
  return text
    .slice(0, MAX_CHARACTERS)
    .replace(/(=\?[^?\s]{1,60}\?[bq]\?[^?\s]{0,1000}\?=)[ \t\r\n]+(?==\?[^?\s]{1,60}\?[bq]\?)/gi, "$1")
    .replace(/=\?([^?*\s]{1,40})(?:\*[^?\s]{0,20})?\?([bq])\?([^?\s]{0,1000})\?=/gi, decoded)
}

function decoded(word: string, charset: string, encoding: string, text: string): string {
  const octets = encoding.toLowerCase() === "b" ? Buffer.from(text, "base64") : fromQ(text)
  try {
    return new TextDecoder(charset).decode(octets)
  } catch {
    return word
  }
}

/** RFC 2047 §4.2 */
function fromQ(text: string): Uint8Array {
  const raw = text
    .replaceAll("_", " ")
    .replace(/=([0-9A-F]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(raw, "latin1")
}

/** RFC 5322 §2.1.1 and folding: nobody reads more of a subject. */
const MAX_CHARACTERS = 20_000
