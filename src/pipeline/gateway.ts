import { GatewayError } from "../errors.ts"
import type { Log } from "../log/log.ts"
import { type Address, addressKey } from "../message/address.ts"
import type { Envelope, Recipient } from "../message/envelope.ts"
import type { PolicyRules } from "../profiles/policy.ts"
import type { Job } from "../queue/queue.ts"
import type { SpoolEntry } from "../store/spool.ts"
import type { Beside } from "./beside.ts"
import type { MeshMail } from "./mesh/ports.ts"
import type {
  Arrivals,
  Correspondents,
  Departures,
  Directory,
  Forwarding,
  KeyserverMail,
  Mailboxes,
  Relay,
  Reports,
  ReturnPaths,
  Signatories,
  SigningIdentities,
  StandIns,
} from "./ports.ts"

/** A spooled message, open for reading. */
export interface OpenMessage extends AsyncDisposable {
  readonly entry: SpoolEntry
  content(): AsyncIterable<Uint8Array>
}

/** What the stages need of the rest of the gateway. */
export interface Gateway {
  /** @returns null when the message is no longer in the spool: all its recipients were settled */
  open(spoolId: string): Promise<OpenMessage | null>
  readonly directory: Directory
  readonly arrivals: Arrivals
  readonly keyserverMail: KeyserverMail
  readonly correspondents: Correspondents
  readonly departures: Departures
  /** What is wanted of leaving mail. */
  readonly policy: PolicyRules
  readonly mailboxes: Mailboxes
  readonly relay: Relay
  readonly signatories: Signatories
  readonly signingIdentities: SigningIdentities
  readonly standIns: StandIns
  readonly reports: Reports
  readonly forwarding: Forwarding
  readonly returnPaths: ReturnPaths
  /** null: this gateway has no part in the Mesh. */
  readonly mesh: MeshMail | null
  /** Another thread, for content of this length; null: it is not worth the trip. */
  readonly beside: (sizeOctets: number) => Beside | null
  /** Ours, as A-labels. */
  readonly domains: readonly string[]
  /** Our name in reports and trace fields. */
  readonly hostname: string
  /** Author of our reports. */
  readonly postmaster: Address
  /** How long delivery is tried. */
  readonly lifetimeMs: number
  /** After this the sender hears that a message has not been delivered yet; 0: never. */
  readonly delayWarningMs: number
  readonly now: () => Date
  readonly log: Log
}

/** One attempt at one recipient of one message. */
export interface Attempt {
  readonly message: OpenMessage
  readonly job: Job
  readonly recipient: Recipient
  readonly gateway: Gateway
  readonly signal: AbortSignal
}

/**
 * The recipient of the envelope that a job is about.
 * @throws GatewayError STATE_CORRUPT when the envelope does not name it
 */
export function recipientOf(message: { readonly envelope: Envelope }, job: Job): Recipient {
  const recipient = message.envelope.recipients.find((candidate) => addressKey(candidate.address) === job.recipient)
  if (!recipient) throw new GatewayError("STATE_CORRUPT", `job ${job.id}: its recipient is not in the envelope`)
  return recipient
}
