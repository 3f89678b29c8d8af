import { GatewayError } from "../errors.ts"
import { type Address, formatAddress, parseAddress } from "../message/address.ts"
import type { Envelope, Recipient } from "../message/envelope.ts"
import type { ChainStatus } from "../mime/arc-set.ts"

/** Where a message came in. */
interface Origin {
  /** `forward`: an alias sends on what came for it; where that came in stands in the rest. */
  readonly kind: "mx" | "submission" | "mesh" | "forward"
  /** Who submitted it; mesh: for whom it came; null: mx, or from one of its kind. */
  readonly account: string | null
  readonly device: string | null
  /** IP address of the client. */
  readonly remote: string
  /** As the client greeted; mesh: UDF of the service that posted it. */
  readonly helo: string
  readonly tls: boolean
  /** forward: the address that it was sent to, which is what its sender is told of. */
  readonly alias?: Address
  /** forward: one of our people had submitted it, or we had written it ourselves. */
  readonly isOurs?: true
}

/** What was found out at the border about who a message is by. */
interface Authentication {
  /** The Authentication-Results field that we add, folded with CRLF and ending in it. */
  readonly field: string
  /** The author's domain asks for suspicion. */
  readonly quarantine: boolean
  /** The author's domain, where DMARC passed for it; absent: it did not, or an earlier version did not say. */
  readonly author?: string
  /** What became of its chain (RFC 8617); absent: an earlier version did not say. */
  readonly chain?: ChainStatus
}

/** All that is known of an accepted message but its content. */
export interface SpoolEntry {
  readonly envelope: Envelope
  readonly origin: Origin
  /** The Received field that we add, folded with CRLF and ending in it. */
  readonly received: string
  readonly receivedAt: Date
  /** Absent: nobody asked who it is by (mail of our people, and of networks that are trusted). */
  readonly authentication?: Authentication
  /** 32 random octets; whatever is random in protecting the message comes from them, so that a repeat is the same octets. */
  readonly seed: Uint8Array
  /** Of the content. */
  readonly sizeOctets: number
}

/** The entry as JSON in UTF-8. */
export function formatEntry(entry: SpoolEntry): Uint8Array {
  const { envelope } = entry
  return new TextEncoder().encode(
    JSON.stringify({
      ...entry,
      envelope: {
        ...envelope,
        sender: envelope.sender && formatAddress(envelope.sender),
        recipients: envelope.recipients.map((recipient) => ({
          ...recipient,
          address: formatAddress(recipient.address),
        })),
      },
      origin: { ...entry.origin, ...(entry.origin.alias ? { alias: formatAddress(entry.origin.alias) } : {}) },
      receivedAt: entry.receivedAt.getTime(),
      seed: Buffer.from(entry.seed).toString("base64"),
    }),
  )
}

/**
 * Reads what {@link formatEntry} wrote. The octets have been authenticated: they are ours, of this or an earlier version.
 * @throws GatewayError SPOOL_CORRUPT
 */
export function parseEntry(octets: Uint8Array): SpoolEntry {
  try {
    const raw = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(octets)) as RawEntry
    return {
      envelope: {
        ...raw.envelope,
        sender: addressOf(raw.envelope.sender),
        recipients: raw.envelope.recipients.map(recipientOf),
      },
      origin: originOf(raw.origin),
      received: raw.received,
      receivedAt: new Date(raw.receivedAt),
      ...(raw.authentication ? { authentication: raw.authentication } : {}),
      seed: new Uint8Array(Buffer.from(raw.seed, "base64")),
      sizeOctets: raw.sizeOctets,
    }
  } catch (cause) {
    throw new GatewayError("SPOOL_CORRUPT", "spool entry: not readable", { cause })
  }
}

function originOf({ alias, ...raw }: RawOrigin): Origin {
  return alias === undefined ? raw : { ...raw, alias: parseAddress(alias) }
}

function recipientOf(raw: RawRecipient): Recipient {
  return { ...raw, address: parseAddress(raw.address) }
}

function addressOf(text: string | null): Address | null {
  return text === null ? null : parseAddress(text)
}

type RawRecipient = Omit<Recipient, "address"> & { readonly address: string }

type RawOrigin = Omit<Origin, "alias"> & { readonly alias?: string }

type RawEntry = Omit<SpoolEntry, "envelope" | "origin" | "receivedAt" | "seed"> & {
  readonly origin: RawOrigin
  readonly envelope: Omit<Envelope, "sender" | "recipients"> & {
    readonly sender: string | null
    readonly recipients: readonly RawRecipient[]
  }
  readonly receivedAt: number
  readonly seed: string
}
