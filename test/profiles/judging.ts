import { parseAddress } from "../../src/message/address.ts"
import type { Judged, KeyCandidate, KeyFormat } from "../../src/profiles/key.ts"
import type { KeyRules } from "../../src/profiles/usable/rules.ts"
import { judge } from "../../src/profiles/usable.ts"

/** A candidate that came with mail, unless told otherwise. */
export function candidate(format: KeyFormat, octets: Uint8Array, more: Partial<KeyCandidate> = {}): KeyCandidate {
  const found = { source: "test", trust: "harvested", place: "test", wish: null, lineage: null } as const
  return { format, octets, chain: [], ...found, ...more }
}

export function rules(more: Partial<KeyRules> = {}): KeyRules {
  return { at: new Date(), roots: [], revocation: { kind: "off" }, tags: false, ...more }
}

export function judged(key: KeyCandidate, address: string, by: KeyRules): Promise<Judged> {
  return judge(key, parseAddress(address), by, AbortSignal.timeout(10_000))
}

/** A verdict in one line: what it is, and why. */
export function told(verdict: Judged): string {
  return `${verdict.kind}: ${verdict.because}`
}
