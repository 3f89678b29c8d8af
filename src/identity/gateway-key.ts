/** PURE. Keys with which the gateway signs for a person: the server makes them, the person certifies them, and nobody has a key of the other's. */
import { type ApartRevocation, makeApartSubkey, subkeyOf } from "../crypto/openpgp/gateway-subkey.ts"
import { sha256 } from "../crypto/primitives/hash.ts"
import { p256PublicPoint } from "../crypto/primitives/p256.ts"
import { ED25519_KEY_OCTETS, signP256, verifyP256 } from "../crypto/primitives/sign.ts"
import { GatewayError } from "../errors.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import type { Format } from "../store/account.ts"
import { type Made, openPgpCertificates, profilesOf, requestOf } from "./account.ts"
import { keyFingerprint } from "./fingerprint.ts"
import { issuePublicLeaf, type Making, makeScalar, makeSerial } from "./issuing.ts"
import { formatJson, hex, parseJsonObject } from "./json.ts"
import { addGatewaySubkey, revokeGatewaySubkey, wholeSeconds } from "./openpgp-keys.ts"
import type { Person } from "./person.ts"
import type { Change, Republished } from "./requests.ts"

/** What the server asks a person to certify. Nothing in it is secret. */
export interface KeyToCertify {
  /** In its stored form. */
  readonly address: string
  /** As the server names it. */
  readonly id: string
  readonly format: Format
  /** The uncompressed point; the body of the subkey's packet. */
  readonly publicKey: Uint8Array
  /** Made with the key, over itself and the address, or (OpenPGP) the certificate's primary key: who asks has it. */
  readonly proof: Uint8Array
}

/** A key just made, with its secret (32 octets). */
export interface MadeGatewayKey {
  readonly key: KeyToCertify
  readonly secret: Uint8Array
}

/** A new key for S/MIME: P-256. */
export function makeSmimeGatewayKey(address: string, { random }: Pick<Making, "random">): MadeGatewayKey {
  const secret = makeScalar(random)
  const publicKey = p256PublicPoint(secret)
  const proof = signP256(secret, proven(address, publicKey), "raw")
  return { key: { address, id: smimeKeyId(publicKey), format: "smime", publicKey, proof }, secret }
}

/** A new key for OpenPGP: an Ed25519 subkey that is to stand in the account's certificate. */
export async function makeOpenPgpGatewayKey(
  address: string,
  certificate: Uint8Array,
  { now, random }: Making,
): Promise<MadeGatewayKey> {
  const secret = random(ED25519_KEY_OCTETS)
  const { body, backSignature } = await makeApartSubkey(certificate, secret, wholeSeconds(now))
  const id = hex(subkeyOf(body).keyId)
  return { key: { address, id, format: "openpgp", publicKey: body, proof: backSignature }, secret }
}

/** The file that goes to where the keyring is. */
export function formatKeyToCertify(key: KeyToCertify): string {
  return `${formatJson({ type: TYPE, version: VERSION, ...key }, 2)}\n`
}

/**
 * Reads what {@link formatKeyToCertify} wrote.
 * @throws GatewayError REQUEST_INVALID, also when whoever wrote it has not the key
 */
export function readKeyToCertify(text: string): KeyToCertify {
  if (text.length > MAX_OCTETS) throw invalid(`over ${MAX_OCTETS} octets`)
  const object = parseJsonObject(text, "gateway key")
  object.word("type", [TYPE])
  if (object.number("version") !== VERSION) throw invalid("was written by another version of postern")
  const key: KeyToCertify = {
    address: addressKey(parseAddress(object.text("address"))),
    id: object.text("id"),
    format: object.word("format", ["smime", "openpgp"]),
    publicKey: object.octets("publicKey"),
    proof: object.octets("proof"),
  }
  if (!isProven(key)) throw invalid("is not of whoever wrote this file")
  return key
}

/** What both sides compare. */
export function gatewayKeyFingerprint({ publicKey, format }: Pick<KeyToCertify, "publicKey" | "format">): string {
  return format === "smime" ? keyFingerprint(publicKey) : hex(subkeyOf(publicKey).fingerprint).toUpperCase()
}

/**
 * The person vouches for the key as one that signs for it at the gateway, and says so in the subject.
 * @throws GatewayError REQUEST_INVALID when it is for somebody else
 */
export async function certifyGatewayKey(person: Person, key: KeyToCertify, making: Making): Promise<Made> {
  if (key.address !== person.address) throw invalid(`is for ${key.address}, not for ${person.address}`)
  if (key.format === "openpgp") return certifySubkey(person, key, making)
  const { now, random } = making
  const leaf = {
    name: viaGateway(person.name),
    point: key.publicKey,
    serial: makeSerial(random),
    usage: "sign",
  } as const
  const certificate = issuePublicLeaf(person, leaf, now)
  const change = {
    kind: "gateway-key-add",
    key: key.id,
    certificate,
    certificates: [],
    profile: null,
    mailProfile: null,
  } as const
  return { person, request: requestOf(person, change, making) }
}

async function certifySubkey(person: Person, { id, publicKey, proof }: KeyToCertify, making: Making): Promise<Made> {
  if (person.openpgp === null) throw invalid(`is for OpenPGP, which ${person.address} has not`)
  const subkey = { body: publicKey, backSignature: proof }
  const { identity, packets } = await addGatewaySubkey(person.openpgp, subkey, person.address, making.now)
  const changed: Person = { ...person, openpgp: identity }
  const change: Change = { kind: "gateway-key-add", key: id, certificate: packets, ...republished(changed, making) }
  return { person: changed, request: requestOf(changed, change, making) }
}

/** The person wants the key destroyed. An OpenPGP subkey is revoked as well. */
export async function removeGatewayKey(
  person: Person,
  id: string,
  why: ApartRevocation,
  making: Making,
): Promise<Made> {
  const openpgp = person.openpgp === null ? null : await revokeGatewaySubkey(person.openpgp, id, why, making.now)
  const changed: Person = { ...person, openpgp }
  const change: Change = { kind: "gateway-key-remove", key: id, ...republished(changed, making) }
  return { person: changed, request: requestOf(changed, change, making) }
}

function republished(person: Person, { now }: Making): Republished {
  return { certificates: openPgpCertificates(person), ...profilesOf(person, now) }
}

/** Subject key identifier that our certificates have of this point, in hexadecimal. */
function smimeKeyId(point: Uint8Array): string {
  return hex(sha256(point).subarray(0, 20))
}

/** Of OpenPGP the proof is over the account's certificate, and is looked at where that is at hand. */
function isProven({ address, id, format, publicKey, proof }: KeyToCertify): boolean {
  if (format === "openpgp") return id === hex(subkeyOf(publicKey).keyId)
  return id === smimeKeyId(publicKey) && verifyP256(publicKey, proven(address, publicKey), proof, "raw")
}

function proven(address: string, publicKey: Uint8Array): Uint8Array {
  return Buffer.concat([new TextEncoder().encode(`${TYPE} ${VERSION}\0${address}\0`), publicKey])
}

/** Whoever looks at a signature sees that no device made it, however long the name is. */
function viaGateway(name: string): string {
  return `${[...name].slice(0, MAX_NAME_CHARACTERS).join("")}${VIA}`
}

function invalid(what: string): GatewayError {
  return new GatewayError("REQUEST_INVALID", `gateway key: ${what}`)
}

const TYPE = "postern-gateway-key"
const VERSION = 1
/** They have half a KB. */
const MAX_OCTETS = 10_000
const VIA = " via gateway"
/** Certificates cut names at 42 characters. */
const MAX_NAME_CHARACTERS = 42 - VIA.length
