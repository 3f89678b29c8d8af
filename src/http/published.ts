import type { FastifyReply, FastifyRequest } from "fastify"

/** What of our people's keys is published, found by the hash of the local part. */
export interface PublishedKeys {
  readonly domains: readonly string[]
  /** @returns the signed profile; null: nobody of `domain` has this hash */
  profile(domain: string, hash: string): string | null
  /** @returns the signed profile of version 2; null: nobody of `domain` has this hash, or has no part in the Mesh */
  meshProfile(domain: string, hash: string): Uint8Array | null
  /** @returns the OpenPGP certificate, binary, which names the address; null: nobody of `domain` has this hash, or has no such certificate */
  certificate(domain: string, hash: string): Uint8Array | null
  /** Whether mail for such an address is taken: who asks for it guesses nothing. */
  isKnown(domain: string, hash: string): boolean
}

/** Who asks, counted by network: nobody is to find out who is here by asking for everybody. */
export interface Askers {
  /** Whether it has not guessed too much. */
  mayAsk(remote: string): Promise<boolean>
  /** It asked for somebody who is not here. */
  guessed(remote: string): Promise<void>
}

/** Key material as it is sent. */
interface Found {
  readonly type: string
  readonly body: string | Uint8Array
}

/** What is published of an address; null: nothing. */
export type FindPublished = (domain: string, hash: string) => Found | null

/** Answers questions for one address. */
export class KeyAnswers {
  readonly keys: PublishedKeys
  readonly #askers: Askers

  constructor(keys: PublishedKeys, askers: Askers) {
    this.keys = keys
    this.#askers = askers
  }

  /** Who is not here, and who is here without such a key, get the same answer. */
  async answer(
    request: FastifyRequest,
    reply: FastifyReply,
    { domain, hash }: { readonly domain: string | null; readonly hash: string },
    find: FindPublished,
  ): Promise<FastifyReply> {
    if (!(await this.#askers.mayAsk(request.ip)))
      return text(reply.header("retry-after", String(RETRY_SECONDS)), 429, "too many addresses that are nobody's")
    const isAddress = domain !== null && HASH.test(hash) && this.keys.domains.includes(domain)
    if (!isAddress) return text(reply, 404, NOTHING)
    if (!this.keys.isKnown(domain, hash)) await this.#askers.guessed(request.ip)
    const found = find(domain, hash)
    return found === null ? text(reply, 404, NOTHING) : sendPublished(reply, found)
  }
}

/** For machines that cache, and for web pages of others. */
export function sendPublished(reply: FastifyReply, { type, body }: Found): FastifyReply {
  return reply
    .code(200)
    .header("content-type", type)
    .header("cache-control", `public, max-age=${CACHE_SECONDS}`)
    .header("access-control-allow-origin", "*")
    .header("x-content-type-options", "nosniff")
    .send(typeof body === "string" ? body : Buffer.from(body))
}

function text(reply: FastifyReply, status: number, line: string): FastifyReply {
  return reply.code(status).type("text/plain; charset=utf-8").send(`${line}\n`)
}

/** Five minutes bound how long a replaced key is still used. */
const CACHE_SECONDS = 300
/** Until some of what was counted is forgotten: at most an hour. */
const RETRY_SECONDS = 600
const NOTHING = "nothing is published here"
/** z-base-32 of 20 octets of SHA-1. */
const HASH = /^[ybndrfg8ejkmcpqxot1uwisza345h769]{32}$/
