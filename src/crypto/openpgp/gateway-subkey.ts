import { GatewayError } from "../../errors.ts"
import { signEd25519 } from "../primitives/sign.ts"
import { type RevocationReason, VALIDITY_SECONDS } from "./account-key.ts"
import { binaryOf } from "./certificate.ts"
import { ALGORITHM, ed25519KeyBody, type PublicKey, readPublicKey } from "./key-packet.ts"
import { PACKET, readPackets, writePacket } from "./packet.ts"
import { isBackSignature, isOwnSignature } from "./self-signature.ts"
import { keySignature, type OpenPgpIdentity, subpacket } from "./sign.ts"
import { GATEWAY_NOTATION, readSignature, SIGNATURE } from "./signature.ts"
import { describeKey } from "./signing-key.ts"
import { isRevoked, newestSignature, readTransferable, type Transferable } from "./transferable.ts"

/** A signing subkey that is kept apart from its primary key. */
export interface ApartSubkey {
  /** Body of its public packet. */
  readonly body: Uint8Array
  /** Signature packet with which it takes its place below the primary key (RFC 9580 §5.2.1.9, type 0x19). */
  readonly backSignature: Uint8Array
}

/** Why such a subkey is revoked: nobody needs it any more, or others may have it. */
export type ApartRevocation = keyof typeof REASONS

/** Makes the subkey of an Ed25519 seed, for the certificate's primary key. */
export async function makeApartSubkey(certificate: Uint8Array, seed: Uint8Array, at: Date): Promise<ApartSubkey> {
  const { primary } = readTransferable(binaryOf(certificate))
  const body = ed25519KeyBody(seed, at)
  const signer = identityOf(subkeyOf(body), seed)
  const packet = await keySignature(signer, SIGNATURE.primaryKeyBinding, [primary.key.body, body], at, [])
  return { body, backSignature: packet }
}

/** The subkey's name, and what signs with it. */
export function apartIdentity(body: Uint8Array, seed: Uint8Array): OpenPgpIdentity {
  return identityOf(subkeyOf(body), seed)
}

/** Reads the body of the public packet. @throws GatewayError OPENPGP_MALFORMED, OPENPGP_UNSUPPORTED */
export function subkeyOf(body: Uint8Array): PublicKey {
  return readPublicKey({ tag: PACKET.publicSubkey, body })
}

/**
 * Binds the subkey to the account's primary key, for signing and for two years, with a notation that it is a gateway's.
 * @returns its packet and the binding, to stand at the end of the certificate
 * @throws GatewayError OPENPGP_MALFORMED when the subkey's holder has not signed for it
 */
export async function bindApartSubkey(
  accountSecretKey: Uint8Array,
  { body, backSignature }: ApartSubkey,
  address: string,
  at: Date,
): Promise<Uint8Array> {
  const account = readTransferable(accountSecretKey)
  if (!isHeld(account, { body, backSignature })) throw malformed("is not signed for by whoever has it")
  const age = Math.floor((at.getTime() - subkeyOf(body).createdAt.getTime()) / 1000)
  const more = [
    subpacket(SUBPACKET.keyFlags, Uint8Array.of(SIGNS)),
    subpacket(SUBPACKET.keyExpiration, number(age + VALIDITY_SECONDS)),
    notation(`${GATEWAY_NOTATION}${address.slice(address.lastIndexOf("@") + 1)}`, "via gateway"),
    subpacket(SUBPACKET.embeddedSignature, bodyOf(backSignature)),
  ]
  const binding = await keySignature(
    primaryOf(account),
    SIGNATURE.subkeyBinding,
    [account.primary.key.body, body],
    at,
    more,
  )
  return Buffer.concat([writePacket(PACKET.publicSubkey, body), binding])
}

/**
 * Subkeys as {@link bindApartSubkey} made them, that with this key id (hexadecimal) revoked. What a retired one has signed stays good; of a compromised one nothing
 * is believed, whatever date it bears.
 * @throws GatewayError OPENPGP_MALFORMED
 */
