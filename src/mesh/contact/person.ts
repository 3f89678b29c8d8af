/** PURE */
import { itemsOf, type JsonObject, type JsonValue, memberOf, objectOf, textOf } from "../../crypto/jsonb/value.ts"
import { verbatim } from "../../crypto/jsonb/write.ts"
import { envelopedIn } from "../enveloped.ts"
import { invalid, requiredMember } from "../object.ts"
import { isNameOf, type ProfileUser, verifyProfileUser } from "../profile.ts"
import { readSigned, type SignedObject, signObject, untrusted } from "../signed.ts"
import type { SpeakingFor } from "../speaker.ts"

/**
 * What somebody says of himself to whoever should know him (draft-hallambaker-mesh-schema, "ContactPerson"). Names in it are what its maker likes to be called,
 * and nobody has checked them: they are neither read nor shown. Who it is says the profile, which its own keys have signed.
 */
export interface ContactPerson {
  readonly profile: ProfileUser
  /** Nobody has looked at its signature: {@link file://../speaker.ts} does. */
  readonly object: SignedObject
}

/**
 * Reads a contact, of either generation, with one profile in it.
 * @throws GatewayError MESH_OBJECT_INVALID; MESH_UNTRUSTED when profile and anchor are two persons'; as `verifyProfileUser`
 */
export function readContactPerson(envelope: Uint8Array): ContactPerson {
  const object = readSigned(envelope, ["ContactPerson"])
  const addresses = listOf(object.members, "NetworkAddresses")
  const profiles = addresses.flatMap((address) => profileIn(object.octets, address) ?? [])
  const [only, ...others] = profiles
  if (only === undefined || others.length > 0) throw invalid("contact has no profile, or several")
  const profile = verifyProfileUser(only, null)
  if (!listOf(object.members, "Anchors").some((anchor) => isNameOf(profile, requiredMember(anchor, "Udf", textOf))))
    throw untrusted("contact's anchor is not its profile")
  return { profile, object }
}

/** Makes the contact of an account, as generation 2024 writes it. */
export function makeContactPerson(profile: ProfileUser, { signer }: SpeakingFor, created: Date): Uint8Array {
  const members = {
    Anchors: [{ Udf: profile.udf, Validation: "Self" }],
    NetworkAddresses: [
      { NetworkProfile: { EnvelopedProfileAccount: verbatim(profile.envelope), Address: profile.address } },
    ],
  }
  return signObject("ContactPerson", members, [signer], { created }, "json-b")
}

/** Generation 2022 has the members themselves, 2024 has them under the name of their type. */
function profileIn(octets: Uint8Array, address: JsonObject): Uint8Array | null {
  const network = memberOf(address, "NetworkProfile", objectOf) ?? address
  return memberOf(network, "EnvelopedProfileAccount", (value, what) => envelopedIn(octets, value, what))
}

function listOf(members: JsonObject, name: string): JsonObject[] {
  const items: readonly JsonValue[] = memberOf(members, name, itemsOf) ?? []
  if (items.length > MAX_LISTED) throw invalid(`contact has over ${MAX_LISTED} ${name}`)
  return items.map((item) => objectOf(item, name))
}

/** Each may hold a profile, whose signature is checked. */
const MAX_LISTED = 16
