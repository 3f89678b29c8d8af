/** PURE. The OpenPGP side of a person: one certificate, an encryption subkey for each key of the account, a signing subkey for each device. */
import {
  type AccountKeyPair,
  addEncryptionSubkey,
  addSigningSubkey,
  type MadeEncryptionKey,
  makeAccountKey,
  renewAccountKey,
  revokeSubkey,
} from "../crypto/openpgp/account-key.ts"
import { armor } from "../crypto/openpgp/armor.ts"
import { minimalCertificate } from "../crypto/openpgp/certificate.ts"
import { makeDeviceKey } from "../crypto/openpgp/device-key.ts"
import {
  type ApartRevocation,
  type ApartSubkey,
  bindApartSubkey,
  revokeApartSubkey,
} from "../crypto/openpgp/gateway-subkey.ts"
import { clampX25519, X25519_OCTETS } from "../crypto/primitives/x25519.ts"
import { splitX25519 } from "../crypto/recryption/split.ts"
import type { Making, Random } from "./issuing.ts"
import { hex } from "./json.ts"
import type { DeviceOpenPgp, OpenPgpIdentity, OpenPgpKey, Person, PersonDevice } from "./person.ts"
import type { ScalarChange } from "./requests.ts"

/** A new encryption subkey, and what it means for the devices. */
export interface AddedKey {
  readonly identity: OpenPgpIdentity
  /** All devices of the person, the live ones with a scalar for the new subkey. */
  readonly devices: readonly PersonDevice[]
  readonly scalars: readonly ScalarChange[]
}

/** The OpenPGP secrets of a new device. */
export interface AddedDevice {
  readonly identity: OpenPgpIdentity
  readonly openpgp: DeviceOpenPgp
  readonly scalars: readonly ScalarChange[]
}

/** A certificate with one encryption subkey. */
export async function makeOpenPgpIdentity(
  person: Pick<Person, "address" | "name">,
  now: Date,
): Promise<OpenPgpIdentity> {
  const { address } = person
  // A name that is the address would stand in the user id twice.
  const name = person.name === address ? "" : person.name
  const made = await makeAccountKey({ name, address, createdAt: wholeSeconds(now) })
  const { certificate, secretKey } = made
  return { certificate, secretKey, gateway: new Uint8Array(0), keys: [keyOf(made, now)] }
}

/** A new current encryption subkey; devices read with it what they read with the others, once they have their new NAME.asc. */
export async function addEncryptionKey(
  identity: OpenPgpIdentity,
  devices: readonly PersonDevice[],
  { now, random }: Making,
): Promise<AddedKey> {
  const made = await addEncryptionSubkey(identity.secretKey, wholeSeconds(now))
  const key = keyOf(made, now)
  const keys = [...identity.keys.map((old) => ({ ...old, current: false })), key]
  const changed = devices.map((device) => withKey(device, key, random))
  return {
    identity: { ...changedTo(identity, made), keys },
    devices: changed.map(({ device }) => device),
    scalars: changed.flatMap(({ scalar }) => (scalar === null ? [] : [scalar])),
  }
}

/** A scalar for each encryption subkey of the account, and a signing subkey of the device's own. */
export async function addDeviceKeys(
  identity: OpenPgpIdentity,
  device: string,
  password: string | null,
  { now, random }: Making,
): Promise<AddedDevice> {
  const made = await addSigningSubkey(identity.secretKey, wholeSeconds(now))
  const split = identity.keys.map((key) => ({
    key,
    ...splitX25519(key.scalar, () => clampX25519(random(X25519_OCTETS))),
  }))
  return {
    identity: changedTo(identity, made),
    openpgp: {
      scalars: split.map(({ key, device: scalar }) => ({ keyId: key.id, scalar })),
      signingKeyId: made.subkey.keyId,
      password,
    },
    scalars: split.map(({ key, recryption }) => ({ device, keyId: key.id, scalar: recryption })),
  }
}

