import { Counts } from "../imap-proxy/places.ts"
import type { Counters } from "../log/counters.ts"
import type { Visitor, Visitors } from "../smtp-in/ports.ts"
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

/** What is counted of all visitors: within an hour that begins with the first, but for `connections`. */
class Book {
  readonly limits: VisitorLimits
  readonly connections = new Counts()
  readonly messages = new WindowCounter(HOUR_MS, MAX_KEYS)
  readonly guesses = new WindowCounter(HOUR_MS, MAX_KEYS)
  readonly recipients = new WindowCounter(HOUR_MS, MAX_KEYS)
  readonly greylist: Greylist
  /** Networks whose mail was taken. */
  readonly known: SeenLately
  readonly #counters: Pick<Counters, "add">

  constructor(limits: VisitorLimits, counters: Pick<Counters, "add">, now: () => Date) {
    this.limits = limits
    this.#counters = counters
    this.greylist = new Greylist(limits.greylistMs, now)
    this.known = new SeenLately(now, KNOWN_MS, MAX_KEYS)
  }

  /** @returns whether `key` had less than `most` before; 0: as much as anybody likes */
  async spend(limit: string, counter: WindowCounter, key: string, most: number): Promise<boolean> {
    return most === 0 || ((await counter.add(key)) ?? 0) <= most || this.refused(limit)
  }

  /** Counts it. @returns false */
  refused(limit: string): false {
    this.#counters.add("postern_smtp_limited_total", { limit })
    return false
  }
}

/**
 * Who connects to MX, or to the listeners for submission, counted in memory by network (RFC 4291: a /64 is one) and by account. Networks that
 * `exempt` names, which are those of our own relays, are never refused.
 */
export class SmtpVisitors implements Visitors {
  readonly #book: Book
  readonly #exempt: (remote: string) => boolean

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
    this.#book = new Book(limits, counters, now)
    this.#exempt = exempt
  }

  connect(remote: string): Visitor | null {
    const { connections, limits } = this.#book
    const [network, exempt] = [networkOf(remote), this.#exempt(remote)]
    if (!exempt && connections.of(network) >= limits.connectionsPerNetwork) {
      this.#book.refused("connections")
      return null
    }
    connections.add(network, 1)
    return new SmtpVisitor(this.#book, remote, network, exempt)
  }
}

/** The other end of one connection. */
class SmtpVisitor implements Visitor {
  readonly #book: Book
  readonly #remote: string
  readonly #network: string
  readonly #exempt: boolean

  constructor(book: Book, remote: string, network: string, exempt: boolean) {
    this.#book = book
    this.#remote = remote
    this.#network = network
    this.#exempt = exempt
  }

  get isKnown(): boolean {
    return this.#book.known.has(this.#network)
  }

  async mayMail(): Promise<boolean> {
    const { messages, limits } = this.#book
    return this.#exempt || this.#book.spend("messages", messages, this.#network, limits.messagesPerNetwork)
  }

  async mayAsk(): Promise<boolean> {
    const { guesses, limits } = this.#book
    if (limits.unknownRecipients === 0 || this.#exempt) return true
    return (await guesses.of(this.#network)) < limits.unknownRecipients || this.#book.refused("unknown-recipients")
  }

  async guessed(): Promise<void> {
    await this.#book.guesses.add(this.#network)
  }

  mayReach(sender: string, recipient: string): boolean {
    const { greylist, limits } = this.#book
    if (limits.greylistMs === 0 || this.#exempt || this.isKnown) return true
    return greylist.passes(this.#remote, sender, recipient) || this.#book.refused("greylist")
  }

  mayWrite(account: string): Promise<boolean> {
    const { recipients, limits } = this.#book
    return this.#book.spend("recipients", recipients, account, limits.recipientsPerAccount)
  }

  accepted(): void {
    this.#book.known.add(this.#network)
  }

  leave(): void {
    this.#book.connections.add(this.#network, -1)
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

const HOUR_MS = 3_600_000
/** A server that sends once a day stays known. */
const KNOWN_MS = 7 * 86_400_000
/** Networks or accounts. */
const MAX_KEYS = 10_000
