/** Work on long content that another thread can do while this one goes on. */
import { aesCbcEncryptor } from "../crypto/primitives/cipher.ts"
import { digestOf } from "../crypto/primitives/hash.ts"
import { Base64LineEncoder } from "../mime/base64-lines.ts"
import type { EncryptedBy, MarkerMaker } from "./marker-mac.ts"
import { Marking } from "./marking.ts"

/** What is to be done; it can be told to another thread. */
export type Work =
  /** AES-256-CBC with PKCS#7 padding; comes to the SHA-512 of the ciphertext. */
  | { readonly kind: "encrypt"; readonly key: Uint8Array; readonly iv: Uint8Array }
  /** Lines of base64; comes to the marker of a body that is these. */
  | { readonly kind: "mark"; readonly by: EncryptedBy; readonly maker: MarkerMaker }

/**
 * Does the work as content passes by. What comes out is the same octets in the same pieces wherever it is done, each good until the next is asked for.
 * @returns what the work comes to
 */
export type Beside = (work: Work, content: AsyncIterable<Uint8Array>) => AsyncGenerator<Uint8Array, Uint8Array>

/** Takes content in pieces, and puts what comes of each into `into`, {@link OUTPUT_OCTETS} long. @returns how many octets that are */
export interface Worker {
  update(octets: Uint8Array, into: Uint8Array): number
  end(): { readonly octets: Uint8Array; readonly result: Uint8Array }
}

export function workerOf(work: Work): Worker {
  const { step, end } = work.kind === "encrypt" ? encrypting(work) : marking(work)
  return {
    update(octets, into) {
      let filled = 0
      for (let at = 0; at < octets.length; at += STEP_OCTETS)
        filled += step(octets.subarray(at, at + STEP_OCTETS), into.subarray(filled))
      return filled
    },
    end,
  }
}

/** {@link Beside} in this thread. */
export const inPlace: Beside = async function* (work, content) {
  const worker = workerOf(work)
  const output = new Uint8Array(OUTPUT_OCTETS)
  for await (const octets of inPieces(content)) yield output.subarray(0, worker.update(octets, output))
  const { octets, result } = worker.end()
  yield octets
  return result
}

/** Content in pieces of {@link PIECE_OCTETS}, the last one may be shorter; each good until the next is asked for, and written into what `room` gives. */
export async function* inPieces(
  content: AsyncIterable<Uint8Array>,
  room: () => Uint8Array = roomOfOne(),
): AsyncGenerator<Uint8Array> {
  let piece = room()
  let filled = 0
  for await (const octets of content) {
    for (let at = 0; at < octets.length; ) {
      const part = octets.subarray(at, at + PIECE_OCTETS - filled)
      piece.set(part, filled)
      at += part.length
      filled += part.length
      if (filled < PIECE_OCTETS) continue
      yield piece
      piece = room()
      filled = 0
    }
  }
  if (filled > 0) yield piece.subarray(0, filled)
}

function roomOfOne(): () => Uint8Array {
  const one = new Uint8Array(PIECE_OCTETS)
  return () => one
}

interface Steps extends Pick<Worker, "end"> {
  /** @returns how many octets it has put into `room` */
  step(octets: Uint8Array, room: Uint8Array): number
}

function encrypting({ key, iv }: Work & { kind: "encrypt" }): Steps {
  const cipher = aesCbcEncryptor(key, iv)
  const digest = digestOf("sha512")
  const digested = (octets: Uint8Array): Uint8Array => {
    digest.update(octets)
    return octets
  }
  return {
    step(octets, room) {
      const made = digested(cipher.update(octets))
      room.set(made)
      return made.length
    },
    end: () => ({ octets: digested(cipher.final()), result: new Uint8Array(digest.digest()) }),
  }
}

function marking({ by, maker }: Work & { kind: "mark" }): Steps {
  const encoder = new Base64LineEncoder()
  const marking = new Marking(by, maker)
  const marked = (lines: Uint8Array): Uint8Array => {
    marking.push(lines)
    return lines
  }
  return {
    step: (octets, room) => marked(encoder.pushInto(octets, room)).length,
    end: () => ({ octets: marked(encoder.end()), result: marking.field() }),
  }
}

/** What a step leaves behind is collected while it is little: buffers that are as long as pieces cost new pages each time. Whole lines of base64, and whole blocks of AES. */
const STEP_OCTETS = 8_208
/** Trips between threads are few, and what is on its way is little. Whole steps, so that nothing is left over of one for the next. */
export const PIECE_OCTETS = 32 * STEP_OCTETS
/** Lines of base64 are half as long again at most. */
export const OUTPUT_OCTETS = 2 * PIECE_OCTETS
/** Content from so many octets on is long: whoever starts a thread for it does not wait for that longer than it saves. */
export const LONG_OCTETS = 16_777_216
