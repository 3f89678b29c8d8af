/** PURE. What the findings of all scanners come to. */
import type { ErrorCode } from "../errors.ts"
import type { Finding } from "./finding.ts"

/** What is to happen where a scanner came to nothing. */
export interface ScanPolicy {
  readonly whenAway: "defer" | "accept"
  readonly whenTooLarge: "accept" | "defer" | "reject"
}

/** A finding, and whose it is. */
export interface ScannerFinding extends Finding {
  readonly scanner: string
}

/** `because` is for the log. `code` is what the sender's reply is made from. */
export type ScanDecision =
  | { readonly kind: "accept"; readonly because: string }
  | { readonly kind: "quarantine"; readonly because: string }
  | { readonly kind: "reject" | "defer"; readonly code: ErrorCode; readonly because: string }

/** The gravest finding decides; of equals, the first. What was found for certain goes before what could not be found out. */
export function decide(findings: readonly ScannerFinding[], policy: ScanPolicy): ScanDecision {
  const decisions = findings.map((finding) => decideOne(finding, policy))
  const gravest = RANKS.map((kind) => decisions.find((decision) => decision.kind === kind)).find(Boolean)
  return gravest ?? { kind: "accept", because: "nobody was asked" }
}

function decideOne({ scanner, outcome, because }: ScannerFinding, policy: ScanPolicy): ScanDecision {
  const why = `${scanner}: ${because}`
  switch (outcome) {
    case "clean":
      return { kind: "accept", because: why }
    case "quarantine":
      return { kind: "quarantine", because: why }
    case "virus":
      return { kind: "reject", code: "VIRUS_FOUND", because: why }
    case "reject":
      return { kind: "reject", code: "CONTENT_REFUSED", because: why }
    case "defer":
      return { kind: "defer", code: "CONTENT_DEFERRED", because: why }
    case "tooLarge":
      return unscanned(policy.whenTooLarge, why)
    case "away":
      return unscanned(policy.whenAway, why)
    default:
      return outcome satisfies never
  }
}

function unscanned(kind: ScanPolicy["whenTooLarge"], because: string): ScanDecision {
  if (kind === "accept") return { kind, because }
  return { kind, code: kind === "reject" ? "SCAN_TOO_LARGE" : "SCANNER_AWAY", because }
}

const RANKS: readonly ScanDecision["kind"][] = ["reject", "defer", "quarantine", "accept"]
