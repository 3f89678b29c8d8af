import type { DkimVerifier } from "mailauth/lib/dkim/dkim-verifier.js"
import { type VerifyingKey, verifyingKey } from "../crypto/primitives/verifying-key.ts"
import type { Lookup } from "./lookups.ts"

/**
 * Public keys that were read lately, each by the name and the very record that holds it, so that a new record counts at once. Reading one
 * costs several times what verifying with it does, and most mail comes from the same few signers.
 */
export class KnownKeys {
  readonly #keys = new Map<string, ReadKey>()

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

  async #find(question: Question, read: Read, lookup: Lookup): Promise<ReadKey> {
    const [, name, ...rest] = question
    if (name.length > MAX_NAME_CHARACTERS) throw unusable("ENOTFOUND", "name is too long to be one")
    // Names with other characters are asked for in another form.
    if (!PLAIN.test(name)) return ready(await read(...question))
    const text = JSON.stringify([name, rest, await lookup(name, "TXT")])
    const known = this.#keys.get(text)
    if (known !== undefined) return known
    const key = ready(await read(...question))
    if (text.length <= MAX_RECORD_CHARACTERS) this.#keep(text, key)
    return key
  }

  #keep(text: string, key: ReadKey): void {
    const [oldest] = this.#keys.keys()
    if (this.#keys.size >= MAX_KEYS && oldest !== undefined) this.#keys.delete(oldest)
    this.#keys.set(text, key)
  }
}

type Read = DkimVerifier["keyCache"]["get"]
type Question = Parameters<Read>
type ReadKey = Awaited<ReturnType<Read>>

function ready(read: ReadKey): ReadKey {
  const verifying = verifyingKey(read.publicKey.toString())
  if (isCostly(verifying)) throw unusable("EINVALIDVAL", "key is too long")
  return { ...read, publicKey: verifying.key }
}

function isCostly({ rsa }: VerifyingKey): boolean {
  return rsa !== null && (rsa.modulusBits > MAX_RSA_BITS || rsa.exponent > MAX_RSA_EXPONENT)
}

/** With mailauth's word for what is wrong. */
function unusable(code: string, what: string): Error {
  return Object.assign(new Error(`dkim: ${what}`), { code })
}

const PLAIN = /^[\w.-]+$/
/** RFC 1035 §2.3.4 */
const MAX_NAME_CHARACTERS = 253
/** What RFC 8301 §3.2 asks of verifiers. OpenSSL goes to 16,384 bits; 8,192 take 15 times as long as 2,048 (measured). */
const MAX_RSA_BITS = 4_096
/** Real ones are 65,537. Time grows with its bits: one as long as a modulus of 3,072 would take some 10 ms. */
const MAX_RSA_EXPONENT = 0xffff_ffffn
const MAX_KEYS = 1_000
/** Real ones stay below 1,000. With {@link MAX_KEYS}: 6 MB at most. */
const MAX_RECORD_CHARACTERS = 2_000
