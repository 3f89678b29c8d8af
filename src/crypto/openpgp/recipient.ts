import type { Key, KeyID } from "openpgp"
import { GatewayError } from "../../errors.ts"
import { digestOf, hkdfSha256 } from "../primitives/hash.ts"
import { WRAP_OVERHEAD_OCTETS, wrapKey } from "../primitives/keywrap.ts"
import { clampX25519, x25519Ephemeral } from "../primitives/x25519.ts"
import { appraise } from "./appraise.ts"
import { type OpenPgpEncryptionKey, readCertificate } from "./certificate.ts"
import { ALGORITHM, type KeyMaterial, mpi } from "./key-packet.ts"
import { library } from "./library.ts"
import { PACKET, packetSize, readPackets, writePacket } from "./packet.ts"

/**
 * Who a message is encrypted to: a Curve25519Legacy key, done here and recryptable; or any other, done by the openpgp library,
 * with the certificate (which it verifies) and the octets of the body of the PKESK packet that comes of it.
 */
export type OpenPgpRecipient =
  | { readonly kind: "curve25519"; readonly key: OpenPgpEncryptionKey }
  | {
      readonly kind: "other"
      readonly certificate: Uint8Array
      /** Hexadecimal. */
      readonly keyId: string
      readonly at: Date | null
      readonly bodyOctets: number
    }

/**
 * The newest encryption key of a certificate, binary or armored. What the certificate says is believed: see `readCertificate`.
 * With `at`, keys expired by then do not count; without, an account's mail goes on being encrypted to a key that was not renewed in time.
 * @throws GatewayError OPENPGP_UNSUPPORTED when there is no key that Postern can encrypt to; OPENPGP_MALFORMED
 */
export function openPgpRecipient(certificate: Uint8Array, at: Date | null = null): OpenPgpRecipient {
  const { binary, encryptionKeys, expiresAt } = readCertificate(certificate)
  const isLive = (end: Date | null) => at === null || end === null || end.getTime() > at.getTime()
  const newest = isLive(expiresAt) ? encryptionKeys.find((candidate) => isLive(candidate.expiresAt)) : undefined
  if (!newest) throw new GatewayError("OPENPGP_UNSUPPORTED", "recipient: certificate has no encryption key")
  const { key } = newest
  const { keyId, fingerprint, material } = key
  if (material.kind === "curve25519" && isNative(material) && key.version === 4) {
    const { point, kdfHash, kdfCipher } = material
    return { kind: "curve25519", key: { keyId, fingerprint, point, kdfHash, kdfCipher } }
  }
  const bodyOctets = PKESK_HEAD_OCTETS + encryptedOctets(material)
  return { kind: "other", certificate: binary, keyId: hex(keyId), at, bodyOctets }
}

/**
 * A certificate of somebody else reduced to what its own signatures vouch for at `at`: primary key, user ids, and the one encryption key. To be
 * stored instead of what came, so that {@link openPgpRecipient} may believe it.
 * @throws GatewayError OPENPGP_UNSUPPORTED when it is revoked, expired or has no good encryption key; OPENPGP_MALFORMED
 */
export async function verifiedCertificate(certificate: Uint8Array, at: Date): Promise<Uint8Array> {
  const found = appraise(certificate, at)
  if (found.kind === "bad") throw new GatewayError("OPENPGP_UNSUPPORTED", `recipient: ${found.because}`)
  await checkEncryptable(found.certificate, at)
  return found.certificate
}

/**
 * Checks that a certificate that {@link appraise} has reduced can be encrypted to: keys that are not done here, the openpgp library must take.
 * @throws GatewayError OPENPGP_UNSUPPORTED
 */
export async function checkEncryptable(certificate: Uint8Array, at: Date): Promise<void> {
  const recipient = openPgpRecipient(certificate, at)
  if (recipient.kind === "curve25519") return
  const { readKey } = await library()
  const key = await unsupported(() => readKey({ binaryKey: certificate }))
  const chosen = await unsupported(() => key.getEncryptionKey(undefined, at))
  if (chosen.getKeyID().toHex() !== recipient.keyId)
    throw new GatewayError("OPENPGP_UNSUPPORTED", "recipient: certificate is ambiguous")
}

/** Length in octets of the recipient's PKESK packet. */
export function pkeskSize(recipient: OpenPgpRecipient): number {
  return packetSize(recipient.kind === "other" ? recipient.bodyOctets : CURVE25519_BODY_OCTETS)
}

/**
 * The PKESK packet of version 3 (RFC 9580 §5.1.1) that gives `sessionKey` (AES-256) to the recipient. For Curve25519Legacy it is a function of its
 * arguments; `ephemeral` is 32 secret octets of this message. For other keys it is random, and always {@link pkeskSize} octets long.
 * @throws GatewayError OPENPGP_UNSUPPORTED when the openpgp library refuses the key, POINT_INVALID
 */
export async function pkesk(
  recipient: OpenPgpRecipient,
  sessionKey: Uint8Array,
  ephemeral: Uint8Array,
): Promise<Uint8Array> {
  return recipient.kind === "curve25519"
    ? curve25519Pkesk(recipient.key, sessionKey, ephemeral)
    : otherPkesk(recipient, sessionKey)
}

function curve25519Pkesk(key: OpenPgpEncryptionKey, sessionKey: Uint8Array, ephemeral: Uint8Array): Uint8Array {
  // Each recipient its own ephemeral key: a shared one would tell that two blocks belong together after one was patched.
  const scalar = clampX25519(hkdfSha256(ephemeral, key.fingerprint, "postern/openpgp/1 ephemeral", 32))
  const { ephemeralPoint, sharedKey } = x25519Ephemeral(scalar, key.point)
  const wrapped = wrapKey(keyEncryptionKey(key, sharedKey), encodedSessionKey(sessionKey))
  return writePacket(
    PACKET.pkesk,
    Uint8Array.of(3),
    key.keyId,
    Uint8Array.of(ALGORITHM.ecdh),
    mpi(Buffer.concat([Uint8Array.of(0x40), ephemeralPoint])),
    Uint8Array.of(wrapped.length),
    wrapped,
  )
}

