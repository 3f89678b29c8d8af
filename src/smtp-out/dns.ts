import { Resolver as DnsResolver } from "node:dns/promises"
import { networkInterfaces } from "node:os"
import type { Resolver } from "./hop.ts"

/** These DNS servers, the system's when there are none. NXDOMAIN and NODATA are empty answers; everything else throws. Nothing is secure: node:dns shows no AD bit. */
export function plainResolver(servers: readonly string[] = [], timeoutMs = 5_000): Resolver {
  const dns = new DnsResolver({ timeout: timeoutMs, tries: 2 })
  if (servers.length > 0) dns.setServers(servers)
  return {
    mx: async (domain) => {
      const found = await orNone(dns.resolveMx(domain))
      return { records: found.map(({ exchange, priority }) => ({ exchange, preference: priority })), secure: false }
    },
    addresses: async (host) => {
      const [six, four] = await Promise.all([orNone(dns.resolve6(host)), orNone(dns.resolve4(host))])
      return { records: [...six, ...four], secure: false, canonical: host }
    },
    tlsa: async () => ({ records: [], secure: false }),
    isSecureAlias: async () => false,
    text: async (name) => (await orNone(dns.resolveTxt(name))).map((strings) => strings.join("")),
  }
}

/** True for loopback, the unspecified address and every address of an interface of this host. */
export function isOwnAddress(address: string): boolean {
  if (/^(?:127\.|0\.0\.0\.0$|::1?$|::ffff:127\.)/i.test(address)) return true
  return ownAddresses().has(address)
}

let found: { readonly addresses: ReadonlySet<string>; readonly untilMs: number } | null = null

/** The kernel is asked once a second: of each mail it was 4% of what sending took. */
function ownAddresses(): ReadonlySet<string> {
  const nowMs = performance.now()
  if (found === null || nowMs >= found.untilMs) {
    const addresses = Object.values(networkInterfaces()).flatMap((one) => one?.map(({ address }) => address) ?? [])
    found = { addresses: new Set(addresses), untilMs: nowMs + 1_000 }
  }
  return found.addresses
}

async function orNone<T>(answer: Promise<T[]>): Promise<T[]> {
  try {
    return await answer
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOTFOUND" || error.code === "ENODATA")) return []
    throw error
  }
}
