/** PURE */
import { itemsOf, memberOf, textOf } from "../crypto/jsonb/value.ts"
import type { PrivateKey, PublicKey } from "../crypto/mesh-keys/key.ts"
import { checkTime, keyDataOf, type NamedKey, signerWith, writeKeyData } from "./key-data.ts"
import { invalid, requiredMember } from "./object.ts"
import { isNameOf, type Profile, type ProfileUser } from "./profile.ts"
import type { HolderRole } from "./profile-shape.ts"
import { checkSigned, readSigned, type SignedObject, signObject, untrusted } from "./signed.ts"

/** What an account's administrator says to the account's service about a device: whose requests these are. */
export interface ConnectionService {
  readonly authentication: NamedKey
  readonly envelope: Uint8Array
}

/** What he says to everybody else: like a certificate, with the account as its issuer. */
export interface ConnectionDevice {
  /** UDF of the device's own profile; published examples leave it out. */
  readonly subject: string | null
  readonly roles: readonly string[]
  /** The device's keys in this account, {@link file://./activation.ts}. */
  readonly keys: Readonly<Record<HolderRole, NamedKey>>
  readonly envelope: Uint8Array
}

/** An account whose administrator signature key is at hand. */
export interface AdministeredAccount {
  readonly profile: ProfileUser
  readonly administrator: PrivateKey
}

/** A device and its public keys in the account. */
export interface ConnectedDevice {
  readonly profile: Profile
  readonly keys: Readonly<Record<HolderRole, PublicKey>>
}

/** For how long, and for what. A role is a word of ours or of the reference code; none gives a right by itself. */
export interface ConnectionTerms {
  readonly roles: readonly string[]
  readonly created: Date
  readonly notOnOrAfter: Date | null
}

/**
 * Checks that the account has connected a device, and that its keys may be used now.
 * @throws GatewayError MESH_UNTRUSTED for another account's; MESH_EXPIRED; MESH_OBJECT_INVALID; as `readSigned`
 */
export function verifyConnectionDevice(envelope: Uint8Array, account: ProfileUser, now: Date): ConnectionDevice {
  const object = readSigned(envelope, ["ConnectionDevice"])
  checkIssued(object, account)
  const keys = {
    signature: requiredMember(object.members, "Signature", keyDataOf),
    encryption: requiredMember(object.members, "Encryption", keyDataOf),
    authentication: requiredMember(object.members, "Authentication", keyDataOf),
  }
  for (const key of Object.values(keys)) checkKey(key, account, now)
  return {
    subject: memberOf(object.members, "Subject", textOf),
    roles: rolesOf(object),
    keys,
    envelope,
  }
}

/** The same for what is shown to the service. @throws GatewayError as {@link verifyConnectionDevice} */
export function verifyConnectionService(envelope: Uint8Array, account: ProfileUser, now: Date): ConnectionService {
  const object = readSigned(envelope, ["ConnectionService"])
  checkIssued(object, account)
  const authentication = requiredMember(object.members, "Authentication", keyDataOf)
  checkKey(authentication, account, now)
  return { authentication, envelope }
}

/** Makes what {@link verifyConnectionDevice} checks. */
export function makeConnectionDevice(
  account: AdministeredAccount,
  { profile, keys }: ConnectedDevice,
  terms: ConnectionTerms,
): Uint8Array {
  const members = {
    ...issued(account, profile),
    Roles: terms.roles,
    Signature: writeKeyData(keys.signature, terms.notOnOrAfter),
    Encryption: writeKeyData(keys.encryption, terms.notOnOrAfter),
    Authentication: writeKeyData(keys.authentication, terms.notOnOrAfter),
  }
  return signObject("ConnectionDevice", members, [signerWith(account.administrator)], terms)
}

/** Makes what {@link verifyConnectionService} checks. */
export function makeConnectionService(
  account: AdministeredAccount,
  { profile, keys }: ConnectedDevice,
  terms: ConnectionTerms,
): Uint8Array {
  const members = {
    ...issued(account, profile),
    Authentication: writeKeyData(keys.authentication, terms.notOnOrAfter),
  }
  return signObject("ConnectionService", members, [signerWith(account.administrator)], terms)
}

function issued(account: AdministeredAccount, device: Profile) {
  return { Subject: device.udf, Authority: account.profile.udf, ProfileUdf: account.profile.udf }
}

/** The administrator's key is the account's alone; names that say otherwise are refused all the same. */
function checkIssued({ members, end }: SignedObject, account: ProfileUser): void {
  checkSigned(end, account.keys.administrator)
  for (const name of ["Authority", "ProfileUdf"]) {
    const stated = memberOf(members, name, textOf)
    if (stated !== null && !isNameOf(account, stated)) throw untrusted("connection is to another account")
  }
}

function checkKey(key: NamedKey, account: ProfileUser, now: Date): void {
  if (key.generation !== account.generation) throw invalid("connection is of another generation than the account")
  checkTime(key, now)
}

function rolesOf({ members }: SignedObject): string[] {
  const items = memberOf(members, "Roles", itemsOf) ?? []
  if (items.length > MAX_ROLES) throw invalid(`connection has over ${MAX_ROLES} roles`)
  return items.map((item) => textOf(item, "Roles"))
}

/** The reference code knows ten. */
const MAX_ROLES = 32
