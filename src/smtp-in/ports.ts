import type { Address } from "../message/address.ts"
import type { Envelope } from "../message/envelope.ts"

/** What this gateway knows of a recipient at RCPT. Throws when it can't tell now; the client is asked to come back. */
export interface Recipients {
  /** @returns `local`: one of ours; `unknown`: our domain, nobody there; `foreign`: another domain. */
  resolve(address: Address): "local" | "unknown" | "foreign"
}

/** A message about to be accepted: everything but its octets. */
export interface ArrivingEntry {
  readonly envelope: Envelope
  readonly origin: {
    readonly kind: "mx" | "submission"
    /** The submitter's account; null at MX. */
    readonly account: string | null
    /** The submitter's device; null at MX. */
    readonly device: string | null
    /** The client's network address. */
    readonly remote: string
    /** What it called itself, as given. */
    readonly helo: string
    readonly tls: boolean
  }
  /** The trace field to put before the message: CRLF folded, with its final CRLF (RFC 5321 §4.4). */
  readonly received: string
  readonly receivedAt: Date
}

/** Takes responsibility for a message. */
export interface Acceptance {
  /**
   * Resolves with the queue id when the message is durable, and only then. `content` throws when the message turns out to be
   * refused or the client goes away: nothing of it may stay behind then.
   */
  accept(entry: ArrivingEntry, content: AsyncIterable<Uint8Array>): Promise<string>
}

/** An authenticated device. */
export interface Submitter {
  readonly account: string
  readonly device: string
  /** True: the device may read mail, not send it. */
  readonly readOnly: boolean
  /** May this account write under `address`? The same for reverse-path and From. */
  owns(address: Address): boolean
  /** Aborts when the device is revoked; its connections end at once. */
  readonly revoked: AbortSignal
}

/** Knows devices by their passwords. */
export interface Submitters {
  /**
   * @returns null when user name and password do not belong to a device in good standing; `limited`: too much was guessed from there,
   * so that this password was not looked at
   */
  authenticate(username: string, password: string, remote: string): Promise<Submitter | "limited" | null>
}
