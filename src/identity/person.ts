/** PURE. What the keyring holds of one account: every secret that the server must never see. */
import type { Format } from "../store/account.ts"
import { type JsonObject, parseJsonObject } from "./json.ts"
import { type MeshGateway, meshGatewayIn } from "./mesh-gateway.ts"

/** A certificate (DER) with the scalar of its P-256 key. */
export interface KeyPair {
  readonly certificate: Uint8Array
  /** 32 octets, big-endian. */
  readonly scalar: Uint8Array
}

/** An S/MIME key of the account. */
export interface SmimeKey extends KeyPair {
  /** Hexadecimal subject key identifier; stays when the certificate is renewed. */
  readonly id: string
  readonly current: boolean
  readonly addedAt: Date
}

/** An OpenPGP encryption subkey of the account. */
export interface OpenPgpKey {
  /** Hexadecimal key id of the subkey. */
  readonly id: string
  /** 32 octets, little-endian, clamped. */
  readonly scalar: Uint8Array
  readonly current: boolean
  readonly addedAt: Date
}

/** The account's OpenPGP certificate with what only its owner has. */
export interface OpenPgpIdentity {
  /** Binary certificate, every subkey in it. */
  readonly certificate: Uint8Array
  /** Binary transferable secret key, not encrypted. */
  readonly secretKey: Uint8Array
  /** Public subkeys with which the gateway signs, and their bindings: at the end of the certificate, and not in the secret key. */
  readonly gateway: Uint8Array
  /** Oldest first. */
  readonly keys: readonly OpenPgpKey[]
}

/** What a device can open OpenPGP messages with. */
export interface DeviceOpenPgp {
  /** One scalar for each encryption subkey of the account: key id, 32 octets little-endian. */
  readonly scalars: readonly { readonly keyId: string; readonly scalar: Uint8Array }[]
  /** Key id of the device's own signing subkey, hexadecimal. */
  readonly signingKeyId: string
  /** Protects NAME.asc; null: it is not encrypted. */
  readonly password: string | null
}

/** One device and its secrets. */
export interface PersonDevice {
  readonly id: string
  readonly name: string
  readonly readOnly: boolean
  /** Its password at the server. */
  readonly password: string
  /** Protects NAME.p12, NAME-sign.p12 and NAME-login.p12. */
  readonly pkcs12Password: string
  /** null: the account has no S/MIME. */
  readonly decryption: KeyPair | null
  readonly signing: KeyPair
  /** For TLS client authentication; null: the device was made by a version that had none, and gets one when it is renewed. */
  readonly login: KeyPair | null
  readonly openpgp: DeviceOpenPgp | null
  readonly addedAt: Date
  readonly revokedAt: Date | null
}

/** The account in the Mesh. */
export interface PersonMesh {
  /** UDF (type Z): every key of the profile is derived from it, and what the server keeps of this keyring opens with one of them. */
  readonly seed: string
  /** ProfileUser, in its envelope. */
  readonly profile: Uint8Array
  /** The gateway that is the account's service and sends mail for it; null: the account has left. `activation`: 32 octets, the owner's half of its keys. */
  readonly gateway: (MeshGateway & { readonly activation: Uint8Array }) | null
}

/** One account with all its secrets, as its owner keeps it. */
export interface Person {
  readonly address: string
  readonly name: string
  readonly formats: readonly Format[]
  readonly root: KeyPair
  readonly intermediate: KeyPair
  /** Oldest first; empty when S/MIME is not among the formats. */
  readonly smime: readonly SmimeKey[]
  readonly openpgp: OpenPgpIdentity | null
  readonly devices: readonly PersonDevice[]
  /** null: the account was made by a version without, or where no gateway was known; `account mesh` makes it. */
  readonly mesh: PersonMesh | null
}

/** Devices that are not revoked. */
export function liveDevices({ devices }: Person): readonly PersonDevice[] {
  return devices.filter((device) => device.revokedAt === null)
}

/** Version of the keyring's form. */
export const PERSON_VERSION = 1

/**
 * Reads what {@link formatJson} wrote of a {@link Person}.
 * @throws GatewayError REQUEST_INVALID
 */
export function parsePerson(text: string): Person {
  const object = parseJsonObject(text, "keyring")
  return {
    address: object.text("address"),
    name: object.text("name"),
    formats: object.texts("formats").map((format) => (format === "openpgp" ? "openpgp" : "smime")),
    root: readPair(object.object("root")),
    intermediate: readPair(object.object("intermediate")),
    smime: object.objects("smime").map((key) => ({ ...readKey(key), certificate: key.octets("certificate") })),
    openpgp: object.optional("openpgp", (outer, name) => readOpenPgp(outer.object(name))),
    devices: object.objects("devices").map(readDevice),
    mesh: object.optional("mesh", (outer, name) => readMesh(outer.object(name))),
  }
}

function readMesh(object: JsonObject): PersonMesh {
  return {
    seed: object.text("seed"),
    profile: object.octets("profile"),
    gateway: object.optional("gateway", (outer, name) => {
      const gateway = outer.object(name)
      return { ...meshGatewayIn(gateway), activation: gateway.octets("activation") }
    }),
  }
}

function readPair(object: JsonObject): KeyPair {
  return { certificate: object.octets("certificate"), scalar: object.octets("scalar") }
}

function readKey(object: JsonObject): OpenPgpKey {
  return {
    id: object.text("id"),
    scalar: object.octets("scalar"),
    current: object.flag("current"),
    addedAt: object.date("addedAt"),
  }
}

function readOpenPgp(object: JsonObject): OpenPgpIdentity {
  return {
    certificate: object.octets("certificate"),
    secretKey: object.octets("secretKey"),
    // Keyrings of versions without such keys have none.
    gateway: object.optional("gateway", (outer, name) => outer.octets(name)) ?? new Uint8Array(0),
    keys: object.objects("keys").map(readKey),
  }
}

function readDevice(object: JsonObject): PersonDevice {
  return {
    id: object.text("id"),
    name: object.text("name"),
    readOnly: object.flag("readOnly"),
    password: object.text("password"),
    pkcs12Password: object.text("pkcs12Password"),
    decryption: object.optional("decryption", (outer, name) => readPair(outer.object(name))),
    signing: readPair(object.object("signing")),
    login: object.optional("login", (outer, name) => readPair(outer.object(name))),
    openpgp: object.optional("openpgp", (outer, name) => readDeviceOpenPgp(outer.object(name))),
    addedAt: object.date("addedAt"),
    revokedAt: object.optional("revokedAt", (outer, name) => outer.date(name)),
  }
}

function readDeviceOpenPgp(object: JsonObject): DeviceOpenPgp {
  return {
    scalars: object.objects("scalars").map((key) => ({ keyId: key.text("keyId"), scalar: key.octets("scalar") })),
    signingKeyId: object.text("signingKeyId"),
    password: object.optional("password", (outer, name) => outer.text(name)),
  }
}
