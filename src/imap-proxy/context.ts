import type { Duplex } from "node:stream"
import type { Counters } from "../log/counters.ts"
import type { Log } from "../log/log.ts"
import type { Client } from "./client.ts"
import type { MailboxState } from "./mailbox-state.ts"
import type { SessionMeter } from "./meter.ts"
import type { Pending } from "./pending.ts"
import type { AppendProtection, DeviceSession, ProxyLimits } from "./ports.ts"
import type { UpstreamLink } from "./upstream-link.ts"
import type { WindowCache, WindowRecord } from "./windows.ts"

/** What the two directions of one session share. Only the command loop writes to the upstream. */
export interface Context {
  readonly client: Client
  readonly upstream: UpstreamLink
  /** Takes the upstream's stream for the next login, or ends it; null: none is kept. */
  readonly keep: ((stream: Duplex) => void) | null
  readonly device: DeviceSession
  readonly protection: AppendProtection
  readonly pending: Pending
  readonly mailbox: MailboxState
  readonly windows: WindowCache
  readonly limits: ProxyLimits
  readonly log: Log
  readonly counters: Pick<Counters, "add">
  readonly meter: SessionMeter
  /** Set while a FETCH of our own is in flight: no command of the client is then. */
  ownFetch: OwnFetch | null
}

/** Takes the message data that a FETCH of our own brings. */
export interface OwnFetch {
  /** How much of each section was asked for; null: all of it. */
  readonly askedOctets: number | null
  /** Whole messages are checked against their markers on the way. */
  readonly checked: boolean
  /** The window of one section of one message, as far as its octets showed it. */
  found(uid: number, section: string, window: FoundWindow): void
}

/** `record` is final, or more octets are needed to know. */
export type FoundWindow = { readonly kind: "known"; readonly record: WindowRecord } | { readonly kind: "needsMore" }

/** Key of a window record; null while nothing is selected. */
export function windowKey(context: Context, uid: number, section: string): string | null {
  const mailbox = context.mailbox.key
  return mailbox === null ? null : `${context.windows.place(context.device.scope, mailbox)} ${uid} ${section}`
}

/** Key of what one message as a whole came to, whichever device looked at it; null while nothing is selected. */
export function verdictKey(context: Context, uid: number): string | null {
  const mailbox = context.mailbox.key
  return mailbox === null ? null : `${context.windows.place(`${context.device.account}\nverdicts`, mailbox)} ${uid}`
}
