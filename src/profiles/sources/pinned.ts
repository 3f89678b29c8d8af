import { type Address, addressKey } from "../../message/address.ts"
import type { KeyFormat, KeySource } from "../key.ts"

/** What an administrator pinned. */
interface Pins {
  /** Newest first. */
  of(address: string): readonly {
    readonly format: KeyFormat
    readonly certificate: Uint8Array
    readonly addedAt: Date
  }[]
}

/**
 * Certificates that an administrator vouches for (`postern certificate add`): of each format the newest of the address, else the newest that was pinned
 * for everybody of its domain, such as that of a gateway there which opens all mail for it.
 */
export function pinnedSource(pins: Pins): KeySource {
  return {
    name: NAME,
    trust: "pinned",
    isLocal: true,
    async lookup(address: Address) {
      const found = [addressKey(address), `*@${address.domain}`].flatMap((pinnedFor) =>
        pins.of(pinnedFor).map((pin) => ({ ...pin, pinnedFor })),
      )
      const best = found.filter(({ format }, index) => found.findIndex((other) => other.format === format) === index)
      return {
        candidates: best.map(({ format, certificate, addedAt, pinnedFor }) => ({
          format,
          octets: certificate,
          chain: [],
          source: NAME,
          trust: "pinned",
          place: `added ${addedAt.toISOString()} for ${pinnedFor}`,
          wish: null,
          lineage: null,
        })),
        remarks: [],
      }
    },
  }
}

const NAME = "pinned certificate"
