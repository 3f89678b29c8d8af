/** PURE. DANE for mail: under which name the keys of an address stand in DNS, and what the records there say (RFC 7929, RFC 8162). */
import { sha256 } from "../crypto/primitives/hash.ts"
import type { Address } from "../message/address.ts"

/** The types of DNS records that hold keys of people. */
export type DaneType = "OPENPGPKEY" | "SMIMEA"

/**
 * The name of the records (RFC 7929 §3, RFC 8162 §3), without a last dot. The local part is taken as it is written, without quotes: only its own
 * domain knows which others mean the same, so that lower case is another name (RFC 7929 §4, RFC 8162 §4).
 */
export function daneName({ localPart, domain }: Address, type: DaneType): string {
  const digest = sha256(new TextEncoder().encode(localPart.normalize("NFC"))).subarray(0, DIGEST_OCTETS)
  return `${Buffer.from(digest).toString("hex")}.${LABEL[type]}.${domain}`
}

/** A certificate that a record holds. */
export interface NamedCertificate {
  readonly der: Uint8Array
  /** DER of what its path may end in beside the configured roots; itself where the domain vouches for this very certificate. */
  readonly anchors: readonly Uint8Array[]
}

/** What the SMIMEA records of one name come to. */
export interface SmimeaContent {
  readonly certificates: readonly NamedCertificate[]
  /** DER of the authorities that the records hold. */
  readonly authorities: readonly Uint8Array[]
  /** Of each record that holds no certificate of a person: what it holds, in a sentence. */
  readonly remarks: readonly string[]
}

/**
 * Reads SMIMEA records (RFC 8162 §2: usage, selector, matching type, one octet each, then the data), which are alternatives to one another. Digests
 * and bare keys vouch for certificates that come from elsewhere, so nothing can be encrypted by them.
 */
export function readSmimea(records: readonly Uint8Array[]): SmimeaContent {
  const read = records.slice(0, MAX_RECORDS).map(readOne)
  const holders = read.filter((one) => one.kind === "certificate")
  const authoritiesOf = (...usages: readonly number[]): readonly Uint8Array[] =>
    holders.filter(({ usage }) => usages.includes(usage)).map(({ der }) => der)
  const trusted = authoritiesOf(USAGE.trustAnchor)
  return {
    certificates: holders
      .filter(({ usage }) => usage === USAGE.pkixEndEntity || usage === USAGE.endEntity)
      .map(({ usage, der }) => ({ der, anchors: usage === USAGE.endEntity ? [der, ...trusted] : trusted })),
    authorities: authoritiesOf(USAGE.pkixAuthority, USAGE.trustAnchor),
    remarks: [
      ...read.flatMap((one) => (one.kind === "other" ? [one.remark] : authorityRemark(one.usage))),
      ...(records.length > MAX_RECORDS
        ? [`only ${MAX_RECORDS} of ${records.length} SMIMEA records are looked at`]
        : []),
    ],
  }
}

type Read =
  | { readonly kind: "certificate"; readonly usage: number; readonly der: Uint8Array }
  | { readonly kind: "other"; readonly remark: string }

function readOne(record: Uint8Array): Read {
  const [usage = -1, selector = -1, matchingType = -1] = record
  const der = record.subarray(3)
  const remark = (what: string): Read => ({
    kind: "other",
    remark: `SMIMEA ${usage} ${selector} ${matchingType} ${what}`,
  })
  if (der.length === 0) return { kind: "other", remark: "a SMIMEA record holds nothing" }
  if (usage > USAGE.endEntity || selector > SELECTOR.key || matchingType > MATCHING.sha512)
    return remark("is of a kind that is not defined")
  if (matchingType !== MATCHING.full) return remark("holds a digest only: the certificate has to come from elsewhere")
  if (selector === SELECTOR.key) return remark("holds a key only: the certificate has to come from elsewhere")
  return { kind: "certificate", usage, der }
}

function authorityRemark(usage: number): readonly string[] {
  return usage === USAGE.pkixAuthority || usage === USAGE.trustAnchor
    ? [`SMIMEA ${usage} 0 0 holds an authority: the certificate has to come from elsewhere`]
    : []
}

const LABEL: Readonly<Record<DaneType, string>> = { OPENPGPKEY: "_openpgpkey", SMIMEA: "_smimecert" }
/** RFC 7929 §3: SHA2-256, truncated. */
const DIGEST_OCTETS = 28
/** RFC 6698 §2.1.1 to §2.1.3, which RFC 8162 takes over. */
const USAGE = { pkixAuthority: 0, pkixEndEntity: 1, trustAnchor: 2, endEntity: 3 } as const
const SELECTOR = { certificate: 0, key: 1 } as const
const MATCHING = { full: 0, sha256: 1, sha512: 2 } as const
/** Somebody who changes keys has two or three. */
export const MAX_RECORDS = 16
