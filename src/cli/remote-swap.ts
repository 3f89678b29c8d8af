import { randomOctets } from "../crypto/primitives/random.ts"
import { RecryptionStream } from "../crypto/recryption/stream.ts"
import { hasCode } from "../errors.ts"
import { EncryptionClassifier } from "../mime/classify.ts"
import { readHeader } from "../mime/header.ts"
import { MarkerCheck } from "../pipeline/marker.ts"
import { type Prepared, preparedOf } from "../pipeline/prepared.ts"
import { type AtRest, protectAtRest } from "../pipeline/protect.ts"
import type { RemoteMessage, SelectedMailbox } from "./remote-store.ts"
import { REPLACES_FIELD, replacementToken, replacesField, tokenIn } from "./successor.ts"

/** Up to this size a message is held in memory; a larger one is read from the server again for each pass over it. */
export const HELD_OCTETS = 16_777_216

/** What became of a message. `awaiting`: encrypted, and the old one flagged \Deleted, which the server cannot remove alone. */
export type Treatment =
  | { readonly kind: "already" | "gone" | "clear" }
  | { readonly kind: "encrypted" | "awaiting"; readonly token: string }
  | { readonly kind: "skipped"; readonly reason: string }

/** A message in clear that has a successor. */
interface Copied {
  readonly message: RemoteMessage
  readonly token: string
  /** null: an earlier run has appended it. */
  readonly appended: { readonly sizeOctets: number; readonly flags: readonly string[] } | null
}

/** One mailbox while its clear messages are replaced: append, see the new message, only then remove the old one. */
export class MailboxSwap {
  readonly #selected: SelectedMailbox
  readonly #rest: AtRest
  /** By token; more than one where two runs have replaced the same message. */
  readonly #successors = new Map<string, RemoteMessage[]>()
  #nextUid = 1

  constructor(selected: SelectedMailbox, rest: AtRest) {
    this.#selected = selected
    this.#rest = rest
  }

  /** The messages that came since the last call (at first: all), successors included. */
  async look(): Promise<readonly RemoteMessage[]> {
    const found = await this.#selected.list(this.#nextUid, REPLACES_FIELD)
    for (const message of found) {
      const token = tokenIn(message.field)
      if (token !== null) this.#successors.set(token, [...(this.#successors.get(token) ?? []), message])
      this.#nextUid = Math.max(this.#nextUid, message.uid + 1)
    }
    return found
  }

