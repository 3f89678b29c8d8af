import { arc } from "mailauth/lib/arc/index.js"
import { bimi } from "mailauth/lib/bimi/index.js"
import type { DkimVerifier } from "mailauth/lib/dkim/dkim-verifier.js"
import { evaluateDmarc } from "mailauth/lib/dmarc/index.js"
import type { spf } from "mailauth/lib/spf/index.js"
import type { Lookups } from "./lookups.ts"
import { chainKeys, type Seal, sealsOf, vouchingSealer } from "./sealer.ts"
import { type Decision, type Evaluation, type Method, percentOf } from "./verdict.ts"

/** What is known of a message when its last octet has passed. */
interface Examined {
  readonly verifier: DkimVerifier
  readonly spf: Awaited<ReturnType<typeof spf>>
  /** Why no signature counts, or null. */
  readonly unverified: string | null
  /** Readers may differ on who the author is. */
  readonly ambiguous: boolean
}

interface Surroundings {
  readonly remote: string
  readonly trustedSealers: readonly string[]
  readonly lookups: Lookups
}

/** What was found, for the decision, the log and the Authentication-Results field. */
export interface Findings {
  readonly results: Readonly<Record<Method, string>>
  readonly author: string | null
  readonly evaluation: Evaluation
  /** What decides could not be checked for lack of an answer from DNS. */
  readonly undecided: boolean
  /** The trusted sealer that vouches for the message, or null. */
  readonly sealer: string | null
  /** resinfo (RFC 8601 §2.2) of each method but DMARC, and DMARC's. */
  readonly rows: readonly string[]
  readonly dmarcRow: string
}

/** Draws DMARC's conclusion from SPF, DKIM and ARC (RFC 7489 §6.6.2). */
export async function evaluate(examined: Examined, surroundings: Surroundings): Promise<Findings> {
  const { unverified, spf: spfResult } = examined
  const signatures = unverified === null ? examined.verifier.results : []
  const sealed = await evaluateChain(examined, surroundings)
  const { dmarc, bimiResult, reason } = await evaluateAuthor(examined, signatures, sealed.arcResult, surroundings)
  const author = dmarc ? String(dmarc.status.header?.["from"] ?? "") : null
  const { sealer, sealerUndecided } = await sealerFor(author, sealed, surroundings)
  const dkimRows = unverified === null ? signatures.map(({ info }) => info) : [`dkim=policy reason="${unverified}"`]
  const rows = [...dkimRows, spfResult.info, sealed.arcResult.info, bimiResult ? bimiResult.info : undefined]
  return {
    results: {
      spf: spfResult.status.result,
      dkim: unverified === null ? strongest(signatures.map(({ status }) => status.result)) : "policy",
      arc: sealed.arcResult.status.result,
      dmarc: dmarc ? dmarc.status.result : "permerror",
      bimi: bimiResult ? bimiResult.status.result : "skipped",
    },
    author,
    evaluation: dmarc ? evaluationOf(dmarc) : { kind: "no-author", reason, fromFields: examined.verifier.fromFields },
    undecided: spfResult.status.result === "temperror" || signatures.some(mayHaveSpoken) || sealerUndecided,
    sealer,
    rows: rows.filter((row) => row !== undefined),
    dmarcRow: (dmarc ? dmarc.info : undefined) ?? `dmarc=permerror reason="${reason}"`,
  }
}

/** All resinfo. Of a message that does not pass it tells the policy that was applied (RFC 9989 §9.1), and why where its domain wished another. */
export function rowsOf({ evaluation, rows, dmarcRow }: Findings, { kind, because }: Decision): readonly string[] {
  if (evaluation.kind === "no-author") return [...rows, `${dmarcRow} policy.dmarc=${kind}`]
  if (evaluation.result !== "fail" || kind === "defer") return [...rows, dmarcRow]
  const applied = kind === "accept" ? "none" : kind
  if (applied === evaluation.policy) return [...rows, dmarcRow]
  const told = dmarcRow
    .replace(/^dmarc=fail/, `dmarc=fail reason="${because}"`)
    .replace(/ policy\.dmarc=\w+/, ` policy.dmarc=${applied}`)
  return [...rows, told]
}

type Signature = DkimVerifier["results"][number]

interface Sealed {
  readonly arcResult: Awaited<ReturnType<typeof arc>>
  readonly seals: readonly Seal[]
  readonly keys: readonly string[]
}

async function evaluateChain({ verifier }: Examined, { remote, lookups }: Surroundings): Promise<Sealed> {
  const chain = verifier.arc.chain || []
  // Before arc(), which takes the last set apart.
  const [seals, keys] = [sealsOf(chain), chainKeys(chain)]
  const arcResult = await arc(verifier.arc, { resolver: lookups.ask, strict: true, ip: remote })
  return { arcResult, seals, keys }
}

async function evaluateAuthor(
  { verifier, spf: spfResult, ambiguous }: Examined,
  signatures: readonly Signature[],
  arcResult: Sealed["arcResult"],
  { lookups }: Surroundings,
) {
  const options = { resolver: lookups.ask, strict: true }
  const { headerFrom, fromFields, headers } = verifier
  const spfDomains = spfResult.status.result === "pass" ? [spfResult.domain] : []
  const identifiers = { spfDomains, dkimDomains: signatures.flatMap(passing) }
  const { response: dmarc, reason = "no-author-domain" } = ambiguous
    ? { response: false as const, reason: "ambiguous-author" }
    : await evaluateDmarc({ headerFrom, fromFields, ...identifiers, arcResult, ...options })
  return { dmarc, reason, bimiResult: dmarc ? await bimi({ dmarc, headers, ...options }) : false }
}

async function sealerFor(author: string | null, sealed: Sealed, { trustedSealers, lookups }: Surroundings) {
  const sealer = author === null ? null : vouchingSealer(sealed.seals, author, trustedSealers)
  if (sealer === null || sealed.arcResult.status.result === "pass") return { sealer, sealerUndecided: false }
  return { sealer: null, sealerUndecided: await lookups.unanswered(sealed.keys) }
}

function evaluationOf({
  status,
  policy,
  rr,
}: {
  status: { result: string }
  policy?: string
  rr?: string
}): Evaluation {
  return { kind: "evaluated", result: status.result, policy: policy ?? "none", percent: percentOf(rr ?? "") }
}

function passing({ id, signingDomain, status }: Signature) {
  if (status.result !== "pass" || signingDomain === undefined) return []
  return [{ ...(id === undefined ? {} : { id }), domain: signingDomain, underSized: status.underSized ?? 0 }]
}

/** Of the author's domain, as far as can be said without its policy. */
function mayHaveSpoken({ status }: Signature): boolean {
  return status.result === "temperror" && status.aligned !== false
}

/** One word for all signatures: the best of them, and what is not known yet before what failed. */
function strongest(results: readonly string[]): string {
  return (
    ["pass", "temperror", "fail", "policy", "permerror", "neutral"].find((word) => results.includes(word)) ?? "none"
  )
}
