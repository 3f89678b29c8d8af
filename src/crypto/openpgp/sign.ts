import { digestOf, sha256 } from "../primitives/hash.ts"
import { armor } from "./armor.ts"
import { ALGORITHM, mpi } from "./key-packet.ts"
import { PACKET, writePacket } from "./packet.ts"

/** An Ed25519 key of version 4 that signs, wherever it is kept. */
export interface OpenPgpIdentity {
  /** Of the key itself, primary or subkey; 20 octets. */
  readonly fingerprint: Uint8Array
  /** EdDSALegacy (RFC 9580 §5.2.3.3.3), which all programs verify, or Ed25519 (§5.2.3.4). */
  readonly algorithm: "eddsa-legacy" | "ed25519"
  /** The Ed25519 signature (64 octets) over `digest`. */
  sign(digest: Uint8Array): Promise<Uint8Array>
}

/** The octets that a signature is over, taken in pieces. */
export interface SignatureHash {
  push(octets: Uint8Array): void
  /** The armored signature. */
  end(): Promise<Uint8Array>
}

/**
 * A detached signature of version 4 and type 0 over octets as they are (RFC 9580 §5.2), with SHA-256. The same octets, key and time give the same signature.
 * `at`: what it says of its time; no verifier can know better.
 */
export function signatureOver(identity: OpenPgpIdentity, at: Date): SignatureHash {
  const digest = digestOf("sha256")
  return {
    push: (octets) => void digest.update(octets),
    async end() {
      const algorithm = identity.algorithm === "eddsa-legacy" ? ALGORITHM.eddsaLegacy : ED25519
      const hashed = hashedPart(identity.fingerprint, algorithm, TYPE_BINARY, at)
      const octets = digest.update(hashed).update(trailer(hashed.length)).digest()
      return armor(packet(identity, hashed, octets, await identity.sign(octets)), "SIGNATURE")
    },
  }
}

/** A signature packet of this type over the bodies of version 4 key packets (RFC 9580 §5.2.4), which says `more` (subpackets) as well. */
export async function keySignature(
  identity: OpenPgpIdentity,
  type: number,
  bodies: readonly Uint8Array[],
  at: Date,
  more: readonly Uint8Array[],
): Promise<Uint8Array> {
  const algorithm = identity.algorithm === "eddsa-legacy" ? ALGORITHM.eddsaLegacy : ED25519
  const hashed = hashedPart(identity.fingerprint, algorithm, type, at, more)
  const keys = bodies.flatMap((body) => [Uint8Array.of(0x99), count(body), body])
  const octets = sha256(Buffer.concat([...keys, hashed, trailer(hashed.length)]))
  return packet(identity, hashed, octets, await identity.sign(octets))
}

// RFC 9580 §5.2.3: version 4, type, algorithms, hashed subpackets; unhashed subpackets, left 16 bits of the digest, signature.
function packet(
  { fingerprint, algorithm }: OpenPgpIdentity,
  hashed: Uint8Array,
  digest: Uint8Array,
  signature: Uint8Array,
): Uint8Array {
  // GnuPG before 2.3 looks for the key id.
  const unhashed = subpacket(SUBPACKET.issuer, fingerprint.subarray(12))
  const written =
    algorithm === "ed25519" ? signature : Buffer.concat([mpi(signature.subarray(0, 32)), mpi(signature.subarray(32))])
  return writePacket(PACKET.signature, hashed, count(unhashed), unhashed, digest.subarray(0, 2), written)
}

function hashedPart(
  fingerprint: Uint8Array,
  algorithm: number,
  type: number,
  at: Date,
  more: readonly Uint8Array[] = [],
): Uint8Array {
  const seconds = new Uint8Array(4)
  new DataView(seconds.buffer).setUint32(0, Math.floor(at.getTime() / 1000))
  const issuer = Buffer.concat([Uint8Array.of(4), fingerprint])
  const subpackets = Buffer.concat([
    subpacket(SUBPACKET.created, seconds),
    subpacket(SUBPACKET.issuerFingerprint, issuer),
    ...more,
  ])
  return Buffer.concat([Uint8Array.of(4, type, algorithm, SHA256), count(subpackets), subpackets])
}

// RFC 9580 §5.2.4
function trailer(hashedOctets: number): Uint8Array {
  const octets = new Uint8Array(6)
  octets.set([4, 0xff])
  new DataView(octets.buffer).setUint32(2, hashedOctets)
  return octets
}

/** A signature subpacket of at most 190 octets (RFC 9580 §5.2.3.7). */
export function subpacket(type: number, body: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(body.length + 1, type), body])
}

function count({ length }: Uint8Array): Uint8Array {
  return Uint8Array.of(length >> 8, length & 0xff)
}

const TYPE_BINARY = 0
const SHA256 = 8
const ED25519 = 27
const SUBPACKET = { created: 2, issuer: 16, issuerFingerprint: 33 } as const
