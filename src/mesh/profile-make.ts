/** PURE */
import { deriveKey } from "../crypto/mesh-keys/derive.ts"
import { keyFingerprint } from "../crypto/mesh-keys/fingerprint.ts"
import type { PrivateKey } from "../crypto/mesh-keys/key.ts"
import { type KeyOperation, profileKeyCurve, profileKeyName } from "../crypto/mesh-keys/key-name.ts"
import { publicKeyOf } from "../crypto/mesh-keys/use.ts"
import { listUdf } from "../crypto/udf/digest.ts"
import type { Seed } from "../crypto/udf/seed.ts"
import { presentUdf } from "../crypto/udf/udf.ts"
import { GatewayError } from "../errors.ts"
import { signerWith, writeKeyData } from "./key-data.ts"
import {
  type Profile,
  type ProfileUser,
  verifyProfileDevice,
  verifyProfileService,
  verifyProfileUser,
} from "./profile.ts"
import {
  type AccountRole,
  type HolderRole,
  PROFILE_DEVICE,
  PROFILE_GATEWAY,
  PROFILE_HOST,
  PROFILE_MAIL_USER,
  PROFILE_SERVICE,
  PROFILE_USER,
  type ProfileShape,
} from "./profile-shape.ts"
import { signObject } from "./signed.ts"

/** All private keys of a profile. The root signs the profile and nothing else. */
export type ProfileKeys<Role extends string> = Readonly<Record<Role | "root", PrivateKey>>

/** What has an account's keys: an account as the Mesh's own tools make it, one that has mail encrypted to it. */
export type AccountKind = "user" | "mail"

/** The keys of an account. @throws GatewayError MESH_KEY_UNSUPPORTED for a seed of something else, as the next two */
export function userKeys(seed: Seed, kind: AccountKind = "user"): ProfileKeys<AccountRole> {
  return keysOfSeed(seed, ACCOUNTS[kind])
}

export function serviceKeys(seed: Seed): ProfileKeys<HolderRole> {
  return keysOfSeed(seed, PROFILE_SERVICE)
}

/** What has base keys: a device of a person's, a gateway that is a device of its accounts, a machine of a service. */
export type HolderKind = "device" | "gateway" | "host"

/** The base keys of a device. */
export function deviceKeys(seed: Seed, kind: HolderKind = "device"): ProfileKeys<HolderRole> {
  return keysOfSeed(seed, HOLDERS[kind])
}

/** Makes the profile of an account, generation 2024. The same seed, address, service and time make the same octets. */
export function makeProfileUser(
  seed: Seed,
  account: { readonly address: string; readonly serviceUdf: string | null; readonly created: Date },
  kind: AccountKind = "user",
): ProfileUser {
  const { address, serviceUdf, created } = account
  const members = { AccountAddress: address, ServiceUdf: serviceUdf ?? undefined }
  const envelope = signedProfile("ProfileUser", ACCOUNTS[kind], userKeys(seed, kind), members, created)
  return verifyProfileUser(envelope, null)
}

/** Makes the profile of a service. */
export function makeProfileService(seed: Seed, created: Date): Profile {
  return verifyProfileService(signedProfile("ProfileService", PROFILE_SERVICE, serviceKeys(seed), {}, created), null)
}

/** Makes the profile of a device, or of a service's host. */
export function makeProfileDevice(seed: Seed, created: Date, kind: HolderKind = "device"): Profile {
  const type = kind === "host" ? "ProfileHost" : "ProfileDevice"
  return verifyProfileDevice(signedProfile(type, HOLDERS[kind], deviceKeys(seed, kind), {}, created), null)
}

function keysOfSeed<Role extends string>(seed: Seed, shape: ProfileShape<Role>): ProfileKeys<Role> {
  if (seed.specifier !== shape.specifier)
    throw new GatewayError("MESH_KEY_UNSUPPORTED", "mesh: seed is for another kind of profile")
  const derive = (operation: KeyOperation, curve = profileKeyCurve(operation)) =>
    deriveKey(seed, curve, profileKeyName(shape.part, shape.actor, operation), 2024)
  const roles = Object.keys(shape.keys) as Role[]
  const keys = roles.map((role) => [role, derive(shape.keys[role].operation, shape.keys[role].curve)] as const)
  return Object.fromEntries([...keys, ["root", derive("Profile")] as const]) as ProfileKeys<Role>
}

function signedProfile<Role extends string>(
  type: string,
  shape: ProfileShape<Role>,
  keys: ProfileKeys<Role>,
  members: { readonly [name: string]: string | undefined },
  created: Date,
): Uint8Array {
  const root = publicKeyOf(keys.root)
  const roots = [keyFingerprint(root, 2024)]
  const udf = presentUdf(listUdf(roots))
  const roles = Object.keys(shape.keys) as Role[]
  const written = roles.map((role) => [shape.keys[role].member, writeKeyData(publicKeyOf(keys[role]))] as const)
  return signObject(
    type,
    { ...members, ...Object.fromEntries(written), RootUdfs: roots },
    [{ ...signerWith(keys.root), publicKey: root.octets }],
    { envelopeId: udf, uniqueId: udf, created },
  )
}

const ACCOUNTS: Readonly<Record<AccountKind, ProfileShape<AccountRole>>> = {
  user: PROFILE_USER,
  mail: PROFILE_MAIL_USER,
}

const HOLDERS: Readonly<Record<HolderKind, ProfileShape<HolderRole>>> = {
  device: PROFILE_DEVICE,
  gateway: PROFILE_GATEWAY,
  host: PROFILE_HOST,
}
