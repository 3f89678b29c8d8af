import { GatewayError } from "../../errors.ts"
import { binaryOf, publicOctets } from "./certificate.ts"
import type { PublicKey } from "./key-packet.ts"
import { PACKET, type Packet } from "./packet.ts"
import { isOwnSignature, type Signed } from "./self-signature.ts"
import { CERTIFICATIONS, ENCRYPTS, readSignature, SIGNATURE, type Signature } from "./signature.ts"
import { describeKey, type KeyDescription } from "./signing-key.ts"
import { type Component, type KeyComponent, readTransferable } from "./transferable.ts"

/** What a certificate's own signatures vouch for at some time. */
export interface GoodCertificate {
  readonly kind: "good"
  /** Primary key, the user ids that count and the keys to encrypt to, each with the signature that makes it count. */
  readonly certificate: Uint8Array
  /** Fingerprints of the subkeys among them. */
  readonly subkeys: readonly Uint8Array[]
  readonly userIds: readonly string[]
  /** Of the newest key to encrypt to, for people. */
  readonly algorithm: string
  /** When it or the newest key to encrypt to expires, whichever is first; null: never. */
  readonly expiresAt: Date | null
  /** Its holder's programs read SEIPD version 2 (RFC 9580 §5.2.3.32). */
  readonly readsSeipdV2: boolean
}

export type Appraisal = (GoodCertificate | Bad) & Revocations

interface Bad {
  readonly kind: "bad"
  /** One clause for people. */
  readonly because: string
}

/** What the primary key has revoked, it has revoked in every copy of the certificate. */
export interface Revocations {
  /** Of the primary key. */
  readonly fingerprint: Uint8Array
  /** Fingerprints of the keys that it has revoked: its own, or those of subkeys for encryption. */
  readonly revoked: readonly Uint8Array[]
}

/** Keys of one certificate that mail is encrypted to, the newest. Real certificates have one, or one for each device. */
export const MAX_ENCRYPTION_KEYS = 8

/** Of the primary key itself, checked for one certificate. Those of others are not: anybody can add any number of them. */
export const MAX_OWN_SIGNATURES = 200

/**
 * Reads somebody else's certificate, binary or armored, as of `at` (RFC 9580 §10.1). Only signatures of its own primary key count. A revocation of the
 * primary key or of a subkey is final, one of a user id ends with a newer certification; revocations by others whom the holder named (revocation
 * key) are not looked for. SHA-1 is enough where the signature is from before February 2023 and of version 4, as in Sequoia's policy: to
 * misuse it in what the holder signs himself takes a second preimage.
 * @throws GatewayError OPENPGP_MALFORMED, OPENPGP_UNSUPPORTED (neither version 4 nor 6, over {@link MAX_OWN_SIGNATURES} own signatures)
 */
export function appraise(octets: Uint8Array, at: Date): Appraisal {
  const { primary, users, subkeys } = readTransferable(binaryOf(octets))
  const description = describeKey(primary.key)
  const reader: Reader = { primary: primary.key, description, at, left: MAX_OWN_SIGNATURES, revoked: [] }
  const appraised = appraiseWith(reader, primary, users, subkeys)
  return { ...appraised, fingerprint: primary.key.fingerprint, revoked: reader.revoked }
}

function appraiseWith(
  reader: Reader,
  primary: KeyComponent,
  users: readonly Component[],
  subkeys: readonly KeyComponent[],
): GoodCertificate | Bad {
  const { description, at } = reader
  if (description.weakness !== null) return bad(description.weakness)
  if (!description.signs) return bad(`its primary key is of a kind that Postern does not know: ${description.name}`)
  const revoked = revocation(reader, primary, { kind: "key" }, SIGNATURE.keyRevocation)
  if (revoked) {
    reader.revoked.push(primary.key.fingerprint)
    return bad(`it was revoked ${revokedText(revoked)}`)
  }
  const direct = newest(reader, primary, { kind: "key" }, [SIGNATURE.directKey])
  const named = users.flatMap((user) => goodUser(reader, user))
  const main = named.find(({ own }) => own.signature.isPrimaryUserId) ?? named[0] ?? null
  const self = (direct ?? (primary.key.version === 6 ? null : main?.own))?.signature
  if (!self) return bad(`no signature of its own makes it valid${weakText(reader, [primary, ...users])}`)
  const ends = [direct, main?.own].map((own) => (own ? expiry(primary.key, own.signature) : null))
  const expiresAt = ends.reduce(earlier)
  if (isOver(expiresAt, at)) return bad(`it expired on ${day(expiresAt)}`)
  const chosen = encryptionKey(
    reader,
    primary,
    subkeys,
    direct?.signature.keyFlags || (main?.own.signature.keyFlags ?? 0),
  )
  if (chosen.kind === "bad") return chosen
  return {
    kind: "good",
    certificate: publicOctets(
      { ...primary, signatures: direct ? [direct.packet] : [] },
      ...named.map(({ user, own }) => ({ ...user, signatures: [own.packet] })),
      ...chosen.subkeys,
    ),
    subkeys: chosen.subkeys.map(({ key }) => key.fingerprint),
    userIds: named.map(({ user }) => Buffer.from(user.packet.body).toString("utf8")),
    algorithm: chosen.name,
    expiresAt: earlier(expiresAt, chosen.expiresAt),
    readsSeipdV2: (self.features & SEIPD_V2) !== 0,
  }
}