export async function revokeApartSubkey(
  accountSecretKey: Uint8Array,
  subkeys: Uint8Array,
  keyId: string,
  why: ApartRevocation,
  at: Date,
): Promise<Uint8Array> {
  const account = readTransferable(accountSecretKey)
  const reason = subpacket(SUBPACKET.revocationReason, Uint8Array.of(REASONS[why]))
  const written = readPackets(subkeys).map(async ({ tag, body }) => {
    const packet = writePacket(tag, body)
    if (tag !== PACKET.publicSubkey || Buffer.from(subkeyOf(body).keyId).toString("hex") !== keyId) return packet
    const bodies = [account.primary.key.body, body]
    const revocation = await keySignature(primaryOf(account), SIGNATURE.subkeyRevocation, bodies, at, [reason])
    // RFC 9580 §10.1.1: revocations stand before bindings.
    return Buffer.concat([packet, revocation])
  })
  return Buffer.concat(await Promise.all(written))
}

/** Until when the certificate vouches for the subkey with this body; null: it does not. The certificate's own end is the earlier one at times. */
export function vouchedUntil(certificate: Uint8Array, body: Uint8Array): Date | null {
  const { primary, subkeys } = readTransferable(binaryOf(certificate))
  const subkey = subkeys.find(({ key }) => Buffer.compare(key.body, body) === 0)
  if (subkey === undefined || isRevoked(subkey, primary.key)) return null
  const binding = newestSignature(subkey, primary.key, (type) => type === SIGNATURE.subkeyBinding)?.signature
  const maker = { key: primary.key, description: describeKey(primary.key) }
  if (!binding || !isOwnSignature(maker, binding, { kind: "subkey", key: subkey.key })) return null
  const seconds = (binding.keyFlags & SIGNS) === 0 ? null : binding.keyExpirationSeconds
  return seconds === null ? null : new Date(subkey.key.createdAt.getTime() + seconds * 1000)
}

function isHeld({ primary }: Transferable, { body, backSignature }: ApartSubkey): boolean {
  const subkey = subkeyOf(body)
  const signature = readSignature({ tag: PACKET.signature, body: bodyOf(backSignature) })
  return signature?.type === SIGNATURE.primaryKeyBinding && isBackSignature(primary.key, subkey, signature)
}

/** The primary key as one that signs; its secret stands behind its public part, unprotected (RFC 9580 §5.5.3). */
function primaryOf({ primary: { key, packet } }: Transferable): OpenPgpIdentity {
  const rest = packet.body.subarray(key.body.length)
  if (key.algorithm !== ALGORITHM.eddsaLegacy || packet.tag !== PACKET.secretKey || rest[0] !== 0 || rest.length < 5)
    throw malformed("primary key has no secret")
  const octets = rest.subarray(3, -2)
  return identityOf(key, Buffer.concat([new Uint8Array(32 - octets.length), octets]))
}

function identityOf({ fingerprint }: PublicKey, seed: Uint8Array): OpenPgpIdentity {
  return { fingerprint, algorithm: "eddsa-legacy", sign: async (digest) => signEd25519(seed, digest) }
}

/** The body of the one packet that `octets` are. */
function bodyOf(octets: Uint8Array): Uint8Array {
  const [packet, ...more] = readPackets(octets)
  if (packet?.tag !== PACKET.signature || more.length > 0) throw malformed("has no back signature")
  return packet.body
}

// RFC 9580 §5.2.3.24: flags (human-readable), lengths of name and value, both.
function notation(name: string, value: string): Uint8Array {
  const head = Uint8Array.of(0x80, 0, 0, 0, 0, name.length, 0, value.length)
  return subpacket(SUBPACKET.notation, Buffer.concat([head, Buffer.from(name + value, "latin1")]))
}

function number(value: number): Uint8Array {
  const octets = new Uint8Array(4)
  new DataView(octets.buffer).setUint32(0, value)
  return octets
}

function malformed(what: string): GatewayError {
  return new GatewayError("OPENPGP_MALFORMED", `gateway subkey: ${what}`)
}

const SIGNS = 2
/** RFC 9580 §5.2.3.31 */
const REASONS = { compromised: 2, retired: 3 } as const satisfies Partial<Record<RevocationReason, number>>
const SUBPACKET = { keyExpiration: 9, notation: 20, keyFlags: 27, revocationReason: 29, embeddedSignature: 32 } as const
