import { randomOctets } from "../crypto/primitives/random.ts"
import type { SpooledMessage } from "./sealed-message.ts"
import type { SpoolEntry } from "./spool-entry.ts"

export type { SpooledMessage } from "./sealed-message.ts"
export type { SpoolEntry } from "./spool-entry.ts"

/** What a new message has to say for itself. */
export type NewEntry = Omit<SpoolEntry, "sizeOctets" | "seed">

/** Accepted messages, sealed before they leave the process. A message is accepted at one instant, and then is there for good. */
export interface Spool extends AsyncDisposable {
  /**
   * Seals the message, and resolves with its id when it would survive a power cut. No plaintext rests anywhere.
   * @param entry stands behind the content: what is known only when the content has ended is asked for then
   * @param id for messages of our own that a repeated attempt makes again: the one there is stays. `[0-9a-z]{8,64}`
   * @throws GatewayError SPOOL_FULL when what it rests on refuses, SPOOL_KEY_MISSING; what `content` throws comes through; in each case
   *   nothing is accepted
   */
  write(entry: NewEntry | (() => NewEntry), content: AsyncIterable<Uint8Array>, id?: string): Promise<string>
  /**
   * @returns null when there is no such message, or no longer
   * @throws GatewayError SPOOL_CORRUPT, SPOOL_KEY_MISSING
   */
  open(id: string): Promise<SpooledMessage | null>
  /** Whether there is a message of this id, sealed and durable. */
  has(id: string): Promise<boolean>
  /** Removing what is not there does nothing. After a power cut a removed message may be back; the queue's record says that it is settled. */
  remove(id: string): Promise<void>
  /** In no order. */
  ids(): AsyncIterable<string>
  /** Removes what writers left that were killed; what writers still at work have so far stays. @returns how many there were */
  removeLeftovers(): Promise<number>
  /**
   * Ids, in hex, of the keys that messages here are sealed to, unfinished ones included.
   * @returns null when a message is just being begun, so that nobody can say
   */
  keysInUse(): Promise<ReadonlySet<string> | null>
}

/** What a process does with the spool. */
export interface SpoolUse {
  /** It takes mail from others, many messages at once. */
  readonly accepts: boolean
  /** It opens what was accepted, and so needs the private keys. */
  readonly opens: boolean
  /** It is a server, not a command. */
  readonly runsOn: boolean
  readonly now: () => Date
}

/** True for what can be the id of a message. */
export function isSpoolId(id: string): boolean {
  return /^[0-9a-z]{8,64}$/.test(id)
}

/** Begins with the time, so that ids sort as the messages came. */
export function newSpoolId(now: Date): string {
  const time = now.getTime().toString(36).padStart(9, "0")
  return `${time}${BigInt(`0x${Buffer.from(randomOctets(10)).toString("hex")}`)
    .toString(36)
    .padStart(16, "0")}`
}
