/** PURE. What would become of a message to one recipient, as commands and the administration listener tell it. */
import { formatAddress } from "../message/address.ts"
import { everybody, type Meaning } from "../store/resolve.ts"
import type { Decision } from "./decide.ts"
import type { StatedPolicy } from "./policy.ts"
import type { Resolution, SourceReport } from "./resolution.ts"
import type { StandInOffer } from "./stand-in.ts"

/** What would become of a message to one recipient, and all that is known for it. */
export interface Prospect extends StatedPolicy {
  readonly resolution: Resolution
  readonly decision: Decision
  /** Whether a client is given a certificate of ours for the recipient, and what becomes of what it encrypts to that; null: nobody is given any. */
  readonly standIn: StandInOffer | null
}

/** What somebody wants to know of a recipient. */
export interface Question {
  /** null: somebody. */
  readonly sender: string | null
  readonly recipient: string
  /** Header section of the message; empty where there is none. */
  readonly header: Uint8Array
  /** Every source is asked, whatever is kept. */
  readonly anew: boolean
}

/** What one source said. */
export interface SourceView {
  readonly source: string
  /** "no answer" is not "nothing". */
  readonly outcome: "found" | "nothing" | "no answer" | "not for such addresses"
  readonly detail: string
  readonly ms: number
}

/** What every source says of an address, and what would become of mail to it: a JSON value. */
export interface LookupView {
  readonly address: string
  readonly answers: readonly SourceView[]
  readonly keys: readonly object[]
  readonly rejected: readonly object[]
  readonly remembered: Resolution["remembered"]
  /** The source whose key would be used. */
  readonly use: string | null
  /** Absent for those who are here. */
  readonly decision?: Decision["kind"]
  readonly standIn?: StandInOffer | null
  readonly why: string
}

/** @param meaning what the address is here */
export function lookupView(meaning: Meaning, prospect: Prospect): LookupView {
  const { resolution } = prospect
  const isHere = meaning.kind === "accounts"
  const here: SourceView = {
    source: HERE,
    outcome: isHere ? "found" : "nothing",
    detail: isHere ? everybody(meaning).join(", ") : "",
    ms: 0,
  }
  return {
    address: resolution.address,
    answers: [here, ...resolution.answers.map((report) => sourceView(report, resolution))],
    ...keyViews(resolution),
    ...(isHere ? { use: HERE, why: whyHere(meaning) } : decisionView(prospect)),
  }
}

function whyHere({ accounts, forwards }: Extract<Meaning, { readonly kind: "accounts" }>): string {
  const elsewhere = forwards.map(({ target }) => formatAddress(target))
  const ways = [
    ...(accounts.length > 0 ? [`stored here for ${accounts.join(", ")}`] : []),
    ...(elsewhere.length > 0 ? [`forwarded to ${elsewhere.join(", ")}`] : []),
  ]
  return ways.join("; ")
}

function sourceView({ source, outcome, ms, remarks }: SourceReport, { keys, rejected }: Resolution): SourceView {
  const found = [
    ...keys
      .filter((key) => key.source === source)
      .map(({ format, algorithm, fingerprint, place, expiresAt }) => {
        const until = expiresAt === null ? "" : ` until ${expiresAt.toISOString().slice(0, 10)}`
        return `${format} ${algorithm} ${fingerprint.slice(0, 16)}${until}, ${place}`
      }),
    ...rejected
      .filter(({ candidate }) => candidate.source === source)
      .map(({ candidate, because }) => `${candidate.format} not used: ${because}`),
  ]
  return { source, outcome: OUTCOMES[outcome], detail: [...found, ...remarks].join("; "), ms }
}

function keyViews({ keys, rejected, remembered }: Resolution) {
  return {
    keys: keys.map(({ format, source, trust, place, fingerprint, algorithm, expiresAt, wish }) => ({
      ...{ format, source, trust, place, fingerprint, algorithm, expiresAt, wish },
    })),
    rejected: rejected.map(({ candidate, because }) => {
      const { format, source, trust, place } = candidate
      return { format, source, trust, place, because }
    }),
    remembered,
  }
}

function decisionView({ decision, standIn }: Prospect) {
  const use = decision.kind === "encrypt" ? decision.key.source : null
  return { use, decision: decision.kind, why: decision.because, standIn }
}

/** One line about it; null: nobody is given any. */
export function standInText(standIn: StandInOffer | null): string | null {
  if (standIn === null) return null
  const { isOffered, decision, because } = standIn
  return isOffered
    ? `stand-in: clients are given one; what is encrypted to it is opened here: ${decision}, ${because}`
    : `stand-in: clients are given none: ${because}`
}

/** What policy makes of a message to one recipient: a JSON value. */
export function policyView(recipient: string, { decision, policy, statedBy, tags, resolution, standIn }: Prospect) {
  const { kind, because } = decision
  const key =
    decision.kind === "encrypt" ? { source: decision.key.source, fingerprint: decision.key.fingerprint } : null
  return { recipient, decision: kind, because, key, policy, statedBy, tags, standIn, unanswered: resolution.unanswered }
}

/** The field Subject of a message of which nothing else is known. */
export function subjectField(subject: string): Uint8Array {
  return new TextEncoder().encode(`Subject: ${subject.replace(/[\r\n]/g, " ")}\r\n`)
}

const HERE = "account here"
const OUTCOMES = { found: "found", none: "nothing", silent: "no answer", passed: "not for such addresses" } as const
