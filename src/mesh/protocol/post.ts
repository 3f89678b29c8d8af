/** PURE */
import {
  itemsOf,
  type JsonObject,
  type JsonValue,
  memberOf,
  objectOf,
  octetsOf,
  textOf,
} from "../../crypto/jsonb/value.ts"
import type { Writable } from "../../crypto/jsonb/write.ts"
import { MAX_MESSAGE_OCTETS } from "../mail/statement.ts"
import { invalid, requiredMember } from "../object.ts"
import type { Profile } from "../profile.ts"
import { type MeshAnswer, type Reply, type Status, statusMembers, statusOf } from "./answer.ts"

/*
 * A service posts messages of its people's to people of another's, several with one request:
 *
 *     PostRequest { EnvelopedProfileService, Messages [ { Account, Message, Admission } ] }
 *     PostResponse { Results [ { Status, StatusDescription, Reason, Challenge } ] }, one to each message, in their order
 *
 * One message has nothing to do with another's result. Where the request itself is refused there are no results, and nothing has been done.
 */

/** One message, and whom it is for. */
export interface Post {
  /** The account's address. */
  readonly account: string
  /** The envelope, octet for octet. */
  readonly message: Uint8Array
  /** What answers a challenge; null: there was none. */
  readonly admission: Uint8Array | null
}

/** Messages in one request: so many are accepted or refused together that those behind them do not wait for long. */
export const MAX_POSTS = 16

/** Octets of messages in one request: with the profile of who posts they fit into its payload. */
const MAX_POSTED_OCTETS = 3.5 * MAX_MESSAGE_OCTETS

/** How many of the first of these go into one request; one at least. */
export function postsTogether(posts: readonly Post[]): number {
  let octets = 0
  const beyond = posts.slice(0, MAX_POSTS).findIndex(({ message }) => {
    octets += message.length
    return octets > MAX_POSTED_OCTETS
  })
  return beyond < 0 ? Math.min(posts.length, MAX_POSTS) : Math.max(1, beyond)
}

/** The members of PostRequest. */
export function postMembers({ envelope }: Pick<Profile, "envelope">, posts: readonly Post[]) {
  return {
    EnvelopedProfileService: envelope,
    Messages: posts.map(({ account, message, admission }) => ({
      Account: account,
      Message: message,
      Admission: admission ?? undefined,
    })),
  }
}

/** The messages of a request, each to be read by itself ({@link postIn}). @throws GatewayError MESH_OBJECT_INVALID, JSONB_TYPE */
export function postsIn(members: JsonObject): readonly JsonValue[] {
  const posts = requiredMember(members, "Messages", itemsOf)
  if (posts.length === 0 || posts.length > MAX_POSTS) throw invalid(`Messages are not 1 to ${MAX_POSTS}`)
  return posts
}

/** @throws GatewayError MESH_OBJECT_INVALID, JSONB_TYPE */
export function postIn(value: JsonValue): Post {
  const post = objectOf(value, "Messages")
  return {
    account: requiredMember(post, "Account", textOf),
    message: requiredMember(post, "Message", octetsOf),
    admission: memberOf(post, "Admission", octetsOf),
  }
}

/** The members of PostResponse: what became of each message. */
export function resultMembers(results: readonly Reply[]): { readonly [name: string]: Writable } {
  return { Results: results.map(statusMembers) }
}

/** What became of one message. */
export interface PostResult extends Status {
  readonly members: JsonObject
}

/** What became of so many messages that were posted. @throws GatewayError MESH_OBJECT_INVALID, JSONB_TYPE; also where there is not one result to each */
export function resultsIn({ outcome, reason, members }: MeshAnswer, count: number): readonly PostResult[] {
  if (outcome !== "Success") return Array.from({ length: count }, () => ({ outcome, reason, members }))
  const results = requiredMember(members, "Results", itemsOf).map((value) => {
    const result = objectOf(value, "Results")
    return { ...statusOf(result), members: result }
  })
  if (results.length !== count) throw invalid(`${count} messages have ${results.length} results`)
  return results
}
