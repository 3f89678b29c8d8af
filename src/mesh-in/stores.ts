import { readEnvelope } from "../crypto/dare/envelope.ts"
import type { EnvelopeForm } from "../crypto/dare/seal.ts"
import { countOf, itemsOf, type JsonObject, memberOf, objectOf, octetsOf, textOf } from "../crypto/jsonb/value.ts"
import type { Writable } from "../crypto/jsonb/write.ts"
import { readCapability } from "../mesh/capability.ts"
import { MAX_MESSAGE_OCTETS } from "../mesh/mail/statement.ts"
import { MAX_ID_CHARACTERS } from "../mesh/message-id.ts"
import { invalid, requiredMember } from "../mesh/object.ts"
import type { Reply } from "../mesh/protocol/answer.ts"
import type { MeshRequest } from "../mesh/protocol/request.ts"
import { readPublication } from "../mesh/publication.ts"
import type { StoreEnd, StoreEntry, StoreUpdate } from "../store/mesh-stores.ts"
import { ACCESS, type AccountCall, type AccountParts, accountIn, ofAccount } from "./account-call.ts"
import { CLAIM } from "./claim.ts"
import { CONNECT } from "./connect.ts"
import type { ServedAccount, Stores } from "./ports.ts"
import { done, refusal } from "./reply.ts"
import type { Handle, Handlers } from "./service.ts"

/** Status, Download, Transact and PublicRead: an account's stores, kept in step on its devices. */
export function storeHandlers(parts: AccountParts): Handlers {
  const { stores } = parts
  return {
    Status: ofAccount(parts, ({ account }) =>
      done({ ...profileOf(account), StoreStatus: stores.ends(account.address).map(statusOf) }),
    ),
    Download: ofAccount(parts, ({ request, account }) => done({ Updates: selected(stores, account, request, STORES) })),
    Transact: ofAccount(parts, (call) => transact(stores, call)),
    PublicRead: publicRead(parts),
  }
}

/** What is public of an account: its profile, and the catalog that is for everybody. */
function publicRead({ accounts, stores }: AccountParts): Handle {
  return (request) => {
    const account = accountIn(accounts, request)
    if (account === null) return refusal("AccountUnknown")
    return done({ ...profileOf(account), Updates: selected(stores, account, request, PUBLIC_STORES) })
  }
}

/** `Select: [{ Store, IndexMin }]`: of each store the frames from there on, as many as an answer holds. */
function selected(
  stores: Stores,
  { address }: ServedAccount,
  request: MeshRequest,
  from: readonly string[],
): Writable[] {
  const selects = listOf(request.members, "Select", MAX_UPDATES).map((one) => ({
    store: storeOf(one, from),
    first: memberOf(one, "IndexMin", countOf) ?? 0,
  }))
  const budget = ANSWERED_OCTETS[request.form]
  let octets = 0
  return selects.map(({ store, first }) => {
    const end = stores.end(address, store)
    const isRoom = octets === 0 || budget - octets >= MAX_FRAME_OCTETS
    const found = isRoom
      ? stores.frames(address, store, first, budget - octets)
      : { first, frames: [], isPartial: first < end.frames }
    octets += found.frames.reduce((sum, frame) => sum + frame.length, 0)
    return { ...statusOf(end), IndexMin: found.first, Frames: found.frames, Partial: found.isPartial }
  })
}

/**
 * `Updates: [{ Store, Index, Digest, Envelopes }]`: appended if every store ends there, and none otherwise. The answer says where they end, in either case.
 */
function transact(stores: Stores, { request, account, now }: AccountCall): Reply {
  const updates = listOf(request.members, "Updates", MAX_UPDATES).map((one) => updateOf(one, account, stores))
  if (updates.length === 0) throw invalid("Updates are missing")
  if (new Set(updates.map(({ store }) => store)).size < updates.length) throw invalid("a store is in Updates twice")
  if (updates.some(({ entries }) => entries.some(({ content }) => content.length > MAX_MESSAGE_OCTETS)))
    return refusal("TooLarge")
  const result = stores.append(account.address, updates, now)
  switch (result.kind) {
    case "appended":
      return done({ StoreStatus: result.stores.map(statusOf) })
    case "conflict":
      return refusal("Conflict", "", { StoreStatus: result.stores.map(statusOf) })
    case "full":
      return refusal("TooLarge", "the account's stores are full")
    default:
      return result satisfies never
  }
}

