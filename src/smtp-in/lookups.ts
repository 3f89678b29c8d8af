import { Resolver } from "node:dns/promises"

/**
 * Asks DNS for records. Throws an error whose `code` is ENOTFOUND (no such name), ENODATA (no such record) or EBADNAME (cannot be a name);
 * any other means that there was no answer, and that is never "no record".
 */
export type Lookup = (name: string, type: string) => Promise<string[][] | string[]>

/** DNS by the servers named, "address" or "address:port"; by the system's when none are. */
export function dnsLookup(servers: readonly string[]): Lookup {
  const resolver = new Resolver({ timeout: TIMEOUT_MS, tries: 2 })
  if (servers.length > 0) resolver.setServers(servers)
  // The types that mailauth asks for give lists: of strings, or of the strings of TXT, or of MX, which it reads itself.
  return async (name, type) => (await resolver.resolve(name, type)) as string[][] | string[]
}

/** The look-ups of one message: each question is asked once, there is a bound on them, and an end. */
export class Lookups {
  readonly #lookup: Lookup
  readonly #answers = new Map<string, ReturnType<Lookup>>()
  readonly #over = Promise.withResolvers<never>()

  constructor(lookup: Lookup) {
    this.#lookup = lookup
    this.#over.promise.catch(() => undefined)
  }

  readonly ask: Lookup = (name, type) => {
    if (!NAME.test(name)) return refused(name)
    const key = `${type} ${name.toLowerCase()}`
    const known = this.#answers.get(key)
    if (known) return known
    const answer = this.#answers.size < MAX_LOOKUPS ? this.#race(name, type) : Promise.reject(noAnswer("too many"))
    // Whoever waits for it hears of its failure; it may be that nobody does any more.
    answer.catch(() => undefined)
    this.#answers.set(key, answer)
    return answer
  }

  /** True when there is no answer about one of these names; asks for what was not asked yet. */
  async unanswered(names: readonly string[]): Promise<boolean> {
    const answers = await Promise.allSettled(names.map((name) => this.ask(name, "TXT")))
    return answers.some((answer) => answer.status === "rejected" && !isAnswer(answer.reason))
  }

  /** From now on nothing is answered, not even what was asked before. */
  end(): void {
    this.#over.reject(OUT_OF_TIME)
  }

  #race(name: string, type: string): ReturnType<Lookup> {
    return Promise.race([this.#over.promise, this.#lookup(name, type)])
  }
}

// Rejects, as the look-up itself would; async, so that nothing is thrown at the caller.
async function refused(name: string): Promise<never> {
  throw Object.assign(new Error(`dns: ${JSON.stringify(name)} cannot be a name`), { code: "EBADNAME" })
}

/** One for all: its stack says nothing, and costs more than the rest of this file. */
const OUT_OF_TIME = noAnswer("out of time")

/** True for an error that says that there is nothing, which is an answer (RFC 2308). */
export function isAnswer(error: unknown): boolean {
  return typeof error === "object" && error !== null && "code" in error && ANSWERS.includes(error.code)
}

function noAnswer(why: string): Error {
  return Object.assign(new Error(`dns: ${why}`), { code: "ETIMEOUT" })
}

/**
 * node:dns ends a name at its first NUL and asks for what stands before it: `x._domainkey.attacker.test\0._domainkey.sealer.test` would be
 * answered by the attacker, for the sealer. Names with other letters come as A-labels.
 */
const NAME = /^[\x20-\x7e]+$/
const ANSWERS: readonly unknown[] = ["ENOTFOUND", "ENODATA", "EBADNAME"]
/** Of one query to one server; c-ares doubles it for the second try. */
const TIMEOUT_MS = 3_000
/** Honest mail needs up to 30. SPF has limits of its own (RFC 7208 §4.6.4: 10, and 10 names for each mx). */
const MAX_LOOKUPS = 200
