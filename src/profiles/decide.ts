/** PURE. From what is known of a recipient and what is wanted, to what becomes of the message. */
import { type KeyFormat, TRUST, type Trust, type UsableKey } from "./key.ts"
import type { Policy, StatedPolicy } from "./policy.ts"
import type { Resolution } from "./resolution.ts"

/** What of a policy counts here. */
type Stated = Pick<StatedPolicy, "policy" | "statedBy">

/** What becomes of one message to one recipient. `because` is a sentence for people, without what only administrators may know. */
export type Decision =
  | { readonly kind: "encrypt"; readonly key: UsableKey; readonly because: string }
  /** In clear, over TLS to a server whose name was verified, or not at all. */
  | { readonly kind: "tls"; readonly because: string }
  | { readonly kind: "send"; readonly because: string }
  /** Who was asked has not answered; it is asked again. Nothing leaves meanwhile. */
  | { readonly kind: "wait"; readonly because: string }
  /** `alarm`: keys that were known are gone or others; the administrator is told beside the sender. */
  | { readonly kind: "hold"; readonly because: string; readonly alarm: "lost" | "changed" | null }
  | { readonly kind: "refuse"; readonly because: string }

/** A missing answer never becomes a missing key, and a key that is gone never becomes clear text, unless the policy says so in so many words. */
export function decide(stated: Stated, resolution: Resolution): Decision {
  const { policy, statedBy } = stated
  if (policy.encrypt === "off") return inClear(stated)
  const best = bestKey(policy, resolution)
  const silent = silentBefore(best, policy, resolution)
  if (silent.length > 0 && !isForgiven(policy, resolution))
    return { kind: "wait", because: `no answer from ${silent.join(", ")}` }
  if (best === null) return withoutKey(policy, statedBy, resolution)
  return isChanged(best, policy, resolution)
    ? {
        kind: "hold",
        because: `${resolution.address} has another key than before (${best.source}), and nothing that was known vouches for it`,
        alarm: "changed",
      }
    : withKey(best, policy, statedBy)
}

/** Where encryption is off. */
export function inClear({ statedBy }: Pick<Stated, "statedBy">): Decision {
  return { kind: "send", because: `encryption is off${by(statedBy.encrypt)}` }
}

function withKey(key: UsableKey, policy: Policy, statedBy: StatedPolicy["statedBy"]): Decision {
  if (policy.encrypt === "prefer" && key.wish === "clear")
    return { kind: "send", because: `the holder of the key (${key.source}) would rather have mail in clear` }
  return { kind: "encrypt", key, because: `key from ${key.source}, ${key.trust}${by(statedBy.encrypt)}` }
}

function withoutKey(policy: Policy, statedBy: StatedPolicy["statedBy"], resolution: Resolution): Decision {
  const lost = resolution.remembered.filter(({ trust }) => isTrusted(trust, policy.minTrust))
  if (lost.length > 0 && policy.lostKeys === "hold")
    return {
      kind: "hold",
      because: `${resolution.address} had a key (${lost[0]?.source}) and has none now`,
      alarm: "lost",
    }
  const why = `${resolution.address} has no key that may be used${reasons(resolution)}`
  if (policy.methods.includes("tls")) return { kind: "tls", because: why }
  const said = `${why}${by(statedBy.otherwise ?? statedBy.encrypt)}`
  switch (policy.otherwise) {
    case "hold":
      return { kind: "hold", because: said, alarm: null }
    case "refuse":
      return { kind: "refuse", because: said }
    case "tls":
      return { kind: "tls", because: said }
    case "send":
      return { kind: "send", because: said }
    default:
      return policy.otherwise satisfies never
  }
}

/** The most trusted; of these the method that is named first, and of these the one a source names first. */
function bestKey(policy: Policy, { keys }: Resolution): UsableKey | null {
  const usable = keys.filter(
    ({ format, trust }) => isTrusted(trust, policy.minTrust) && policy.methods.includes(format),
  )
  const place = (format: KeyFormat): number => policy.methods.indexOf(format)
  const [best] = usable.toSorted((a, b) => rank(a.trust) - rank(b.trust) || place(a.format) - place(b.format))
  return best ?? null
}

/** Who did not answer and could have a better key: whoever keeps a source silent must not choose the key that is used. */
function silentBefore(best: UsableKey | null, { minTrust }: Policy, { unanswered }: Resolution): readonly string[] {
  return unanswered
    .filter(({ trust }) => isTrusted(trust, minTrust) && (best === null || rank(trust) < rank(best.trust)))
    .map(({ source }) => source)
}

/** Nothing that is known speaks for a key, and nobody demands one. */
function isForgiven({ silence, encrypt, minTrust }: Policy, { remembered, domainTrusts }: Resolution): boolean {
  const known = [...remembered.map(({ trust }) => trust), ...domainTrusts]
  return silence === "send" && encrypt === "prefer" && !known.some((trust) => isTrusted(trust, minTrust))
}

/** Another key of the same format, or one of another format while those that were known are gone. */
function isChanged(best: UsableKey, { changedKeys, minTrust }: Policy, { remembered, keys }: Resolution): boolean {
  if (changedKeys === "use" || best.vouched || VOUCHED.includes(best.trust)) return false
  const known = remembered.filter(({ trust }) => isTrusted(trust, minTrust))
  if (known.length === 0 || known.some(({ lineage }) => lineage === best.lineage)) return false
  const isThere = (lineage: string): boolean => keys.some((key) => key.lineage === lineage)
  return known.some(({ format }) => format === best.format) || !known.some(({ lineage }) => isThere(lineage))
}

/** Keys that somebody we know vouches for each time. */
const VOUCHED: readonly Trust[] = ["pinned", "directory"]

function isTrusted(trust: Trust, least: Trust): boolean {
  return rank(trust) <= rank(least)
}

function rank(trust: Trust): number {
  return TRUST.indexOf(trust)
}

function by(rule: string | null): string {
  return rule === null ? "" : ` (rule "${rule}")`
}

/** A sentence within another one. */
function clause(sentence: string): string {
  const [first = "", second = ""] = sentence
  const isName = second === second.toUpperCase() && /[A-Z]/.test(second)
  return `${isName ? first : first.toLowerCase()}${sentence.slice(1).replace(/\.$/, "")}`
}

function reasons({ rejected }: Resolution): string {
  const [first, ...more] = rejected
  if (first === undefined) return ""
  return `: ${first.candidate.source} has one, but ${clause(first.because)}${more.length === 0 ? "" : `, and ${more.length} more`}`
}
