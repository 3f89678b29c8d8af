/** PURE. Making, renewing and rekeying accounts: what the owner keeps, and the request that tells the server. */
import { readCertificate } from "../crypto/cms/certificate.ts"
import { issueIntermediate, issueRoot } from "../crypto/cms/issue.ts"
import { pemEncode } from "../crypto/cms/pem.ts"
import { p256PublicPoint } from "../crypto/primitives/p256.ts"
import { recryptionScalarP256 } from "../crypto/recryption/split.ts"
import { GatewayError } from "../errors.ts"
import type { AccountKey, Format } from "../store/account.ts"
import { keyFingerprint } from "./fingerprint.ts"
import { issueLeaf, issuerOf, leafValidity, type Making, makeScalar, makeSerial, rootValidity } from "./issuing.ts"
import { hex } from "./json.ts"
import { addEncryptionKey, makeOpenPgpIdentity, openPgpProfileKey, renewOpenPgpIdentity } from "./openpgp-keys.ts"
import type { KeyPair, Person, PersonDevice, SmimeKey } from "./person.ts"
import { type ProfileConnection, signProfile } from "./profile.ts"
import { type CertificateChange, type Change, type ScalarChange, signRequest } from "./requests.ts"

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
}

/** A new person: personal root and intermediate, and a key for each format. */
export async function makeAccount(account: NewAccount, making: Making): Promise<Made> {
  const name = account.name === "" ? account.address : account.name
  const root = makeRoot(account.address, name, makeScalar(making.random), makeSerial(making.random), making)
  const intermediate = makeIntermediate(
    { address: account.address, name, root },
    makeScalar(making.random),
    makeSerial(making.random),
    making,
  )
  const bare: Person = { ...account, name, root, intermediate, smime: [], openpgp: null, devices: [] }
  const smime = account.formats.includes("smime") ? [makeSmimeKey(bare, making)] : []
  const openpgp = account.formats.includes("openpgp") ? await makeOpenPgpIdentity(bare, making.now) : null
  const person: Person = { ...bare, smime, openpgp }
  const change: Change = {
    kind: "account-add",
    name,
    formats: account.formats,
    root: root.certificate,
    intermediate: intermediate.certificate,
    keys: currentKeys(person),
    profile: profileOf(person, making.now),
  }
  return { person, request: requestOf(person, change, making) }
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
    keys: currentKeys(rekeyed),
    scalars: [...smimeScalars, ...(added?.scalars ?? [])],
    certificates: [],
    profile: profileOf(rekeyed, making.now),
  }
  return { person: rekeyed, request: requestOf(rekeyed, change, making) }
}

/** New certificates for the same keys, with the same serial numbers. The root is renewed when what it issues would outlive it. */
export async function renewAccount(person: Person, making: Making): Promise<Made> {
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
  const renewed: Person = { ...base, smime, openpgp }
  const change: Change = {
    kind: "account-renew",
    root: root.certificate,
    intermediate: intermediate.certificate,
    certificates: [...smime.map(({ id, certificate }) => ({ id, certificate })), ...openPgpCertificates(renewed)],
    profile: profileOf(renewed, making.now),
  }
  return { person: renewed, request: requestOf(renewed, change, making) }
}

/** The signed profile of the person as it is. */
export function profileOf(person: Person, now: Date): string {
  const { address, name, root } = person
  const udf = keyFingerprint(p256PublicPoint(root.scalar))
  const connection = person.formats.map((format) => connectionOf(person, format))
  return signProfile({ version: 1, address, name, udf, root: root.certificate, issuedAt: now, connection }, root.scalar)
}

/** Signs a change of this person's as a request. */
export function requestOf(person: Person, change: Change, { now, random }: Making): string {
  const request = { id: hex(random(16)), address: person.address, madeAt: now, change }
  return signRequest(request, p256PublicPoint(person.root.scalar), person.root.scalar)
}

/** The recryption key with which this device reads what was encrypted to `key`; none for a device without S/MIME. */
export function smimeScalar(device: PersonDevice, key: SmimeKey): readonly ScalarChange[] {
  if (device.decryption === null) return []
  return [{ device: device.id, keyId: key.id, scalar: recryptionScalarP256(key.scalar, device.decryption.scalar) }]
}

/** Devices that are not revoked. */
export function liveDevices(person: Person): readonly PersonDevice[] {
  return person.devices.filter((device) => device.revokedAt === null)
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

function currentKeys(person: Person): readonly AccountKey[] {
  const smime = person.smime
    .filter((key) => key.current)
    .map(({ id, certificate, addedAt }): AccountKey => ({ id, format: "smime", certificate, current: true, addedAt }))
  const { openpgp } = person
  const keys = openpgp?.keys.filter((key) => key.current) ?? []
  return [
    ...smime,
    ...keys.map(
      ({ id, addedAt }): AccountKey => ({
        id,
        format: "openpgp",
        certificate: openpgp?.certificate ?? new Uint8Array(),
        current: true,
        addedAt,
      }),
    ),
  ]
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
