/** PURE */
import { getDomain } from "tldts"

/**
 * The domain that hosts below it are counted with: what somebody has registered (Public Suffix List, its registries' part: free names below a provider's
 * domain are the provider's). Whoever has a domain has as many hosts in it as he wants. Address literals, and what is no such name, are by themselves.
 */
export function siteOf(domain: string): string {
  return getDomain(domain) ?? domain
}
