import { GatewayError } from "../../errors.ts"
import type { Address } from "../../message/address.ts"
import { recordsOf } from "../../net/dns-alias.ts"
import type { Ask } from "../../net/dns-client.ts"
import { type DaneType, daneName, MAX_RECORDS, readSmimea } from "../dane-records.ts"
import type { KeyCandidate, KeySource, SourceAnswer } from "../key.ts"

/**
 * Keys that domains publish in DNS: OPENPGPKEY (RFC 7929) and SMIMEA (RFC 8162). Two sources, so that silence of one does not hide what the other
 * says. Only for servers whose AD bit is believed (`dns.validating`): what nobody has validated counts for nothing, and what does not validate is
 * SERVFAIL, which is no answer.
 */
export function daneSources(ask: Ask): readonly KeySource[] {
  return [daneSource("openpgpkey", "OPENPGPKEY", ask, openPgp), daneSource("smimea", "SMIMEA", ask, smime)]
}

/** What the RDATA of records at a name comes to. */
type Read = (records: readonly Uint8Array[], place: string) => SourceAnswer

function daneSource(name: string, type: DaneType, ask: Ask, read: Read): KeySource {
  return {
    name,
    trust: "dnssec",
    async lookup(address, signal) {
      const place = placeOf(address, type)
      return place === null ? null : answerOf(place, type, read, await asked(ask, place, type, signal))
    },
  }
}

/** @returns null where no name can be */
function placeOf(address: Address, type: DaneType): string | null {
  const name = daneName(address, type)
  return address.domain.startsWith("[") || name.length > MAX_NAME_OCTETS ? null : name
}

async function asked(ask: Ask, place: string, type: DaneType, signal: AbortSignal): ReturnType<Ask> {
  try {
    return await ask(place, type, signal)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : "unknown"
    throw new GatewayError("KEY_SOURCE_SILENT", `${type} of ${place}: ${reason}`, { cause })
  }
}

function answerOf(place: string, type: DaneType, read: Read, answer: Awaited<ReturnType<Ask>>): SourceAnswer {
  const found = recordsOf(place, answer.answers).records.flatMap((record) =>
    record.type === type ? [record.data] : [],
  )
  if (answer.authentic) return read(found, `${place} ${type}`)
  const what = found.length > 0 ? `does not count: DNSSEC does not vouch for ${type}` : "is not signed (DNSSEC)"
  return { candidates: [], remarks: [`what DNS says of ${place} ${what}`] }
}

/** RFC 7929 §2.1: each record is one certificate, binary. */
function openPgp(records: readonly Uint8Array[], place: string): SourceAnswer {
  const candidates = records.slice(0, MAX_RECORDS).map((octets) => candidate("openpgp", { octets, place }))
  const left = records.length - candidates.length
  return { candidates, remarks: left > 0 ? [`${left} more OPENPGPKEY records are not looked at`] : [] }
}

function smime(records: readonly Uint8Array[], place: string): SourceAnswer {
  const { certificates, authorities, remarks } = readSmimea(records)
  const candidates = certificates.map(({ der, anchors }) =>
    candidate("smime", { octets: der, place, chain: authorities, anchors }),
  )
  return { candidates, remarks }
}

function candidate(
  format: KeyCandidate["format"],
  found: Pick<KeyCandidate, "octets" | "place"> & Partial<Pick<KeyCandidate, "chain" | "anchors">>,
): KeyCandidate {
  const source = format === "smime" ? "smimea" : "openpgpkey"
  return { format, chain: [], source, trust: "dnssec", wish: null, lineage: null, ...found }
}

/** RFC 1035 §2.3.4, as text without the last dot. */
const MAX_NAME_OCTETS = 253