interface Reader {
  readonly primary: PublicKey
  readonly description: KeyDescription
  readonly at: Date
  /** Signatures that may still be checked. */
  left: number
  /** {@link Revocations.revoked}, as they are met. */
  readonly revoked: Uint8Array[]
}

/** A signature that is right, and the packet it stands in. */
interface Own {
  readonly packet: Packet
  readonly signature: Signature
}

type Chosen =
  | {
      readonly kind: "chosen"
      /** With their bindings alone, newest first; none: it is the primary key. */
      readonly subkeys: readonly KeyComponent[]
      readonly name: string
      readonly expiresAt: Date | null
    }
  | Bad

/** The newest subkeys that may be encrypted to, described by the first of them; without any, the primary key. What is wrong is said of the newest that says it encrypts. */
function encryptionKey(
  reader: Reader,
  primary: KeyComponent,
  subkeys: readonly KeyComponent[],
  primaryFlags: number,
): Chosen {
  let because: string | null = null
  const found: (Chosen & { kind: "chosen" })[] = []
  const newestFirst = subkeys.toSorted((a, b) => b.key.createdAt.getTime() - a.key.createdAt.getTime())
  for (const subkey of newestFirst) {
    const chosen = encryptionSubkey(reader, subkey)
    if (chosen?.kind === "chosen") found.push(chosen)
    else because ??= chosen?.because ?? null
    if (found.length === MAX_ENCRYPTION_KEYS) break
  }
  if (found[0]) return { ...found[0], subkeys: found.flatMap(({ subkeys }) => subkeys) }
  const { name } = reader.description
  const canEncrypt = (primaryFlags & ENCRYPTS) !== 0 && primary.key.material.kind !== "unsupported"
  if (because === null && canEncrypt) return { kind: "chosen", subkeys: [], name, expiresAt: null }
  return bad(because ?? "it has no key for encryption")
}

/** @returns null for a subkey that is not for encryption, or not the holder's */
function encryptionSubkey(reader: Reader, subkey: KeyComponent): Chosen | null {
  const signed: Signed = { kind: "subkey", key: subkey.key }
  const own = newest(reader, subkey, signed, [SIGNATURE.subkeyBinding])
  if (!own || (own.signature.keyFlags & ENCRYPTS) === 0) return null
  const revoked = revocation(reader, subkey, signed, SIGNATURE.subkeyRevocation)
  if (revoked) {
    reader.revoked.push(subkey.key.fingerprint)
    return bad(`its key for encryption was revoked ${revokedText(revoked)}`)
  }
  const expiresAt = expiry(subkey.key, own.signature)
  if (isOver(expiresAt, reader.at)) return bad(`its key for encryption expired on ${day(expiresAt)}`)
  if (subkey.key.createdAt > reader.at)
    return bad(`its key for encryption is not valid before ${day(subkey.key.createdAt)}`)
  const { name, weakness } = describeKey(subkey.key)
  if (weakness !== null) return bad(`its key for encryption: ${weakness}`)
  if (subkey.key.material.kind === "unsupported")
    return bad(`its key for encryption is of a kind that Postern does not know: ${name}`)
  return { kind: "chosen", subkeys: [{ ...subkey, signatures: [own.packet] }], name, expiresAt }
}

/** The user id with its newest certification; [] when there is none, or a revocation that is not older. */
function goodUser(reader: Reader, user: Component): { readonly user: Component; readonly own: Own }[] {
  const { tag, body } = user.packet
  if (tag !== PACKET.userId || body.length > MAX_USER_ID_OCTETS) return []
  const signed: Signed = { kind: "user", userId: body }
  const own = newest(reader, user, signed, CERTIFICATIONS)
  const revoked = own && revocation(reader, user, signed, SIGNATURE.certificationRevocation)
  return own && (!revoked || revoked.createdAt < own.signature.createdAt) ? [{ user, own }] : []
}

