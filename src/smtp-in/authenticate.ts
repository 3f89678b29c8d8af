import { DkimVerifier } from "mailauth/lib/dkim/dkim-verifier.js"
import { spf } from "mailauth/lib/spf/index.js"
import { formatAddress } from "../message/address.ts"
import { resultsField } from "../mime/authentication-results.ts"
import { HeaderCollector } from "./content.ts"
import { evaluate, rowsOf } from "./evaluate.ts"
import type { KnownKeys } from "./known-keys.ts"
import { type Lookup, Lookups } from "./lookups.ts"
import type { ArrivalFacts, Examination, Verdict } from "./ports.ts"
import { decide } from "./verdict.ts"
import { type Verifiable, verifiable } from "./verifiable.ts"
import { WholeLines } from "./whole-lines.ts"

/** What authentication needs beside the message. */
export interface AuthenticationMeans {
  /** How we sign our results (RFC 8601 §2.5). */
  readonly authservId: string
  readonly lookup: Lookup
  readonly now: () => Date
  /** From 0 to 99, by chance; for DMARC's `pct`. */
  readonly sample: () => number
  /** Domains of sealers that are believed when they say that a message passed DMARC (RFC 8617 §7.2.1). */
  readonly trustedSealers: readonly string[]
  /** Keys of earlier messages. */
  readonly keys: KnownKeys
  /** From the last octet of the message on, what DNS has not answered after this time counts as no answer. */
  readonly budgetMs?: number
}

/** SPF, DKIM, ARC, DMARC and BIMI of a message that is read from `content`. Nothing of it is kept but its header section. */
export async function authenticate(
  facts: ArrivalFacts,
  content: AsyncIterable<Uint8Array>,
  means: AuthenticationMeans,
): Promise<Verdict> {
  const examining = new Examining(facts, means)
  for await (const octets of content) await examining.push(octets)
  return examining.end()
}

/** The same for a message on its way to somewhere else. */
export class Examining implements Examination {
  readonly #facts: ArrivalFacts
  readonly #means: AuthenticationMeans
  readonly #lookups: Lookups
  readonly #header = new HeaderCollector()
  #octets = 0
  #begun: Begun | null = null

  constructor(facts: ArrivalFacts, means: AuthenticationMeans) {
    this.#facts = facts
    this.#means = means
    this.#lookups = new Lookups(means.lookup)
  }

  async push(octets: Uint8Array): Promise<void> {
    this.#octets += octets.length
    if (this.#begun) return this.#begun.lines?.push(octets)
    const section = this.#header.push(octets)
    if (section === null) return
    this.#begun = await begin(section, this.#facts, this.#means, this.#lookups)
    await this.#begun.lines?.push(octets.subarray(octets.length - (this.#octets - section.length)))
  }

  async end(): Promise<Verdict> {
    const timer = setTimeout(() => this.#lookups.end(), this.#means.budgetMs ?? BUDGET_MS)
    try {
      const section = this.#header.end() ?? new Uint8Array(0)
      this.#begun ??= await begin(section, this.#facts, this.#means, this.#lookups)
      return await conclude(this.#begun, this.#facts, this.#means, this.#lookups)
    } finally {
      clearTimeout(timer)
      this.#lookups.end()
    }
  }

  cancel(): void {
    this.#lookups.end()
  }
}

/** What has been started when the header section is there. */
interface Begun {
  readonly verifier: DkimVerifier
  readonly spf: ReturnType<typeof spf>
  readonly header: Verifiable
  /** null: no signature covers the body. */
  readonly lines: WholeLines | null
}

async function begin(
  section: Uint8Array,
  facts: ArrivalFacts,
  means: AuthenticationMeans,
  lookups: Lookups,
): Promise<Begun> {
  const sender = facts.sender ? formatAddress(facts.sender) : ""
  const header = verifiable(section)
  const verifier = new DkimVerifier({
    resolver: lookups.ask,
    strict: true,
    // Not empty: it would be looked for in the header.
    sender: sender || "<>",
    curTime: means.now(),
  })
  means.keys.serve(verifier, lookups.ask)
  await verifier.emitHeaders(header.octets)
  const checking = spf({
    // RFC 7208 §2.4: of the null reverse-path, HELO is checked.
    ...(sender ? { sender } : {}),
    ip: facts.remote,
    helo: facts.helo,
    mta: means.authservId,
    resolver: lookups.ask,
    maxResolveCount: SPF_LOOKUPS,
    maxVoidCount: SPF_VOID_LOOKUPS,
    strict: true,
  })
  checking.catch(() => undefined)
  for (const name of foreseen(verifier)) void lookups.ask(name, "TXT").catch(() => undefined)
  const lines = verifier.bodyHashes.size > 0 ? new WholeLines((octets) => verifier.nextChunk(octets)) : null
  return { verifier, spf: checking, header, lines }
}

/** Names that will be asked for when the body has come: asked now, their answers travel while it does. */
function foreseen({ signatureHeaders, headerFrom }: DkimVerifier): readonly string[] {
  const keys = signatureHeaders.map(({ selector, signingDomain }) => `${selector}._domainkey.${signingDomain}`)
  const author = headerFrom[0]?.split("@").at(-1)
  return [...keys, ...(author === undefined ? [] : [`_dmarc.${author}`])].filter((name) => HOST.test(name))
}

async function conclude(
  begun: Begun,
  facts: ArrivalFacts,
  means: AuthenticationMeans,
  lookups: Lookups,
): Promise<Verdict> {
  await begun.lines?.end()
  const [spfResult] = await Promise.all([begun.spf, begun.verifier.finish()])
  const unverified = begun.header.unverified ?? (begun.lines?.overlong ? OVERLONG : null)
  const findings = await evaluate(
    { verifier: begun.verifier, spf: spfResult, unverified, ambiguous: begun.header.ambiguous },
    { remote: facts.remote, trustedSealers: means.trustedSealers, lookups },
  )
  const decision = decide(findings.evaluation, { ...findings, sample: means.sample() })
  const field = resultsField(means.authservId, rowsOf(findings, decision))
  return { results: findings.results, author: findings.author, decision, field }
}

const OVERLONG = "a line is too long to be verified"
const HOST = /^(?=.{1,253}$)(?:[\w-]{1,63}\.)+[\w-]{1,63}$/
/** RFC 7208 §4.6.4 asks for 20 seconds at least. */
const BUDGET_MS = 20_000
/** Both RFC 7208 §4.6.4. */
const SPF_LOOKUPS = 10
const SPF_VOID_LOOKUPS = 2
