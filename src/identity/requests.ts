/** PURE. Signed requests: the one form in which a change made where the keyring is reaches the server. */
import { readCertificate } from "../crypto/cms/certificate.ts"
import { GatewayError } from "../errors.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import type { AccountKey, Format } from "../store/account.ts"
import type { MeshAccountRecord } from "../store/mesh-accounts.ts"
import { keyFingerprint } from "./fingerprint.ts"
import type { JsonObject } from "./json.ts"
import { readDocument, signDocument } from "./jws.ts"

/** A certificate that takes the place of an account key's old one. */
export interface CertificateChange {
  /** {@link AccountKey.id}. */
  readonly id: string
  readonly certificate: Uint8Array
}

/** A recryption key: device, account key, 32 octets. */
export interface ScalarChange {
  readonly device: string
  readonly keyId: string
  readonly scalar: Uint8Array
}

/** What changes in the account besides the thing the request is named after. */
export interface Republished {
  readonly certificates: readonly CertificateChange[]
  /** The signed profile; null: as it was. */
  readonly profile: string | null
  /** The same, version 2; null: as it was, or the account has no part in the Mesh. */
  readonly mailProfile: Uint8Array | null
}

/** A device as the server knows it. */
export interface DeviceRecord {
  readonly id: string
  readonly name: string
  readonly readOnly: boolean
  /** null: the device opens no S/MIME. */
  readonly certificate: Uint8Array | null
  readonly signingCertificate: Uint8Array | null
  /** For TLS client authentication; null: none, or (renewing) as it was. */
  readonly loginCertificate: Uint8Array | null
}

/** What is to be done. */
export type Change =
  | {
      readonly kind: "account-add"
      readonly name: string
      readonly formats: readonly Format[]
      readonly root: Uint8Array
      readonly intermediate: Uint8Array
      readonly keys: readonly AccountKey[]
      readonly profile: string
      /** null: it has no part in the Mesh. */
      readonly mesh: MeshAccountRecord | null
      /** Of an account that has left the Mesh; null: it has not. */
      readonly mailProfile: Uint8Array | null
    }
  | ({
      readonly kind: "account-rekey"
      readonly keys: readonly AccountKey[]
      readonly scalars: readonly ScalarChange[]
    } & Republished)
  | ({
      readonly kind: "account-renew"
      readonly root: Uint8Array
      readonly intermediate: Uint8Array
      /** null: as it was. */
      readonly mesh: MeshAccountRecord | null
    } & Republished)
  | ({ readonly kind: "account-mesh"; readonly mesh: MeshAccountRecord } & Republished)
  /** `mailProfile` is there, and names neither a service nor a gateway. */
  | ({ readonly kind: "account-mesh-leave" } & Republished)
  | { readonly kind: "account-remove" }
  | ({
      readonly kind: "device-add"
      readonly device: DeviceRecord
      /** What `hashPassword` gives; the password itself stays with the device. */
      readonly passwordHash: Uint8Array
      readonly scalars: readonly ScalarChange[]
    } & Republished)
  | ({ readonly kind: "device-renew"; readonly device: DeviceRecord } & Republished)
  | ({ readonly kind: "device-revoke"; readonly device: string; readonly name: string } & Republished)
  /** `key`: as the server names it. The certificate makes it sign for the account. */
  | ({ readonly kind: "gateway-key-add"; readonly key: string; readonly certificate: Uint8Array } & Republished)
  | ({ readonly kind: "gateway-key-remove"; readonly key: string } & Republished)

/** One change, asked for by the owner of an account. */
export interface Request {
  /** 16 random octets in hexadecimal: a request is applied once. */
  readonly id: string
  readonly address: string
  readonly madeAt: Date
  /** The keyring as it is after the change, which only the account's seed opens ({@link file://./escrow.ts}); null: there is none. */
  readonly escrow: Uint8Array | null
  readonly change: Change
}

/** A request whose signature is right for the key that it must be checked with. */
export interface SignedRequest {
  readonly request: Request
  /** Fingerprint of the personal root that signed. */
  readonly fingerprint: string
}

const TYPE = "postern-request+json"
const VERSION = 1

/** Signs a request with the personal root's scalar; `point` is the root's public point. */
export function signRequest(request: Request, point: Uint8Array, rootScalar: Uint8Array): string {
  const { change, ...head } = request
  return signDocument(TYPE, keyFingerprint(point), { version: VERSION, ...head, ...change }, rootScalar)
}

/**
 * Reads a signed request. `account-add` must be signed by the root that it brings; everything else by the personal root known for
 * the address: `rootOf` gives it (DER), null for an address without account.
 * @throws GatewayError REQUEST_INVALID, also for any other signer; ACCOUNT_UNKNOWN
 */
export function verifyRequest(text: string, rootOf: (address: string) => Uint8Array | null): SignedRequest {
  const document = readDocument(text, TYPE)
  if (document.payload.number("version") !== VERSION) throw invalid("was written by another version of postern")
  const request = readRequest(document.payload)
  const root = signerOf(request, rootOf(request.address))
  const { point } = readCertificate(root)
  if (point === null) throw invalid("root is no P-256 key")
  document.check(point)
  return { request, fingerprint: keyFingerprint(point) }
}

