/** PURE */
import type { Signer } from "../crypto/dare/signature.ts"
import { itemsOf, type JsonObject, memberOf, objectOf, octetsOf, textOf } from "../crypto/jsonb/value.ts"
import type { Writable } from "../crypto/jsonb/write.ts"
import { MAX_ID_CHARACTERS } from "./message-id.ts"
import { flagOf, invalid, requiredMember, timeOf, writeTime } from "./object.ts"
import type { ProfileUser } from "./profile.ts"
import { checkSigned, readSigned, signObject } from "./signed.ts"

/*
 * What an account's administrator lets somebody do (draft-hallambaker-mesh-schema, "Capabilities"): entries of the Access catalog,
 *
 *     CatalogedAccess { Capability: { AccessCapability | CapabilityDecryptServiced: { Id, Active, Issued, … } } }
 *
 * The newest entry of an Id counts. In the drafts the service writes the catalog for whoever may write; here each entry is signed by the account's
 * administrator, so that a device cannot give rights to another, nor to itself, and the service cannot, either.
 */

interface CapabilityBase {
  readonly id: string
  /** False: it is taken back. */
  readonly isActive: boolean
  /** Later than that of the entry before it, which cannot be put in its place again. */
  readonly issued: Date
}

/** A device may ask the account's service. Its Id is the UDF of the device's authentication key in the account. */
export interface AccessCapability extends CapabilityBase {
  readonly kind: "access"
  /** `mmm_o_Status`: the operations. */
  readonly rights: readonly string[]
}

/** Somebody may have the service use a share of a key: its Id names the key. */
export interface DecryptCapability extends CapabilityBase {
  readonly kind: "decrypt"
  /** The account that may. */
  readonly granteeUdf: string
  /** The one device of it that may, by the UDF of its authentication key; null: any that is connected. */
  readonly authenticationId: string | null
  /** The share, encrypted to the service. */
  readonly share: Uint8Array
}

export type Capability = AccessCapability | DecryptCapability

/**
 * Reads an entry, and checks that the account's administrator has signed it.
 * @throws GatewayError MESH_UNTRUSTED, MESH_OBJECT_INVALID; as `readSigned`
 */
export function readCapability(envelope: Uint8Array, account: Pick<ProfileUser, "keys">): Capability {
  const { members, end } = readSigned(envelope, ["CatalogedAccess"])
  checkSigned(end, account.keys.administrator)
  const capability = requiredMember(members, "Capability", objectOf)
  const access = memberOf(capability, "AccessCapability", objectOf)
  const decrypt = memberOf(capability, "CapabilityDecryptServiced", objectOf)
  if (access !== null) return { kind: "access", ...baseOf(access), rights: rightsOf(access) }
  if (decrypt === null) throw invalid("Capability is of a kind that is not served")
  return {
    kind: "decrypt",
    ...baseOf(decrypt),
    granteeUdf: requiredMember(decrypt, "GranteeUdf", textOf),
    authenticationId: memberOf(decrypt, "AuthenticationId", textOf),
    share: requiredMember(decrypt, "EnvelopedKeyShare", octetsOf),
  }
}

/** Writes what {@link readCapability} reads. */
export function makeCapability(capability: Capability, administrator: Signer): Uint8Array {
  const { id, issued } = capability
  const members = { Capability: memberOfKind(capability) }
  return signObject("CatalogedAccess", members, [administrator], { uniqueId: id, created: issued })
}

function memberOfKind(capability: Capability): Writable {
  const { id, isActive, issued } = capability
  const base = { Id: id, Active: isActive, Issued: writeTime(issued) }
  if (capability.kind === "access") return { AccessCapability: { ...base, Rights: capability.rights } }
  const { granteeUdf, authenticationId, share } = capability
  const decrypt = { GranteeUdf: granteeUdf, AuthenticationId: authenticationId ?? undefined, EnvelopedKeyShare: share }
  return { CapabilityDecryptServiced: { ...base, ...decrypt } }
}

function baseOf(object: JsonObject): CapabilityBase {
  const id = requiredMember(object, "Id", textOf)
  if (id.length === 0 || id.length > MAX_ID_CHARACTERS) throw invalid("Id is no name of a key")
  return {
    id,
    isActive: requiredMember(object, "Active", flagOf),
    issued: requiredMember(object, "Issued", timeOf),
  }
}

function rightsOf(object: JsonObject): readonly string[] {
  const items = memberOf(object, "Rights", itemsOf) ?? []
  if (items.length > MAX_RIGHTS) throw invalid(`Rights are over ${MAX_RIGHTS}`)
  return items.map((item) => textOf(item, "Rights"))
}

/** There are thirteen operations. */
const MAX_RIGHTS = 64
