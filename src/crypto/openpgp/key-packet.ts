import { GatewayError } from "../../errors.ts"
import { sha1, sha256 } from "../primitives/hash.ts"
import { ed25519PublicKey } from "../primitives/sign.ts"
import { x25519PublicKey } from "../primitives/x25519.ts"
import { PACKET, type Packet, writePacket } from "./packet.ts"

/** Public-key algorithm IDs (RFC 9580 §9.1) of keys that Postern makes or encrypts to. */
export const ALGORITHM = { rsa: 1, rsaEncrypt: 2, ecdh: 18, eddsaLegacy: 22, x25519: 25, x448: 26 } as const

/** Public part of a key packet (RFC 9580 §5.5.2): what fingerprint and key id are made of. */
export interface PublicKey {
  readonly version: 4 | 6
  readonly createdAt: Date
  readonly algorithm: number
  /** 20 octets (v4) or 32 (v6), RFC 9580 §5.5.4. */
  readonly fingerprint: Uint8Array
  /** 8 octets. */
  readonly keyId: Uint8Array
  /** Body of the public-key packet: what the key packets of both kinds begin with. */
  readonly body: Uint8Array
  readonly material: KeyMaterial
}

/** What encrypting to the key needs; `unsupported` are keys that do not encrypt, or not as Postern could. */
export type KeyMaterial =
  | { readonly kind: "curve25519"; readonly point: Uint8Array; readonly kdfHash: number; readonly kdfCipher: number }
  | { readonly kind: "ecdh"; readonly pointOctets: number }
  | { readonly kind: "rsa"; readonly modulusOctets: number }
  | { readonly kind: "x25519"; readonly point: Uint8Array }
  | { readonly kind: "x448" }
  | { readonly kind: "unsupported" }

/** Whether a packet is a subkey, public or secret. */
export function isSubkeyPacket({ tag }: Packet): boolean {
  return tag === PACKET.publicSubkey || tag === PACKET.secretSubkey
}

/**
 * Reads the public part of a key packet, public or secret.
 * @throws GatewayError OPENPGP_MALFORMED, OPENPGP_UNSUPPORTED (neither version 4 nor 6)
 */
export function readPublicKey({ body }: Packet): PublicKey {
  const version = body[0]
  if (version !== 4 && version !== 6) throw new GatewayError("OPENPGP_UNSUPPORTED", "key: version is neither 4 nor 6")
  const reader = new Reader(body, 1)
  const createdAt = new Date(reader.number(4) * 1000)
  const algorithm = reader.number(1)
  if (version === 6) reader.number(4)
  const material = readMaterial(algorithm, reader)
  const end = publicEnd(body, version, reader, algorithm)
  const own = body.subarray(0, end)
  const fingerprint = fingerprintOf(version, own)
  const keyId = version === 4 ? fingerprint.subarray(12) : fingerprint.subarray(0, 8)
  return { version, createdAt, algorithm, fingerprint, keyId, body: own, material }
}

/** Body of an EdDSALegacy public key (RFC 9580 §5.5.5.5) with the public key of this Ed25519 seed. */
export function ed25519KeyBody(seed: Uint8Array, createdAt: Date): Uint8Array {
  return Buffer.concat([head(createdAt, ALGORITHM.eddsaLegacy), ED25519_LEGACY, point(ed25519PublicKey(seed))])
}

/** Body of an ECDH public key on Curve25519Legacy (RFC 9580 §5.5.5.6) of this scalar, KDF with SHA-256 and AES-256. */
export function curve25519KeyBody(scalar: Uint8Array, createdAt: Date): Uint8Array {
  return Buffer.concat([head(createdAt, ALGORITHM.ecdh), CURVE25519_LEGACY, point(x25519PublicKey(scalar)), KDF])
}

/** A multiprecision integer (RFC 9580 §3.2): its length in bits, and its octets without leading zeros. */
export function mpi(number: Uint8Array): Uint8Array {
  const octets = number.subarray(number.findIndex((octet) => octet !== 0))
  const bits = octets.length * 8 - Math.clz32(octets[0] ?? 0) + 24
  return Buffer.concat([Uint8Array.of(bits >> 8, bits & 0xff), octets])
}

/** The secret of a Curve25519Legacy key as OpenPGP has it: the little-endian scalar turned round (RFC 9580 §5.5.5.6.1.1). */
export function scalarMpi(scalar: Uint8Array): Uint8Array {
  return mpi(scalar.toReversed())
}

/** Secret key packet without protection: usage 0, the secret, its octets' sum (RFC 9580 §5.5.3). */
export function unprotectedSecret(tag: 5 | 7, body: Uint8Array, secret: Uint8Array): Uint8Array {
  const sum = secret.reduce((total, octet) => (total + octet) & 0xffff, 0)
  return writePacket(tag, body, Uint8Array.of(0), secret, Uint8Array.of(sum >> 8, sum & 0xff))
}

