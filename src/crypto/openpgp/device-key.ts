import { GatewayError } from "../../errors.ts"
import { aes256CfbEncryptor, BLOCK_OCTETS } from "../primitives/cipher.ts"
import { digestOf, sha1 } from "../primitives/hash.ts"
import { randomOctets } from "../primitives/random.ts"
import { ALGORITHM, scalarMpi, unprotectedSecret } from "./key-packet.ts"
import { PACKET, type Packet, writePacket } from "./packet.ts"
import { type Component, type KeyComponent, readTransferable } from "./transferable.ts"

/** What {@link makeDeviceKey} makes a device's key of. */
export interface DeviceKeyOptions {
  /** The account's transferable secret key, binary: the device's signing subkey is taken out of it, nothing else. */
  readonly secretKey: Uint8Array
  /** The account's certificate, binary, with the device's signing subkey in it. */
  readonly certificate: Uint8Array
  /** Hexadecimal key id of an encryption subkey -> the device's scalar for it (32 octets, little-endian, clamped). */
  readonly deviceScalars: ReadonlyMap<string, Uint8Array>
  /** Hexadecimal key id of the device's own signing subkey; null for a device that only reads. */
  readonly signingSubkey: string | null
  /** Protects the secrets; null: they are not protected. */
  readonly password: string | null
}

/**
 * The device's transferable secret key, binary: the account's certificate with a primary key that has no secret (GNU-dummy), the encryption
 * subkeys with the DEVICE's scalars, and the device's own signing subkey. Key ids and fingerprints are the account's. Signing subkeys of other
 * devices, and encryption subkeys the device has no scalar for, are left out.
 * @throws GatewayError OPENPGP_MALFORMED when the certificate has none of the encryption subkeys, or the signing subkey is in neither
 */
export function makeDeviceKey(options: DeviceKeyOptions): Uint8Array {
  const { primary, users, subkeys } = readTransferable(options.certificate)
  const decrypting = subkeys.flatMap((subkey) => decryptionSubkey(subkey, options))
  if (decrypting.length === 0)
    throw new GatewayError("OPENPGP_MALFORMED", "device key: certificate has no encryption subkey of the device")
  const dummy = writePacket(PACKET.secretKey, primary.key.body, GNU_DUMMY)
  const signing = options.signingSubkey === null ? [] : signingSubkey(subkeys, options.signingSubkey, options)
  return Buffer.concat([
    ...[dummy, ...signatures(primary)],
    ...users.flatMap((user) => [write(user.packet), ...signatures(user)]),
    ...decrypting,
    ...signing,
  ])
}

function decryptionSubkey(subkey: KeyComponent, { deviceScalars, password }: DeviceKeyOptions): Uint8Array[] {
  const scalar = deviceScalars.get(Buffer.from(subkey.key.keyId).toString("hex"))
  if (scalar === undefined || subkey.key.material.kind !== "curve25519") return []
  return [secretSubkey(subkey.key.body, scalarMpi(scalar), password), ...signatures(subkey)]
}

function signingSubkey(subkeys: readonly KeyComponent[], keyId: string, options: DeviceKeyOptions): Uint8Array[] {
  const isMeant = ({ key }: KeyComponent) => Buffer.from(key.keyId).toString("hex") === keyId.toLowerCase()
  const published = subkeys.find(isMeant)
  const owned = readTransferable(options.secretKey).subkeys.find(isMeant)
  if (!published || !owned) throw new GatewayError("OPENPGP_MALFORMED", "device key: has no such signing subkey")
  return [secretSubkey(owned.key.body, ed25519Secret(owned), options.password), ...signatures(published)]
}

/** The secret of an EdDSALegacy subkey as it stands, an MPI. */
function ed25519Secret({ packet, key }: KeyComponent): Uint8Array {
  const rest = packet.body.subarray(key.body.length)
  // RFC 9580 §5.5.3: usage, secret, checksum of two octets.
  if (key.algorithm !== ALGORITHM.eddsaLegacy || packet.tag !== PACKET.secretSubkey || rest[0] !== 0 || rest.length < 5)
    throw new GatewayError("OPENPGP_MALFORMED", "device key: signing subkey has no secret")
  return rest.subarray(1, -2)
}

function secretSubkey(body: Uint8Array, secret: Uint8Array, password: string | null): Uint8Array {
  if (password === null) return unprotectedSecret(PACKET.secretSubkey, body, secret)
  const salt = randomOctets(8)
  const iv = randomOctets(BLOCK_OCTETS)
  const cipher = aes256CfbEncryptor(iteratedSaltedKey(password, salt), iv)
  // RFC 9580 §5.5.3: usage 254, the secret and its SHA-1 in CFB. Never AEAD or Argon2: RNP and GnuPG 2.2 read neither.
  const protection = Uint8Array.of(254, AES256, ITERATED_SALTED, SHA256)
  return writePacket(
    PACKET.secretSubkey,
    body,
    protection,
    salt,
    Uint8Array.of(CODED_COUNT),
    iv,
    cipher.update(Buffer.concat([secret, sha1(secret)])),
    cipher.final(),
  )
}

// RFC 9580 §3.7.1.3: salt and passphrase over and over, cut off after the count; SHA-256 gives an AES-256 key in one go.
function iteratedSaltedKey(password: string, salt: Uint8Array): Uint8Array {
  const once = Buffer.concat([salt, Buffer.from(password, "utf8")])
  const many = Buffer.concat(Array.from({ length: Math.ceil(CHUNK_OCTETS / once.length) }, () => once))
  const digest = digestOf("sha256")
  let left = Math.max(COUNT_OCTETS, once.length)
  for (; left > many.length; left -= many.length) digest.update(many)
  return digest.update(many.subarray(0, left)).digest()
}

function signatures(component: Component): Uint8Array[] {
  return component.signatures.map(write)
}

function write({ tag, body }: Packet): Uint8Array {
  return writePacket(tag, body)
}

/** RFC 9580 §9.3, §3.7.1, §9.5 */
const AES256 = 9
const ITERATED_SALTED = 3
const SHA256 = 8
/** Sixteen million octets hashed: 10 to 50 ms. Device passwords are random; more would only delay the import. */
const CODED_COUNT = 0xe0
const COUNT_OCTETS = (16 + (CODED_COUNT & 15)) << ((CODED_COUNT >> 4) + 6)
const CHUNK_OCTETS = 65_536
/** Usage 254, AES-256, S2K 101 with hash 0, "GNU", mode 1: there is no secret here (GnuPG's doc/DETAILS, and what OpenPGP.js writes). */
const GNU_DUMMY = Uint8Array.of(254, AES256, 101, 0, 0x47, 0x4e, 0x55, 1)
