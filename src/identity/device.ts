/** Making, renewing and revoking devices: what the device gets, what the owner keeps, and the request that tells the server. */

import { GatewayError } from "../errors.ts"
import { hashPassword } from "../store/people.ts"
import { type Made, openPgpCertificates, requestOf, serialOf, smimeScalar } from "./account.ts"
import { issueLeaf, issueLoginPair, type Making, makeScalar, makeSerial } from "./issuing.ts"
import { hex } from "./json.ts"
import { addDeviceKeys, revokeDeviceKey } from "./openpgp-keys.ts"
import { type KeyPair, liveDevices, type Person, type PersonDevice } from "./person.ts"
import type { DeviceRecord } from "./requests.ts"

/** How a new device is to be. */
export interface NewDevice {
  /** `[A-Za-z0-9._-]{1,64}`. */
  readonly name: string
  /** IMAP only. */
  readonly readOnly: boolean
  /** Encrypt NAME.asc under a password of its own. */
  readonly protectOpenPgp: boolean
}

/** A change of one device. */
export interface MadeDevice extends Made {
  readonly device: PersonDevice
}

/** A new device with keys for every key of the account, old ones included. */
export async function makeDevice(person: Person, wanted: NewDevice, making: Making): Promise<MadeDevice> {
  if (liveDevices(person).some((device) => device.name === wanted.name))
    throw new GatewayError("DEVICE_EXISTS", `device ${wanted.name} of ${person.address}: exists already`)
  const bare: PersonDevice = {
    id: hex(making.random(16)),
    name: wanted.name,
    readOnly: wanted.readOnly,
    password: makePassword(making),
    pkcs12Password: makePassword(making),
    decryption: person.smime.length > 0 ? makePair(person, wanted.name, "encrypt", making) : null,
    signing: makePair(person, wanted.name, "sign", making),
    login: makeLogin(person, wanted.name, making),
    openpgp: null,
    addedAt: making.now,
    revokedAt: null,
  }
  const password = wanted.protectOpenPgp ? makePassword(making) : null
  const added = person.openpgp === null ? null : await addDeviceKeys(person.openpgp, bare.id, password, making)
  const device: PersonDevice = { ...bare, openpgp: added?.openpgp ?? null }
  const changed: Person = { ...person, openpgp: added?.identity ?? null, devices: [...person.devices, device] }
  const smimeScalars = person.smime.flatMap((key) => smimeScalar(device, key))
  const request = requestOf(
    changed,
    {
      kind: "device-add",
      device: recordOf(device),
      passwordHash: hashPassword(device.password),
      scalars: [...smimeScalars, ...(added?.scalars ?? [])],
      certificates: openPgpCertificates(changed),
      profile: null,
      mailProfile: null,
    },
    making,
  )
  return { person: changed, device, request }
}

/** New certificates for the device's keys, with the same serial numbers; its password stays. A login key is made where there was none. */
export async function renewDevice(person: Person, name: string, making: Making): Promise<MadeDevice> {
  const old = deviceOf(person, name)
  const device: PersonDevice = {
    ...old,
    decryption: old.decryption === null ? null : renewPair(person, old.decryption, name, "encrypt", making),
    signing: renewPair(person, old.signing, name, "sign", making),
    login: old.login === null ? makeLogin(person, name, making) : renewLogin(person, old.login, name, making),
  }
  const changed = withDevice(person, device)
  const request = requestOf(
    changed,
    { kind: "device-renew", device: recordOf(device), certificates: [], profile: null, mailProfile: null },
    making,
  )
  return { person: changed, device, request }
}

/** Marks the device revoked, and revokes its OpenPGP signing subkey. */
export async function revokeDevice(person: Person, name: string, making: Making): Promise<MadeDevice> {
  const device: PersonDevice = { ...deviceOf(person, name), revokedAt: making.now }
  const openpgp =
    person.openpgp !== null && device.openpgp !== null
      ? await revokeDeviceKey(person.openpgp, device.openpgp, making.now)
      : person.openpgp
  const changed = withDevice({ ...person, openpgp }, device)
  const request = requestOf(
    changed,
    {
      kind: "device-revoke",
      device: device.id,
      name,
      certificates: openPgpCertificates(changed),
      profile: null,
      mailProfile: null,
    },
    making,
  )
  return { person: changed, device, request }
}

/**
 * The live device of that name.
 * @throws GatewayError DEVICE_UNKNOWN
 */
function deviceOf(person: Person, name: string): PersonDevice {
  const device = liveDevices(person).find((candidate) => candidate.name === name)
  if (device === undefined)
    throw new GatewayError("DEVICE_UNKNOWN", `device ${name} of ${person.address}: the keyring has no such live device`)
  return device
}

function withDevice(person: Person, device: PersonDevice): Person {
  return { ...person, devices: person.devices.map((other) => (other.id === device.id ? device : other)) }
}

function recordOf(device: PersonDevice): DeviceRecord {
  return {
    id: device.id,
    name: device.name,
    readOnly: device.readOnly,
    certificate: device.decryption?.certificate ?? null,
    signingCertificate: device.signing.certificate,
    loginCertificate: device.login?.certificate ?? null,
  }
}

function makePair(person: Person, device: string, usage: "encrypt" | "sign", { now, random }: Making): KeyPair {
  const key = { name: `${person.name} (${device})`, scalar: makeScalar(random), serial: makeSerial(random), usage }
  return issueLeaf(person, key, now)
}

function renewPair(person: Person, pair: KeyPair, device: string, usage: "encrypt" | "sign", { now }: Making): KeyPair {
  const key = { name: `${person.name} (${device})`, scalar: pair.scalar, serial: serialOf(pair), usage }
  return issueLeaf(person, key, now)
}

function makeLogin(person: Person, device: string, { now, random }: Making): KeyPair {
  return issueLoginPair(person, { device, scalar: makeScalar(random), serial: makeSerial(random) }, now)
}

function renewLogin(person: Person, pair: KeyPair, device: string, { now }: Making): KeyPair {
  return issueLoginPair(person, { device, scalar: pair.scalar, serial: serialOf(pair) }, now)
}

const ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
/** 24 characters of 62 hold 142 bits. */
const PASSWORD_CHARACTERS = 24

function makePassword({ random }: Making): string {
  const characters: string[] = []
  while (characters.length < PASSWORD_CHARACTERS) {
    // 248 = 4 * 62: what is above is thrown away, or the first letters would come more often.
    for (const octet of random(PASSWORD_CHARACTERS))
      if (octet < 248 && characters.length < PASSWORD_CHARACTERS) characters.push(ALPHANUMERIC[octet % 62] ?? "")
  }
  return characters.join("")
}
