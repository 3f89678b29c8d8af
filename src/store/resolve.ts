import { type Address, addressKey, formatAddress, parseAddress, withoutTag } from "../message/address.ts"
import type { AliasTarget } from "./account.ts"

/** Somebody elsewhere whom an alias leads to. */
export interface Forward {
  readonly target: Address
  /** It may leave in clear, where policy lets it; else encrypted only. */
  readonly clear: boolean
}

/** What mail to an address means here. */
export type Meaning =
  /** At least one of them, here or elsewhere. */
  | { readonly kind: "accounts"; readonly accounts: readonly string[]; readonly forwards: readonly Forward[] }
  | { readonly kind: "unknown" }
  | { readonly kind: "foreign" }

/** Addresses of all who get it, here and elsewhere. */
export function everybody({ accounts, forwards }: Extract<Meaning, { readonly kind: "accounts" }>): readonly string[] {
  return [...accounts, ...forwards.map(({ target }) => formatAddress(target))]
}

/** What is needed to know it. All addresses in the form of {@link addressKey}. */
export interface Directory {
  readonly domains: ReadonlySet<string>
  /** Addresses of accounts, first added first. */
  readonly accounts: ReadonlyMap<string, unknown>
  readonly aliases: ReadonlyMap<string, readonly AliasTarget[]>
  /** Where mail to postmaster goes when nothing else says it; null: to the first account. */
  readonly postmaster: string | null
}

/** PURE. Finds who is behind an address: exact match, then without `+tag`, then postmaster (RFC 5321 §4.5.1). */
export function resolveAddress(address: Address, directory: Directory): Meaning {
  if (!directory.domains.has(address.domain)) return { kind: "foreign" }
  const plain = withoutTag(address)
  for (const candidate of plain ? [address, plain] : [address]) {
    const meaning = meaningOf(expand(addressKey(candidate), directory, new Set()))
    if (meaning.kind === "accounts") return meaning
  }
  if ((plain ?? address).localPart.toLowerCase() !== "postmaster") return { kind: "unknown" }
  return postmasters(directory)
}

function postmasters(directory: Directory): Meaning {
  const configured = directory.postmaster === null ? [] : expand(directory.postmaster, directory, new Set())
  if (configured.length > 0) return meaningOf(configured)
  return meaningOf([...directory.accounts.keys()].slice(0, 1))
}

/** Each account once, and each address elsewhere; in clear only where every alias on the way to it says so. */
function meaningOf(ends: readonly End[]): Meaning {
  if (ends.length === 0) return { kind: "unknown" }
  const accounts = new Set(ends.filter((end) => typeof end === "string"))
  const forwards = new Map<string, Forward>()
  for (const { target, clear } of ends.filter((end) => typeof end !== "string")) {
    const known = forwards.get(addressKey(target))
    forwards.set(addressKey(target), { target: known?.target ?? target, clear: clear && known?.clear !== false })
  }
  return { kind: "accounts", accounts: [...accounts], forwards: [...forwards.values()] }
}

/** An account, or somebody elsewhere. */
type End = string | Forward

/** `seen` ends loops of aliases and keeps a wide net of them linear. */
function expand(key: string, directory: Directory, seen: Set<string>): End[] {
  if (seen.has(key)) return []
  seen.add(key)
  if (directory.accounts.has(key)) return [key]
  const targets = directory.aliases.get(key) ?? []
  return targets.flatMap((target) => expandTarget(target, directory, seen))
}

/** A target may carry a tag of its own: `sales` -> `bob+sales`. One elsewhere whose domain has become ours is looked for here. */
function expandTarget({ address, forward }: AliasTarget, directory: Directory, seen: Set<string>): End[] {
  const target = parseAddress(address)
  if (forward !== null && !directory.domains.has(target.domain)) return [{ target, clear: forward === "clear" }]
  const key = addressKey(target)
  if (directory.accounts.has(key) || directory.aliases.has(key)) return expand(key, directory, seen)
  const plain = withoutTag(target)
  return plain ? expand(addressKey(plain), directory, seen) : []
}
