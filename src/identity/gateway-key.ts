/** PURE. Keys with which the gateway signs for a person: the server makes them, the person certifies them, and nobody has a key of the other's. */
import { sha256 } from "../crypto/primitives/hash.ts"
import { p256PublicPoint } from "../crypto/primitives/p256.ts"
import { signP256, verifyP256 } from "../crypto/primitives/sign.ts"
import { GatewayError } from "../errors.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import type { Format } from "../store/account.ts"
import { type Made, requestOf } from "./account.ts"
import { keyFingerprint } from "./fingerprint.ts"
import { issuePublicLeaf, type Making, makeScalar, makeSerial } from "./issuing.ts"
import { formatJson, hex, parseJsonObject } from "./json.ts"
import type { Person } from "./person.ts"

/** What the server asks a person to certify. Nothing in it is secret. */
export interface KeyToCertify {
  /** In its stored form. */
  readonly address: string
  /** As the server names it. */
  readonly id: string
  readonly format: Format
  /** The uncompressed point. */
  readonly publicKey: Uint8Array
  /** Made with the key, over itself and the address: who asks has it. */
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
export function gatewayKeyFingerprint({ publicKey }: Pick<KeyToCertify, "publicKey" | "format">): string {
  return keyFingerprint(publicKey)
}

/**
 * The person vouches for the key as one that signs for it at the gateway, and says so in the subject.
 * @throws GatewayError REQUEST_INVALID when it is for somebody else
 */
export async function certifyGatewayKey(person: Person, key: KeyToCertify, making: Making): Promise<Made> {
  if (key.address !== person.address) throw invalid(`is for ${key.address}, not for ${person.address}`)
  const { now, random } = making
  const leaf = {
    name: viaGateway(person.name),
    point: key.publicKey,
    serial: makeSerial(random),
    usage: "sign",
  } as const
  const certificate = issuePublicLeaf(person, leaf, now)
  const change = { kind: "gateway-key-add", key: key.id, certificate, certificates: [], profile: null } as const
  return { person, request: requestOf(person, change, making) }
}

/** The person wants the key destroyed. */
export async function removeGatewayKey(person: Person, id: string, making: Making): Promise<Made> {
  const change = { kind: "gateway-key-remove", key: id, certificates: [], profile: null } as const
  return { person, request: requestOf(person, change, making) }
}

/** Subject key identifier that our certificates have of this point, in hexadecimal. */
function smimeKeyId(point: Uint8Array): string {
  return hex(sha256(point).subarray(0, 20))
}

function isProven({ address, id, publicKey, proof }: KeyToCertify): boolean {
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
