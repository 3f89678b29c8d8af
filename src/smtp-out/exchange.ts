import type { ExchangeHop } from "./hop.ts"

/** One address to try, with the name its certificate should have. */
export interface Target {
  readonly host: string
  readonly address: string
}

/** Where the mail of a domain goes; `never` and `later` say why not. */
export type Exchanges =
  | { readonly kind: "targets"; readonly targets: readonly Target[] }
  | { readonly kind: "never"; readonly status: string; readonly diagnostic: string }
  | { readonly kind: "later"; readonly status: string; readonly diagnostic: string }

/** A domain with a hundred exchangers gets its mail by one of these, or waits; each costs a connection timeout. */
export const MAX_TARGETS = 8

/** The addresses of a domain's mail exchangers in the order they are tried (RFC 5321 §5.1, RFC 7505). */
export async function findExchanges(hop: ExchangeHop, hostname: string): Promise<Exchanges> {
  const literal = /^\[(?:IPv6:)?(.+)\]$/i.exec(hop.domain)?.[1]
  if (literal) return withoutOurs([{ host: literal, address: literal }], hop, hostname)
  try {
    return await askResolver(hop, hostname)
  } catch (error) {
    const reason = error instanceof Error ? error.message : "unknown"
    return { kind: "later", status: "4.4.3", diagnostic: `no answer from DNS for ${hop.domain}: ${reason}` }
  }
}

async function askResolver(hop: ExchangeHop, hostname: string): Promise<Exchanges> {
  const records = [...(await hop.resolver.mx(hop.domain))].sort((a, b) => a.preference - b.preference)
  // RFC 7505 §3: a single record with the root as exchange: this domain takes no mail.
  if (records.length === 1 && isRoot(records[0]?.exchange))
    return { kind: "never", status: "5.1.10", diagnostic: `${hop.domain} accepts no mail (null MX)` }
  const hosts =
    records.length === 0 ? [hop.domain] : records.map((record) => record.exchange).filter((name) => !isRoot(name))
  const targets: Target[] = []
  for (const host of hosts) {
    // RFC 5321 §5.1: where we are one of the exchangers ourselves, only those preferred to us count.
    if (records.length > 0 && sameHost(host, hostname)) break
    for (const address of await hop.resolver.addresses(host)) targets.push({ host, address })
    if (targets.length >= MAX_TARGETS) break
  }
  if (targets.length > 0) return withoutOurs(targets.slice(0, MAX_TARGETS), hop, hostname)
  if (hosts[0] !== undefined && sameHost(hosts[0], hostname)) return loop(hop.domain)
  return { kind: "never", status: "5.1.2", diagnostic: `${hop.domain} has no mail exchanger and no address` }
}

function withoutOurs(targets: readonly Target[], hop: ExchangeHop, hostname: string): Exchanges {
  const ours = targets.findIndex(({ host, address }) => sameHost(host, hostname) || hop.isOurs(address))
  if (ours === 0) return loop(hop.domain)
  return { kind: "targets", targets: ours < 0 ? targets : targets.slice(0, ours) }
}

function loop(domain: string): Exchanges {
  return { kind: "never", status: "5.4.6", diagnostic: `mail for ${domain} loops back to this host` }
}

function isRoot(exchange: string | undefined): boolean {
  return exchange === "" || exchange === "."
}

function sameHost(a: string, b: string): boolean {
  return a.replace(/\.$/, "").toLowerCase() === b.toLowerCase()
}
