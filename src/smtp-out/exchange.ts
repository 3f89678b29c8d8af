import type { ExchangeHop, Resolver } from "./hop.ts"

/** One address to try, with the name its certificate should have. */
export interface Target {
  readonly host: string
  readonly address: string
  /** Names to look for TLSA under, best first (RFC 7672 §2.2.2, §2.2.3); none: DANE does not apply. */
  readonly tlsaBases: readonly string[]
}

/** Where the mail of a domain goes; `never` and `later` say why not. */
export type Exchanges =
  | {
      readonly kind: "targets"
      readonly targets: readonly Target[]
      /** Whose they are is validated by DNSSEC. */
      readonly secure: boolean
    }
  | { readonly kind: "never"; readonly status: string; readonly diagnostic: string }
  | { readonly kind: "later"; readonly status: string; readonly diagnostic: string }

/** A domain with a hundred exchangers gets its mail by one of these, or waits; each costs a connection timeout. */
export const MAX_TARGETS = 8
/** Whose addresses are asked for; those of most have no trouble. */
const MAX_HOSTS = 20

/** The addresses of a domain's mail exchangers in the order they are tried (RFC 5321 §5.1, RFC 7505). */
export async function findExchanges(hop: ExchangeHop, hostname: string): Promise<Exchanges> {
  const literal = /^\[(?:IPv6:)?(.+)\]$/i.exec(hop.domain)?.[1]
  if (literal) return withoutOurs([{ host: literal, address: literal, tlsaBases: [] }], false, hop, hostname)
  try {
    return await askResolver(hop, hostname)
  } catch (error) {
    return unanswered(hop.domain, error)
  }
}

async function askResolver(hop: ExchangeHop, hostname: string): Promise<Exchanges> {
  const answer = await hop.resolver.mx(hop.domain)
  const records = [...answer.records].sort((a, b) => a.preference - b.preference)
  // RFC 7505 §3: a single record with the root as exchange: this domain takes no mail.
  if (records.length === 1 && isRoot(records[0]?.exchange))
    return { kind: "never", status: "5.1.10", diagnostic: `${hop.domain} accepts no mail (null MX)` }
  const hosts =
    records.length === 0 ? [hop.domain] : records.map((record) => record.exchange).filter((name) => !isRoot(name))
  const targets: Target[] = []
  let failure: unknown = null
  for (const host of hosts.slice(0, MAX_HOSTS)) {
    // RFC 5321 §5.1: where we are one of the exchangers ourselves, only those preferred to us count.
    if (records.length > 0 && sameHost(host, hostname)) break
    try {
      targets.push(...(await targetsOf(host, answer.secure, hop)))
    } catch (error) {
      // RFC 7672 §2.2.2: an exchanger without an answer is one that can't be reached; the next may do.
      failure ??= error
    }
    if (targets.length >= MAX_TARGETS) break
  }
  if (targets.length > 0) return withoutOurs(targets.slice(0, MAX_TARGETS), answer.secure, hop, hostname)
  if (hosts[0] !== undefined && sameHost(hosts[0], hostname)) return loop(hop.domain)
  if (failure !== null) return unanswered(hop.domain, failure)
  return { kind: "never", status: "5.1.2", diagnostic: `${hop.domain} has no mail exchanger and no address` }
}

async function targetsOf(host: string, mxSecure: boolean, { resolver }: ExchangeHop): Promise<Target[]> {
  const { records, secure, canonical } = await resolver.addresses(host)
  const tlsaBases = mxSecure && records.length > 0 ? await basesOf(host, canonical, secure, resolver) : []
  return records.map((address) => ({ host, address, tlsaBases }))
}

/** RFC 7672 §2.2.2: TLSA are looked for where the addresses, or at least the alias to them, are signed. */
async function basesOf(host: string, canonical: string, secure: boolean, resolver: Resolver): Promise<string[]> {
  if (canonical === host) return secure ? [host] : []
  if (secure) return [canonical, host]
  return (await resolver.isSecureAlias(host)) ? [host] : []
}

function withoutOurs(targets: readonly Target[], secure: boolean, hop: ExchangeHop, hostname: string): Exchanges {
  const ours = targets.findIndex(({ host, address }) => sameHost(host, hostname) || hop.isOurs(address))
  if (ours === 0) return loop(hop.domain)
  return { kind: "targets", targets: ours < 0 ? targets : targets.slice(0, ours), secure }
}

function unanswered(domain: string, error: unknown): Exchanges {
  const reason = error instanceof Error ? error.message : "unknown"
  return { kind: "later", status: "4.4.3", diagnostic: `no answer from DNS for ${domain}: ${reason}` }
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
