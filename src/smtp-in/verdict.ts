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

/**
 * Decides. `undecided`: SPF or a DKIM signature that might have spoken for the author could not be checked for lack of an answer from DNS.
 * `sample`: a number from 0 to 99, by chance.
 */
export function decide(evaluation: Evaluation, undecided: boolean, sample: number): Decision {
  if (evaluation.kind === "no-author") {
    // RFC 5322 §3.6 allows one. Readers show the first or the last: whoever is not checked would be believed.
    if (evaluation.fromFields > 1) return { kind: "reject", because: evaluation.reason }
    return { kind: "quarantine", because: evaluation.reason }
  }
  const { result, percent } = evaluation
  if (result === "temperror") return { kind: "defer", because: "the policy cannot be known now" }
  if (result !== "fail") return { kind: "accept", because: `dmarc ${result}` }
  const policy = sample < percent ? evaluation.policy : (WEAKER[evaluation.policy] ?? "none")
  if (policy === "none") return { kind: "accept", because: "policy none" }
  if (undecided) return { kind: "defer", because: "what might pass cannot be checked now" }
  return policy === "reject"
    ? { kind: "reject", because: "policy reject" }
    : { kind: "quarantine", because: "policy quarantine" }
}

/** The `pct` of a DMARC record: 100 unless it says less. RFC 9989 has no more use for it; who still writes it means it (RFC 7489 §6.3). */
export function percentOf(record: string): number {
  const percent = Number(/(?:^|;)[ \t]*pct[ \t]*=[ \t]*(\d{1,3})[ \t]*(?:;|$)/i.exec(record)?.[1] ?? "100")
  return Math.min(percent, 100)
}

/** RFC 7489 §6.6.4: what is not in the sample gets the next weaker treatment. */
const WEAKER: Readonly<Record<string, string>> = { reject: "quarantine", quarantine: "none" }
