import { GatewayError } from "../../errors.ts"
import { dearmor } from "./armor.ts"
import type { PublicKey } from "./key-packet.ts"
import { PACKET, type Packet } from "./packet.ts"
import { CERTIFICATIONS, ENCRYPTS, SIGNATURE, type Signature } from "./signature.ts"
import {
  type Component,
  isRevoked,
  type KeyComponent,
  newestSignature,
  readTransferable,
  type Transferable,
  writeComponents,
} from "./transferable.ts"

/** An ECDH key on Curve25519Legacy (RFC 9580 §9.2), the one kind of key that is recrypted. */
export interface OpenPgpEncryptionKey {
  /** 8 octets. */
  readonly keyId: Uint8Array
  /** 20 octets. */
  readonly fingerprint: Uint8Array
  /** u-coordinate, 32 octets little-endian, without the 40 before it. */
  readonly point: Uint8Array
  /** Hash algorithm ID of its key derivation (RFC 9580 §9.5). */
  readonly kdfHash: number
  /** Symmetric algorithm ID of its key wrapping (RFC 9580 §9.3). */
  readonly kdfCipher: number
}

/** A certificate as its octets say it is: nothing in it is verified. */
export interface OpenPgpCertificate {
  /** Binary, as it was read, without armor. */
  readonly binary: Uint8Array
  /** Of the primary key: 20 octets (v4) or 32 (v6). */
  readonly fingerprint: Uint8Array
  readonly userIds: readonly string[]
  /** The newest encryption key, if it is on Curve25519Legacy; null otherwise. Expired ones count, revoked ones do not. */
  readonly encryption: OpenPgpEncryptionKey | null
  /** Every encryption key that is not revoked, of whatever algorithm: subkeys, newest first, then the primary key. */
  readonly encryptionKeys: readonly EncryptionKey[]
  /** When the primary key expires; null: never. */
  readonly expiresAt: Date | null
}

/** A key that says it is for encryption. */
interface EncryptionKey {
  readonly key: PublicKey
  /** null: never. */
  readonly expiresAt: Date | null
}

/**
 * Reads a certificate, or the public side of a transferable secret key, binary or armored. Its signatures are NOT verified: for octets
 * that our own people's requests brought, or that {@link file://./recipient.ts verifiedCertificate} has let through.
 * @throws GatewayError OPENPGP_MALFORMED, OPENPGP_UNSUPPORTED
 */
export function readCertificate(octets: Uint8Array): OpenPgpCertificate {
  const binary = binaryOf(octets)
  const certificate = readTransferable(binary)
  const encryptionKeys = encryptionKeysOf(certificate)
  const newest = encryptionKeys[0]
  return {
    binary,
    fingerprint: certificate.primary.key.fingerprint,
    userIds: certificate.users
      .filter(({ packet }) => packet.tag === PACKET.userId)
      .map(({ packet }) => Buffer.from(packet.body).toString("utf8")),
    encryption: newest ? curve25519Key(newest.key) : null,
    encryptionKeys,
    expiresAt: expiry(certificate.primary.key, selfCertification(certificate)),
  }
}

/**
 * What senders need and no more: primary key, user ids with their newest self-signature, encryption subkeys (superseded ones with their
 * revocation), the gateway's signing subkeys. Those of devices would tell how many there are, and certifications of others who one knows.
 * @throws GatewayError OPENPGP_MALFORMED, OPENPGP_UNSUPPORTED
 */
export function minimalCertificate(octets: Uint8Array): Uint8Array {
  const { primary, users, subkeys } = readTransferable(binaryOf(octets))
  const needed = subkeys.filter((subkey) => {
    const bound = binding(subkey, primary.key)
    return bound !== null && ((bound.keyFlags & ENCRYPTS) !== 0 || bound.isOfGateway)
  })
  return publicOctets(
    onlySignatures(primary, primary.key, [SIGNATURE.directKey], [SIGNATURE.keyRevocation]),
    ...users.map((user) => onlySignatures(user, primary.key, CERTIFICATIONS)).filter(isSigned),
    ...needed.map((subkey) =>
      onlySignatures(subkey, primary.key, [SIGNATURE.subkeyBinding], [SIGNATURE.subkeyRevocation]),
    ),
  )
}

