import { headerEnd, MAX_HEADER_OCTETS } from "../../mime/header.ts"
import type { MessageFile } from "../message-file.ts"
import type { Range } from "./sections.ts"

/** A header section with its empty line, as far as it is held. */
export interface Header {
  readonly octets: Uint8Array
  /** False: there is more of it. */
  readonly complete: boolean
}

/** Most header sections end within the first read. */
const FIRST_OCTETS = 16_384

/** Reads the header section of a message, up to MAX_HEADER_OCTETS. */
export async function readHeaderOf(file: MessageFile): Promise<Header> {
  for (let octets = FIRST_OCTETS; ; octets *= 8) {
    const end = Math.min(octets, file.sizeOctets, MAX_HEADER_OCTETS)
    const held = await collectRange(file, { start: 0, end })
    const found = headerEnd(held)
    if (found !== null) return { octets: held.subarray(0, found), complete: true }
    if (end === file.sizeOctets) return { octets: held, complete: true }
    if (end === MAX_HEADER_OCTETS) return { octets: held, complete: false }
  }
}

/** The octets of a header section, up to MAX_HEADER_OCTETS. */
export async function collectRange(file: MessageFile, { start, end }: Range): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  for await (const octets of file.read(start, Math.min(end, start + MAX_HEADER_OCTETS))) pieces.push(octets)
  return pieces.length === 1 && pieces[0] ? pieces[0] : Buffer.concat(pieces)
}

/**
 * Header text for searching: encoded words decoded (RFC 2047), the rest read as UTF-8; a charset nobody knows stays as it is.
 */
export function decodeHeaderText(text: string): string {
  const joined = text.replaceAll(/(\?=)\s+(?==\?)/g, "$1")
  return joined.replaceAll(
    /=\?([^?\s]{1,60})\?([BQ])\?([^?\s]*)\?=/gi,
    (whole, charset: string, encoding: string, word: string) => {
      const octets = /b/i.test(encoding) ? Buffer.from(word, "base64") : decodeQ(word)
      return decodeCharset(octets, charset.split("*")[0] ?? "") ?? whole
    },
  )
}

function decodeQ(word: string): Uint8Array {
  const latin1 = word
    .replaceAll("_", " ")
    .replaceAll(/=([0-9A-F]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(latin1, "latin1")
}

function decodeCharset(octets: Uint8Array, charset: string): string | null {
  try {
    return new TextDecoder(charset).decode(octets)
  } catch (error) {
    if (error instanceof RangeError) return null
    throw error
  }
}
