import { Counts } from "../imap-proxy/places.ts"
import type { Counters } from "../log/counters.ts"
import type { Visitors } from "../smtp-in/ports.ts"
import type { Core } from "./core.ts"
import { Greylist } from "./greylist.ts"
import { membership, networkOf } from "./network.ts"
import { SeenLately } from "./seen-lately.ts"
import { WindowCounter } from "./window-counter.ts"

/** How much is taken; 0: as much as anybody likes. */
export interface VisitorLimits {
  readonly connectionsPerNetwork: number
  readonly messagesPerNetwork: number
  readonly unknownRecipients: number
  readonly recipientsPerAccount: number
  /** How long who writes for the first time is put off, milliseconds. */
  readonly greylistMs: number
}

/**
 * Who connects to MX, or to the listeners for submission, counted in memory by network (RFC 4291: a /64 is one) and by account, each within an hour
 * that begins with its first. Networks that `exempt` names, which are those of our own relays, are never refused.
 */
export class SmtpVisitors implements Visitors {
  readonly #limits: VisitorLimits
  readonly #exempt: (remote: string) => boolean
  readonly #counters: Pick<Counters, "add">
  readonly #connections = new Counts()
  readonly #messages = new WindowCounter(HOUR_MS, MAX_KEYS)
  readonly #guesses = new WindowCounter(HOUR_MS, MAX_KEYS)
  readonly #recipients = new WindowCounter(HOUR_MS, MAX_KEYS)
  readonly #greylist: Greylist
  /** Networks whose mail was taken. */
  readonly #known: SeenLately

  constructor(
    limits: VisitorLimits,
    {
      exempt,
      counters,
      now,
    }: {
      readonly exempt: (remote: string) => boolean
      readonly counters: Pick<Counters, "add">
      readonly now: () => Date
    },
  ) {
    this.#limits = limits
    this.#exempt = exempt
    this.#counters = counters
    this.#known = new SeenLately(now, KNOWN_MS, MAX_KEYS)
    this.#greylist = new Greylist(limits.greylistMs, now)
  }

  connect(remote: string): (() => void) | null {
    if (this.#exempt(remote)) return noop
    const network = networkOf(remote)
    if (this.#connections.of(network) >= this.#limits.connectionsPerNetwork) {
      this.#limited("connections")
      return null
    }
    this.#connections.add(network, 1)
    return () => this.#connections.add(network, -1)
  }

  isKnown(remote: string): boolean {
    return this.#known.has(networkOf(remote))
  }

  async mayMail(remote: string): Promise<boolean> {
    const { messagesPerNetwork } = this.#limits
    return this.#exempt(remote) || this.#spend("messages", this.#messages, networkOf(remote), messagesPerNetwork)
  }

  async mayAsk(remote: string): Promise<boolean> {
    const { unknownRecipients } = this.#limits
    if (unknownRecipients === 0 || this.#exempt(remote)) return true
    if ((await this.#guesses.of(networkOf(remote))) < unknownRecipients) return true
    this.#limited("unknown-recipients")
    return false
  }

  async guessed(remote: string): Promise<void> {
    await this.#guesses.add(networkOf(remote))
  }

  mayReach(remote: string, sender: string, recipient: string): boolean {
    if (this.#limits.greylistMs === 0 || this.#exempt(remote) || this.isKnown(remote)) return true
    if (this.#greylist.passes(remote, sender, recipient)) return true
    this.#limited("greylist")
    return false
  }

  mayWrite(account: string): Promise<boolean> {
    return this.#spend("recipients", this.#recipients, account, this.#limits.recipientsPerAccount)
  }

  accepted(remote: string): void {
    this.#known.add(networkOf(remote))
  }

  async #spend(limit: string, counter: WindowCounter, key: string, most: number): Promise<boolean> {
    if (most === 0 || ((await counter.add(key)) ?? 0) <= most) return true
    this.#limited(limit)
    return false
  }

  #limited(limit: string): void {
    this.#counters.add("postern_smtp_limited_total", { limit })
  }
}

/** Those of a gateway, as configured. */
export function visitorsOf({ config, counters, now }: Pick<Core, "config" | "counters" | "now">): SmtpVisitors {
  const { limits, policy } = config
  return new SmtpVisitors(
    {
      connectionsPerNetwork: limits.smtpConnectionsPerNetwork,
      messagesPerNetwork: limits.smtpMessagesPerNetwork,
      unknownRecipients: limits.smtpUnknownRecipients,
      recipientsPerAccount: limits.smtpRecipientsPerAccount,
      greylistMs: limits.smtpGreylistMs,
    },
    { exempt: membership(policy.trusted), counters, now },
  )
}

function noop(): void {
  // Nothing was counted.
}

const HOUR_MS = 3_600_000
/** A server that sends once a day stays known. */
const KNOWN_MS = 7 * 86_400_000
/** Networks or accounts. */
const MAX_KEYS = 10_000
