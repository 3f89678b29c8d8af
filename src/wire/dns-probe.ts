import { dnsClient, validates } from "../net/dns-client.ts"
import type { Core } from "./core.ts"
import { startRounds } from "./rounds.ts"

const FIRST_MS = 5e3
const EVERY_MS = 6 * 3600e3

/** Says in the log when servers that `dns.validating` speaks of do not validate: there would be no DANE, and nobody would notice. */
export function startDnsProbe({ config, log }: Pick<Core, "config" | "log">): AsyncDisposable {
  const { servers, validating } = config.dns
  return startRounds({
    firstMs: FIRST_MS,
    everyMs: EVERY_MS,
    round: async () => {
      if (!validating) return
      for (const server of servers)
        if (!(await validates(dnsClient([server])))) log.error("dns.not-validating", { server })
    },
    onError: (error) => log.warn("dns.not-answering", { reason: error instanceof Error ? error.message : "unknown" }),
  })
}
