import { octetsOf, textOf } from "../crypto/jsonb/value.ts"
import { isServiceClaim } from "../crypto/udf/publication.ts"
import { MAX_MESSAGE_OCTETS } from "../mesh/mail/statement.ts"
import { requiredMember } from "../mesh/object.ts"
import { verifyProfileDevice, verifyProfileUser } from "../mesh/profile.ts"
import type { Reply } from "../mesh/protocol/answer.ts"
import { type AccountCaller, callingAccount, callingDevice } from "../mesh/protocol/check.ts"
import type { MeshRequest } from "../mesh/protocol/request.ts"
import { readClaim, readPublication } from "../mesh/publication.ts"
import { checkSigned } from "../mesh/signed.ts"
import { type AccountParts, accountIn, isReplayed } from "./account-call.ts"
import type { ServedAccount } from "./ports.ts"
import { done, refusal } from "./reply.ts"
import type { Handlers } from "./service.ts"

/** Something that an account has published under a key is claimed by whoever has the key; the device that waits for that polls. */
export function claimHandlers(parts: AccountParts): Handlers {
  return {
    Claim: (request, now) => {
      const account = accountIn(parts.accounts, request)
      return account === null ? refusal("AccountUnknown") : claim(parts, account, request, now)
    },
    PollClaim: (request, now) => {
      const account = accountIn(parts.accounts, request)
      return account === null ? refusal("AccountUnknown") : pollClaim(parts, account, request, now)
    },
  }
}

/**
 * `EnvelopedMessageClaim`, and who claims: `EnvelopedProfileAccount`, with `EnvelopedConnectionDevice` where a device of it asks. Whether the claimant has the key is seen by what he
 * shows of it; that there is no such publication, and that he has not, is one answer.
 */
async function claim(parts: AccountParts, account: ServedAccount, request: MeshRequest, now: Date): Promise<Reply> {
  const claimant = verifyProfileUser(requiredMember(request.members, "EnvelopedProfileAccount", octetsOf), null)
  const caller = callingAccount(request, claimant, now)
  if (caller.kind === "refused") return refusal(caller.outcome)
  const envelope = requiredMember(request.members, "EnvelopedMessageClaim", octetsOf)
  if (envelope.length > MAX_MESSAGE_OCTETS) return refusal("TooLarge")
  const { claim: claimed, object } = readClaim(envelope)
  checkSigned(object.end, keyOf(caller.who, claimant))
  if (claimed.sender !== claimant.address) return refusal("Refused", "the claim is in another's name")
  if (await isReplayed(parts, request, now)) return refusal("Replayed")
  const found = publicationOf(parts, account, claimed.publicationId, now)
  if (found === null || !isServiceClaim(found.authenticator, claimed.sender, claimed.serviceAuthenticate))
    return refusal("NotFound")
  if (claimed.expires !== null && claimed.expires <= now) return refusal("Refused", "the claim has expired")
  const entry = { name: claimed.publicationId, content: envelope }
  const result = parts.stores.append(account.address, [{ store: CLAIM, expected: null, entries: [entry] }], now)
  return result.kind === "appended" ? done({ EnvelopedCatalogedPublication: found.envelope }) : refusal("Later")
}

/** `PublicationId`, asked by a device with its `EnvelopedProfileDevice`. The newest claim counts. */
async function pollClaim(parts: AccountParts, account: ServedAccount, request: MeshRequest, now: Date): Promise<Reply> {
  const device = verifyProfileDevice(requiredMember(request.members, "EnvelopedProfileDevice", octetsOf), null)
  const caller = callingDevice(request, device, now)
  if (caller.kind === "refused") return refusal(caller.outcome)
  if (await isReplayed(parts, request, now)) return refusal("Replayed")
  const id = requiredMember(request.members, "PublicationId", textOf)
  if (publicationOf(parts, account, id, now) === null) return refusal("NotFound")
  const claimed = parts.stores.newest(account.address, CLAIM, id)
  return claimed === null ? refusal("Later", "nobody has claimed it yet") : done({ EnvelopedMessage: claimed })
}

/** @returns null: there is none of this name, or its time is over */
function publicationOf({ stores }: AccountParts, { address }: ServedAccount, id: string, now: Date) {
  const envelope = stores.newest(address, "Publication", id)
  if (envelope === null) return null
  const { authenticator, notOnOrAfter } = readPublication(envelope)
  return notOnOrAfter !== null && notOnOrAfter <= now ? null : { authenticator, envelope }
}

function keyOf(caller: AccountCaller, claimant: ServedAccount["profile"]) {
  return caller.kind === "device" ? caller.connection.keys.signature : claimant.keys.administrator
}

/** Ours; only the service writes there. */
export const CLAIM = "Claim"
