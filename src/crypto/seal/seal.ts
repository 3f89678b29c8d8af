import { GatewayError } from "../../errors.ts"
import { NONCE_OCTETS, openAes256Gcm, sealAes256Gcm, TAG_OCTETS } from "../primitives/aead.ts"
import { hkdfSha256 } from "../primitives/hash.ts"
import { randomOctets } from "../primitives/random.ts"
import { type Decapsulator, ENCAPSULATED_OCTETS, type Encapsulation } from "../primitives/seal-key.ts"

/*
 * A sealed file. Who has the public key can write it, who has the private key can read it, and no octet of it is released unverified.
 *
 *   head     8 octets "POSTERN" 01, 16 octets key id, 32 octets encapsulated key, 16 random octets
 *   content  chunks of 65536 octets, the last one of 0 to 65536, each followed by its tag
 *   trailer  any octets, followed by their tag
 *   filling  zeros, if any
 *   end      twice 4 octets, big-endian: octets of the filling, of the trailer with its tag
 *
 * AES-256-GCM; nonce = 11 octets counter, 1 octet kind (STREAM, Hoang et al. 2015, as age uses it): a chunk that is missing,
 * doubled, moved or cut does not open. The file key is HKDF over the secret of DHKEM(X25519, HKDF-SHA256), RFC 9180,
 * bound to the head and to a label, so that a file does not open under the name of another. The random octets make the file key one
 * of its own where several files share an encapsulation.
 */

/** A chunk holds as much as this of the content. */
export const CHUNK_OCTETS = 65_536
/** Octets of a sealed chunk. */
export const SEALED_CHUNK_OCTETS = CHUNK_OCTETS + TAG_OCTETS
/** Octets of the id of the key that a file is sealed to. */
export const KEY_ID_OCTETS = 16
const ENCAPSULATED_AT = 8 + KEY_ID_OCTETS
const SALT_OCTETS = 16
/** Octets of the head. */
export const HEAD_OCTETS = ENCAPSULATED_AT + ENCAPSULATED_OCTETS + SALT_OCTETS
/** Octets of the end. */
export const END_OCTETS = 8
/** The trailer is held in memory in one piece; 1000 recipients with all their parameters stay below. */
export const MAX_TRAILER_OCTETS = 4 * 1024 * 1024

const MAGIC = Uint8Array.of(0x50, 0x4f, 0x53, 0x54, 0x45, 0x52, 0x4e, 1)
type Kind = 0 | 1 | 2
const MIDDLE: Kind = 0
const LAST: Kind = 1
const TRAILER: Kind = 2

/** The public half of a sealing key. */
export interface SealingKey {
  readonly id: Uint8Array
  readonly encapsulate: () => Encapsulation
}

/** Makes the pieces of one sealed file, in order: head, chunks, trailer with end. */
export class Sealer {
  readonly head: Uint8Array
  readonly #fileKey: Uint8Array
  #counter = 0

  /** `label` names the file. What `key` encapsulates may serve several files. */
  constructor(key: SealingKey, label: string) {
    const { encapsulated, sharedSecret } = key.encapsulate()
    this.head = Buffer.concat([MAGIC, key.id, encapsulated, randomOctets(SALT_OCTETS)])
    this.#fileKey = deriveFileKey(sharedSecret, this.head, label)
  }

