/** PURE */
import type { CfrgCurve } from "../crypto/mesh-keys/key.ts"
import type { KeyActor, KeyOperation, KeyPart } from "../crypto/mesh-keys/key-name.ts"
import { SEED_SPECIFIER } from "../crypto/udf/seed.ts"

export type AccountRole = "encryption" | "authentication" | "signature" | "administrator" | "escrow"
export type HolderRole = "encryption" | "authentication" | "signature"

/** `curve`: that of the keys that we make, where it is not the usual one (mesh-keys/key-name.ts). */
interface KeyPlace {
  readonly member: string
  readonly operation: KeyOperation
  readonly curve?: CfrgCurve
}

/** Where a profile's keys stand in it, and what they are derived with (draft-hallambaker-mesh-schema, generation 2024's names). */
export interface ProfileShape<Role extends string> {
  readonly specifier: number
  readonly part: KeyPart
  readonly actor: KeyActor
  readonly keys: Readonly<Record<Role, KeyPlace>>
}

export const PROFILE_USER: ProfileShape<AccountRole> = {
  specifier: SEED_SPECIFIER.profileAccount,
  part: "Complete",
  actor: "Account",
  keys: {
    signature: { member: "CommonSignature", operation: "Sign" },
    escrow: { member: "EscrowEncryption", operation: "Escrow" },
    administrator: { member: "AdministratorSignature", operation: "AdminSign" },
    encryption: { member: "CommonEncryption", operation: "Encrypt" },
    authentication: { member: "CommonAuthentication", operation: "Authenticate" },
  },
}

/**
 * An account of ours, whose mail is encrypted to its S/MIME or OpenPGP key as well: its own key on X448 would make no text safer, and costs four times as much
 * (docs/MESH.md, "Objects").
 */
export const PROFILE_MAIL_USER: ProfileShape<AccountRole> = {
  ...PROFILE_USER,
  keys: { ...PROFILE_USER.keys, encryption: { ...PROFILE_USER.keys.encryption, curve: "X25519" } },
}

/** It signs each message that it sends and each answer: with Ed448 that was most of what a mail cost (docs/MESH.md, "Objects"). */
export const PROFILE_SERVICE: ProfileShape<HolderRole> = {
  specifier: SEED_SPECIFIER.profileService,
  part: "Complete",
  actor: "Service",
  keys: {
    authentication: { member: "ServiceAuthentication", operation: "Authenticate" },
    encryption: { member: "ServiceEncryption", operation: "Encrypt" },
    signature: { member: "ServiceSignature", operation: "Sign", curve: "Ed25519" },
  },
}

/** Its keys are base keys, each one half of a key that the device has once it is connected. */
export const PROFILE_DEVICE: ProfileShape<HolderRole> = {
  specifier: SEED_SPECIFIER.profileDevice,
  part: "Base",
  actor: "Device",
  keys: {
    encryption: { member: "Encryption", operation: "Encrypt" },
    signature: { member: "Signature", operation: "Sign" },
    authentication: { member: "Authentication", operation: "Authenticate" },
  },
}

/** A gateway as a device of the accounts whose mail it sends: it signs each mail, as its service does. */
export const PROFILE_GATEWAY: ProfileShape<HolderRole> = {
  ...PROFILE_DEVICE,
  keys: { ...PROFILE_DEVICE.keys, signature: { ...PROFILE_DEVICE.keys.signature, curve: "Ed25519" } },
}

/** A machine of a service; no published value shows its key names. */
export const PROFILE_HOST: ProfileShape<HolderRole> = { ...PROFILE_DEVICE, actor: "Host" }
