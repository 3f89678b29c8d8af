import { memberOf, octetsOf } from "../crypto/jsonb/value.ts"
import { MAX_MESSAGE_OCTETS } from "../mesh/mail/statement.ts"
import { requiredMember } from "../mesh/object.ts"
import type { Reply } from "../mesh/protocol/answer.ts"
import { callingService } from "../mesh/protocol/check.ts"
import { messageTypeOf } from "../mesh/protocol/message.ts"
import { accountIn, isReplayed } from "./account-call.ts"
import { PeerProfiles } from "./peers.ts"
import type { PostResult, Receivers, SeenRequests, ServedAccounts } from "./ports.ts"
import { done, refusal } from "./reply.ts"
import type { Handle } from "./service.ts"

/** What posting takes. */
export interface PostParts {
  readonly accounts: ServedAccounts
  readonly receivers: Receivers
  readonly seen: SeenRequests
}

/**
 * Takes a message that another service posts for one of our accounts:
 *
 *     PostRequest { EnvelopedProfileService, Account, Message, Admission }
 *
 * One account and one message: the answer is about the one thing, which is done or is not.
 */
export function postTo(parts: PostParts): Handle {
  const peers = new PeerProfiles()
  return async (request, now) => {
    const peer = callingService(request, now, (envelope) => peers.verify(envelope))
    if (peer.kind === "refused") return refusal(peer.outcome)
    if (await isReplayed(parts, request, now)) return refusal("Replayed")
    const message = requiredMember(request.members, "Message", octetsOf)
    if (message.length > MAX_MESSAGE_OCTETS) return refusal("TooLarge")
    const receive = parts.receivers.get(messageTypeOf(message))
    if (receive === undefined) return refusal("Unsupported", "this kind of message is not taken")
    const account = accountIn(parts.accounts, request)
    if (account === null) return refusal("AccountUnknown")
    const admission = memberOf(request.members, "Admission", octetsOf)
    return replyOf(await receive({ account, message, peer: peer.who, admission, now }))
  }
}

function replyOf(result: PostResult): Reply {
  switch (result.kind) {
    case "accepted":
      return done()
    case "refused":
      return refusal("Refused", result.reason)
    case "later":
      return refusal("Later")
    case "admission":
      return refusal("Admission", "", { Challenge: result.challenge })
    default:
      return result satisfies never
  }
}
