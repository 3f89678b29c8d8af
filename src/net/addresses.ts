import { Resolver } from "node:dns/promises"

/** What DNS says of a host: NXDOMAIN and NODATA are answers, and not the same. */
export type HostAddresses =
  | { readonly kind: "addresses"; readonly addresses: readonly string[] }
  | { readonly kind: "no-name" }
  | { readonly kind: "no-address" }

/** Throws when nobody answered, which includes that what was answered is bogus. */
export type ResolveHost = (host: string) => Promise<HostAddresses>

/** Asks these DNS servers, the system's when there are none. A validating one says SERVFAIL about what is bogus, which is no answer. */
export function dnsAddresses(servers: readonly string[] = [], timeoutMs = 2_000): ResolveHost {
  const dns = new Resolver({ timeout: timeoutMs, tries: 2 })
  if (servers.length > 0) dns.setServers(servers)
  return async (host) => {
    // RFC 6761 §6.3: nobody is asked about it, and it means this machine.
    if (/(?:^|\.)localhost\.?$/i.test(host)) return { kind: "addresses", addresses: ["127.0.0.1"] }
    const found = await Promise.all([answerOf(dns.resolve6(host)), answerOf(dns.resolve4(host))])
    const addresses = found.flatMap((one) => (one.kind === "addresses" ? one.addresses : []))
    if (addresses.length > 0) return { kind: "addresses", addresses }
    // One address is enough to ask; that there is none, both have to say.
    const failed = found.find((one) => one.kind === "failed")
    if (failed) throw failed.cause
    return { kind: found.some((one) => one.kind === "no-address") ? "no-address" : "no-name" }
  }
}

async function answerOf(
  question: Promise<string[]>,
): Promise<HostAddresses | { readonly kind: "failed"; readonly cause: unknown }> {
  try {
    return { kind: "addresses", addresses: await question }
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : null
    if (code === "ENOTFOUND") return { kind: "no-name" }
    return code === "ENODATA" ? { kind: "no-address" } : { kind: "failed", cause }
  }
}
