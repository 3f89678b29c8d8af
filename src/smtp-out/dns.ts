import { Resolver as DnsResolver } from "node:dns/promises"
import { networkInterfaces } from "node:os"
import type { Resolver } from "./hop.ts"

/** The system's DNS servers. NXDOMAIN and NODATA are empty answers; everything else throws. */
export function systemResolver(timeoutMs = 5_000): Resolver {
  const dns = new DnsResolver({ timeout: timeoutMs, tries: 2 })
  return {
    mx: async (domain) =>
      (await orNone(dns.resolveMx(domain))).map(({ exchange, priority }) => ({ exchange, preference: priority })),
    addresses: async (host) => {
      const [six, four] = await Promise.all([orNone(dns.resolve6(host)), orNone(dns.resolve4(host))])
      return [...six, ...four]
    },
  }
}

/** True for loopback, the unspecified address and every address of an interface of this host. */
export function isOwnAddress(address: string): boolean {
  if (/^(?:127\.|0\.0\.0\.0$|::1?$|::ffff:127\.)/i.test(address)) return true
  return Object.values(networkInterfaces()).some((addresses) => addresses?.some((own) => own.address === address))
}

async function orNone<T>(answer: Promise<T[]>): Promise<T[]> {
  try {
    return await answer
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOTFOUND" || error.code === "ENODATA")) return []
    throw error
  }
}