/** The certificate in a transferable secret key: the same packets without what is secret in them. */
export function publicOctets(...components: readonly Component[]): Uint8Array {
  return writeComponents(...components.map((component) => ({ ...component, packet: publicPacket(component) })))
}

/** Octets in armor without it; others as they are. Throws GatewayError OPENPGP_MALFORMED. */
export function binaryOf(octets: Uint8Array): Uint8Array {
  // RFC 9580 §4.2: a packet begins with an octet from 80 on, armor with text.
  if ((octets[0] ?? 0) >= 0x80) return octets
  const armored = dearmor(octets)
  if (armored === null) throw new GatewayError("OPENPGP_MALFORMED", "certificate: neither packets nor armor")
  return armored.binary
}

function publicPacket(component: Component): Packet {
  const { packet } = component
  if (!("key" in component)) return packet
  const { body } = (component as KeyComponent).key
  if (packet.tag === PACKET.secretKey) return { tag: PACKET.publicKey, body }
  return packet.tag === PACKET.secretSubkey ? { tag: PACKET.publicSubkey, body } : packet
}

function encryptionKeysOf(certificate: Transferable): EncryptionKey[] {
  const { primary, subkeys } = certificate
  const newestFirst = subkeys
    .filter((subkey) => !isRevoked(subkey, primary.key))
    .toSorted((a, b) => b.key.createdAt.getTime() - a.key.createdAt.getTime())
  const signed: [PublicKey, Signature | null][] = [
    ...newestFirst.map((subkey): [PublicKey, Signature | null] => [subkey.key, binding(subkey, primary.key)]),
    [primary.key, selfCertification(certificate)],
  ]
  return signed
    .filter(([, signature]) => ((signature?.keyFlags ?? 0) & ENCRYPTS) !== 0)
    .map(([key, signature]) => ({ key, expiresAt: expiry(key, signature) }))
}

/** @returns null for a key of another kind */
function curve25519Key({ material, keyId, fingerprint, version }: PublicKey): OpenPgpEncryptionKey | null {
  if (material.kind !== "curve25519" || version !== 4) return null
  const { point, kdfHash, kdfCipher } = material
  return { keyId, fingerprint, point, kdfHash, kdfCipher }
}

/** The signature that says what the primary key may do: on itself, or else on a user id (RFC 9580 §5.2.3.10). */
function selfCertification({ primary, users }: Transferable): Signature | null {
  const direct = newestSignature(primary, primary.key, (type) => type === SIGNATURE.directKey)
  if (direct) return direct.signature
  const certifications = users.map((user) =>
    newestSignature(user, primary.key, (type) => CERTIFICATIONS.includes(type)),
  )
  return certifications.find((found) => found !== null)?.signature ?? null
}

function binding(subkey: KeyComponent, primary: PublicKey): Signature | null {
  return newestSignature(subkey, primary, (type) => type === SIGNATURE.subkeyBinding)?.signature ?? null
}

function expiry(key: PublicKey, signature: Signature | null): Date | null {
  const seconds = signature?.keyExpirationSeconds ?? null
  return seconds === null ? null : new Date(key.createdAt.getTime() + seconds * 1000)
}

/** The component with its newest signature of each kind wanted and no other. */
function onlySignatures<C extends Component>(
  component: C,
  primary: PublicKey,
  ...kinds: readonly (readonly number[])[]
): C {
  const newest = kinds.map((types) => newestSignature(component, primary, (type) => types.includes(type)))
  return { ...component, signatures: newest.filter((found) => found !== null).map(({ packet }) => packet) }
}

function isSigned({ signatures }: Component): boolean {
  return signatures.length > 0
}