/** The newest signature of these types that is right, in force and understood. */
function newest(reader: Reader, component: Component, signed: Signed, types: readonly number[]): Own | null {
  return (
    candidates(reader, component, types)
      .filter(({ signature }) => counts(reader, signature))
      .find(({ signature }) => isRight(reader, signature, signed)) ?? null
  )
}

/** The newest revocation that is right. Whatever else it says and however weak its hash, it is believed; one of the future, if the key was compromised. */
function revocation(reader: Reader, component: Component, signed: Signed, type: number): Signature | null {
  const isDue = ({ createdAt, revocationReason }: Signature) =>
    createdAt <= reader.at || !SOFT_REASONS.includes(revocationReason ?? 0)
  const found = candidates(reader, component, [type]).find(
    ({ signature }) => isDue(signature) && isRight(reader, signature, signed),
  )
  return found?.signature ?? null
}

/** Signatures that say to be the primary key's, newest first; of two in the same second the later one in the file. */
function candidates({ primary }: Reader, { signatures }: Component, types: readonly number[]): Own[] {
  return signatures
    .flatMap((packet) => {
      const signature = readOrNull(packet)
      const isWanted =
        signature !== null &&
        types.includes(signature.type) &&
        (signature.issuer === null || Buffer.compare(signature.issuer, primary.keyId) === 0)
      return isWanted ? [{ packet, signature }] : []
    })
    .toReversed()
    .toSorted((a, b) => b.signature.createdAt.getTime() - a.signature.createdAt.getTime())
}

function counts({ at }: Reader, signature: Signature): boolean {
  const { createdAt, expirationSeconds, hasUnknownCritical } = signature
  const end = expirationSeconds === null ? null : new Date(createdAt.getTime() + expirationSeconds * 1000)
  return createdAt <= at && !isOver(end, at) && !hasUnknownCritical && !isWeak(signature)
}

function isWeak({ hashAlgorithm, version, createdAt }: Signature): boolean {
  return WEAK_HASHES.includes(hashAlgorithm) || (hashAlgorithm === SHA1 && (version !== 4 || createdAt >= SHA1_END))
}

function isRight(reader: Reader, signature: Signature, signed: Signed): boolean {
  if (reader.left-- <= 0) throw new GatewayError("OPENPGP_UNSUPPORTED", "certificate: too many signatures of its own")
  return isOwnSignature({ key: reader.primary, description: reader.description }, signature, signed)
}

/** A signature that somebody spoilt is none. */
function readOrNull(packet: Packet): Signature | null {
  try {
    return readSignature(packet)
  } catch (error) {
    if (error instanceof GatewayError) return null
    throw error
  }
}

/** Tells apart, for people, a certificate whose signatures are only too old-fashioned. */
function weakText(reader: Reader, components: readonly Component[]): string {
  const all = components.flatMap((component) => candidates(reader, component, [SIGNATURE.directKey, ...CERTIFICATIONS]))
  return all.some(({ signature }) => isWeak(signature)) ? " (those with SHA-1 or MD5 are not believed)" : ""
}

function expiry({ createdAt }: PublicKey, { keyExpirationSeconds }: Signature): Date | null {
  return keyExpirationSeconds === null ? null : new Date(createdAt.getTime() + keyExpirationSeconds * 1000)
}

function isOver(end: Date | null, at: Date): end is Date {
  return end !== null && end <= at
}

function earlier(a: Date | null, b: Date | null): Date | null {
  if (a === null || b === null) return a ?? b
  return a < b ? a : b
}

function revokedText({ createdAt, revocationReason }: Signature): string {
  const reason = REASONS.get(revocationReason ?? 0)
  return `on ${day(createdAt)}${reason === undefined ? "" : ` (${reason})`}`
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10)
}

function bad(because: string): Bad {
  return { kind: "bad", because }
}

/** As in the openpgp library. */
const MAX_USER_ID_OCTETS = 5120
const SEIPD_V2 = 0x08
const SHA1 = 2
const SHA1_END = new Date("2023-02-01T00:00:00Z")
/** MD5, RIPEMD-160. */
const WEAK_HASHES: readonly number[] = [1, 3]
/** RFC 9580 §5.2.3.31 */
const REASONS: ReadonlyMap<number, string> = new Map([
  [1, "superseded"],
  [2, "compromised"],
  [3, "retired"],
  [32, "user id no longer valid"],
])
/** Those that leave what was before valid (RFC 9580 §5.2.3.31). */
const SOFT_REASONS: readonly number[] = [1, 3, 32]
