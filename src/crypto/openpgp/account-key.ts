import type { Config, PrivateKey, Subkey } from "openpgp"
import { GatewayError } from "../../errors.ts"
import { randomOctets } from "../primitives/random.ts"
import { randomX25519Scalar } from "../primitives/x25519.ts"
import { type OpenPgpEncryptionKey, readCertificate } from "./certificate.ts"
import { ALGORITHM, curve25519KeyBody, ed25519KeyBody, mpi, scalarMpi, unprotectedSecret } from "./key-packet.ts"
import { library } from "./library.ts"
import { PACKET, writePacket } from "./packet.ts"
import { isRevoked, readTransferable, writeComponents } from "./transferable.ts"

/** An account's OpenPGP key, both sides of it. */
export interface AccountKeyPair {
  /** Binary certificate. */
  readonly certificate: Uint8Array
  /** Binary transferable secret key, not encrypted: for the keyring only. */
  readonly secretKey: Uint8Array
}

/** An account's key pair with the encryption subkey just made. */
export interface MadeEncryptionKey extends AccountKeyPair {
  readonly encryption: OpenPgpEncryptionKey
  /** 32 octets, little-endian, clamped. */
  readonly scalar: Uint8Array
}

/** An account's key pair with the signing subkey just made. */
export interface MadeSigningSubkey extends AccountKeyPair {
  readonly subkey: { /** Hexadecimal, lower case. */ readonly keyId: string; readonly fingerprint: Uint8Array }
}

/** Why a subkey is revoked (RFC 9580 §5.2.3.31): its device retired, its key lost or stolen, or another took its place. */
export type RevocationReason = "retired" | "compromised" | "superseded"

/** Two years: long enough to be renewed in peace, short enough that an abandoned account's certificate stops being used. */
export const VALIDITY_SECONDS = 2 * 365 * 86_400

/**
 * A new key of an account: version 4, EdDSALegacy primary for certifying and signing, Curve25519Legacy subkey for encryption.
 * @throws GatewayError OPENPGP_UNSUPPORTED when name and address make no user id
 */
export async function makeAccountKey(options: {
  readonly name: string
  readonly address: string
  readonly createdAt: Date
}): Promise<MadeEncryptionKey> {
  const { name, address, createdAt } = options
  const seed = randomOctets(32)
  const scalar = randomX25519Scalar()
  const userId = name === "" ? `<${address}>` : `${name} <${address}>`
  if (!NAME.test(name) || !ADDRESS.test(address))
    throw new GatewayError("OPENPGP_UNSUPPORTED", "account key: name and address make no user id")
  const bare = Buffer.concat([
    unprotectedSecret(PACKET.secretKey, ed25519KeyBody(seed, createdAt), mpi(seed)),
    writePacket(PACKET.userId, Buffer.from(userId, "utf8")),
    encryptionSubkey(scalar, createdAt),
  ])
  return withEncryption(await selfSigned(await open(bare), createdAt), scalar)
}

/**
 * Adds a signing subkey, one for each device: EdDSALegacy, with its back-signature (RFC 9580 §5.2.1.9).
 * @throws GatewayError OPENPGP_MALFORMED
 */
export async function addSigningSubkey(accountSecretKey: Uint8Array, createdAt: Date): Promise<MadeSigningSubkey> {
  const key = await open(accountSecretKey)
  const config = await configuration()
  const options = { type: "ecc", curve: "ed25519Legacy", sign: true, date: createdAt, config } as const
  const added = await key.addSubkey(options)
  const subkey = added.subkeys.at(-1)
  if (!subkey) throw new GatewayError("OPENPGP_MALFORMED", "account key: subkey was not added")
  return {
    ...pairOf(added),
    subkey: { keyId: subkey.getKeyID().toHex(), fingerprint: Buffer.from(subkey.getFingerprint(), "hex") },
  }
}

/**
 * Revokes the subkey with this key id (hexadecimal). Its secret stays in the secret key: what it was used for stays readable.
 * @throws GatewayError OPENPGP_MALFORMED when the key has no such subkey
 */
export async function revokeSubkey(
  accountSecretKey: Uint8Array,
  keyId: string,
  reason: RevocationReason,
  at: Date,
): Promise<AccountKeyPair> {
  const key = await open(accountSecretKey)
  if (!key.subkeys.some((subkey) => subkey.getKeyID().toHex() === keyId.toLowerCase()))
    throw new GatewayError("OPENPGP_MALFORMED", "account key: has no such subkey")
  return pairOf(await revoking(key, (subkey) => subkey.getKeyID().toHex() === keyId.toLowerCase(), reason, at))
}

/**
 * Adds a new encryption subkey and revokes the earlier ones as superseded: senders use the new one, old mail stays readable.
 * @throws GatewayError OPENPGP_MALFORMED
 */
