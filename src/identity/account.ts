/** PURE. Making, renewing and rekeying accounts: what the owner keeps, and the request that tells the server. */
import { readCertificate } from "../crypto/cms/certificate.ts"
import { issueIntermediate, issueRoot } from "../crypto/cms/issue.ts"
import { pemEncode } from "../crypto/cms/pem.ts"
import { p256PublicPoint } from "../crypto/primitives/p256.ts"
import { recryptionScalarP256 } from "../crypto/recryption/split.ts"
import { GatewayError } from "../errors.ts"
import type { AccountKey, Format } from "../store/account.ts"
import type { MeshAccountRecord } from "../store/mesh-accounts.ts"
import { sealEscrow } from "./escrow.ts"
import { keyFingerprint } from "./fingerprint.ts"
import { issueLeaf, issuerOf, leafValidity, type Making, makeScalar, makeSerial, rootValidity } from "./issuing.ts"
import { hex } from "./json.ts"
import {
  type ConnectedPerson,
  connectedTo,
  hasMeshName,
  isConnected,
  leftMesh,
  mailProfileOf,
  makeMesh,
  meshRecordOf,
} from "./mesh-account.ts"
import type { MeshGateway } from "./mesh-gateway.ts"
import { addEncryptionKey, makeOpenPgpIdentity, openPgpProfileKey, renewOpenPgpIdentity } from "./openpgp-keys.ts"
import { type KeyPair, liveDevices, type Person, type PersonDevice, type PersonMesh, type SmimeKey } from "./person.ts"
import { type ProfileConnection, signProfile } from "./profile.ts"
import { type CertificateChange, type Change, type Republished, type ScalarChange, signRequest } from "./requests.ts"

/** A change, made but not applied: the person as the keyring keeps it from now on, and the signed request for the server. */
export interface Made {
  readonly person: Person
  readonly request: string
}

/** How a new account is to be. */
export interface NewAccount {
  /** In its stored form. */
  readonly address: string
  /** Display name; empty: the address. */
  readonly name: string
  /** The first is used for arriving mail. */
  readonly formats: readonly Format[]
  /** What the account is connected to in the Mesh; absent: nothing. */
  readonly gateway?: MeshGateway
}

/** A new person: personal root and intermediate, a key for each format, and a Mesh profile. */
export async function makeAccount(account: NewAccount, making: Making): Promise<Made> {
  const { address, formats, gateway } = account
  const name = account.name === "" ? address : account.name
  const root = makeRoot(address, name, makeScalar(making.random), makeSerial(making.random), making)
  const intermediate = makeIntermediate(
    { address, name, root },
    makeScalar(making.random),
    makeSerial(making.random),
    making,
  )
  const mesh = gateway === undefined ? null : makeMesh(address, gateway, making)
  const bare: Person = { address, name, formats, root, intermediate, smime: [], openpgp: null, devices: [], mesh }
  const smime = formats.includes("smime") ? [makeSmimeKey(bare, making)] : []
  const openpgp = formats.includes("openpgp") ? await makeOpenPgpIdentity(bare, making.now) : null
  const person: Person = { ...bare, smime, openpgp }
  return { person, request: additionOf(person, making) }
}

/** The request that makes the account of this person at a server which has none: with the keys of old mail, and without devices. */
export function additionOf(person: Person, making: Making): string {
  const { name, formats, root, intermediate } = person
  const change: Change = {
    kind: "account-add",
    name,
    formats,
    root: root.certificate,
    intermediate: intermediate.certificate,
    keys: keysOf(person),
    profile: profileOf(person, making.now),
    mesh: recordOf(person, making),
    mailProfile: leftProfileOf(person, making.now),
  }
  return requestOf(person, change, making)
}

/** Connects the account to a gateway of the Mesh: the one it had, anew, or another. An account that had no Mesh profile gets one. */
export function connectAccount(person: Person, gateway: MeshGateway, making: Making): Made {
  const { address, mesh } = person
  const connected: ConnectedPerson = {
    ...person,
    mesh: mesh === null ? makeMesh(address, gateway, making) : connectedTo(gateway, address, mesh, making),
  }
  const change: Change = {
    kind: "account-mesh",
    mesh: meshRecordOf(connected, connectionsOf(connected), making),
    certificates: [],
    // Both versions are of one time: the older one must not look like a replay to who falls back to it.
    profile: profileOf(person, making.now),
    mailProfile: null,
  }
  return { person: connected, request: requestOf(connected, change, making) }
}

