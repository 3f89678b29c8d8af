import { resultsField } from "../mime/authentication-results.ts"
import { decide, type ScanDecision, type ScannerFinding, type ScanPolicy } from "./decide.ts"
import { Inspection, type InspectionLimits } from "./inspection.ts"
import type { Facts, Program } from "./scanner.ts"

export interface ScanOptions extends ScanPolicy, InspectionLimits {
  /** How we sign our results (RFC 8601 §2.5). */
  readonly authservId: string
}

/** What all scanners together come to. */
export interface ScanVerdict {
  readonly findings: readonly ScannerFinding[]
  readonly decision: ScanDecision
  /** Authentication-Results (RFC 8601) that say so, where a reader or a filter should know; else null. */
  readonly field: string | null
}

/** Shows each message to every scanner at once. */
export class Scanners {
  readonly #programs: readonly Program[]
  readonly #options: ScanOptions

  constructor(programs: readonly Program[], options: ScanOptions) {
    this.#programs = programs
    this.#options = options
  }

  begin(facts: Facts): Scan {
    return new Scan(this.#programs, facts, this.#options)
  }
}

/** One message on its way past all scanners, as fast as the slowest takes it. */
class Scan {
  readonly #inspections: readonly { readonly scanner: string; readonly inspection: Inspection }[]
  readonly #options: ScanOptions

  constructor(programs: readonly Program[], facts: Facts, options: ScanOptions) {
    this.#options = options
    this.#inspections = programs.map((program) => ({
      scanner: program.name,
      inspection: new Inspection(program.talk(facts), options),
    }))
  }

  async push(octets: Uint8Array): Promise<void> {
    await Promise.all(this.#inspections.map(({ inspection }) => inspection.push(octets)))
  }

  async end(): Promise<ScanVerdict> {
    const findings = await Promise.all(
      this.#inspections.map(async ({ scanner, inspection }) => ({ scanner, ...(await inspection.end()) })),
    )
    const decision = decide(findings, this.#options)
    // RFC 8601 §2.7.6, §2.7.7: a method of our own; who does not know it ignores it.
    const field = decision.kind === "quarantine" ? resultsField(this.#options.authservId, ["x-scan=quarantine"]) : null
    return { findings, decision, field }
  }

  cancel(): void {
    for (const { inspection } of this.#inspections) inspection.cancel()
  }
}
