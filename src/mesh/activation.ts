/** PURE */
import { openingKey } from "../crypto/dare/agreement.ts"
import { isWitnessed, openEnvelope } from "../crypto/dare/open.ts"
import { type EnvelopeSecrets, sealWhole } from "../crypto/dare/seal.ts"
import { textOf } from "../crypto/jsonb/value.ts"
import { writeJson } from "../crypto/jsonb/write.ts"
import { deriveKey } from "../crypto/mesh-keys/derive.ts"
import type { CfrgCurve, Generation, PrivateKey, PublicKey } from "../crypto/mesh-keys/key.ts"
import { isMontgomery } from "../crypto/mesh-keys/key.ts"
import { type KeyOperation, profileKeyName } from "../crypto/mesh-keys/key-name.ts"
import { sumOfPrivateKeys, sumOfPublicKeys } from "../crypto/mesh-keys/sum.ts"
import { contributionOf } from "../crypto/mesh-keys/use.ts"
import { parseSeed, printSeed, SEED_SPECIFIER, type Seed } from "../crypto/udf/seed.ts"
import { GatewayError } from "../errors.ts"
import type { AdministeredAccount } from "./connection.ts"
import { signerWith } from "./key-data.ts"
import { readObject, requiredMember } from "./object.ts"
import type { Profile, ProfileUser } from "./profile.ts"
import type { HolderRole } from "./profile-shape.ts"
import { checkSigned, envelopeLabels, readSmallEnvelope, untrusted } from "./signed.ts"

/*
 * Co-generation (draft-hallambaker-mesh-schema, "Activation"): a device's key in an account is the sum of its base key, which its maker may have seen, and of one
 * that the account's administrator derives from a seed and encrypts to the device. Neither of them alone has it; the administrator knows the public key.
 */

/** The device's private keys in the account. @throws GatewayError SCALAR_INVALID, MESH_KEY_UNSUPPORTED */
export function activatedKeys(
  base: Readonly<Record<HolderRole, PrivateKey>>,
  activation: Seed,
  generation: Generation,
): Record<HolderRole, PrivateKey> {
  return eachRole((role) => sumOfPrivateKeys(base[role], activationKey(activation, base[role].curve, role, generation)))
}

/** Their public keys, as the administrator makes them of the device's profile. @throws GatewayError POINT_INVALID, MESH_KEY_UNSUPPORTED */
export function activatedPublicKeys(device: Profile, activation: Seed): Record<HolderRole, PublicKey> {
  return eachRole((role) => {
    const { key, generation } = device.keys[role]
    return sumOfPublicKeys(key, contributionOf(activationKey(activation, key.curve, role, generation)))
  })
}

/** Encrypts the seed of an activation to the device's base key, signed by the administrator. `secrets` are used for nothing else. */
export function makeActivation(
  { profile, administrator }: AdministeredAccount,
  device: Profile,
  activation: Seed,
  { secrets, created }: { readonly secrets: EnvelopeSecrets; readonly created: Date },
): Uint8Array {
  const { key, udf: kid } = device.keys.encryption
  const { curve, octets } = key
  if (!isMontgomery(curve)) throw new GatewayError("MESH_KEY_UNSUPPORTED", `mesh: ${curve} is not encrypted to`)
  const object = { ActivationAccount: { AccountUdf: profile.udf, ActivationKey: printSeed(activation) } }
  return sealWhole(
    writeJson(object),
    {
      encryption: { recipients: [{ kind: "agreement", kid, key: { curve, octets } }], secrets },
      signers: [signerWith(administrator)],
      ...envelopeLabels("ActivationAccount", { created }),
    },
    "json",
  )
}

/**
 * Opens an activation with the device's base key (`kid`: its fingerprint in the device's profile). AccountUdf is not looked at: in published examples it is the
 * device's; whose activation it is tells the signature, and the witness that the signer knew what he signed.
 * @throws GatewayError MESH_UNTRUSTED, DECRYPTION_FAILED, MESH_OBJECT_INVALID, UDF_MALFORMED; as `readEnvelope`
 */
export function openActivation(
  envelope: Uint8Array,
  account: ProfileUser,
  device: { readonly kid: string; readonly encryption: PrivateKey },
): Seed {
  const read = readSmallEnvelope(envelope)
  checkSigned(read, account.keys.administrator)
  if (!isWitnessed(read)) throw untrusted("activation has no witness")
  const { content } = openEnvelope(read, [openingKey(device.kid, device.encryption)])
  const object = readObject(content, ["ActivationAccount", "ActivationDevice"])
  return parseSeed(requiredMember(object.members, "ActivationKey", textOf))
}

/** The seed of an activation, made of 32 random octets. */
export function activationSeed(octets: Uint8Array): Seed {
  return { specifier: SEED_SPECIFIER.activationAccount, octets }
}

function activationKey(activation: Seed, curve: CfrgCurve, role: HolderRole, generation: Generation): PrivateKey {
  return deriveKey(activation, curve, profileKeyName("Activation", "Device", OPERATIONS[role]), generation)
}

function eachRole<T>(make: (role: HolderRole) => T): Record<HolderRole, T> {
  return { signature: make("signature"), encryption: make("encryption"), authentication: make("authentication") }
}

const OPERATIONS = {
  signature: "Sign",
  encryption: "Encrypt",
  authentication: "Authenticate",
} as const satisfies Record<HolderRole, KeyOperation>
