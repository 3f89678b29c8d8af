import type { Log } from "../log/log.ts"
import { askHttps, type HttpsRules } from "../net/https.ts"
import type { StsFinding, StsPolicies } from "./demands.ts"
import type { ExchangeHop } from "./hop.ts"
import { parseStsPolicy, type StsPolicy, stsIdOf } from "./sts-policy.ts"
import { resultOfCode, type TlsResultType } from "./tls-result.ts"

/** A policy as it was fetched. */
export interface KnownPolicy {
  /** `id` of the TXT record that it was fetched for; "": there was no such record then. */
  readonly id: string
  readonly policy: StsPolicy
  readonly fetchedAt: Date
}

/** Remembers policies over restarts. Both throw where that cannot be done: a policy that is known must not be overlooked. */
export interface PolicyMemory {
  find(domain: string): KnownPolicy | null
  keep(domain: string, known: KnownPolicy): void
  /** Mail went there. */
  used(domain: string, at: Date): void
  /** Domains that mail went to lately, and half of whose policy's time is over. */
  ageing(at: Date): readonly string[]
}

export interface StsOptions {
  readonly memory: PolicyMemory
  readonly now: () => Date
  readonly log: Log
  readonly https?: HttpsRules
}

type Domain = Pick<ExchangeHop, "domain" | "resolver">

/**
 * Policies of MTA-STS (RFC 8461 §3.3, §5.1). A known one holds until its max_age is over, whatever DNS and HTTPS say or do not say
 * meanwhile; it is fetched anew when the TXT record's id is another one, and from half of max_age on.
 */
export class FetchedPolicies implements StsPolicies {
  readonly #options: StsOptions
  /** Questions under way and answered within {@link HELD_MS}, by domain. */
  readonly #asked = new Map<string, { readonly answer: Promise<StsFinding>; readonly untilMs: number }>()

  constructor(options: StsOptions) {
    this.#options = options
  }

  async find(hop: Domain, signal: AbortSignal): Promise<StsFinding> {
    const domain = hop.domain.toLowerCase()
    const nowMs = this.#options.now().getTime()
    const asked = this.#asked.get(domain)
    if (asked && asked.untilMs > nowMs) {
      const finding = await asked.answer
      signal.throwIfAborted()
      // A failure is news once. What is known is read again: it may have expired.
      return { policy: this.#known(domain)?.policy ?? finding.policy, failure: null }
    }
    // Not ended by one message's signal: others may wait for it, and it has a limit of its own.
    const answer = this.#ask({ ...hop, domain }, AbortSignal.timeout(FETCH_MS))
    this.#options.memory.used(domain, this.#options.now())
    answer.catch(() => this.#asked.delete(domain))
    this.#asked.delete(domain)
    this.#asked.set(domain, { answer, untilMs: nowMs + HELD_MS })
    for (const [old, { untilMs }] of this.#asked) {
      if (untilMs > nowMs && this.#asked.size <= MAX_HELD) break
      this.#asked.delete(old)
    }
    const finding = await answer
    signal.throwIfAborted()
    return finding
  }

  /** Fetches again what ages. What cannot be had stays what it is. */
  async refresh(resolver: Domain["resolver"], signal: AbortSignal): Promise<void> {
    for (const domain of this.#options.memory.ageing(this.#options.now())) {
      signal.throwIfAborted()
      await this.#ask({ domain, resolver }, AbortSignal.any([signal, AbortSignal.timeout(FETCH_MS)]))
    }
  }

  async #ask(hop: Domain, signal: AbortSignal): Promise<StsFinding> {
    const { domain } = hop
    const known = this.#known(domain)
    const id = await this.#announced(hop)
    const fresh = known !== null && (id === null || id === known.id) && !this.#isHalfOver(known)
    if (fresh || (known === null && id === null)) return { policy: known?.policy ?? null, failure: null }
    const fetched = await fetchPolicy(hop, this.#options.https ?? {}, signal)
    if (fetched.kind === "policy") {
      const { policy } = fetched
      this.#options.memory.keep(domain, { id: id ?? "", policy, fetchedAt: this.#options.now() })
      this.#options.log.info("sts.fetched", { domain, mode: policy.mode, mx: policy.mx, maxAge: policy.maxAgeSeconds })
      return { policy, failure: null }
    }
    const { result, why } = fetched
    this.#options.log.warn("sts.not-fetched", { domain, result, reason: why, known: known?.policy.mode ?? "none" })
    return { policy: known?.policy ?? null, failure: { result, why } }
  }

  /** The id in DNS; null: none, or no answer, which changes nothing about what is known. */
  async #announced({ domain, resolver }: Domain): Promise<string | null> {
    try {
      return stsIdOf(await resolver.text(`_mta-sts.${domain}`))
    } catch (error) {
      const reason = error instanceof Error ? error.message : "unknown"
      this.#options.log.warn("sts.not-announced", { domain, reason })
      return null
    }
  }

  /** null: none, or over. */
  #known(domain: string): KnownPolicy | null {
    const known = this.#options.memory.find(domain)
    return known !== null && this.#ageMs(known) < known.policy.maxAgeSeconds * 1000 ? known : null
  }

  #isHalfOver(known: KnownPolicy): boolean {
    return this.#ageMs(known) >= (known.policy.maxAgeSeconds * 1000) / 2
  }

  #ageMs({ fetchedAt }: KnownPolicy): number {
    return this.#options.now().getTime() - fetchedAt.getTime()
  }
}

type Fetched =
  | { readonly kind: "policy"; readonly policy: StsPolicy }
  | { readonly kind: "failure"; readonly result: TlsResultType; readonly why: string }

/** RFC 8461 §3.3: over HTTPS from the policy host, its certificate verified, 200, no redirect, text/plain. */
async function fetchPolicy({ domain, resolver }: Domain, rules: HttpsRules, signal: AbortSignal): Promise<Fetched> {
  const host = `mta-sts.${domain}`
  try {
    const { records } = await resolver.addresses(host)
    if (records.length === 0) return failed("sts-policy-fetch-error", `${host} has no address`)
    const asked = { host, addresses: records, path: "/.well-known/mta-sts.txt", maxOctets: MAX_POLICY_OCTETS }
    const { status, type, body } = await askHttps(asked, rules, signal)
    if (status !== 200) return failed("sts-policy-fetch-error", `${host} answers ${status}`)
    if (type !== "text/plain") return failed("sts-policy-fetch-error", `${host} answers ${type || "no media type"}`)
    const parsed = parseStsPolicy(Buffer.from(body).toString("latin1"))
    return parsed.kind === "policy" ? parsed : failed("sts-policy-invalid", parsed.why)
  } catch (error) {
    if (!(error instanceof Error)) throw error
    const code = "code" in error && typeof error.code === "string" ? error.code : ""
    const webPki = resultOfCode(code) !== "validation-failure"
    return failed(webPki ? "sts-webpki-invalid" : "sts-policy-fetch-error", `${code} ${error.message}`.trim())
  }
}

function failed(result: TlsResultType, why: string): Fetched {
  return { kind: "failure", result, why }
}

/** RFC 8461 §3.3 suggests 64 KB. */
const MAX_POLICY_OCTETS = 65_536
/** Look-ups of DNS included. */
const FETCH_MS = 60_000
/** DNS and a policy host that fails are asked again after this time (RFC 8461 §3.3: five minutes after a failure). */
const HELD_MS = 300_000
/** Domains that mail went to within those minutes. */
const MAX_HELD = 5_000
