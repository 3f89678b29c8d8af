import { GatewayError } from "../../errors.ts"
import { digestOf, hkdfSha256 } from "../primitives/hash.ts"
import { WRAP_OVERHEAD_OCTETS, wrapKey } from "../primitives/keywrap.ts"
import { clampX25519, x25519Ephemeral } from "../primitives/x25519.ts"
import type { OpenPgpEncryptionKey } from "./certificate.ts"
import { ALGORITHM, type KeyMaterial, mpi } from "./key-packet.ts"
import { library } from "./library.ts"
import { PACKET, packetSize, readPackets, writePacket } from "./packet.ts"
import type { OpenPgpSecrets, SeipdVersion } from "./protected-body.ts"
import { libraryKeyId, type OpenPgpRecipient, unsupported, type X25519Key } from "./recipient.ts"

/** Length in octets of the recipient's PKESK packet. */
export function pkeskSize(recipient: OpenPgpRecipient, seipd: SeipdVersion): number {
  return packetSize(bodyOctets(recipient, seipd))
}

/**
 * The PKESK packet that gives the session key (AES-256) to the recipient: of version 3 (RFC 9580 §5.1.1) before a SEIPD packet of version 1, of version 6
 * (§5.1.2) before one of version 2. For Curve25519Legacy and X25519 it is a function of its arguments; for other keys it is random, and always
 * {@link pkeskSize} octets long.
 * @throws GatewayError OPENPGP_UNSUPPORTED when the openpgp library refuses the key, POINT_INVALID
 */
export async function pkesk(
  recipient: OpenPgpRecipient,
  secrets: OpenPgpSecrets,
  seipd: SeipdVersion,
): Promise<Uint8Array> {
  if (recipient.kind === "other") return otherPkesk(recipient, secrets.sessionKey, seipd)
  const fields =
    recipient.kind === "curve25519"
      ? curve25519Fields(recipient.key, secrets, seipd)
      : x25519Fields(recipient.key, secrets, seipd)
  return writePacket(PACKET.pkesk, head(recipient, seipd), ...fields)
}

/** Everything up to the algorithm-specific fields. */
function head(recipient: OpenPgpRecipient & { kind: "curve25519" | "x25519" }, seipd: SeipdVersion): Uint8Array {
  const { keyId, fingerprint } = recipient.key
  const algorithm = Uint8Array.of(recipient.kind === "curve25519" ? ALGORITHM.ecdh : ALGORITHM.x25519)
  if (seipd === 1) return Buffer.concat([Uint8Array.of(3), keyId, algorithm])
  const version = fingerprint.length === V4_FINGERPRINT_OCTETS ? 4 : 6
  return Buffer.concat([Uint8Array.of(6, 1 + fingerprint.length, version), fingerprint, algorithm])
}

// RFC 9580 §5.1.5: MPI of the ephemeral point, length, wrapped session key.
function curve25519Fields(
  key: OpenPgpEncryptionKey,
  { sessionKey, ephemeral }: OpenPgpSecrets,
  seipd: SeipdVersion,
): Uint8Array[] {
  const { ephemeralPoint, sharedKey } = x25519Ephemeral(scalarFor(ephemeral, key.fingerprint), key.point)
  const wrapped = wrapKey(keyEncryptionKey(key, sharedKey), encodedSessionKey(sessionKey, seipd))
  return [mpi(Buffer.concat([Uint8Array.of(0x40), ephemeralPoint])), Uint8Array.of(wrapped.length), wrapped]
}

// RFC 9580 §5.1.6: the ephemeral point, length, the cipher (before version 1 only), wrapped session key.
function x25519Fields(
  { point, fingerprint }: X25519Key,
  { sessionKey, ephemeral }: OpenPgpSecrets,
  seipd: SeipdVersion,
): Uint8Array[] {
  const { ephemeralPoint, sharedKey } = x25519Ephemeral(scalarFor(ephemeral, fingerprint), point)
  const shared = Buffer.concat([ephemeralPoint, point, sharedKey])
  const wrapped = wrapKey(hkdfSha256(shared, new Uint8Array(0), "OpenPGP X25519", 16), sessionKey)
  const cipher = seipd === 1 ? [AES256] : []
  return [ephemeralPoint, Uint8Array.of(cipher.length + wrapped.length, ...cipher), wrapped]
}

