import type { JsonValue } from "../crypto/jsonb/value.ts"
import type { Log } from "../log/log.ts"
import { MAX_MESSAGE_OCTETS } from "../mesh/mail/statement.ts"
import type { Profile } from "../mesh/profile.ts"
import type { Reply } from "../mesh/protocol/answer.ts"
import { callingService } from "../mesh/protocol/check.ts"
import { postIn, postsIn, resultMembers } from "../mesh/protocol/post.ts"
import { readAnySigned } from "../mesh/signed.ts"
import { isReplayed } from "./account-call.ts"
import { PeerProfiles } from "./peers.ts"
import type { PostResult, Receivers, SeenRequests, ServedAccounts } from "./ports.ts"
import { done, refusal } from "./reply.ts"
import { type Handle, type HandledReply, replied } from "./service.ts"

/** What posting takes. */
export interface PostParts {
  readonly accounts: ServedAccounts
  readonly receivers: Receivers
  readonly seen: SeenRequests
  readonly log: Log
}

/**
 * Takes messages that another service posts for accounts of ours, all at the same time, so that what they write reaches the disk together. Each is taken or is
 * not, whatever becomes of the others; the answer comes when the last of them is settled, and what was accepted is remembered.
 */
export function postTo(parts: PostParts): Handle {
  const peers = new PeerProfiles()
  return async (request, now): Promise<HandledReply> => {
    const peer = callingService(request, now, (envelope) => peers.verify(envelope))
    if (peer.kind === "refused") return refusal(peer.outcome)
    if (await isReplayed(parts, request, now)) return refusal("Replayed")
    const who = peer.who.udf
    const all = await Promise.all(
      postsIn(request.members).map((post) => safely(() => taking(post, peer.who, now, parts), who, parts)),
    )
    const results = await Promise.all(all.map((one) => safely(() => remembered(one), who, parts)))
    return { ...done(resultMembers(results)), each: results.map(({ outcome }) => outcome) }
  }
}

/** What is said of a message, and what is to be written down before. */
interface Taken extends Reply {
  readonly remember?: () => Promise<void>
}

/** A fault of ours at one message is told of that one: the others are on the disk. */
async function safely(act: () => Promise<Taken>, peer: string, { log }: Pick<PostParts, "log">): Promise<Taken> {
  try {
    return await replied(act, "Post", log)
  } catch (error) {
    log.error("mesh.post-failed", { peer }, error)
    return refusal("Later")
  }
}

async function remembered({ remember, ...reply }: Taken): Promise<Reply> {
  await remember?.()
  return reply
}

async function taking(
  value: JsonValue,
  peer: Profile,
  now: Date,
  { accounts, receivers }: Pick<PostParts, "accounts" | "receivers">,
): Promise<Taken> {
  const { account: address, message, admission } = postIn(value)
  if (message.length > MAX_MESSAGE_OCTETS) return refusal("TooLarge")
  // What is encrypted is malformed: nobody could say whether it may come in.
  const object = readAnySigned(message)
  const receive = receivers.get(object.type)
  if (receive === undefined) return refusal("Unsupported", "this kind of message is not taken")
  const account = accounts.of(address)
  if (account === null) return refusal("AccountUnknown")
  return replyOf(await receive({ account, message, object, peer, admission, now }))
}

function replyOf(result: PostResult): Taken {
  switch (result.kind) {
    case "accepted":
      return result.remember === undefined ? done() : { ...done(), remember: result.remember }
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