/** The certificate with the device's signing subkey revoked. */
export async function revokeDeviceKey(
  identity: OpenPgpIdentity,
  device: DeviceOpenPgp,
  now: Date,
): Promise<OpenPgpIdentity> {
  const { secretKey } = identity
  return changedTo(identity, await revokeSubkey(secretKey, device.signingKeyId, "compromised", wholeSeconds(now)))
}

/** The same keys, good for another two years. */
export async function renewOpenPgpIdentity(identity: OpenPgpIdentity, now: Date): Promise<OpenPgpIdentity> {
  return changedTo(identity, await renewAccountKey(identity.secretKey, wholeSeconds(now)))
}

/** The certificate vouches for a subkey of the gateway's, beside those it has. `packets`: what was added for it. */
export async function addGatewaySubkey(
  identity: OpenPgpIdentity,
  subkey: ApartSubkey,
  address: string,
  now: Date,
): Promise<{ readonly identity: OpenPgpIdentity; readonly packets: Uint8Array }> {
  const packets = await bindApartSubkey(identity.secretKey, subkey, address, wholeSeconds(now))
  return { identity: withGateway(identity, Buffer.concat([identity.gateway, packets])), packets }
}

/** The certificate with a subkey of the gateway's revoked. */
export async function revokeGatewaySubkey(
  identity: OpenPgpIdentity,
  keyId: string,
  why: ApartRevocation,
  now: Date,
): Promise<OpenPgpIdentity> {
  const { secretKey, gateway } = identity
  return withGateway(identity, await revokeApartSubkey(secretKey, gateway, keyId, why, wholeSeconds(now)))
}

function withGateway(identity: OpenPgpIdentity, gateway: Uint8Array): OpenPgpIdentity {
  const own = identity.certificate.subarray(0, identity.certificate.length - identity.gateway.length)
  return { ...identity, certificate: Buffer.concat([own, gateway]), gateway }
}

function changedTo(identity: OpenPgpIdentity, { certificate, secretKey }: AccountKeyPair): OpenPgpIdentity {
  return { ...identity, certificate: Buffer.concat([certificate, identity.gateway]), secretKey }
}

/** What the profile says of the key: armored, without the signing subkeys that would tell how many devices there are. */
export function openPgpProfileKey({ certificate }: OpenPgpIdentity): string {
  return new TextDecoder().decode(armor(minimalCertificate(certificate), "PUBLIC KEY BLOCK"))
}

/** NAME.asc: the account's certificate with this device's secrets only. */
export function deviceKeyFile(identity: OpenPgpIdentity, device: DeviceOpenPgp): Uint8Array {
  const key = makeDeviceKey({
    secretKey: identity.secretKey,
    certificate: identity.certificate,
    deviceScalars: new Map(device.scalars.map(({ keyId, scalar }) => [keyId, scalar])),
    signingSubkey: device.signingKeyId,
    password: device.password,
  })
  return armor(key, "PRIVATE KEY BLOCK")
}

function withKey(
  device: PersonDevice,
  key: OpenPgpKey,
  random: Random,
): { readonly device: PersonDevice; readonly scalar: ScalarChange | null } {
  const { openpgp } = device
  if (openpgp === null || device.revokedAt !== null) return { device, scalar: null }
  const split = splitX25519(key.scalar, () => clampX25519(random(X25519_OCTETS)))
  const scalars = [...openpgp.scalars, { keyId: key.id, scalar: split.device }]
  return {
    device: { ...device, openpgp: { ...openpgp, scalars } },
    scalar: { device: device.id, keyId: key.id, scalar: split.recryption },
  }
}

function keyOf(made: MadeEncryptionKey, addedAt: Date): OpenPgpKey {
  return { id: hex(made.encryption.keyId), scalar: made.scalar, current: true, addedAt }
}

/** OpenPGP counts whole seconds; a signature must not be older than its key. */
export function wholeSeconds(date: Date): Date {
  return new Date(Math.floor(date.getTime() / 1000) * 1000)
}
