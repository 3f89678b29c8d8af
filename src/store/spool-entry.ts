import { GatewayError } from "../errors.ts"
import { type Address, formatAddress, parseAddress } from "../message/address.ts"
import type { Envelope, Recipient } from "../message/envelope.ts"

/** Where a message came in. */
interface Origin {
  readonly kind: "mx" | "submission" | "mesh"
  /** Who submitted it; mesh: for whom it came; null: mx. */
  readonly account: string | null
  readonly device: string | null
  /** IP address of the client. */
  readonly remote: string
  /** As the client greeted; mesh: UDF of the service that posted it. */
  readonly helo: string
  readonly tls: boolean
}

/** What was found out at the border about who a message is by. */
interface Authentication {
  /** The Authentication-Results field that we add, folded with CRLF and ending in it. */
  readonly field: string
  /** The author's domain asks for suspicion. */
  readonly quarantine: boolean
  /** The author's domain, where DMARC passed for it; absent: it did not, or an earlier version did not say. */
  readonly author?: string
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
      origin: raw.origin,
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

function recipientOf(raw: RawRecipient): Recipient {
  return { ...raw, address: parseAddress(raw.address) }
}

function addressOf(text: string | null): Address | null {
  return text === null ? null : parseAddress(text)
}

type RawRecipient = Omit<Recipient, "address"> & { readonly address: string }

type RawEntry = Omit<SpoolEntry, "envelope" | "receivedAt" | "seed"> & {
  readonly envelope: Omit<Envelope, "sender" | "recipients"> & {
    readonly sender: string | null
    readonly recipients: readonly RawRecipient[]
  }
  readonly receivedAt: number
  readonly seed: string
}