export async function addEncryptionSubkey(accountSecretKey: Uint8Array, createdAt: Date): Promise<MadeEncryptionKey> {
  const { primary, users } = readTransferable(accountSecretKey)
  const scalar = randomX25519Scalar()
  const alone = Buffer.concat([writeComponents(primary, ...users), encryptionSubkey(scalar, createdAt)])
  const made = readTransferable((await selfSigned(await open(alone), createdAt)).secretKey)
  const key = await revoking(await open(accountSecretKey), encrypts, "superseded", createdAt)
  return withEncryption(pairOf(await open(Buffer.concat([key.write(), writeComponents(...made.subkeys)]))), scalar)
}

/**
 * New self-signatures for the same keys, good for another {@link VALIDITY_SECONDS} from `at`. Revoked subkeys stay as they are.
 * @throws GatewayError OPENPGP_MALFORMED
 */
export async function renewAccountKey(accountSecretKey: Uint8Array, at: Date): Promise<AccountKeyPair> {
  const { primary, users, subkeys } = readTransferable(accountSecretKey)
  const live = subkeys.filter((subkey) => !isRevoked(subkey, primary.key))
  const revoked = subkeys.filter((subkey) => isRevoked(subkey, primary.key))
  const renewed = await selfSigned(await open(writeComponents(primary, ...users, ...live)), at)
  return pairOf(await open(Buffer.concat([renewed.secretKey, writeComponents(...revoked)])))
}

/** Signs user ids and subkeys anew: those that are bound for signing stay so, all others become encryption subkeys. */
async function selfSigned(key: PrivateKey, at: Date): Promise<AccountKeyPair> {
  const { keyPacket, users } = key
  // The whole user id goes in as a name: taken apart and put together again, "Bob (work)" would not come out as it was.
  const userIDs = users.flatMap(({ userID }) => (userID === null ? [] : [{ name: userID.userID }]))
  const age = Math.floor((at.getTime() - keyPacket.getCreationTime().getTime()) / 1000)
  const { reformatKey } = await library()
  const { privateKey } = await reformatKey({
    privateKey: key,
    userIDs,
    keyExpirationTime: age + VALIDITY_SECONDS,
    date: at,
    format: "object",
    config: await configuration(),
  })
  return pairOf(privateKey)
}

async function revoking(
  key: PrivateKey,
  isMeant: (subkey: Subkey) => boolean,
  reason: RevocationReason,
  at: Date,
): Promise<PrivateKey> {
  const { keyPacket } = key
  if (!("isDummy" in keyPacket)) throw new GatewayError("OPENPGP_MALFORMED", "account key: primary key is not secret")
  const [{ enums }, config] = [await library(), await configuration()]
  const flag = {
    retired: enums.reasonForRevocation.keyRetired,
    compromised: enums.reasonForRevocation.keyCompromised,
    superseded: enums.reasonForRevocation.keySuperseded,
  }[reason]
  key.subkeys = await Promise.all(
    key.subkeys.map((subkey) =>
      isMeant(subkey) && subkey.revocationSignatures.length === 0
        ? subkey.revoke(keyPacket, { flag, string: "" }, at, config)
        : subkey,
    ),
  )
  return key
}

function encrypts({ keyPacket }: Subkey): boolean {
  return keyPacket.algorithm === ALGORITHM.ecdh
}

function encryptionSubkey(scalar: Uint8Array, createdAt: Date): Uint8Array {
  return unprotectedSecret(PACKET.secretSubkey, curve25519KeyBody(scalar, createdAt), scalarMpi(scalar))
}

function withEncryption(pair: AccountKeyPair, scalar: Uint8Array): MadeEncryptionKey {
  const { encryption } = readCertificate(pair.certificate)
  if (encryption === null) throw new GatewayError("OPENPGP_MALFORMED", "account key: has no encryption key")
  return { ...pair, encryption, scalar }
}

function pairOf(key: PrivateKey): AccountKeyPair {
  return { certificate: key.toPublic().write(), secretKey: key.write() }
}

async function open(secretKey: Uint8Array): Promise<PrivateKey> {
  try {
    const { readPrivateKey } = await library()
    return await readPrivateKey({ binaryKey: secretKey, config: await configuration() })
  } catch (cause) {
    throw new GatewayError("OPENPGP_MALFORMED", "account key: secret key cannot be read", { cause })
  }
}

/** Ours whatever the library's default becomes: version 4, no AEAD in the preferences, signatures without random notations. */
async function configuration(): Promise<Config> {
  const { config } = await library()
  return { ...config, v6Keys: false, aeadProtect: false, nonDeterministicSignaturesViaNotation: false }
}

/** No control characters; the name-addr of RFC 9580 §5.11 must have one address, at its end. */
const NAME = /^\P{Cc}*$/u
const ADDRESS = /^[^\p{Cc}<>]+@[^\p{Cc}<>@]+$/u
