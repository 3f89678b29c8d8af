import { textOf } from "../crypto/jsonb/value.ts"
import { readCapability } from "../mesh/capability.ts"
import { requiredMember } from "../mesh/object.ts"
import type { Reply } from "../mesh/protocol/answer.ts"
import { type AccountCaller, callingAccount, rememberUntil, replayKey } from "../mesh/protocol/check.ts"
import type { Operation, Outcome } from "../mesh/protocol/operation.ts"
import type { MeshRequest } from "../mesh/protocol/request.ts"
import type { SeenRequests, ServedAccount, ServedAccounts, Stores } from "./ports.ts"
import { refusal } from "./reply.ts"
import type { Handle } from "./service.ts"

/** What operations of an account's own devices take. */
export interface AccountParts {
  readonly accounts: ServedAccounts
  readonly stores: Stores
  readonly seen: SeenRequests
}

/** A request of which it is known that it may be done. */
export interface AccountCall {
  readonly request: MeshRequest
  readonly account: ServedAccount
  readonly caller: AccountCaller
  readonly now: Date
}

/** The account that a request is about (`Account`, its address). @returns null: nobody here. @throws GatewayError MESH_OBJECT_INVALID, JSONB_TYPE */
export function accountIn(accounts: ServedAccounts, { members }: MeshRequest): ServedAccount | null {
  return accounts.of(requiredMember(members, "Account", textOf))
}

/** Whether the request came before; from here on it did. */
export async function isReplayed(
  { seen }: Pick<AccountParts, "seen">,
  request: MeshRequest,
  now: Date,
): Promise<boolean> {
  return !(await seen.remember(replayKey(request), rememberUntil(request), now))
}

/** Whoever holds the account's administrator key, or a device that may do this operation; and each request once. */
export function ofAccount(parts: AccountParts, act: (call: AccountCall) => Reply): Handle {
  return async (request, now) => {
    const account = accountIn(parts.accounts, request)
    if (account === null) return refusal("AccountUnknown")
    const caller = callingAccount(request, account.profile, now)
    if (caller.kind === "refused") return refusal(caller.outcome)
    if (await isReplayed(parts, request, now)) return refusal("Replayed")
    // Only now: what is done at once follows, and a right may have been taken back meanwhile.
    const denied = denialOf(parts.stores, account, caller.who, request.operation)
    if (denied !== null) return refusal(denied)
    return act({ request, account, caller: caller.who, now })
  }
}

/**
 * Default deny: a device may do what its newest entry in the Access catalog says. That a connection is signed shows that it was connected once; only the
 * entry shows that it still is. @returns null: it may
 */
export function denialOf(
  stores: Stores,
  account: ServedAccount,
  caller: AccountCaller,
  operation: Operation,
): Outcome | null {
  if (caller.kind === "administrator") return null
  const entry = stores.newest(account.address, ACCESS, caller.connection.keys.authentication.udf)
  const capability = entry === null ? null : readCapability(entry, account.profile)
  if (capability?.kind !== "access") return "DeviceUnknown"
  if (!capability.isActive) return "DeviceRevoked"
  return capability.rights.includes(rightTo(operation)) ? null : "NotAuthorized"
}

/** The word for an operation in a capability's Rights. */
export function rightTo(operation: Operation): string {
  return `mmm_o_${operation}`
}

export const ACCESS = "Access"
