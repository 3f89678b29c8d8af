import { arc } from "mailauth/lib/arc/index.js"
import { bimi } from "mailauth/lib/bimi/index.js"
import { DkimVerifier } from "mailauth/lib/dkim/dkim-verifier.js"
import { evaluateDmarc } from "mailauth/lib/dmarc/index.js"
import { spf } from "mailauth/lib/spf/index.js"
import { formatAddress } from "../message/address.ts"
import { resultsField } from "../mime/authentication-results.ts"
import { HeaderCollector } from "./content.ts"
import type { KnownKeys } from "./known-keys.ts"
import { type Lookup, Lookups } from "./lookups.ts"
import type { ArrivalFacts, Examination, Verdict } from "./ports.ts"
import { decide, type Evaluation, percentOf } from "./verdict.ts"
import { verifiable } from "./verifiable.ts"

/** What authentication needs beside the message. */
export interface AuthenticationMeans {
  /** How we sign our results (RFC 8601 §2.5). */
  readonly authservId: string
  readonly lookup: Lookup
  readonly now: () => Date
  /** From 0 to 99, by chance; for DMARC's `pct`. */
  readonly sample: () => number
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
    if (this.#begun) return this.#begun.body(octets)
    const section = this.#header.push(octets)
    if (section === null) return
    this.#begun = await begin(section, this.#facts, this.#means, this.#lookups)
    await this.#begun.body(octets.subarray(octets.length - (this.#octets - section.length)))
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
  /** Why no signature is looked at, or null. */
  readonly unverified: string | null
  readonly body: (octets: Uint8Array) => Promise<void> | void
}

async function begin(section: Uint8Array, facts: ArrivalFacts, means: AuthenticationMeans, lookups: Lookups) {
  const sender = facts.sender ? formatAddress(facts.sender) : ""
  const { octets, signed, unverified } = verifiable(section)
  const verifier = new DkimVerifier({
    resolver: lookups.ask,
    strict: true,
    // Not empty: it would be looked for in the header.
    sender: sender || "<>",
    curTime: means.now(),
  })
  means.keys.serve(verifier, lookups.ask)
  await verifier.emitHeaders(octets)
  const checking = spf({
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
  const body = (part: Uint8Array) => (signed && part.length > 0 ? verifier.nextChunk(part) : undefined)
  return { verifier, spf: checking, unverified, body } satisfies Begun
}

/** Names that will be asked for when the body has come: asked now, their answers travel while it does. */
function foreseen({ signatureHeaders, headerFrom }: DkimVerifier): readonly string[] {
  const keys = signatureHeaders.map(({ selector, signingDomain }) => `${selector}._domainkey.${signingDomain}`)
  const author = headerFrom[0]?.split("@").at(-1)
  return [...keys, ...(author === undefined ? [] : [`_dmarc.${author}`])].filter((name) => HOST.test(name))
}

async function conclude(
  { verifier, spf: checking, unverified }: Begun,
  facts: ArrivalFacts,
  means: AuthenticationMeans,
  lookups: Lookups,
): Promise<Verdict> {
  const options = { resolver: lookups.ask, strict: true }
  const [spfResult] = await Promise.all([checking, verifier.finish()])
  const { results: signatures, headerFrom, fromFields } = verifier
  const arcResult = await arc(verifier.arc, { ...options, ip: facts.remote })
  const { response: dmarc, reason } = await evaluateDmarc({
    headerFrom,
    fromFields,
    spfDomains: spfResult.status.result === "pass" ? [spfResult.domain] : [],
    dkimDomains: signatures.flatMap(({ id, signingDomain, status }) =>
      status.result === "pass" && signingDomain !== undefined
        ? [{ ...(id === undefined ? {} : { id }), domain: signingDomain, underSized: status.underSized ?? 0 }]
        : [],
    ),
    arcResult,
    ...options,
  })
  const bimiResult = dmarc ? await bimi({ dmarc, headers: verifier.headers, ...options }) : false

  const evaluation: Evaluation = dmarc
    ? {
        kind: "evaluated",
        result: dmarc.status.result,
        policy: dmarc.policy ?? "none",
        percent: percentOf(dmarc.rr ?? ""),
      }
    : { kind: "no-author", reason: reason ?? "no-author-domain", fromFields }
  const undecided =
    spfResult.status.result === "temperror" ||
    signatures.some(({ status }) => status.result === "temperror" && status.aligned !== false)
  const dkimRows = unverified === null ? signatures.map(({ info }) => info) : [`dkim=policy reason="${unverified}"`]
  const dmarcRow = dmarc ? dmarc.info : `dmarc=permerror reason="${reason ?? "no-author-domain"}"`
  return {
    results: {
      spf: spfResult.status.result,
      dkim: unverified === null ? strongest(signatures.map(({ status }) => status.result)) : "policy",
      arc: arcResult.status.result,
      dmarc: dmarc ? dmarc.status.result : "permerror",
      bimi: bimiResult ? bimiResult.status.result : "skipped",
    },
    author: dmarc ? (dmarc.status.header?.["from"] ?? null) : null,
    decision: decide(evaluation, undecided, means.sample()),
    field: resultsField(
      means.authservId,
      [...dkimRows, spfResult.info, arcResult.info, dmarcRow, bimiResult ? bimiResult.info : undefined].filter(
        (row) => row !== undefined,
      ),
    ),
  }
}

/** One word for all signatures: the best of them, and what is not known yet before what failed. */
function strongest(results: readonly string[]): string {
  return (
    ["pass", "temperror", "fail", "policy", "permerror", "neutral"].find((word) => results.includes(word)) ?? "none"
  )
}

const HOST = /^(?=.{1,253}$)(?:[\w-]{1,63}\.)+[\w-]{1,63}$/
/** RFC 7208 §11.1 asks for 20 seconds at least. */
const BUDGET_MS = 20_000
/** RFC 7208 §4.6.4 */
const SPF_LOOKUPS = 10
const SPF_VOID_LOOKUPS = 2