function updateOf(update: JsonObject, account: ServedAccount, stores: Stores): StoreUpdate {
  const store = storeOf(update, WRITTEN_STORES)
  const digest = requiredMember(update, "Digest", octetsOf)
  const envelopes = requiredMember(update, "Envelopes", itemsOf).map((item) => octetsOf(item, "Envelopes"))
  if (envelopes.length === 0 || envelopes.length > MAX_ENTRIES)
    throw invalid(`Envelopes are none, or over ${MAX_ENTRIES}`)
  const entries = envelopes.map((content) => entryOf(store, content, account))
  if (store === ACCESS) checkLater(entries, account, stores)
  return { store, expected: { frames: requiredMember(update, "Index", countOf), digest }, entries }
}

/** What an entry is found by. Where the service relies upon it, it is what the content says and not what its header does, which nobody has signed. */
function entryOf(store: string, content: Uint8Array, { profile }: ServedAccount): StoreEntry {
  if (store === ACCESS) return { name: readCapability(content, profile).id, content }
  if (store === "Publication") return { name: readPublication(content).id, content }
  const { envelopeId } = readEnvelope(content).header
  return { name: (envelopeId ?? "").slice(0, MAX_ID_CHARACTERS), content }
}

/** An entry that was taken back stays so: what the administrator signed before cannot be put behind it again. */
function checkLater(entries: readonly StoreEntry[], { address, profile }: ServedAccount, stores: Stores): void {
  const latest = new Map<string, Date>()
  for (const { name, content } of entries) {
    const kept = latest.has(name) ? null : stores.newest(address, ACCESS, name)
    const before = kept === null ? latest.get(name) : readCapability(kept, profile).issued
    const { issued } = readCapability(content, profile)
    if (before !== undefined && issued <= before)
      throw invalid("an entry of Access is not later than the one before it")
    latest.set(name, issued)
  }
}

function profileOf({ profile }: ServedAccount) {
  return { EnvelopedProfileAccount: profile.envelope }
}

function statusOf({ store, frames, digest }: StoreEnd) {
  return { Store: store, Index: frames, Digest: digest }
}

function storeOf(object: JsonObject, names: readonly string[]): string {
  const store = requiredMember(object, "Store", textOf)
  if (!names.includes(store)) throw invalid("Store is none that could be asked for here")
  return store
}

function listOf(object: JsonObject, name: string, most: number): JsonObject[] {
  const items = memberOf(object, name, itemsOf) ?? []
  if (items.length > most) throw invalid(`${name} are over ${most}`)
  return items.map((item) => objectOf(item, name))
}

/** Catalogs of generation 2024, and ours, which is for everybody. */
const CATALOGS = [
  ACCESS,
  "Application",
  "Bookmark",
  "Contact",
  "Credential",
  "Device",
  "Document",
  "Member",
  "Network",
  "Publication",
  "Task",
  "Public",
] as const
/** What is in Outbound would have to be sent; this service sends what comes over SMTP. */
const WRITTEN_STORES: readonly string[] = [...CATALOGS, "Inbound", "Local", "Archive"]
const STORES: readonly string[] = [...WRITTEN_STORES, "Outbound", CONNECT, CLAIM]
const PUBLIC_STORES: readonly string[] = ["Public"]
/** One for each store. */
const MAX_UPDATES = 16
const MAX_ENTRIES = 64
/** A message, and what its frame adds. */
const MAX_FRAME_OCTETS = MAX_MESSAGE_OCTETS + 1_024
/** Of frames in one answer, which as an object has 64 KiB at most; in JSON base64url is written in base64url. */
const ANSWERED_OCTETS: Readonly<Record<EnvelopeForm, number>> = { json: 34_000, "json-b": 60_000 }
