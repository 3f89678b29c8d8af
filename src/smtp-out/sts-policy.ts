/** PURE. MTA-STS: the TXT record, the policy and its matching, as octets and words (RFC 8461 §3.1, §3.2, §4.1). */

/** A policy that a domain has published. */
export interface StsPolicy {
  readonly mode: "enforce" | "testing" | "none"
  /** Patterns as published, lower case: "mx.example.org", or "*.example.org" for one label before it. */
  readonly mx: readonly string[]
  readonly maxAgeSeconds: number
}

/** How a policy was not one. */
export type StsPolicyParsed =
  | { readonly kind: "policy"; readonly policy: StsPolicy }
  | { readonly kind: "invalid"; readonly why: string }

/**
 * sts-text-record = sts-version 1*(sts-field-delim sts-field) [sts-field-delim]   ; v=STSv1; id=20160831085700Z;
 * @param records TXT records at `_mta-sts.DOMAIN`, the strings of each joined
 * @returns the id; null: none of them, or more than one (RFC 8461 §3.1: then there is no policy)
 */
export function stsIdOf(records: readonly string[]): string | null {
  const ours = records.filter((record) => /^v=STSv1[ \t]*;/.test(record))
  const [record] = ours
  if (record === undefined || ours.length > 1) return null
  const fields = record.split(";").map((field) => field.trim())
  const id = fields.find((field) => field.startsWith("id="))?.slice(3)
  return id !== undefined && /^[A-Za-z0-9]{1,32}$/.test(id) ? id : null
}

/** Reads a policy. Lines end in CRLF or LF; of a field that comes twice the first counts; unknown fields are passed over. */
export function parseStsPolicy(text: string): StsPolicyParsed {
  const fields = text.split(/\r?\n/).flatMap((line) => {
    const name = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}(?=:)/.exec(line)?.[0]
    // Not by an expression: one that strips blanks takes the square of their number.
    return name === undefined ? [] : [[name, line.slice(name.length + 1).trim()] as const]
  })
  const first = (name: string): string => fields.find(([key]) => key === name)?.[1] ?? ""
  const mode = first("mode")
  const mx = fields.flatMap(([key, value]) => (key === "mx" ? [value.toLowerCase()] : []))
  if (first("version") !== "STSv1") return invalid("version is not STSv1")
  if (mode !== "enforce" && mode !== "testing" && mode !== "none") return invalid("mode is none that there is")
  if (!/^\d{1,10}$/.test(first("max_age"))) return invalid("max_age is no number of seconds")
  if (!mx.every((pattern) => pattern.length <= MAX_PATTERN_CHARACTERS && MX_PATTERN.test(pattern)))
    return invalid("an mx is no host name or pattern")
  if (mode !== "none" && mx.length === 0) return invalid("it names no mx")
  if (mx.length > MAX_PATTERNS) return invalid("it names too many mx")
  const maxAgeSeconds = Math.min(Number(first("max_age")), MAX_AGE_SECONDS)
  return { kind: "policy", policy: { mode, mx, maxAgeSeconds } }
}

/** True when one of the patterns is for this host: a "*." stands for exactly one label (RFC 8461 §4.1). */
export function matchesMx(host: string, patterns: readonly string[]): boolean {
  const name = host.replace(/\.$/, "").toLowerCase()
  const dot = name.indexOf(".")
  return patterns.some((pattern) =>
    pattern.startsWith("*.") ? dot > 0 && name.slice(dot) === pattern.slice(1) : name === pattern,
  )
}

/** The policy as lines, for a report (RFC 8460 §4.2, policy-string). */
export function stsPolicyLines({ mode, mx, maxAgeSeconds }: StsPolicy): readonly string[] {
  return ["version: STSv1", `mode: ${mode}`, ...mx.map((pattern) => `mx: ${pattern}`), `max_age: ${maxAgeSeconds}`]
}

function invalid(why: string): StsPolicyParsed {
  return { kind: "invalid", why }
}

/** RFC 8461 §3.2: 31557600, a year. Longer is taken for this. */
export const MAX_AGE_SECONDS = 31_557_600
/** In a file of 64 KB there is room for thousands; real ones name up to 20. */
const MAX_PATTERNS = 200
/** A name (RFC 1035 §2.3.4) and "*.". */
const MAX_PATTERN_CHARACTERS = 255
const MX_PATTERN = /^(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/
