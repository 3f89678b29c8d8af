import type { ErrorCode } from "../errors.ts"
import type { Address } from "../message/address.ts"
import type { Envelope } from "../message/envelope.ts"
import type { ChainStatus } from "../mime/arc-set.ts"
import type { Decision, Method } from "./verdict.ts"

/** What this gateway knows of a recipient at RCPT. Throws when it can't tell now; the client is asked to come back. */
export interface Recipients {
  /**
   * @param sender of the message; null: it is a bounce
   * @returns `local`: one of ours; `unknown`: our domain, nobody there; `foreign`: another domain.
   */
  resolve(address: Address, sender: Address | null): "local" | "unknown" | "foreign"
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
  /** What authentication came to; known when `content` has ended. null: it was not asked for. */
  authentication(): Authentication | null
}

/** What is kept of a verdict with an accepted message. */
export interface Authentication {
  /** The Authentication-Results field (RFC 8601): CRLF folded, with its final CRLF. */
  readonly field: string
  /** The author's domain wishes that the message is treated with suspicion (RFC 9989 §4.7). */
  readonly quarantine: boolean
  /** The author's domain, where DMARC passed for it. */
  readonly author?: string
  /** What became of its chain (RFC 8617 §4.4), in case it is forwarded. */
  readonly chain?: ChainStatus
}

/** What is known of a message before its content. */
export interface ArrivalFacts {
  readonly sender: Address | null
  /** The client's network address. */
  readonly remote: string
  /** What it called itself. */
  readonly helo: string
}

/** Who a message is by, as far as its domains say. */
export interface Verdict {
  /** In the words of RFC 8601. */
  readonly results: Readonly<Record<Method, string>>
  /** Domain of the author (RFC 9989 §3.2.2); null: there is none, or more than one. */
  readonly author: string | null
  readonly decision: Decision
  readonly field: string
}

/** Looks at one message while it passes. */
export interface Examination {
  push(octets: Uint8Array): Promise<void>
  end(): Promise<Verdict>
  /** There will be no end: asks nobody any more. */
  cancel(): void
}

/** Authenticates what other servers send. */
export interface Authenticator {
  /** @returns null when mail from there is not looked at */
  begin(facts: ArrivalFacts): Promise<Examination | null>
  /** False: decisions are written down, and not followed. */
  readonly enforced: boolean
}

/** What a scanner is told of a message before its content. */
export interface ScanFacts extends ArrivalFacts {
  readonly recipients: readonly Address[]
  /** The submitter's account; null at MX. */
  readonly account: string | null
  /** What the log calls the message while it is received. */
  readonly id: string
}

/** What those who look at content say of a message. `because` is for the log. */
export interface ScanVerdict {
  /** What each of them came to, in a word. */
  readonly findings: readonly { readonly scanner: string; readonly outcome: string; readonly because: string }[]
  readonly decision:
    | { readonly kind: "accept" | "quarantine"; readonly because: string }
    /** `code` is what the reply is made from. */
    | { readonly kind: "reject" | "defer"; readonly code: ErrorCode; readonly because: string }
  /** Authentication-Results that say so (CRLF folded, with its final CRLF); null: there is nothing to say. */
  readonly field: string | null
}

/** Looks at one message while it passes. */
export interface Scan {
  /** Resolves when there is room for more. Never rejects: what goes wrong is part of the verdict. */
  push(octets: Uint8Array): Promise<void>
  end(): Promise<ScanVerdict>
  /** Lets go of what it holds; what is waited for ends at once, and is worth nothing. */
  cancel(): void
}

/** Looks for what nobody should get. */
export interface Scanner {
  begin(facts: ScanFacts): Scan
}

/** Mail of our people to somebody elsewhere, while its sender waits for the reply to it. */
export interface Departures {
  /**
   * @param account who submits it
   * @returns null when nothing of it can be refused
   */
  begin(
    envelope: Envelope,
    account: string | null,
  ): {
    push(octets: Uint8Array): void
    /** @returns why it must not leave as it is, naming the recipients; null: it may */
    end(): Promise<string | null>
  } | null
}

/** Takes responsibility for a message. */
export interface Acceptance {
  /**
   * Resolves with the queue id when the message is durable, and only then. `content` throws when the message turns out to be
   * refused or the client goes away: nothing of it may stay behind then.
   */
  accept(entry: ArrivingEntry, content: AsyncIterable<Uint8Array>): Promise<string>
}

/** What is taken from whom: networks at MX, accounts at submission. */
export interface Visitors {
  /** A connection. @returns null: there are too many from there */
  connect(remote: string): Visitor | null
}

/** Whoever is at the other end of a connection, and how much more is taken from there. */
export interface Visitor {
  /** True: a message from there was taken before, so that it need not prove its patience. */
  readonly isKnown: boolean
  /** MAIL. @returns false when enough was taken from there for now */
  mayMail(): Promise<boolean>
  /** RCPT, before it is known what it comes to. @returns false when too much was guessed from there */
  mayAsk(): Promise<boolean>
  /** RCPT named somebody of ours who is nobody. */
  guessed(): Promise<void>
  /** RCPT of somebody of ours. @returns false when it is too early for this sender, empty for the null one, to write to this recipient */
  mayReach(sender: string, recipient: string): boolean
  /** RCPT of an account. @returns false when it has written to enough people for now */
  mayWrite(account: string): Promise<boolean>
  /** A message was taken. */
  accepted(): void
  /** The connection has ended. */
  leave(): void
}

/** An authenticated device. */
export interface Submitter {
  readonly account: string
  readonly device: string
  /** True: the device may read mail, not send it. */
  readonly readOnly: boolean
  /** May this account write under `address`? The same for reverse-path and From. */
  owns(address: Address): boolean
  /** Aborts when the device is revoked, or (STATE_AWAY is the reason) nobody can say whether it is; its connections end at once. */
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
