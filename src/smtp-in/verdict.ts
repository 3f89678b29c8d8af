/** PURE. What the results of authentication mean for a message. */

/** What is asked of a message; the words of each result are RFC 8601's. */
export type Method = "spf" | "dkim" | "arc" | "dmarc" | "bimi"

/** The decision about a message, as its author's domain wishes (RFC 9989 §5.4). `because` is for the log. */
export type Decision =
  | { readonly kind: "accept"; readonly because: string }
  | { readonly kind: "quarantine"; readonly because: string }
  | { readonly kind: "reject"; readonly because: string }
  /** What decides cannot be known now. */
  | { readonly kind: "defer"; readonly because: string }

/** What was found about the author's domain, in the words of DMARC. */
export type Evaluation =
  /** No domain, or more than one, so that there is no policy to ask for (RFC 9989 §5.3.1). */
  | { readonly kind: "no-author"; readonly reason: string; readonly fromFields: number }
  | {
      readonly kind: "evaluated"
      /** `pass`, `fail`, `none`, `temperror` */
      readonly result: string
      /** The wish of the domain for mail that fails: `none`, `quarantine`, `reject`. */
      readonly policy: string
      /** Percentage of failing mail that the wish is meant for. */
      readonly percent: number
    }

/** What else counts. */
export interface Circumstances {
  /** SPF, or a signature that might have spoken for the author, could not be checked for lack of an answer from DNS. */
  readonly undecided: boolean
  /** The trusted sealer that vouches for the message, or null. */
  readonly sealer: string | null
  /** A number from 0 to 99, by chance. */
  readonly sample: number
}

/** Decides about a message as its author's domain wishes, where nothing here speaks against that. */
export function decide(evaluation: Evaluation, { undecided, sealer, sample }: Circumstances): Decision {
  if (evaluation.kind === "no-author") {
    // RFC 5322 §3.6 allows one. Readers show the first or the last: whoever is not checked would be believed.
    if (evaluation.fromFields > 1) return { kind: "reject", because: evaluation.reason }
    return { kind: "quarantine", because: evaluation.reason }
  }
  const { result, policy, percent } = evaluation
  if (result === "temperror") return { kind: "defer", because: "the policy cannot be known now" }
  if (result !== "fail") return { kind: "accept", because: `dmarc ${result}` }
  const sampled = sample < percent
  const applied = sampled ? policy : (WEAKER[policy] ?? "none")
  const because = sampled ? `policy ${policy}` : `policy ${policy} not for all mail`
  if (applied === "none") return { kind: "accept", because }
  if (sealer !== null) return { kind: "accept", because: `local policy: passed dmarc at ${sealer}` }
  if (undecided) return { kind: "defer", because: "what might pass cannot be checked now" }
  return { kind: applied === "reject" ? "reject" : "quarantine", because }
}

/** The `pct` of a DMARC record: 100 unless it says less. RFC 9989 has no more use for it; who still writes it means it (RFC 7489 §6.3). */
export function percentOf(record: string): number {
  const percent = Number(/(?:^|;)[ \t]*pct[ \t]*=[ \t]*(\d{1,3})[ \t]*(?:;|$)/i.exec(record)?.[1] ?? "100")
  return Math.min(percent, 100)
}

/** RFC 7489 §6.6.4: what is not in the sample gets the next weaker treatment. */
const WEAKER: Readonly<Record<string, string>> = { reject: "quarantine", quarantine: "none" }
