import { type Address, addressKey, formatAddress, parseAddress, withoutTag } from "../message/address.ts"

/** What mail to an address means here. */
export type Meaning =
  | { readonly kind: "accounts"; readonly accounts: readonly string[] }
  | { readonly kind: "unknown" }
  | { readonly kind: "foreign" }

/** What is needed to know it. All addresses in the form of {@link addressKey}. */
export interface Directory {
  readonly domains: ReadonlySet<string>
  /** Addresses of accounts, first added first. */
  readonly accounts: ReadonlyMap<string, unknown>
  readonly aliases: ReadonlyMap<string, readonly string[]>
  /** Where mail to postmaster goes when nothing else says it; null: to the first account. */
  readonly postmaster: string | null
}

/** PURE. Finds the accounts behind an address: exact match, then without `+tag`, then postmaster (RFC 5321 §4.5.1). */
export function resolveAddress(address: Address, directory: Directory): Meaning {
  if (!directory.domains.has(address.domain)) return { kind: "foreign" }
  const plain = withoutTag(address)
  for (const candidate of plain ? [address, plain] : [address]) {
    const accounts = expand(addressKey(candidate), directory, new Set())
    if (accounts.length > 0) return { kind: "accounts", accounts: [...new Set(accounts)] }
  }
  if ((plain ?? address).localPart.toLowerCase() !== "postmaster") return { kind: "unknown" }
  const accounts = postmasters(directory)
  return accounts.length > 0 ? { kind: "accounts", accounts } : { kind: "unknown" }
}

function postmasters(directory: Directory): readonly string[] {
  const configured = directory.postmaster === null ? [] : expand(directory.postmaster, directory, new Set())
  return configured.length > 0 ? [...new Set(configured)] : [...directory.accounts.keys()].slice(0, 1)
}

/** `seen` ends loops of aliases and keeps a wide net of them linear. */
function expand(key: string, directory: Directory, seen: Set<string>): string[] {
  if (seen.has(key)) return []
  seen.add(key)
  if (directory.accounts.has(key)) return [key]
  const targets = directory.aliases.get(key) ?? []
  return targets.flatMap((target) => expandTarget(target, directory, seen))
}

/** A target may carry a tag of its own: `sales` -> `bob+sales`. */
function expandTarget(target: string, directory: Directory, seen: Set<string>): string[] {
  if (directory.accounts.has(target) || directory.aliases.has(target)) return expand(target, directory, seen)
  const plain = withoutTag(parseAddress(target))
  return plain ? expand(formatAddress(plain), directory, seen) : []
}
