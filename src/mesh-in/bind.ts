import { octetsOf } from "../crypto/jsonb/value.ts"
import { writeKeyData } from "../mesh/key-data.ts"
import { requiredMember } from "../mesh/object.ts"
import { isNameOf, verifyProfileUser } from "../mesh/profile.ts"
import { callingAccount } from "../mesh/protocol/check.ts"
import { signObject } from "../mesh/signed.ts"
import { type AccountParts, accountIn, isReplayed, ofAccount } from "./account-call.ts"
import type { ServedAccount } from "./ports.ts"
import { done, refusal } from "./reply.ts"
import type { Handle, Handlers, OwnService } from "./service.ts"

/** What binding an account takes. */
export interface BindParts extends AccountParts {
  readonly own: OwnService
  /** Where the service is asked. */
  readonly address: string
  /** Ends the account's part in the Mesh; its mail stays. */
  readonly remove: (address: string) => unknown
}

export function bindHandlers(parts: BindParts): Handlers {
  return { BindAccount: bind(parts), UnbindAccount: unbind(parts) }
}

/**
 * Says to an account which host serves it. Accounts are made with their addresses by who runs this gateway (`account add`), so that binding confirms what is there: nobody takes an
 * address by asking first.
 */
function bind(parts: BindParts): Handle {
  return async (request, now) => {
    const asked = verifyProfileUser(requiredMember(request.members, "EnvelopedProfileAccount", octetsOf), null)
    const caller = callingAccount(request, asked, now)
    if (caller.kind === "refused") return refusal(caller.outcome)
    if (caller.who.kind !== "administrator") return refusal("NotAuthorized")
    if (await isReplayed(parts, request, now)) return refusal("Replayed")
    const account = accountIn(parts.accounts, request)
    if (account === null || !isNameOf(account.profile, asked.udf))
      return refusal("Refused", "accounts are made by whoever runs this service")
    return done({ EnvelopedAccountHostAssignment: assignment(parts, account, now) })
  }
}

/** Only the administrator ends it, whatever rights a device has. */
function unbind(parts: BindParts): Handle {
  return ofAccount(parts, ({ account, caller }) => {
    if (caller.kind !== "administrator") return refusal("NotAuthorized")
    parts.remove(account.address)
    return done()
  })
}

/** `AccountAddess` is what the reference code writes. */
function assignment({ own, address }: BindParts, account: ServedAccount, now: Date): Uint8Array {
  const members = {
    AccountAddess: account.address,
    HostAddresses: [address],
    AccessEncrypt: writeKeyData(own.profile.keys.encryption.key),
    EnvelopedProfileService: own.profile.envelope,
  }
  return signObject("AccountHostAssignment", members, [own.signer], { created: now })
}
