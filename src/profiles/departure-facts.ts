/** PURE. What a decision about leaving mail was made from, as text that can be kept, and the same decision under another policy. */
import { GatewayError } from "../errors.ts"
import { type Address, parseAddress } from "../message/address.ts"
import { type Decision, decide, inClear } from "./decide.ts"
import type { Trust, UsableKey } from "./key.ts"
import { isMet, type MessageFacts, meantEncrypted, type PolicyRule, type PolicyRules, policyFor } from "./policy.ts"
import type { Resolution } from "./resolution.ts"

/** What is kept: enough to decide again, nothing of keys but what sets them apart, nothing of the message but its sensitivity. */
interface KeptFacts {
  readonly sensitivity: readonly string[]
  /** Its sender had encrypted it, to a certificate of ours. */
  readonly isOpened?: true
  /** null: nobody was asked, since encryption was off. */
  readonly known:
    | (Pick<Resolution, "unanswered"> & {
        readonly keys: readonly Pick<UsableKey, "format" | "trust" | "source" | "wish" | "lineage" | "vouched">[]
        readonly rejected: readonly { readonly source: string; readonly because: string }[]
        readonly remembered: readonly Pick<UsableKey, "format" | "trust" | "source" | "lineage">[]
        readonly domainTrusts: readonly Trust[]
      })
    | null
}

export function departureFacts(
  sensitivity: readonly string[],
  resolution: Resolution | null,
  isOpened = false,
): string {
  const facts: KeptFacts = {
    sensitivity,
    ...(isOpened ? { isOpened } : {}),
    known:
      resolution === null
        ? null
        : {
            keys: resolution.keys.map(({ format, trust, source, wish, lineage, vouched }) => ({
              format,
              trust,
              source,
              wish,
              lineage,
              vouched,
            })),
            rejected: resolution.rejected.map(({ candidate, because }) => ({ source: candidate.source, because })),
            unanswered: resolution.unanswered,
            domainTrusts: resolution.domainTrusts,
            remembered: resolution.remembered.map(({ format, trust, source, lineage }) => ({
              format,
              trust,
              source,
              lineage,
            })),
          },
  }
  return JSON.stringify(facts)
}

/** What another policy would have decided; `unknown`: it needs what was not kept. */
export function decideAgain(
  kept: { readonly sender: string; readonly recipient: string; readonly facts: string },
  policy: PolicyRules,
): Decision["kind"] | "unknown" {
  const { sensitivity, known, isOpened } = factsIn(kept.facts)
  const sender = kept.sender === "" ? null : parseAddress(kept.sender)
  const facts = factsOf(sender, parseAddress(kept.recipient), sensitivity)
  if (policy.rules.some((rule) => (rule.subjectTag !== null || rule.header !== null) && mayBeMet(rule, facts)))
    return "unknown"
  const said = policyFor(facts, policy)
  if (isOpened && said.policy.standIn === "never") return "hold"
  const stated = isOpened ? meantEncrypted(said) : said
  if (stated.policy.encrypt === "off") return inClear(stated).kind
  if (known === null) return "unknown"
  const resolution = { address: kept.recipient, ...known, rejected: [], answers: [] } as unknown as Resolution
  return decide(stated, resolution).kind
}

/** By all that is known: what it says of subject and fields may be so. */
function mayBeMet(rule: PolicyRule, facts: MessageFacts): boolean {
  return isMet({ ...rule, subjectTag: null, header: null }, facts)
}

function factsOf(sender: Address | null, recipient: Address, sensitivity: readonly string[]): MessageFacts {
  return { sender, recipient, subject: "", fields: (name) => (name === "sensitivity" ? sensitivity : []) }
}

function factsIn(text: string): KeptFacts {
  try {
    return JSON.parse(text) as KeptFacts
  } catch (cause) {
    throw new GatewayError("STATE_CORRUPT", "departure: its facts cannot be read", { cause })
  }
}
