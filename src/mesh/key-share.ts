/** PURE */
import type { OpeningKey } from "../crypto/dare/agreement.ts"
import { isWitnessed, openEnvelope } from "../crypto/dare/open.ts"
import { type EnvelopeSecrets, sealWhole } from "../crypto/dare/seal.ts"
import { octetsOf, textOf } from "../crypto/jsonb/value.ts"
import { writeJson } from "../crypto/jsonb/write.ts"
import { isMontgomery, type PrivateKey } from "../crypto/mesh-keys/key.ts"
import { GatewayError } from "../errors.ts"
import type { AdministeredAccount } from "./connection.ts"
import { signerWith } from "./key-data.ts"
import { invalid, readObject, requiredMember } from "./object.ts"
import type { Profile, ProfileUser } from "./profile.ts"
import { checkSigned, envelopeLabels, readSmallEnvelope, untrusted } from "./signed.ts"

/*
 * One share of a key, kept by a service for those whom the account's administrator lets use it: `KeyShare { Id, crv, Share }`, encrypted to the service. The
 * administrator signs the envelope, and its witness says that he knew what is in it: nobody has a service use what he found in another's catalog.
 */

/** Encrypts a share to a service. `id`: of the capability that it stands in. `secrets` are used for nothing else. */
export function makeKeyShare(
  { administrator }: Pick<AdministeredAccount, "administrator">,
  id: string,
  share: PrivateKey,
  service: Profile,
  { secrets, created }: { readonly secrets: EnvelopeSecrets; readonly created: Date },
): Uint8Array {
  const { key, udf: kid } = service.keys.encryption
  const { curve, octets } = key
  if (!isMontgomery(curve)) throw new GatewayError("MESH_KEY_UNSUPPORTED", `mesh: ${curve} is not encrypted to`)
  return sealWhole(
    writeJson({ KeyShare: { Id: id, crv: share.curve, Share: share.octets } }),
    {
      encryption: { recipients: [{ kind: "agreement", kid, key: { curve, octets } }], secrets },
      signers: [signerWith(administrator)],
      ...envelopeLabels("KeyShare", { created }),
    },
    "json",
  )
}

/**
 * Opens what {@link makeKeyShare} has made, for the capability of this Id.
 * @throws GatewayError MESH_UNTRUSTED, MESH_OBJECT_INVALID, DECRYPTION_FAILED; as `readEnvelope`
 */
export function openKeyShare(
  envelope: Uint8Array,
  account: Pick<ProfileUser, "keys">,
  id: string,
  keys: readonly OpeningKey[],
): PrivateKey {
  const read = readSmallEnvelope(envelope)
  checkSigned(read, account.keys.administrator)
  if (!isWitnessed(read)) throw untrusted("share of a key has no witness")
  const { members } = readObject(openEnvelope(read, keys).content, ["KeyShare"])
  if (requiredMember(members, "Id", textOf) !== id) throw untrusted("share is of another key")
  const curve = CURVES.find((one) => one === requiredMember(members, "crv", textOf))
  const octets = requiredMember(members, "Share", octetsOf)
  if (curve === undefined || octets.length !== SHARE_OCTETS[curve]) throw invalid("share is of no key that agrees")
  return { kind: "scalar", curve, octets }
}

const CURVES = ["X25519", "X448"] as const
const SHARE_OCTETS = { X25519: 32, X448: 56 } as const
