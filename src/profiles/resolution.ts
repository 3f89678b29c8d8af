import type { KeyFormat, RejectedKey, Trust, UsableKey } from "./key.ts"

/** What is known of a recipient's keys. */
export interface Resolution {
  /** As `addressKey` writes it. */
  readonly address: string
  readonly keys: readonly UsableKey[]
  /** Keys that may not be used, and why. */
  readonly rejected: readonly RejectedKey[]
  /** Sources that gave no answer, or whose key could not be judged: nobody knows whether there is another key. */
  readonly unanswered: readonly Unanswered[]
  /** Keys that mail to the address was encrypted to before. */
  readonly remembered: readonly RememberedKey[]
  /** How far those were believed who ever gave keys of anybody at its domain. */
  readonly domainTrusts: readonly Trust[]
  /** What each source came to, in the order they are asked. */
  readonly answers: readonly SourceReport[]
}

interface Unanswered {
  readonly source: string
  readonly trust: Trust
  readonly because: string
}

/** A key that mail to an address was encrypted to at some time. */
export interface RememberedKey {
  readonly format: KeyFormat
  /** What stays when the key is renewed. */
  readonly lineage: string
  readonly source: string
  readonly trust: Trust
  readonly firstSeen: Date
  readonly lastSeen: Date
}

/** For people: what one source came to. */
export interface SourceReport {
  readonly source: string
  readonly trust: Trust
  /** `passed`: not for such addresses. `kept`: from memory, still fresh. */
  readonly outcome: "found" | "none" | "silent" | "passed"
  readonly kept: boolean
  readonly ms: number
  readonly remarks: readonly string[]
}
