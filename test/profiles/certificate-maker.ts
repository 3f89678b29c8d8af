import {
  curve25519KeyBody,
  ed25519KeyBody,
  mpi,
  type PublicKey,
  readPublicKey,
} from "../../src/crypto/openpgp/key-packet.ts"
import { PACKET, writePacket } from "../../src/crypto/openpgp/packet.ts"
import { signEd25519 } from "../../src/crypto/primitives/sign.ts"
import { type SignatureHash, signedDigest } from "../../src/crypto/primitives/signature-check.ts"

/** What a signature made here says. */
export interface Says {
  readonly type: number
  readonly at: Date
  /** SHA-512 unless given. */
  readonly hash?: "sha1" | "sha512"
  /** Subpackets beside creation time and issuer; critical with 0x80 in their type. */
  readonly more?: readonly (readonly [type: number, ...octets: number[]])[]
}

/** Makes OpenPGP certificates packet by packet, so that they can say what no program lets them say. Ed25519 and Curve25519, version 4. */
export class CertificateMaker {
  readonly primary: PublicKey
  readonly #seed: Uint8Array

  constructor(seed: number, createdAt: Date) {
    this.#seed = new Uint8Array(32).fill(seed)
    this.primary = readPublicKey({ tag: PACKET.publicKey, body: ed25519KeyBody(this.#seed, createdAt) })
  }

  /** The primary key and its signatures. */
  key(...signatures: readonly Says[]): Uint8Array {
    const about = keyOctets(this.primary.body)
    return this.#component(PACKET.publicKey, this.primary.body, about, signatures)
  }

  userId(userId: string | Uint8Array, ...signatures: readonly Says[]): Uint8Array {
    const octets = Buffer.from(userId)
    const count = Buffer.alloc(5, 0xb4)
    count.writeUInt32BE(octets.length, 1)
    return this.#component(
      PACKET.userId,
      octets,
      Buffer.concat([keyOctets(this.primary.body), count, octets]),
      signatures,
    )
  }

  /** A subkey on Curve25519, or of the body given. */
  subkey(
    body: Uint8Array | { readonly scalar: number; readonly createdAt: Date },
    ...signatures: readonly Says[]
  ): Uint8Array {
    const octets = "scalar" in body ? curve25519KeyBody(new Uint8Array(32).fill(body.scalar), body.createdAt) : body
    const about = Buffer.concat([keyOctets(this.primary.body), keyOctets(octets)])
    return this.#component(PACKET.publicSubkey, octets, about, signatures)
  }

  #component(tag: number, body: Uint8Array, about: Uint8Array, signatures: readonly Says[]): Uint8Array {
    return Buffer.concat([writePacket(tag, body), ...signatures.map((says) => this.#signature(about, says))])
  }

  #signature(about: Uint8Array, { type, at, hash = "sha512", more = [] }: Says): Uint8Array {
    const time = Buffer.alloc(4)
    time.writeUInt32BE(Math.floor(at.getTime() / 1000))
    const area = Buffer.concat([[2, ...time], [16, ...this.primary.keyId], ...more].map(subpacket))
    const head = Buffer.from([4, type, 22, hash === "sha1" ? 2 : 10, area.length >> 8, area.length & 0xff])
    const hashed = Buffer.concat([head, area])
    const trailer = Buffer.from([4, 0xff, 0, 0, hashed.length >> 8, hashed.length & 0xff])
    const digest = signedDigest(hash satisfies SignatureHash, Buffer.concat([about, hashed, trailer]))
    const made = signEd25519(this.#seed, digest)
    const numbers = [mpi(made.subarray(0, 32)), mpi(made.subarray(32))]
    return writePacket(PACKET.signature, hashed, Uint8Array.of(0, 0), digest.subarray(0, 2), ...numbers)
  }
}

function subpacket(octets: readonly number[]): Uint8Array {
  return Uint8Array.of(octets.length, ...octets)
}

function keyOctets(body: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(0x99, body.length >> 8, body.length & 0xff), body])
}
