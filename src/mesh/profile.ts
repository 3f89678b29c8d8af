/** PURE */
import { signaturesOf } from "../crypto/dare/envelope.ts"
import { itemsOf, memberOf, octetsOf, textOf } from "../crypto/jsonb/value.ts"
import { keyFingerprint } from "../crypto/mesh-keys/fingerprint.ts"
import type { Generation } from "../crypto/mesh-keys/key.ts"
import { equalConstantTime } from "../crypto/primitives/hash.ts"
import { listUdf, presents } from "../crypto/udf/digest.ts"
import { parseUdf, presentUdf } from "../crypto/udf/udf.ts"
import { keyDataOf, type NamedKey } from "./key-data.ts"
import { invalid, requiredMember } from "./object.ts"
import {
  type AccountRole,
  type HolderRole,
  PROFILE_DEVICE,
  PROFILE_HOST,
  PROFILE_SERVICE,
  PROFILE_USER,
  type ProfileShape,
} from "./profile-shape.ts"
import { checkSigned, isSignatureBy, readSigned, type SignedObject, untrusted } from "./signed.ts"

/** A profile whose signature and name have been checked: whoever holds the keys that its name stands for has written it. */
export interface Profile<Role extends string = HolderRole> {
  readonly udf: string
  /** The name in binary, whole: what others present may be shorter, or longer. */
  readonly binaryUdf: Uint8Array
  readonly generation: Generation
  readonly keys: Readonly<Record<Role, NamedKey>>
  /** As received. */
  readonly envelope: Uint8Array
}

/** A person's account. */
export interface ProfileUser extends Profile<AccountRole> {
  readonly address: string
  readonly serviceUdf: string | null
}

/**
 * Checks the profile of an account, of either generation. `expectedUdf`: what it is known by; null where the name is what is asked for.
 * @throws GatewayError MESH_UNTRUSTED for a wrong signature, and for another's profile; MESH_OBJECT_INVALID; as `readSigned`
 */
export function verifyProfileUser(envelope: Uint8Array, expectedUdf: string | null): ProfileUser {
  const object = readSigned(envelope, ["ProfileUser"])
  return {
    ...verified(object, PROFILE_USER, expectedUdf),
    address: requiredMember(object.members, "AccountAddress", textOf),
    serviceUdf: memberOf(object.members, "ServiceUdf", textOf),
  }
}

/** The same for a service. @throws GatewayError as {@link verifyProfileUser} */
export function verifyProfileService(envelope: Uint8Array, expectedUdf: string | null): Profile {
  return verified(readSigned(envelope, ["ProfileService"]), PROFILE_SERVICE, expectedUdf)
}

/** The same for a device, or for a service's host. @throws GatewayError as {@link verifyProfileUser} */
export function verifyProfileDevice(envelope: Uint8Array, expectedUdf: string | null): Profile {
  const object = readSigned(envelope, ["ProfileDevice", "ProfileHost"])
  return verified(object, object.type === "ProfileHost" ? PROFILE_HOST : PROFILE_DEVICE, expectedUdf)
}

/** True when `presented` is the profile's name, to 128 bits or more. False for what is no UDF. */
export function isNameOf({ binaryUdf }: Pick<Profile, "binaryUdf">, presented: string): boolean {
  return presents(parseUdf(presented), binaryUdf, MIN_NAME_BITS)
}

function verified<Role extends string>(
  object: SignedObject,
  shape: ProfileShape<Role>,
  expectedUdf: string | null,
): Profile<Role> {
  const { binaryUdf, generation } = object.members.members.has("RootUdfs") ? rootOf2024(object) : rootOf2022(object)
  if (expectedUdf !== null && !isNameOf({ binaryUdf }, expectedUdf)) throw untrusted("profile is another's")
  const keys = keysOf(object, shape)
  const foreign = Object.values<NamedKey>(keys).some((key) => key.generation !== generation)
  if (foreign) throw invalid("profile has keys of both generations")
  return { udf: presentUdf(binaryUdf), binaryUdf, generation, keys, envelope: object.envelope }
}

/** RootUdfs lists who may sign; the key that did stands in the signature. The name is the list's, so that no root can be added. */
function rootOf2024(object: SignedObject): Pick<Profile, "binaryUdf" | "generation"> {
  if (object.members.members.has("ProfileSignature")) throw invalid("profile is of both generations")
  const roots = requiredMember(object.members, "RootUdfs", itemsOf).map((item) => octetsOf(item, "RootUdfs"))
  if (roots.length === 0 || roots.length > MAX_ROOTS || roots.some(({ length }) => length !== ROOT_OCTETS))
    throw invalid("RootUdfs is no list of fingerprints")
  const isSigned = signaturesOf(object.end).some((signature) => {
    const { key } = signature
    if (key === null || !isListed(roots, keyFingerprint(key, 2024))) return false
    return isSignatureBy(signature, key, 2024, object.end)
  })
  if (!isSigned) throw untrusted("profile is not signed by one of its roots")
  return { binaryUdf: listUdf(roots), generation: 2024 }
}

function rootOf2022(object: SignedObject): Pick<Profile, "binaryUdf" | "generation"> {
  const root = requiredMember(object.members, "ProfileSignature", keyDataOf)
  if (root.generation !== 2022) throw invalid("profile has the signature key of another generation")
  checkSigned(object.end, root)
  return { binaryUdf: keyFingerprint(root.key, 2022), generation: 2022 }
}

function keysOf<Role extends string>(object: SignedObject, { keys }: ProfileShape<Role>): Record<Role, NamedKey> {
  const roles = Object.keys(keys) as Role[]
  const read = (role: Role) => [role, requiredMember(object.members, keys[role].member, keyDataOf)] as const
  return Object.fromEntries(roles.map(read)) as Record<Role, NamedKey>
}

function isListed(roots: readonly Uint8Array[], fingerprint: Uint8Array): boolean {
  return roots.some((root) => equalConstantTime(root, fingerprint))
}

/** As `mesh-keys/fingerprint.ts` asks of keys. */
const MIN_NAME_BITS = 128
/** Published profiles have one; each costs a digest. */
const MAX_ROOTS = 8
/** Type octet and SHA-512. */
const ROOT_OCTETS = 65