function signerOf({ address, change }: Request, known: Uint8Array | null): Uint8Array {
  // Whether such an account may be added is decided where it is applied; here only that its own root signed.
  if (change.kind === "account-add") return change.root
  if (known !== null) return known
  throw new GatewayError("ACCOUNT_UNKNOWN", `request ${change.kind}: account ${address}: unknown`)
}

function readRequest(payload: JsonObject): Request {
  const id = payload.text("id")
  if (!/^[0-9a-f]{32}$/.test(id)) throw invalid("id is malformed")
  return {
    id,
    address: addressKey(parseAddress(payload.text("address"))),
    madeAt: payload.date("madeAt"),
    escrow: payload.optional("escrow", (object, name) => object.octets(name)),
    change: readChange(payload),
  }
}

function readChange(payload: JsonObject): Change {
  const kind = payload.word("kind", KINDS)
  switch (kind) {
    case "account-add":
      return {
        kind,
        name: payload.text("name"),
        formats: readFormats(payload),
        root: payload.octets("root"),
        intermediate: payload.octets("intermediate"),
        keys: payload.objects("keys").map(readKey),
        profile: payload.text("profile"),
        mesh: readMesh(payload),
        mailProfile: readMailProfile(payload),
      }
    case "account-rekey":
      return {
        kind,
        keys: payload.objects("keys").map(readKey),
        scalars: readScalars(payload),
        ...readRepublished(payload),
      }
    case "account-renew":
      return {
        kind,
        root: payload.octets("root"),
        intermediate: payload.octets("intermediate"),
        mesh: readMesh(payload),
        ...readRepublished(payload),
      }
    case "account-mesh":
      return { kind, mesh: readMeshRecord(payload.object("mesh")), ...readRepublished(payload) }
    case "account-mesh-leave":
      return { kind, ...readRepublished(payload) }
    case "account-remove":
      return { kind }
    case "device-add":
      return {
        kind,
        device: readDeviceRecord(payload.object("device")),
        passwordHash: payload.octets("passwordHash"),
        scalars: readScalars(payload),
        ...readRepublished(payload),
      }
    case "device-renew":
      return { kind, device: readDeviceRecord(payload.object("device")), ...readRepublished(payload) }
    case "device-revoke":
      return { kind, device: payload.text("device"), name: payload.text("name"), ...readRepublished(payload) }
    case "gateway-key-add":
      return {
        kind,
        key: payload.text("key"),
        certificate: payload.octets("certificate"),
        ...readRepublished(payload),
      }
    case "gateway-key-remove":
      return { kind, key: payload.text("key"), ...readRepublished(payload) }
    default:
      return kind satisfies never
  }
}

function readFormats(payload: JsonObject): readonly Format[] {
  const formats = payload.texts("formats").map(formatOf)
  if (formats.length === 0 || new Set(formats).size !== formats.length) throw invalid("formats are none or doubled")
  return formats
}

function formatOf(text: string): Format {
  if (text === "smime" || text === "openpgp") return text
  throw invalid(`format ${JSON.stringify(text)} is unknown`)
}

function readKey(object: JsonObject): AccountKey {
  const id = object.text("id")
  if (!/^[0-9a-f]{16,40}$/.test(id)) throw invalid("key id is malformed")
  return {
    id,
    format: object.word("format", ["smime", "openpgp"]),
    certificate: object.octets("certificate"),
    current: object.flag("current"),
    addedAt: object.date("addedAt"),
  }
}

function readScalars(payload: JsonObject): readonly ScalarChange[] {
  return payload.objects("scalars").map((object) => {
    const scalar = object.octets("scalar")
    if (scalar.length !== 32) throw invalid("scalar is not 32 octets")
    return { device: object.text("device"), keyId: object.text("keyId"), scalar }
  })
}

function readRepublished(payload: JsonObject): Republished {
  return {
    certificates: payload
      .objects("certificates")
      .map((object) => ({ id: object.text("id"), certificate: object.octets("certificate") })),
    profile: payload.optional("profile", (object, name) => object.text(name)),
    mailProfile: readMailProfile(payload),
  }
}

function readMailProfile(payload: JsonObject): Uint8Array | null {
  return payload.optional("mailProfile", (object, name) => object.octets(name))
}

function readMesh(payload: JsonObject): MeshAccountRecord | null {
  return payload.optional("mesh", (object, name) => readMeshRecord(object.object(name)))
}

function readMeshRecord(object: JsonObject): MeshAccountRecord {
  return {
    profile: object.octets("profile"),
    connection: object.octets("connection"),
    activation: object.octets("activation"),
    mailProfile: object.octets("mailProfile"),
  }
}

function readDeviceRecord(object: JsonObject): DeviceRecord {
  return {
    id: object.text("id"),
    name: object.text("name"),
    readOnly: object.flag("readOnly"),
    certificate: object.optional("certificate", (outer, name) => outer.octets(name)),
    signingCertificate: object.optional("signingCertificate", (outer, name) => outer.octets(name)),
    loginCertificate: object.optional("loginCertificate", (outer, name) => outer.octets(name)),
  }
}

const KINDS = [
  "account-add",
  "account-rekey",
  "account-renew",
  "account-mesh",
  "account-mesh-leave",
  "account-remove",
  "device-add",
  "device-renew",
  "device-revoke",
  "gateway-key-add",
  "gateway-key-remove",
] as const

function invalid(what: string): GatewayError {
  return new GatewayError("REQUEST_INVALID", `request: ${what}`)
}
