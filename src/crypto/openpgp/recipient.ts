import type { Key, KeyID } from "openpgp"
import { GatewayError } from "../../errors.ts"
import { appraise, MAX_ENCRYPTION_KEYS } from "./appraise.ts"
import { type OpenPgpEncryptionKey, readCertificate } from "./certificate.ts"
import type { KeyMaterial, PublicKey } from "./key-packet.ts"
import { library } from "./library.ts"

/**
 * Who a message is encrypted to: a Curve25519Legacy key, which is recryptable, or an X25519 key, both done here; or any other, done by the
 * openpgp library with the certificate, which it verifies.
 */
export type OpenPgpRecipient =
  | { readonly kind: "curve25519"; readonly key: OpenPgpEncryptionKey }
  | { readonly kind: "x25519"; readonly key: X25519Key }
  | {
      readonly kind: "other"
      readonly certificate: Uint8Array
      /** 8 octets. */
      readonly keyId: Uint8Array
      readonly fingerprint: Uint8Array
      readonly material: KeyMaterial
      readonly at: Date | null
    }

/** An X25519 key (RFC 9580 §5.5.5.7). */
export interface X25519Key {
  /** 8 octets. */
  readonly keyId: Uint8Array
  /** 20 octets (v4) or 32 (v6). */
  readonly fingerprint: Uint8Array
  /** u-coordinate, 32 octets little-endian. */
  readonly point: Uint8Array
}

/**
 * The newest encryption key of a certificate, binary or armored. What the certificate says is believed: see `readCertificate`.
 * With `at`, keys expired by then do not count; without, an account's mail goes on being encrypted to a key that was not renewed in time.
 * @throws GatewayError OPENPGP_UNSUPPORTED when there is no key that Postern can encrypt to; OPENPGP_MALFORMED
 */
export function openPgpRecipient(certificate: Uint8Array, at: Date | null = null): OpenPgpRecipient {
  const { binary, keys } = liveKeys(certificate, at)
  const [newest] = keys
  if (!newest) throw noKey()
  if (newest.material.kind === "unsupported") throw unsupportedAlgorithm()
  return recipientOf(newest, binary, at)
}

/**
 * Every encryption key of a certificate, as {@link openPgpRecipient}, newest first and {@link MAX_ENCRYPTION_KEYS} at most: which of them its holder's
 * programs have is not known. Keys of kinds that Postern cannot encrypt to are passed over where there is another.
 */
export function openPgpRecipients(certificate: Uint8Array, at: Date): readonly OpenPgpRecipient[] {
  const { binary, keys } = liveKeys(certificate, at)
  const usable = keys.filter(({ material }) => material.kind !== "unsupported")
  if (usable.length === 0) throw keys.length === 0 ? noKey() : unsupportedAlgorithm()
  return usable.slice(0, MAX_ENCRYPTION_KEYS).map((key) => recipientOf(key, binary, at))
}

/**
 * A certificate of somebody else reduced to what its own signatures vouch for at `at`: primary key, user ids, and the keys to encrypt to. To be
 * stored instead of what came, so that {@link openPgpRecipients} may believe it.
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
  const others = openPgpRecipients(certificate, at).filter((recipient) => recipient.kind === "other")
  if (others.length === 0) return
  const { readKey } = await library()
  const key = await unsupported(() => readKey({ binaryKey: certificate }))
  for (const { keyId } of others) await unsupported(() => key.getEncryptionKey(libraryKeyId(key, keyId), at))
}

/** The library's name of one of its keys. Throws GatewayError OPENPGP_UNSUPPORTED. */
export function libraryKeyId(key: Key, keyId: Uint8Array): KeyID {
  const wanted = Buffer.from(keyId).toString("hex")
  const found = key.getKeys().find((candidate) => candidate.getKeyID().toHex() === wanted)
  if (!found) throw new GatewayError("OPENPGP_UNSUPPORTED", "recipient: certificate lost its encryption key")
  return found.getKeyID()
}

/** @throws GatewayError OPENPGP_UNSUPPORTED in place of whatever the library throws */
export async function unsupported<T>(attempt: () => Promise<T>): Promise<T> {
  try {
    return await attempt()
  } catch (cause) {
    throw new GatewayError("OPENPGP_UNSUPPORTED", "recipient: key refused", { cause })
  }
}

function liveKeys(
  certificate: Uint8Array,
  at: Date | null,
): { readonly binary: Uint8Array; readonly keys: readonly PublicKey[] } {
  const { binary, encryptionKeys, expiresAt } = readCertificate(certificate)
  const isLive = (end: Date | null) => at === null || end === null || end.getTime() > at.getTime()
  const live = isLive(expiresAt) ? encryptionKeys.filter((candidate) => isLive(candidate.expiresAt)) : []
  return { binary, keys: live.map(({ key }) => key) }
}

function recipientOf(key: PublicKey, certificate: Uint8Array, at: Date | null): OpenPgpRecipient {
  const { keyId, fingerprint, material, version } = key
  if (material.kind === "curve25519" && isNative(material) && version === 4) {
    const { point, kdfHash, kdfCipher } = material
    return { kind: "curve25519", key: { keyId, fingerprint, point, kdfHash, kdfCipher } }
  }
  if (material.kind === "x25519") return { kind: "x25519", key: { keyId, fingerprint, point: material.point } }
  return { kind: "other", certificate, keyId, fingerprint, material, at }
}

/** Key derivations that are done here (RFC 9580 §9.3 and §9.5): SHA-256 or SHA-512, and AES. */
function isNative({ kdfHash, kdfCipher }: { readonly kdfHash: number; readonly kdfCipher: number }): boolean {
  return (kdfHash === 8 || kdfHash === 10) && kdfCipher >= 7 && kdfCipher <= 9
}

function noKey(): GatewayError {
  return new GatewayError("OPENPGP_UNSUPPORTED", "recipient: certificate has no encryption key")
}

function unsupportedAlgorithm(): GatewayError {
  return new GatewayError("OPENPGP_UNSUPPORTED", "recipient: algorithm of the encryption key is not supported")
}