  /**
   * Replaces those of `messages` that are in clear. `settle` is told once of each message; those it was not told of when this ends need
   * another call: there is room for them only now.
   * @throws GatewayError UPSTREAM_UNAVAILABLE; MAILBOX_FULL when there is no room for one copy
   */
  async replace(
    messages: readonly RemoteMessage[],
    settle: (message: RemoteMessage, treatment: Treatment) => void,
  ): Promise<void> {
    const batch = await readBatch(this.#selected, messages)
    const copied: Copied[] = []
    for (const message of messages) {
      const made = await this.#copy(message, batch).catch((error: unknown) => {
        // What was copied so far makes room when the old messages are removed.
        if (hasCode(error, "MAILBOX_FULL") && copied.length > 0) return "full" as const
        return skippedFor(error)
      })
      if (made === "full") break
      if ("kind" in made) settle(message, made)
      else copied.push(made)
    }
    if (copied.length > 0) await this.#finish(copied, settle)
  }

  async #copy(message: RemoteMessage, batch: Batch): Promise<Copied | Treatment> {
    const flags = batch.flags.get(message.uid)
    const found = flags === undefined ? null : await look(this.#selected, message, batch)
    if (flags === undefined || found === null) return { kind: "gone" }
    if (found.kind === "encrypted") return { kind: "already" }
    const { content } = found
    const token = await tokenOf(content, message, this.#selected.uidValidity, this.#rest)
    if (this.#successors.has(token)) return { message, token, appended: null }
    const successor = await protectAtRest(content, [replacesField(token)], randomOctets(32), this.#rest)
    await this.#selected.changes.append(successor, flags, message.receivedAt)
    return { message, token, appended: { sizeOctets: successor.sizeOctets, flags } }
  }

  async #finish(
    copied: readonly Copied[],
    settle: (message: RemoteMessage, treatment: Treatment) => void,
  ): Promise<void> {
    await this.look()
    const seen: Copied[] = []
    for (const copy of copied) {
      const failure = await this.#isSeen(copy).then((isSeen) => (isSeen ? null : NOT_SEEN), skippedFor)
      if (failure === null) seen.push(copy)
      else settle(copy.message, failure)
    }
    if (seen.length === 0) return
    const failure = await this.#removeOld(seen).catch(skippedFor)
    for (const { message, token } of seen)
      settle(message, typeof failure === "string" ? { kind: failure, token } : failure)
  }

  /** That the server has it, as long as it was sent; where that is not known or not told right, by its marker. */
  async #isSeen({ token, appended }: Copied): Promise<boolean> {
    const [successor] = this.#successors.get(token) ?? []
    if (successor === undefined) return false
    if (successor.sizeOctets === appended?.sizeOctets) return true
    const check = new MarkerCheck(this.#rest)
    const stream = new RecryptionStream([], { onStable: (octets) => check.push(octets) })
    for await (const octets of this.#selected.stream(successor.uid)) stream.push(octets)
    stream.end()
    return check.end() === "holds"
  }

  /** Also successors but the first: two runs at once see the same ones, and keep the same one. */
  async #removeOld(copied: readonly Copied[]): Promise<"encrypted" | "awaiting"> {
    const { changes } = this.#selected
    const doubles = copied.flatMap(({ token }) => (this.#successors.get(token) ?? []).slice(1).map(({ uid }) => uid))
    const uids = [...copied.map(({ message }) => message.uid), ...doubles]
    await this.#takeFlags(copied)
    await changes.flagDeleted(uids)
    return (await changes.expunge(uids)) ? "encrypted" : "awaiting"
  }

  /** What somebody changed on the old messages since their flags were copied; \Deleted may be set by another run, and is not taken over. */
  async #takeFlags(copied: readonly Copied[]): Promise<void> {
    const now = await this.#selected.flags(copied.map(({ message }) => message.uid))
    for (const { message, token, appended } of copied) {
      const [successor] = this.#successors.get(token) ?? []
      const flags = now.get(message.uid)
      if (successor === undefined || flags === undefined) continue
      const before = appended?.flags ?? successor.flags
      const add = without(flags, [...before, "\\Deleted"])
      // Of a successor that an earlier run made nobody knows which flags it had then.
      const remove = appended === null ? [] : without(before, flags)
      await this.#selected.changes.changeFlags(successor.uid, { add, remove })
    }
  }
}

/** Only looks whether a message is in clear. */
export async function lookOnly(
  selected: SelectedMailbox,
  messages: readonly RemoteMessage[],
  settle: (message: RemoteMessage, treatment: Treatment) => void,
): Promise<void> {
  const batch = await readBatch(selected, messages)
  for (const message of messages) {
    const treatment = await look(selected, message, batch).then(
      (found): Treatment => ({ kind: found === null ? "gone" : found.kind === "clear" ? "clear" : "already" }),
      skippedFor,
    )
    settle(message, treatment)
  }
}

/** Messages as they were read together. */
interface Batch {
  /** Without the large ones. */
  readonly held: ReadonlyMap<number, Uint8Array>
  readonly flags: ReadonlyMap<number, readonly string[]>
}

async function readBatch(selected: SelectedMailbox, messages: readonly RemoteMessage[]): Promise<Batch> {
  const small = messages.filter(isHeld).map(({ uid }) => uid)
  const held = small.length === 0 ? new Map<number, Uint8Array>() : await selected.read(small)
  return { held, flags: await selected.flags(messages.map(({ uid }) => uid)) }
}

function isHeld({ sizeOctets }: RemoteMessage): boolean {
  return sizeOctets <= HELD_OCTETS
}

/** The message, and whether everything in it is encrypted already. @returns null when it is not there any more */
async function look(selected: SelectedMailbox, message: RemoteMessage, { held }: Batch) {
  const whole = held.get(message.uid)
  if (whole === undefined && isHeld(message)) return null
  const content = () => (whole === undefined ? selected.stream(message.uid) : preparedOf(whole).content())
  const classifier = new EncryptionClassifier()
  // RFC822.SIZE is a guess on some servers.
  let sizeOctets = 0
  for await (const octets of content()) {
    classifier.push(octets)
    sizeOctets += octets.length
  }
  const kind = classifier.end() === "clear" ? ("clear" as const) : ("encrypted" as const)
  return { kind, content: { sizeOctets, content } satisfies Prepared }
}

async function tokenOf(content: Prepared, message: RemoteMessage, uidValidity: bigint, rest: AtRest): Promise<string> {
  const octets = content.content()[Symbol.asyncIterator]()
  try {
    const { header } = await readHeader(octets)
    const { uid, receivedAt } = message
    const { sizeOctets } = content
    return replacementToken(rest.markerKey, { account: rest.account, uidValidity, uid, sizeOctets, receivedAt, header })
  } finally {
    await octets.return?.()
  }
}

/** Whatever it is: one message must not keep the others in clear. @throws what concerns all of them */
function skippedFor(error: unknown): Treatment {
  if (hasCode(error, "UPSTREAM_UNAVAILABLE") || hasCode(error, "MAILBOX_FULL")) throw error
  return { kind: "skipped", reason: error instanceof Error ? error.message : String(error) }
}

function without(flags: readonly string[], others: readonly string[]): string[] {
  return flags.filter((flag) => !others.includes(flag))
}

const NOT_SEEN: Treatment = {
  kind: "skipped",
  reason: "its encrypted copy is not seen whole; the message stays as it was",
}
