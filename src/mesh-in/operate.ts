import type { OpeningKey } from "../crypto/dare/agreement.ts"
import { keyOf } from "../crypto/dare/fields.ts"
import { itemsOf, type JsonValue, memberOf, objectOf, octetsOf, textOf } from "../crypto/jsonb/value.ts"
import type { Writable } from "../crypto/jsonb/write.ts"
import type { PublicKey } from "../crypto/mesh-keys/key.ts"
import { agreementContribution } from "../crypto/threshold/agreement.ts"
import { type DecryptCapability, readCapability } from "../mesh/capability.ts"
import { openKeyShare } from "../mesh/key-share.ts"
import { invalid, requiredMember } from "../mesh/object.ts"
import { isNameOf, type ProfileUser, verifyProfileUser } from "../mesh/profile.ts"
import { type AccountCaller, callingAccount } from "../mesh/protocol/check.ts"
import { ACCESS, type AccountParts, accountIn, denialOf, isReplayed } from "./account-call.ts"
import type { ServedAccount } from "./ports.ts"
import { done, refusal } from "./reply.ts"
import type { Handle } from "./service.ts"

/** What using shares of keys takes. */
export interface OperateParts extends AccountParts {
  /** The service's own, which shares are encrypted to. */
  readonly keys: readonly OpeningKey[]
}

/** Who wants a share used. */
interface Grantee {
  readonly profile: ProfileUser
  readonly caller: AccountCaller
}

/**
 * Uses the service's share of a key for whom the key's account lets use it: agreements of X25519 and X448.
 *
 *     OperateRequest { Account, EnvelopedProfileAccount, EnvelopedConnectionDevice,
 *       Operations: [{ CryptographicOperationKeyAgreement: { KeyId, PublicKey } }] }
 *
 * The reference looks at nothing but whether the capability is active, so that it serves anybody who knows a KeyId. Here the grantee's account and device are
 * seen by their signature. Whatever is missing is one refusal, so that nobody learns which keys there are.
 */
export function operateWith(parts: OperateParts): Handle {
  return async (request, now) => {
    const account = accountIn(parts.accounts, request)
    if (account === null) return refusal("AccountUnknown")
    const profile = verifyProfileUser(requiredMember(request.members, "EnvelopedProfileAccount", octetsOf), null)
    const caller = callingAccount(request, profile, now)
    if (caller.kind === "refused") return refusal(caller.outcome)
    if (await isReplayed(parts, request, now)) return refusal("Replayed")
    const operations = requiredMember(request.members, "Operations", itemsOf)
    if (operations.length === 0 || operations.length > MAX_OPERATIONS)
      throw invalid(`Operations are none, or over ${MAX_OPERATIONS}`)
    const asked = operations.map(agreementIn)
    const granted = asked.map(({ keyId }) => grantOf(parts, account, keyId, { profile, caller: caller.who }))
    const grants = granted.filter((grant) => grant !== null)
    if (grants.length < granted.length) return refusal("NotAuthorized")
    const results = asked.map(({ publicKey }, index) => resultOf(parts, account, grants[index], publicKey))
    return done({ Results: results })
  }
}

/** The capability, if this grantee may use it with this device. */
function grantOf(
  parts: OperateParts,
  account: ServedAccount,
  keyId: string,
  { profile, caller }: Grantee,
): DecryptCapability | null {
  const entry = parts.stores.newest(account.address, ACCESS, keyId)
  const capability = entry === null ? null : readCapability(entry, account.profile)
  if (capability?.kind !== "decrypt" || !capability.isActive) return null
  if (!isNameOf(profile, capability.granteeUdf)) return null
  return isGrantedDevice(parts, capability, { profile, caller }) ? capability : null
}

/**
 * A device that is named, or any of the grantee's that may operate. Of accounts that are not here nobody knows which devices were revoked: there the device
 * has to be named.
 */
function isGrantedDevice(
  { accounts, stores }: OperateParts,
  { authenticationId }: DecryptCapability,
  { profile, caller }: Grantee,
): boolean {
  if (caller.kind === "administrator") return authenticationId === null
  const isNamed = caller.connection.keys.authentication.udf === authenticationId
  if (authenticationId !== null && !isNamed) return false
  const own = accounts.of(profile.address)
  const isHere = own !== null && isNameOf(own.profile, profile.udf)
  return isHere ? denialOf(stores, own, caller, "Operate") === null : isNamed
}

function agreementIn(item: JsonValue): { readonly keyId: string; readonly publicKey: PublicKey } {
  const operation = memberOf(objectOf(item, "Operations"), "CryptographicOperationKeyAgreement", objectOf)
  if (operation === null) throw invalid("Operations have one that is not served")
  const publicKey = requiredMember(operation, "PublicKey", keyOf)
  if (publicKey === null) throw invalid("PublicKey is of no kind that is agreed with")
  return { keyId: requiredMember(operation, "KeyId", textOf), publicKey }
}

function resultOf(
  { keys }: OperateParts,
  { profile }: ServedAccount,
  grant: DecryptCapability | undefined,
  publicKey: PublicKey,
): Writable {
  if (grant === undefined) throw invalid("Operations have no grant")
  const share = openKeyShare(grant.share, profile, grant.id, keys)
  if (share.curve !== publicKey.curve) throw invalid("PublicKey is on another curve than the key")
  const result = agreementContribution(share)(publicKey.octets)
  return {
    CryptographicResultKeyAgreement: { KeyAgreement: { KeyAgreementECDH: { Curve: share.curve, Result: result } } },
  }
}

/** Each costs two multiplications, a millisecond together. */
const MAX_OPERATIONS = 16