/**
 * Ends the account's part in the Mesh: no gateway is its service or its device any more, and the profile that says so is newer than what others keep. Seed and name stay.
 * @throws GatewayError ACCOUNT_UNKNOWN when it never had a part
 */
export function leaveMesh(person: Person, making: Making): Made {
  const { address, mesh } = person
  if (mesh === null) throw new GatewayError("ACCOUNT_UNKNOWN", `account ${address}: has no part in the Mesh`)
  const left: Person = { ...person, mesh: leftMesh(address, mesh, making) }
  const change: Change = { kind: "account-mesh-leave", certificates: [], ...profilesOf(left, making.now) }
  return { person: left, request: requestOf(left, change, making) }
}

/** A new current key for each format, and for each live device what recrypts from it. Old keys stay for old mail. */
export async function rekeyAccount(person: Person, making: Making): Promise<Made> {
  const smimeKey = person.smime.length > 0 ? makeSmimeKey(person, making) : null
  const added = person.openpgp === null ? null : await addEncryptionKey(person.openpgp, person.devices, making)
  const rekeyed: Person = {
    ...person,
    smime: smimeKey === null ? [] : [...person.smime.map((key) => ({ ...key, current: false })), smimeKey],
    openpgp: added?.identity ?? null,
    devices: added?.devices ?? person.devices,
  }
  const smimeScalars = smimeKey === null ? [] : liveDevices(person).flatMap((device) => smimeScalar(device, smimeKey))
  const change: Change = {
    kind: "account-rekey",
    keys: keysOf(rekeyed).filter((key) => key.current),
    scalars: [...smimeScalars, ...(added?.scalars ?? [])],
    certificates: [],
    ...profilesOf(rekeyed, making.now),
  }
  return { person: rekeyed, request: requestOf(rekeyed, change, making) }
}

/**
 * New certificates for the same keys, with the same serial numbers. The root is renewed when what it issues would outlive it.
 * `gateway`: what the account is connected to in the Mesh from now on; null: to what it was, if anything. One that has left stays away.
 */
export async function renewAccount(person: Person, making: Making, gateway: MeshGateway | null = null): Promise<Made> {
  const { address, name } = person
  const rootEnds = readCertificate(person.root.certificate).notAfter
  const root =
    rootEnds < leafValidity(making.now, FAR_FUTURE).notAfter
      ? makeRoot(address, name, person.root.scalar, serialOf(person.root), making)
      : person.root
  const intermediate = makeIntermediate(
    { address, name, root },
    person.intermediate.scalar,
    serialOf(person.intermediate),
    making,
  )
  const base: Person = { ...person, root, intermediate }
  const smime = person.smime.map((key) => renewSmimeKey(base, key, making))
  const openpgp = person.openpgp === null ? null : await renewOpenPgpIdentity(person.openpgp, making.now)
  const renewed: Person = { ...base, smime, openpgp, mesh: renewedMesh(person, gateway, making) }
  const change: Change = {
    kind: "account-renew",
    root: root.certificate,
    intermediate: intermediate.certificate,
    mesh: recordOf(renewed, making),
    certificates: [...smime.map(({ id, certificate }) => ({ id, certificate })), ...openPgpCertificates(renewed)],
    profile: profileOf(renewed, making.now),
    mailProfile: leftProfileOf(renewed, making.now),
  }
  return { person: renewed, request: requestOf(renewed, change, making) }
}

/** The signed profiles of the person as it is. */
export function profilesOf(person: Person, now: Date): Pick<Republished, "profile" | "mailProfile"> {
  const mailProfile = hasMeshName(person) ? mailProfileOf(person, connectionsOf(person), now) : null
  return { profile: profileOf(person, now), mailProfile }
}

function profileOf(person: Person, now: Date): string {
  const { address, name, root } = person
  const udf = keyFingerprint(p256PublicPoint(root.scalar))
  const connection = connectionsOf(person)
  return signProfile({ version: 1, address, name, udf, root: root.certificate, issuedAt: now, connection }, root.scalar)
}

function recordOf(person: Person, making: Making): MeshAccountRecord | null {
  return isConnected(person) ? meshRecordOf(person, connectionsOf(person), making) : null
}

/** @returns null: it has not left; where it takes part, its record has its profile */
function leftProfileOf(person: Person, now: Date): Uint8Array | null {
  return isConnected(person) ? null : profilesOf(person, now).mailProfile
}