// RFC 9580 §5.5.4
function fingerprintOf(version: 4 | 6, body: Uint8Array): Uint8Array {
  const { length } = body
  if (version === 4) return sha1(Buffer.concat([Uint8Array.of(0x99, length >> 8, length & 0xff), body]))
  const count = new Uint8Array(5)
  count[0] = 0x9b
  new DataView(count.buffer).setUint32(1, length)
  return sha256(Buffer.concat([count, body]))
}

function readMaterial(algorithm: number, reader: Reader): KeyMaterial {
  if (algorithm === ALGORITHM.rsa || algorithm === ALGORITHM.rsaEncrypt) {
    const modulus = reader.mpi()
    reader.mpi()
    return { kind: "rsa", modulusOctets: modulus.length }
  }
  if (algorithm === ALGORITHM.ecdh) return readEcdh(reader)
  if (algorithm === ALGORITHM.eddsaLegacy || algorithm === ECDSA) {
    reader.octets(reader.number(1))
    reader.mpi()
  } else if (algorithm === ALGORITHM.x25519) return { kind: "x25519", point: reader.octets(32) }
  else if (algorithm === ED25519) reader.octets(32)
  else if (algorithm === ALGORITHM.x448) reader.octets(56)
  else if (algorithm === ED448) reader.octets(57)
  else if (algorithm === DSA || algorithm === ELGAMAL)
    for (let count = algorithm === DSA ? 4 : 3; count > 0; count--) reader.mpi()
  if (algorithm === ALGORITHM.x448) return { kind: "x448" }
  return { kind: "unsupported" }
}

function readEcdh(reader: Reader): KeyMaterial {
  const oid = reader.octets(reader.number(1))
  const octets = reader.mpi()
  // RFC 9580 §11.5: 03, 01, hash, cipher.
  const kdf = reader.octets(reader.number(1))
  const [, kdfHash = 0, kdfCipher = 0] = kdf
  const curve25519 = Buffer.compare(oid, CURVE25519_LEGACY.subarray(1)) === 0
  if (!curve25519) return { kind: "ecdh", pointOctets: octets.length }
  // RFC 9580 §11.2.1: the native point behind 40.
  if (octets.length !== 33 || octets[0] !== 0x40) throw malformed("point of curve25519 is not 33 octets")
  return { kind: "curve25519", point: octets.subarray(1), kdfHash, kdfCipher }
}

/** Where the public part ends. An unknown algorithm's extent is known in version 6 only; elsewhere it is taken for a public key. */
function publicEnd(body: Uint8Array, version: 4 | 6, reader: Reader, algorithm: number): number {
  if (version === 6) return 10 + new DataView(body.buffer, body.byteOffset, body.length).getUint32(6)
  return KNOWN.includes(algorithm) ? reader.at : body.length
}

function head(createdAt: Date, algorithm: number): Uint8Array {
  const octets = new Uint8Array(6)
  octets[0] = 4
  new DataView(octets.buffer).setUint32(1, Math.floor(createdAt.getTime() / 1000))
  octets[5] = algorithm
  return octets
}

function point(native: Uint8Array): Uint8Array {
  return mpi(Buffer.concat([Uint8Array.of(0x40), native]))
}

/** Octets read one after the other; what is not there is malformed. */
class Reader {
  readonly #octets: Uint8Array
  at: number

  constructor(octets: Uint8Array, at: number) {
    this.#octets = octets
    this.at = at
  }

  octets(count: number): Uint8Array {
    if (this.at + count > this.#octets.length) throw malformed("packet is cut off")
    const octets = this.#octets.subarray(this.at, this.at + count)
    this.at += count
    return octets
  }

  number(octets: number): number {
    return this.octets(octets).reduce((number, octet) => number * 256 + octet, 0)
  }

  mpi(): Uint8Array {
    return this.octets(Math.ceil(this.number(2) / 8))
  }
}

function malformed(what: string): GatewayError {
  return new GatewayError("OPENPGP_MALFORMED", `key: ${what}`)
}

const ELGAMAL = 16
const DSA = 17
const ECDSA = 19
const ED25519 = 27
const ED448 = 28
const KNOWN: readonly number[] = [...Object.values(ALGORITHM), ELGAMAL, DSA, ECDSA, ED25519, ED448]
// RFC 9580 §9.2: length and octets of the curve OIDs.
const ED25519_LEGACY = Buffer.from("092b06010401da470f01", "hex")
const CURVE25519_LEGACY = Buffer.from("0a2b060104019755010501", "hex")
/** RFC 9580 §11.5: three octets, reserved 1, SHA-256, AES-256. */
const KDF = Uint8Array.of(3, 1, 8, 9)