/** Each recipient its own ephemeral key: a shared one would tell that two blocks belong together after one was patched. */
function scalarFor(ephemeral: Uint8Array, fingerprint: Uint8Array): Uint8Array {
  return clampX25519(hkdfSha256(ephemeral, fingerprint, "postern/openpgp/1 ephemeral", 32))
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
  return derived.subarray(0, kdfCipher === AES128 ? 16 : kdfCipher === AES256 ? 32 : 24)
}

// RFC 9580 §5.1.3 and §11.5: cipher (before version 1 only), session key, sum of its octets, padded as PKCS#5 to a multiple of eight.
function encodedSessionKey(sessionKey: Uint8Array, seipd: SeipdVersion): Uint8Array {
  const cipher = seipd === 1 ? [AES256] : []
  const sum = sessionKey.reduce((total, octet) => (total + octet) & 0xffff, 0)
  const padding = 8 - ((cipher.length + 2 + sessionKey.length) % 8)
  return Buffer.concat([
    Uint8Array.from(cipher),
    sessionKey,
    Uint8Array.of(sum >> 8, sum & 0xff),
    new Uint8Array(padding).fill(padding),
  ])
}

async function otherPkesk(
  recipient: OpenPgpRecipient & { kind: "other" },
  sessionKey: Uint8Array,
  seipd: SeipdVersion,
): Promise<Uint8Array> {
  const { certificate, keyId, at } = recipient
  const { encryptSessionKey, readKey } = await library()
  const key = await unsupported(() => readKey({ binaryKey: certificate }))
  const encryptionKeyIDs = libraryKeyId(key, keyId)
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const octets = await unsupported(() =>
      encryptSessionKey({
        data: sessionKey,
        algorithm: "aes256",
        ...(seipd === 2 ? { aeadAlgorithm: "ocb" } : {}),
        encryptionKeys: key,
        encryptionKeyIDs,
        // The library takes null for "at no date in particular"; its types do not say so of this function.
        date: at ?? (null as unknown as Date),
        format: "binary",
      }),
    )
    const [packet] = readPackets(octets)
    if (packet?.body.length === bodyOctets(recipient, seipd)) return octets
  }
  throw new GatewayError("OPENPGP_UNSUPPORTED", "recipient: session key packet has an unexpected length")
}

/** Octets of the body of the recipient's packet. */
function bodyOctets(recipient: OpenPgpRecipient, seipd: SeipdVersion): number {
  const { fingerprint, material } = recipient.kind === "other" ? recipient : { ...recipient.key, material: recipient }
  // Version, key id, algorithm; or version, length, version of the key, fingerprint, algorithm.
  const headOctets = seipd === 1 ? 10 : 4 + fingerprint.length
  return headOctets + fieldOctets(material, seipd)
}

/** Octets of the algorithm-specific fields with an AES-256 session key (RFC 9580 §5.1.3 to §5.1.7). */
function fieldOctets(material: Pick<KeyMaterial, "kind"> & Partial<Sizes>, seipd: SeipdVersion): number {
  const { kind, modulusOctets = 0, pointOctets = 0 } = material
  switch (kind) {
    case "rsa":
      return 2 + modulusOctets
    case "ecdh":
      return 2 + pointOctets + 1 + WRAPPED_OCTETS
    case "curve25519":
      return 2 + 33 + 1 + WRAPPED_OCTETS
    case "x25519":
    case "x448":
      // Point, length, cipher in clear, wrapped session key without padding.
      return (kind === "x25519" ? 32 : 56) + 1 + (seipd === 1 ? 1 : 0) + 32 + WRAP_OVERHEAD_OCTETS
    case "unsupported":
      throw new GatewayError("OPENPGP_UNSUPPORTED", "recipient: algorithm of the encryption key is not supported")
  }
  return kind satisfies never
}

interface Sizes {
  readonly modulusOctets: number
  readonly pointOctets: number
}

/** RFC 9580 §9.3 and §9.5 */
const AES128 = 7
const AES256 = 9
const SHA256 = 8
/** Curve OID, algorithm, and length and first octet of the KDF parameters. */
const PARAM_HEAD = Buffer.from("0a2b060104019755010501120301", "hex")
const ANONYMOUS_SENDER = Buffer.from("Anonymous Sender    ", "latin1")
const V4_FINGERPRINT_OCTETS = 20
/** 32 octets, checksum, cipher before version 1, padding to 40, key wrap. */
const WRAPPED_OCTETS = 40 + WRAP_OVERHEAD_OCTETS
/** An RSA result begins with a zero octet once in 256, and is then written shorter: sixteen times running is never. */
const MAX_ATTEMPTS = 16
