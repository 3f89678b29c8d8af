/** PURE. Reports of TLS-RPT: where they are wanted, and what stands in them (RFC 8460 §3, §4). */
import { GatewayError } from "../errors.ts"
import { type Address, parseAddress } from "../message/address.ts"
import type { AppliedPolicy } from "./tls-result.ts"

/** Where a domain wants its reports. */
export type ReportPlace =
  | { readonly kind: "mailto"; readonly address: Address }
  | { readonly kind: "https"; readonly url: URL }

/** Sessions that ended alike. */
export interface ReportedResult {
  readonly policy: AppliedPolicy
  readonly result: string
  readonly mx: string
  readonly address: string
  readonly reason: string
  readonly sessions: number
}

/** Who reports about whom, and when. */
export interface ReportFacts {
  /** The domain that the report is about. */
  readonly domain: string
  /** UTC, "2026-11-26". */
  readonly day: string
  readonly organization: string
  /** An address that a person reads. */
  readonly contact: string
  readonly reportId: string
}

/**
 * tlsrpt-record = "v=TLSRPTv1" 1*(field-delim tlsrpt-field) [field-delim];   rua=mailto:a@example.com,https://b.example/v1
 * @param records TXT records at `_smtp._tls.DOMAIN`, the strings of each joined
 * @returns none: none are wanted, by no record or more than one (RFC 8460 §3)
 */
export function reportPlaces(records: readonly string[]): readonly ReportPlace[] {
  const ours = records.filter((record) => /^v=TLSRPTv1[ \t]*;/.test(record))
  const [record] = ours
  if (record === undefined || ours.length > 1) return []
  const rua = record
    .split(";")
    .map((field) => field.trim())
    .find((field) => field.startsWith("rua="))
  const uris = (rua?.slice(4) ?? "").split(",").map((uri) => uri.trim())
  return uris.slice(0, MAX_PLACES).flatMap((uri) => placeOf(uri) ?? [])
}

/** The report as JSON (RFC 8460 §4.4). */
export function reportJson(facts: ReportFacts, results: readonly ReportedResult[]): string {
  const policies = Map.groupBy(results, ({ policy }) => JSON.stringify(policy))
  return JSON.stringify({
    "organization-name": facts.organization,
    "date-range": { "start-datetime": `${facts.day}T00:00:00Z`, "end-datetime": `${facts.day}T23:59:59Z` },
    "contact-info": facts.contact,
    "report-id": facts.reportId,
    policies: [...policies.values()].map((group) => policyReport(facts.domain, group)),
  })
}

function policyReport(domain: string, results: readonly ReportedResult[]): object {
  const failures = results.filter(({ result }) => result !== "success")
  const [first] = results
  const { type, strings, mx } = first?.policy ?? { type: "no-policy-found", strings: [], mx: [] }
  return {
    policy: {
      "policy-type": type,
      ...(strings.length > 0 ? { "policy-string": strings } : {}),
      "policy-domain": domain,
      ...(mx.length > 0 ? { "mx-host": mx } : {}),
    },
    summary: {
      "total-successful-session-count": sum(results.filter(({ result }) => result === "success")),
      "total-failure-session-count": sum(failures),
    },
    ...(failures.length > 0 ? { "failure-details": failures.map(failureDetail) } : {}),
  }
}

function failureDetail({ result, mx, address, reason, sessions }: ReportedResult): object {
  return {
    "result-type": result,
    ...(mx === "" ? {} : { "receiving-mx-hostname": mx }),
    ...(address === "" ? {} : { "receiving-ip": address }),
    "failed-session-count": sessions,
    ...(reason === "" ? {} : { "failure-reason-code": reason }),
  }
}

function sum(results: readonly ReportedResult[]): number {
  return results.reduce((total, { sessions }) => total + sessions, 0)
}

function placeOf(uri: string): ReportPlace | null {
  const url = URL.parse(uri)
  if (url?.protocol === "https:" && url.username === "" && url.password === "") return { kind: "https", url }
  if (url?.protocol !== "mailto:") return null
  try {
    return { kind: "mailto", address: parseAddress(decodeURIComponent(url.pathname)) }
  } catch (error) {
    // What cannot be read is nowhere to send to; the others may be.
    if (error instanceof GatewayError || error instanceof URIError) return null
    throw error
  }
}

/** Whoever wants reports at more places can forward them. */
const MAX_PLACES = 5
