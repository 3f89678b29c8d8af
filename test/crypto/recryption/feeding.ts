import type { Recryptor } from "../../../src/crypto/recryption/recryptor.ts"
import { type MadePatch, RecryptionStream } from "../../../src/crypto/recryption/stream.ts"

/** All that can be seen of a stream after its end. */
export interface Outcome {
  readonly octets: Uint8Array
  readonly stable: Uint8Array
  readonly patches: readonly MadePatch[]
  readonly counts: { readonly patched: number; readonly foreign: number; readonly malformed: number }
}

/** Feeds `octets` in pieces of the given sizes, over and over. */
export function feed(recryptors: readonly Recryptor[], octets: Uint8Array, sizes: readonly number[]): Outcome {
  const stable: Uint8Array[] = []
  const stream = new RecryptionStream(recryptors, { onStable: (part) => stable.push(new Uint8Array(part)) })
  const out: Uint8Array[] = []
  for (let at = 0, turn = 0; at < octets.length; turn++) {
    const size = sizes[turn % sizes.length] ?? octets.length
    const piece = Uint8Array.from(octets.subarray(at, at + size))
    out.push(...stream.push(piece).map((part) => new Uint8Array(part)))
    // Callers use the memory again: whatever was kept shows.
    piece.fill(0x21)
    at += size
  }
  out.push(...stream.end())
  const { patches, counts } = stream
  return { octets: joined(out), stable: joined(stable), patches, counts }
}

/** Whole, octet by octet, and in pieces that meet line ends and quanta in every way. */
export const CHUNKINGS: readonly (readonly number[])[] = [
  [Number.MAX_SAFE_INTEGER],
  [1],
  [2, 3],
  [7, 1, 61],
  [77, 78],
  [256, 5],
  [4096],
]

/** Base64 in lines of `width` characters. */
export function lines(octets: Uint8Array, width = 76, end = "\r\n"): string {
  const text = Buffer.from(octets).toString("base64")
  return (text.match(new RegExp(`.{1,${width}}`, "g")) ?? []).map((line) => line + end).join("")
}

export function ascii(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "latin1"))
}

/** For comparisons: of typed arrays, vitest shows each octet. */
export function text(octets: Uint8Array): string {
  return Buffer.from(octets).toString("latin1")
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}