  /** Seals the next chunk; all but the last hold {@link CHUNK_OCTETS}. There is a last one, be it empty. */
  chunk(content: Uint8Array, last: boolean): Uint8Array {
    return sealAes256Gcm(this.#fileKey, nonce(this.#counter++, last ? LAST : MIDDLE), content)
  }

  /** Trailer, filling and end. @throws GatewayError LENGTH_MISMATCH above {@link MAX_TRAILER_OCTETS} */
  trailer(octets: Uint8Array, fillingOctets = 0): Uint8Array {
    if (octets.length > MAX_TRAILER_OCTETS) throw new GatewayError("LENGTH_MISMATCH", "seal: trailer is too long")
    const sealed = sealAes256Gcm(this.#fileKey, nonce(this.#counter, TRAILER), octets)
    const end = Buffer.alloc(fillingOctets + END_OCTETS)
    end.writeUInt32BE(fillingOctets, fillingOctets)
    end.writeUInt32BE(sealed.length, fillingOctets + 4)
    return Buffer.concat([sealed, end])
  }
}

/**
 * The id of the key that a file was sealed to.
 * @returns null when the octets do not begin as a sealed file
 */
export function keyIdOf(head: Uint8Array): Uint8Array | null {
  const ours = head.length >= HEAD_OCTETS && MAGIC.every((octet, index) => head[index] === octet)
  return ours ? new Uint8Array(head.subarray(MAGIC.length, MAGIC.length + KEY_ID_OCTETS)) : null
}

/** Octets of a sealed file of one chunk, without filling. */
export function sealedOctets(contentOctets: number, trailerOctets: number): number {
  return HEAD_OCTETS + contentOctets + TAG_OCTETS + trailerOctets + TAG_OCTETS + END_OCTETS
}

/** Where the pieces of a sealed file are. */
export interface Layout {
  readonly chunks: number
  readonly sizeOctets: number
  readonly trailerOffset: number
  readonly trailerOctets: number
}

/**
 * Computes the layout from the length of the file and its end. Nothing of it is proven before trailer and chunks have been opened.
 * @returns null when no sealed file has this length and end
 */
export function layoutOf(fileOctets: number, end: Uint8Array): Layout | null {
  if (end.length !== END_OCTETS) return null
  const view = new DataView(end.buffer, end.byteOffset)
  const trailerOctets = view.getUint32(4)
  const trailerOffset = fileOctets - END_OCTETS - view.getUint32(0) - trailerOctets
  const sealedOctets = trailerOffset - HEAD_OCTETS
  const chunks = Math.max(1, Math.ceil(sealedOctets / SEALED_CHUNK_OCTETS))
  const sizeOctets = sealedOctets - chunks * TAG_OCTETS
  if (trailerOctets < TAG_OCTETS || trailerOctets > MAX_TRAILER_OCTETS + TAG_OCTETS) return null
  // A last chunk is empty only when it is the only one.
  return sizeOctets < 0 || (chunks > 1 && sizeOctets <= (chunks - 1) * CHUNK_OCTETS)
    ? null
    : { chunks, sizeOctets, trailerOffset, trailerOctets }
}

/** Opens the pieces of one sealed file, in any order. */
export class Opener {
  readonly #fileKey: Uint8Array

  /** @throws GatewayError DECRYPTION_FAILED when the head is not one */
  constructor(head: Uint8Array, decapsulate: Decapsulator, label: string) {
    if (keyIdOf(head) === null) throw new GatewayError("DECRYPTION_FAILED", "seal: head is not ours")
    const sharedSecret = decapsulated(
      head.subarray(ENCAPSULATED_AT, ENCAPSULATED_AT + ENCAPSULATED_OCTETS),
      decapsulate,
    )
    this.#fileKey = deriveFileKey(sharedSecret, head.subarray(0, HEAD_OCTETS), label)
  }

  /** @throws GatewayError DECRYPTION_FAILED */
  chunk(sealed: Uint8Array, index: number, last: boolean): Uint8Array {
    return openAes256Gcm(this.#fileKey, nonce(index, last ? LAST : MIDDLE), sealed)
  }

  /** @throws GatewayError DECRYPTION_FAILED */
  trailer(sealed: Uint8Array, chunks: number): Uint8Array {
    return openAes256Gcm(this.#fileKey, nonce(chunks, TRAILER), sealed)
  }
}

function decapsulated(encapsulated: Uint8Array, decapsulate: Decapsulator): Uint8Array {
  try {
    return decapsulate(encapsulated)
  } catch (cause) {
    throw new GatewayError("DECRYPTION_FAILED", "seal: encapsulated key is not usable", { cause })
  }
}

function deriveFileKey(sharedSecret: Uint8Array, head: Uint8Array, label: string): Uint8Array {
  return hkdfSha256(sharedSecret, head, `postern seal 1 ${label}`, 32)
}

function nonce(counter: number, kind: Kind): Uint8Array {
  const octets = Buffer.alloc(NONCE_OCTETS)
  octets.writeUIntBE(counter, NONCE_OCTETS - 1 - 6, 6)
  octets[NONCE_OCTETS - 1] = kind
  return octets
}
