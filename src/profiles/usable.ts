import { GatewayError } from "../errors.ts"
import type { Address } from "../message/address.ts"
import type { Judged, KeyCandidate, UsableKey } from "./key.ts"
import { namesAddress, whoseItIs } from "./usable/addresses.ts"
import { judgeMesh } from "./usable/mesh.ts"
import { judgeOpenPgp } from "./usable/openpgp.ts"
import type { KeyRules } from "./usable/rules.ts"
import { judgeSmime } from "./usable/smime.ts"

/**
 * Whether mail for `address` may be encrypted to the key: it can be read, is in force and not revoked, somebody who counts vouches for it, it names
 * the address (unless an administrator pinned it) and is of a kind that is encrypted to here. Whatever the octets are, the answer is a verdict.
 * `signal` ends the asking whether it is revoked.
 */
export async function judge(
  candidate: KeyCandidate,
  address: Address,
  rules: KeyRules,
  signal: AbortSignal,
): Promise<Judged> {
  try {
    const verdict = await JUDGES[candidate.format](candidate, rules, signal)
    if (verdict.kind !== "good") return { ...verdict, candidate, because: sentence(verdict.because) }
    const isNamed = candidate.trust === "pinned" || namesAddress(verdict.addresses, address, rules.tags)
    if (!isNamed) return { kind: "rejected", candidate, because: sentence(whoseItIs(verdict.addresses)) }
    const lineage = candidate.lineage ?? verdict.facts.fingerprint
    const key = { ...candidate, ...verdict.facts, lineage } as UsableKey
    const { because, until, revoked } = verdict
    return { kind: "usable", key, because: sentence(because), until, ...(revoked && { revoked }) }
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    return { kind: "rejected", candidate, because: sentence(`it cannot be read (${error.message})`) }
  }
}

const JUDGES = { smime: judgeSmime, openpgp: judgeOpenPgp, mesh: judgeMesh } as const

function sentence(clause: string): string {
  return `${clause.charAt(0).toUpperCase()}${clause.slice(1)}.`
}
