import { gzipSync } from "node:zlib"
import { sha256 } from "../crypto/primitives/hash.ts"
import type { Log } from "../log/log.ts"
import { type Address, formatAddress } from "../message/address.ts"
import { askHttps, type HttpsRules } from "../net/https.ts"
import { reportName } from "../pipeline/report-name.ts"
import type { Resolver } from "./hop.ts"
import { type ReportFacts, type ReportPlace, reportJson, reportPlaces } from "./tls-report.ts"
import { composeTlsReport } from "./tls-report-mail.ts"
import type { AppliedPolicy } from "./tls-result.ts"

/** A UTC day and a domain that has results of it. */
interface DomainDay {
  readonly day: string
  readonly domain: string
}

/** What was counted, until it is reported. */
export interface ReportableResults {
  before(day: string): readonly DomainDay[]
  of(one: DomainDay): readonly {
    readonly policy: string
    readonly result: string
    readonly mx: string
    readonly address: string
    readonly reason: string
    readonly sessions: number
  }[]
  remove(one: DomainDay): void
  removeBefore(day: string): void
}

export interface ReporterOptions {
  readonly results: ReportableResults
  readonly resolver: Pick<Resolver, "text" | "addresses">
  /** The domain that reports. */
  readonly organization: string
  readonly hostname: string
  /** Author of reports, and who is asked about them. */
  readonly postmaster: Address
  /** Queues a message with the null reverse-path; the same `name` twice is one. */
  readonly submit: (mail: { readonly name: string; readonly to: Address; readonly octets: Uint8Array }) => Promise<void>
  readonly https?: HttpsRules
  readonly now: () => Date
  readonly log: Log
}

/**
 * Sends each domain that asks for it the report of a day that is over (RFC 8460). What a domain does not ask for is forgotten; where DNS or
 * the place does not answer it is tried again, for {@link MAX_AGE_DAYS}.
 */
export class TlsReporter {
  readonly #options: ReporterOptions

  constructor(options: ReporterOptions) {
    this.#options = options
  }

  /** One round: all reports whose time has come. */
  async send(signal: AbortSignal): Promise<void> {
    const { results, now } = this.#options
    const today = dayOf(now())
    results.removeBefore(dayOf(new Date(now().getTime() - MAX_AGE_DAYS * DAY_MS)))
    for (const one of results.before(today)) {
      signal.throwIfAborted()
      if (now().getTime() < dueMs(one)) continue
      try {
        await this.#report(one, signal)
        results.remove(one)
      } catch (error) {
        signal.throwIfAborted()
        const reason = error instanceof Error ? error.message : "unknown"
        this.#options.log.warn("tls-report.not-sent", { domain: one.domain, day: one.day, reason })
      }
    }
  }

  async #report(one: DomainDay, signal: AbortSignal): Promise<void> {
    const { results, resolver, organization, postmaster, log } = this.#options
    const places = reportPlaces(await resolver.text(`_smtp._tls.${one.domain}`))
    if (places.length === 0) return
    const reportId = `${one.day}_${one.domain}@${organization}`
    const facts: ReportFacts = { ...one, organization, contact: formatAddress(postmaster), reportId }
    const counted = results.of(one).map((result) => ({ ...result, policy: JSON.parse(result.policy) as AppliedPolicy }))
    const gzip = gzipSync(reportJson(facts, counted))
    const sent = await Promise.allSettled(places.map((place) => this.#sendTo(place, facts, gzip, signal)))
    const failure = sent.find((outcome) => outcome.status === "rejected")
    // One place that has it is enough (RFC 8460 §3); the others would get it again each time.
    if (failure && sent.every((outcome) => outcome.status === "rejected")) throw failure.reason
    log.info("tls-report.sent", { domain: one.domain, day: one.day, places: places.length })
  }

  async #sendTo(place: ReportPlace, facts: ReportFacts, gzip: Uint8Array, signal: AbortSignal): Promise<void> {
    if (place.kind === "mailto") return await this.#mail(place.address, facts, gzip)
    const { url } = place
    const { records } = await this.#options.resolver.addresses(url.hostname)
    const { status } = await askHttps(
      {
        host: url.hostname,
        addresses: records,
        path: `${url.pathname}${url.search}`,
        ...(url.port === "" ? {} : { port: Number(url.port) }),
        body: { type: "application/tlsrpt+gzip", octets: gzip },
        maxOctets: MAX_RESPONSE_OCTETS,
      },
      this.#options.https ?? {},
      signal,
    )
    // RFC 8460 §5.4: any 2xx.
    if (status < 200 || status > 299) throw new Error(`${url.hostname} answers ${status}`)
  }

  async #mail(to: Address, { domain, day, reportId }: ReportFacts, gzip: Uint8Array): Promise<void> {
    const { organization, hostname, postmaster, submit, now } = this.#options
    const name = reportName(reportId, formatAddress(to))
    const octets = composeTlsReport({
      from: postmaster,
      to,
      domain,
      submitter: organization,
      reportId,
      day,
      gzip,
      boundary: `tlsrpt-${name}`,
      messageId: `<tlsrpt-${name}@${hostname}>`,
      date: now(),
    })
    await submit({ name, to, octets })
  }
}

/** RFC 8460 §4.1: some time after the day's end, so that not all reports of the world come at midnight; the same for each try. */
function dueMs({ day, domain }: DomainDay): number {
  const share = Buffer.from(sha256(Buffer.from(`${day} ${domain}`))).readUInt16BE() / 65_536
  return Date.parse(`${day}T00:00:00Z`) + DAY_MS + SETTLE_MS + share * SPREAD_MS
}

function dayOf(date: Date): string {
  return date.toISOString().slice(0, 10)
}

const DAY_MS = 86_400e3
/** Counts of the last seconds of a day are still in the memory of a thread. */
const SETTLE_MS = 60e3
const SPREAD_MS = 4 * 3600e3
/** An older report helps nobody. */
const MAX_AGE_DAYS = 3
const MAX_RESPONSE_OCTETS = 65_536