function renewedMesh({ address, mesh }: Person, gateway: MeshGateway | null, making: Making): PersonMesh | null {
  if (mesh === null) return gateway === null ? null : makeMesh(address, gateway, making)
  return mesh.gateway === null ? mesh : connectedTo(gateway ?? mesh.gateway, address, mesh, making)
}

/** Signs a change as a request of this person, as it is after the change: what the server keeps for its owner goes with it. */
export function requestOf(person: Person, change: Change, making: Making): string {
  const escrow = hasMeshName(person) && change.kind !== "account-remove" ? sealEscrow(person, making) : null
  const request = { id: hex(making.random(16)), address: person.address, madeAt: making.now, escrow, change }
  return signRequest(request, p256PublicPoint(person.root.scalar), person.root.scalar)
}

/** The recryption key with which this device reads what was encrypted to `key`; none for a device without S/MIME. */
export function smimeScalar(device: PersonDevice, key: SmimeKey): readonly ScalarChange[] {
  if (device.decryption === null) return []
  return [{ device: device.id, keyId: key.id, scalar: recryptionScalarP256(key.scalar, device.decryption.scalar) }]
}

/** The serial number's content octets. */
export function serialOf({ certificate }: KeyPair): Uint8Array {
  return readCertificate(certificate).identity.serial
}

/** The current OpenPGP key's certificate, which also lists the devices' signing subkeys. */
export function openPgpCertificates({ openpgp }: Person): readonly CertificateChange[] {
  const current = openpgp?.keys.find((key) => key.current)
  return openpgp === null || current === undefined ? [] : [{ id: current.id, certificate: openpgp.certificate }]
}

/** All keys of the account, as the server knows them. */
function keysOf({ smime, openpgp }: Person): readonly AccountKey[] {
  const certificate = openpgp?.certificate ?? new Uint8Array()
  return [
    ...smime.map(({ scalar: _scalar, ...key }): AccountKey => ({ ...key, format: "smime" })),
    ...(openpgp?.keys ?? []).map(
      ({ scalar: _scalar, ...key }): AccountKey => ({ ...key, format: "openpgp", certificate }),
    ),
  ]
}

/** How mail is written to the person over SMTP. */
function connectionsOf(person: Person): readonly ProfileConnection[] {
  return person.formats.map((format) => connectionOf(person, format))
}

function connectionOf(person: Person, format: Format): ProfileConnection {
  const common = { protocol: "SMTP", prefer: "encrypt", require: null } as const
  if (format === "openpgp") {
    if (person.openpgp === null)
      throw new GatewayError("STATE_CORRUPT", `keyring of ${person.address}: has no openpgp key`)
    return { ...common, encrypt: "OpenPGP", key: openPgpProfileKey(person.openpgp) }
  }
  const current = person.smime.find((key) => key.current)
  if (current === undefined)
    throw new GatewayError("STATE_CORRUPT", `keyring of ${person.address}: has no current smime key`)
  const chain = [current.certificate, person.intermediate.certificate]
  return { ...common, encrypt: "S/MIME", key: chain.map((der) => pemEncode("CERTIFICATE", der)).join("") }
}

function makeRoot(address: string, name: string, scalar: Uint8Array, serial: Uint8Array, { now }: Making): KeyPair {
  return { certificate: issueRoot({ address, name, scalar, serial, ...rootValidity(now) }), scalar }
}

function makeIntermediate(
  { address, name, root }: Pick<Person, "address" | "name" | "root">,
  scalar: Uint8Array,
  serial: Uint8Array,
  { now }: Making,
): KeyPair {
  const issuer = issuerOf(root)
  const validity = leafValidity(now, issuer.certificate.notAfter)
  return { certificate: issueIntermediate({ issuer, address, name, scalar, serial, ...validity }), scalar }
}

function makeSmimeKey(person: Person, { now, random }: Making): SmimeKey {
  const key = { name: person.name, scalar: makeScalar(random), serial: makeSerial(random), usage: "encrypt" } as const
  const pair = issueLeaf(person, key, now)
  const identifier = readCertificate(pair.certificate).identity.subjectKeyIdentifier ?? new Uint8Array()
  return { ...pair, id: hex(identifier), current: true, addedAt: now }
}

function renewSmimeKey(person: Person, key: SmimeKey, { now }: Making): SmimeKey {
  const { scalar } = key
  return { ...key, ...issueLeaf(person, { name: person.name, scalar, serial: serialOf(key), usage: "encrypt" }, now) }
}

const FAR_FUTURE = new Date("9999-12-31T23:59:59Z")
