import { type Address, addressKey } from "../../message/address.ts"
import type { KeyFormat, KeySource } from "../key.ts"

/** What an administrator pinned. */
interface Pins {
  /** Newest first. */
  pinned(address: string): readonly {
    readonly format: KeyFormat
    readonly certificate: Uint8Array
    readonly addedAt: Date
  }[]
}

/** Certificates that an administrator vouches for (`postern certificate add`): the newest of each format. */
export function pinnedSource(pins: Pins): KeySource {
  return {
    name: "pinned certificate",
    trust: "pinned",
    isLocal: true,
    async lookup(address: Address) {
      const found = pins.pinned(addressKey(address))
      const newest = found.filter(({ format }, index) => found.findIndex((other) => other.format === format) === index)
      return {
        candidates: newest.map(({ format, certificate, addedAt }) => ({
          format,
          octets: certificate,
          chain: [],
          source: "pinned certificate",
          trust: "pinned",
          place: `added ${addedAt.toISOString()}`,
          wish: null,
          lineage: null,
        })),
        remarks: [],
      }
    },
  }
}
