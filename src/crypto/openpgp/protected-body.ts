import {
  type AuthenticatedEncryptor,
  aes256CfbEncryptor,
  aes256OcbEncryptor,
  BLOCK_OCTETS,
} from "../primitives/cipher.ts"
import { digestOf, hkdfSha256 } from "../primitives/hash.ts"
import { PACKET, packetHeader, packetSize } from "./packet.ts"

/** Version of the packet around the encrypted content (RFC 9580 §5.13): 1 with CFB and an MDC, which all programs read, or 2 with AEAD. */
export type SeipdVersion = 1 | 2

/** Everything secret in one message. Equal secrets may only ever meet equal content. */
export interface OpenPgpSecrets {
  /** AES-256, 32 octets. */
  readonly sessionKey: Uint8Array
  /** What the plaintext of version 1 begins with (RFC 9580 §5.13.1), 16 octets. */
  readonly prefix: Uint8Array
  /** What the recipients' ephemeral keys are derived from, 32 octets. */
  readonly ephemeral: Uint8Array
  /** Of version 2 (RFC 9580 §5.13.2), 32 octets. */
  readonly salt: Uint8Array
}

/** A SEIPD packet with the content as one literal packet in it, written as the content comes. */
export interface ProtectedBody {
  /** Everything before the content. */
  start(contentOctets: number): Uint8Array
  push(octets: Uint8Array): Uint8Array
  end(): Uint8Array
}

export function protectedBody(version: SeipdVersion, secrets: OpenPgpSecrets): ProtectedBody {
  return version === 1 ? cfbBody(secrets) : new AeadBody(secrets)
}

/** Octets of the whole SEIPD packet. */
export function protectedSize(version: SeipdVersion, contentOctets: number): number {
  return packetSize(version === 1 ? cfbOctets(contentOctets) : aeadOctets(contentOctets))
}

/** Version 1 (RFC 9580 §5.13.1): random prefix, literal packet, MDC packet; all of it in CFB. */
function cfbBody({ sessionKey, prefix }: OpenPgpSecrets): ProtectedBody {
  const cipher = aes256CfbEncryptor(sessionKey, new Uint8Array(BLOCK_OCTETS))
  const mdc = digestOf("sha1")
  const push = (octets: Uint8Array): Uint8Array => {
    mdc.update(octets)
    return cipher.update(octets)
  }
  return {
    push,
    start(contentOctets) {
      const before = Buffer.concat([prefix, prefix.subarray(BLOCK_OCTETS - 2), literalHead(contentOctets)])
      const header = packetHeader(PACKET.seipd, cfbOctets(contentOctets))
      return Buffer.concat([header, Uint8Array.of(1), push(before)])
    },
    // RFC 9580 §5.14: the digest covers the MDC packet's own header.
    end() {
      const digest = mdc.update(MDC_HEAD).digest()
      return Buffer.concat([cipher.update(MDC_HEAD), cipher.update(digest), cipher.final()])
    },
  }
}

/** Version 2 (RFC 9580 §5.13.2): AES-256 in OCB, by chunks, each with its tag; a last tag is over the length of it all. */
class AeadBody implements ProtectedBody {
  readonly #salt: Uint8Array
  readonly #key: Uint8Array
  readonly #iv: Uint8Array
  #chunks = 0
  #octets = 0
  #inChunk = 0
  #cipher: AuthenticatedEncryptor | null = null

  constructor({ sessionKey, salt }: OpenPgpSecrets) {
    const derived = hkdfSha256(sessionKey, salt, AEAD_ASSOCIATED, 32 + IV_OCTETS)
    this.#salt = salt
    this.#key = derived.subarray(0, 32)
    this.#iv = derived.subarray(32)
  }

  start(contentOctets: number): Uint8Array {
    const header = packetHeader(PACKET.seipd, aeadOctets(contentOctets))
    return Buffer.concat([header, AEAD_ASSOCIATED.subarray(1), this.#salt, this.push(literalHead(contentOctets))])
  }

  push(octets: Uint8Array): Uint8Array {
    const parts: Uint8Array[] = []
    for (let at = 0; at < octets.length; ) {
      this.#cipher ??= this.#encryptor(AEAD_ASSOCIATED)
      const piece = octets.subarray(at, at + CHUNK_OCTETS - this.#inChunk)
      parts.push(this.#cipher.update(piece))
      at += piece.length
      this.#inChunk += piece.length
      this.#octets += piece.length
      if (this.#inChunk === CHUNK_OCTETS) parts.push(...this.#closeChunk())
    }
    return Buffer.concat(parts)
  }

  end(): Uint8Array {
    const last = this.#closeChunk()
    const total = new Uint8Array(8)
    new DataView(total.buffer).setBigUint64(0, BigInt(this.#octets))
    const cipher = this.#encryptor(Buffer.concat([AEAD_ASSOCIATED, total]))
    return Buffer.concat([...last, cipher.final(), cipher.tag()])
  }

  #closeChunk(): Uint8Array[] {
    if (this.#cipher === null) return []
    const parts = [this.#cipher.final(), this.#cipher.tag()]
    this.#cipher = null
    this.#inChunk = 0
    this.#chunks += 1
    return parts
  }

  /** The nonce is the derived IV and the number of the chunk: under a key of this message only. */
  #encryptor(associated: Uint8Array): AuthenticatedEncryptor {
    const nonce = new Uint8Array(IV_OCTETS + 8)
    nonce.set(this.#iv)
    new DataView(nonce.buffer).setBigUint64(IV_OCTETS, BigInt(this.#chunks))
    return aes256OcbEncryptor(this.#key, nonce, associated)
  }
}

function literalHead(contentOctets: number): Uint8Array {
  return Buffer.concat([packetHeader(PACKET.literal, LITERAL_HEAD.length + contentOctets), LITERAL_HEAD])
}

/** Octets of the body of a packet of version 1. */
function cfbOctets(contentOctets: number): number {
  return 1 + BLOCK_OCTETS + 2 + packetSize(LITERAL_HEAD.length + contentOctets) + MDC_HEAD.length + SHA1_OCTETS
}

/** Octets of the body of a packet of version 2. */
function aeadOctets(contentOctets: number): number {
  const plaintext = packetSize(LITERAL_HEAD.length + contentOctets)
  const tags = Math.ceil(plaintext / CHUNK_OCTETS) + 1
  return AEAD_ASSOCIATED.length - 1 + SALT_OCTETS + plaintext + tags * BLOCK_OCTETS
}

/** RFC 9580 §5.9: binary, no file name, no date (a repeated delivery must write the same octets). */
const LITERAL_HEAD = Uint8Array.of(0x62, 0, 0, 0, 0, 0)
/** RFC 9580 §5.14: always this length, always this form. */
const MDC_HEAD = Uint8Array.of(0xd3, 0x14)
const SHA1_OCTETS = 20
/** Packet type ID with the bits of the OpenPGP format, version 2, AES-256, OCB (the one that all must have), chunk size octet. */
const AEAD_ASSOCIATED = Uint8Array.of(0xc0 | PACKET.seipd, 2, 9, 2, 10)
/** 2 to the chunk size octet + 6: what a reader must hold before it may give anything out, 64 KiB. */
const CHUNK_OCTETS = 65_536
const SALT_OCTETS = 32
/** OCB's nonce of 15 octets without the number of the chunk. */
const IV_OCTETS = 7