// RFC 9580 §11.5: MB = Hash(00000001 || ZB || Param), of which the key takes what it needs.
function keyEncryptionKey({ kdfHash, kdfCipher, fingerprint }: OpenPgpEncryptionKey, shared: Uint8Array): Uint8Array {
  const parameters = Buffer.concat([PARAM_HEAD, Uint8Array.of(kdfHash, kdfCipher), ANONYMOUS_SENDER, fingerprint])
  const hash = digestOf(kdfHash === SHA256 ? "sha256" : "sha512")
  const derived = hash
    .update(Uint8Array.of(0, 0, 0, 1))
    .update(shared)
    .update(parameters)
    .digest()
  return derived.subarray(0, keyOctets(kdfCipher))
}

// RFC 9580 §5.1.3 and §11.5: cipher, session key, sum of its octets, padded as PKCS#5 to a multiple of eight.
function encodedSessionKey(sessionKey: Uint8Array): Uint8Array {
  const sum = sessionKey.reduce((total, octet) => (total + octet) & 0xffff, 0)
  const padding = 8 - ((3 + sessionKey.length) % 8)
  return Buffer.concat([
    Uint8Array.of(AES256),
    sessionKey,
    Uint8Array.of(sum >> 8, sum & 0xff),
    new Uint8Array(padding).fill(padding),
  ])
}

async function otherPkesk(
  recipient: OpenPgpRecipient & { kind: "other" },
  sessionKey: Uint8Array,
): Promise<Uint8Array> {
  const { certificate, keyId, at, bodyOctets } = recipient
  const { encryptSessionKey, readKey } = await library()
  const key = await unsupported(() => readKey({ binaryKey: certificate }))
  const encryptionKeyIDs = keyIdOf(key, keyId)
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const octets = await unsupported(() =>
      encryptSessionKey({
        data: sessionKey,
        algorithm: "aes256",
        encryptionKeys: key,
        encryptionKeyIDs,
        // The library takes null for "at no date in particular"; its types do not say so of this function.
        date: at ?? (null as unknown as Date),
        format: "binary",
      }),
    )
    const [packet] = readPackets(octets)
    if (packet?.body.length === bodyOctets) return octets
  }
  throw new GatewayError("OPENPGP_UNSUPPORTED", "recipient: session key packet has an unexpected length")
}

function keyIdOf(key: Key, keyId: string): KeyID {
  const found = key.getKeys().find((candidate) => candidate.getKeyID().toHex() === keyId)
  if (!found) throw new GatewayError("OPENPGP_UNSUPPORTED", "recipient: certificate lost its encryption key")
  return found.getKeyID()
}

async function unsupported<T>(attempt: () => Promise<T>): Promise<T> {
  try {
    return await attempt()
  } catch (cause) {
    throw new GatewayError("OPENPGP_UNSUPPORTED", "recipient: key refused", { cause })
  }
}

/** Octets of the algorithm-specific fields of a PKESK with an AES-256 session key (RFC 9580 §5.1.3 to §5.1.7). */
function encryptedOctets(material: KeyMaterial): number {
  switch (material.kind) {
    case "rsa":
      return 2 + material.modulusOctets
    case "ecdh":
      return 2 + material.pointOctets + 1 + WRAPPED_OCTETS
    case "curve25519":
      return CURVE25519_BODY_OCTETS - PKESK_HEAD_OCTETS
    case "x25519":
    case "x448":
      // Point, length, cipher in clear, wrapped session key without padding.
      return (material.kind === "x25519" ? 32 : 56) + 2 + 32 + WRAP_OVERHEAD_OCTETS
    case "unsupported":
      throw new GatewayError("OPENPGP_UNSUPPORTED", "recipient: algorithm of the encryption key is not supported")
  }
  return material satisfies never
}

function isNative({ kdfHash, kdfCipher }: { readonly kdfHash: number; readonly kdfCipher: number }): boolean {
  return (kdfHash === SHA256 || kdfHash === SHA512) && kdfCipher >= AES128 && kdfCipher <= AES256
}

function keyOctets(cipher: number): number {
  return cipher === AES128 ? 16 : cipher === AES256 ? 32 : 24
}

function hex(octets: Uint8Array): string {
  return Buffer.from(octets).toString("hex")
}

/** RFC 9580 §9.3 and §9.5 */
const AES128 = 7
const AES256 = 9
const SHA256 = 8
const SHA512 = 10
/** Curve OID, algorithm, and length and first octet of the KDF parameters. */
const PARAM_HEAD = Buffer.from("0a2b060104019755010501120301", "hex")
const ANONYMOUS_SENDER = Buffer.from("Anonymous Sender    ", "latin1")
/** Version, key id, algorithm. */
const PKESK_HEAD_OCTETS = 10
/** Cipher, 32 octets, checksum, padding, key wrap. */
const WRAPPED_OCTETS = 40 + WRAP_OVERHEAD_OCTETS
/** The ephemeral point as MPI, length, wrapped key. */
const CURVE25519_BODY_OCTETS = PKESK_HEAD_OCTETS + 2 + 33 + 1 + WRAPPED_OCTETS
/** An RSA result begins with a zero octet once in 256, and is then written shorter: sixteen times running is never. */
const MAX_ATTEMPTS = 16
