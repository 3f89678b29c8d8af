import type { Target } from "./exchange.ts"
import type { Resolver } from "./hop.ts"
import { usableRecords } from "./tlsa.ts"
import type { TlsaFinding } from "./transport.ts"

/** What DNS says about TLSA of a mail exchanger's port (RFC 7672 §2.2). `domain` is the one in the address. */
export async function findTlsa(target: Target, domain: string, port: number, resolver: Resolver): Promise<TlsaFinding> {
  try {
    for (const base of target.tlsaBases) {
      const { records, secure } = await resolver.tlsa(`_${port}._tcp.${base}`)
      if (!secure || records.length === 0) continue
      const usable = usableRecords(records)
      if (usable.length === 0) return { kind: "unusable" }
      const names = [...new Set([base, target.host, domain].map((name) => name.replace(/\.$/, "").toLowerCase()))]
      return { kind: "usable", demand: { kind: "dane", records: usable, names } }
    }
    return { kind: "none" }
  } catch (error) {
    return { kind: "unanswered", why: error instanceof Error ? error.message : "unknown" }
  }
}
