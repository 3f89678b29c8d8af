import type { DkimVerifier } from "mailauth/lib/dkim/dkim-verifier.js"
import type { Lookup } from "./lookups.ts"

/**
 * Public keys that were read lately, each by the name and the very record that holds it, so that a new record counts at once. Reading one
 * costs several times what verifying with it does, and most mail comes from the same few signers.
 */
export class KnownKeys {
  readonly #keys = new Map<string, unknown>()

  /** Lets `verifier` find them. Records are asked for with every message all the same. */
  serve({ keyCache }: DkimVerifier, lookup: Lookup): void {
    const read = keyCache.get.bind(keyCache)
    keyCache.get = (...question) => {
      const key = this.#find(question, read, lookup)
      // ARC's are asked for in advance, and some are waited for by nobody then.
      key.catch(() => undefined)
      return key
    }
  }

  async #find(question: Question, read: DkimVerifier["keyCache"]["get"], lookup: Lookup): Promise<unknown> {
    const [, name] = question
    // Names with other characters are asked for in another form.
    if (!PLAIN.test(name)) return read(...question)
    const text = JSON.stringify([question, await lookup(name, "TXT")])
    const known = this.#keys.get(text)
    if (known !== undefined) return known
    const key = await read(...question)
    this.#keep(text, key)
    return key
  }

  #keep(text: string, key: unknown): void {
    const [oldest] = this.#keys.keys()
    if (this.#keys.size >= MAX_KEYS && oldest !== undefined) this.#keys.delete(oldest)
    this.#keys.set(text, key)
  }
}

type Question = Parameters<DkimVerifier["keyCache"]["get"]>

const PLAIN = /^[\w.-]+$/
/** 3 KB each. */
const MAX_KEYS = 1_000
