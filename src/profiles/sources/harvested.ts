import { readElement } from "../../crypto/cms/der.ts"
import { type Address, addressKey } from "../../message/address.ts"
import type { KeyCandidate, KeyFormat, KeySource } from "../key.ts"

/** A key that came with authenticated mail. */
export interface HarvestedKey {
  readonly format: KeyFormat
  /** Hexadecimal SHA-256 of the certificate. */
  readonly digest: string
  readonly certificate: Uint8Array
  /** S/MIME: DER of certificates, one behind the other. */
  readonly chain: Uint8Array
  /** S/MIME: DER of SMIMECapabilities; empty: none. */
  readonly capabilities: Uint8Array
  /** When the newest message that brought it was written. */
  readonly sentAt: Date
}

/** What came. */
interface Harvest {
  /** Newest first. */
  harvested(address: string): readonly HarvestedKey[]
}

/** Certificates of verified signatures (S/MIME) and attachments (OpenPGP) of authenticated mail, the newest first. */
export function harvestedSource(harvest: Harvest): KeySource {
  return {
    name: NAME,
    trust: "harvested",
    isLocal: true,
    async lookup(address: Address) {
      return { candidates: harvest.harvested(addressKey(address)).map(candidateOf), remarks: [] }
    },
  }
}

function candidateOf({ format, certificate, chain, capabilities, sentAt }: HarvestedKey): KeyCandidate {
  return {
    format,
    octets: certificate,
    chain: separated(chain),
    ...(capabilities.length > 0 ? { capabilities } : {}),
    source: NAME,
    trust: "harvested",
    place: `mail of ${sentAt.toISOString().slice(0, 10)}`,
    wish: null,
    lineage: null,
  }
}

function separated(chain: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = []
  for (let at = 0; at < chain.length; ) {
    const end = readElement(chain, at)?.end ?? chain.length
    found.push(chain.subarray(at, end))
    at = Math.max(end, at + 1)
  }
  return found
}

const NAME = "harvested"
