import type { Addressee } from "../crypto/cms/recipient-infos.ts"
import type { CmsIdentity } from "../crypto/cms/signed.ts"
import type { FoundStandIn } from "../crypto/cms/stand-in.ts"
import type { OpenPgpIdentity } from "../crypto/openpgp/sign.ts"
import type { DkimSigner } from "../crypto/primitives/dkim-key.ts"
import type { Address } from "../message/address.ts"
import type { Envelope, Recipient } from "../message/envelope.ts"
import type { DeliveryStatus } from "../message/status.ts"
import type { DkimIdentity } from "../mime/dkim-signature.ts"
import type { KeyFormat, UsableKey } from "../profiles/key.ts"
import type { Resolution } from "../profiles/resolution.ts"
import type { Departure } from "../store/departures.ts"
import type { Forward } from "../store/resolve.ts"
import type { CameBack } from "../store/return-paths.ts"
import type { NewEntry, SpoolEntry } from "../store/spool.ts"
import type { Prepared } from "./prepared.ts"
import type { AtRest } from "./protect.ts"

/** What an attempt at one recipient came to: a value, never a thrown error. */
export type Result =
  | {
      readonly kind: "done"
      readonly status: DeliveryStatus
      /** Who has the message now tells the sender of its delivery, where that was asked for. */
      readonly notifies?: true
      /** It was taken, and nobody gets it. */
      readonly isDropped?: true
      /** It went with others in one go, where more may be under way than there are connections. */
      readonly isShared?: true
    }
  | {
      readonly kind: "retry"
      readonly status: DeliveryStatus
      /** What is wrong is wrong with us: when the time is over the message waits for a person, and is not sent back. */
      readonly fault?: true
    }
  | { readonly kind: "failed"; readonly status: DeliveryStatus }
  | {
      readonly kind: "hold"
      readonly reason: string
      /** Its sender is told that it waits, and why. */
      readonly told?: true
    }

/** Who a recipient is. */
export type Standing =
  | { readonly kind: "accounts"; readonly accounts: readonly string[]; readonly forwards: readonly Forward[] }
  | { readonly kind: "unknown" }
  | { readonly kind: "foreign" }

/** Our people and the keys we know. */
export interface Directory {
  resolve(address: Address): Standing
  /** @returns null when the account is gone */
  atRest(account: string): AtRest | null
  /** The Autocrypt field of mail from the account, line end included; null: it has no OpenPGP key. */
  autocrypt(account: string): Uint8Array | null
}

/** Keys of other people. */
export interface Correspondents {
  /** Never throws for what those do who are asked. */
  resolve(address: Address): Promise<Resolution>
  /** Asks everybody again, where what is kept turned out to be over. Never throws either. */
  ask(address: Address): Promise<Resolution>
  /** Mail is encrypted to this key of it: it is missed when it is gone, and another one in its place is noticed. */
  used(resolution: Resolution, key: UsableKey): void
}

/** Remembers what was decided about leaving mail, so that another policy can be tried on it. */
export interface Departures {
  /** Never throws, and is not waited for. */
  note(departure: Departure): void
}

/** What arriving mail shows of signatures and of keys. */
export interface Arrivals {
  /** @returns Authentication-Results on its signature (CRLF folded, with its final CRLF), the same for every attempt; null: none can be seen */
  examine(spoolId: string, message: Prepared, entry: SpoolEntry): Promise<string | null>
}

/** Mail in which keyservers ask whether what we brought them may be published. */
export interface KeyserverMail {
  /** A message was stored for one of our people: what it asks is answered, where we had it asked. Never throws. */
  stored(spoolId: string, recipient: Address, message: Prepared, entry: SpoolEntry): Promise<void>
}

/** Where mail of our people is stored. */
export interface Mailboxes {
  /** It reads a message from the first octet to the last and waits for each, however long: {@link Prepared.once} is asked for where there is one. */
  readonly isPatient?: true
  /** `name` is stable for a (message, account): storing it again must not double it. `repeated`: an earlier attempt may have stored it. */
  deliver(
    account: string,
    message: Prepared,
    options: {
      readonly name: string
      readonly receivedAt: Date
      readonly repeated: boolean
      readonly sender: Address | null
      /** The author's domain asks for suspicion (RFC 9989 §4.7): not among mail that is believed, where the store has another place. */
      readonly quarantine?: true
      readonly signal: AbortSignal
    },
  ): Promise<Result>
}

/** Where mail for other domains goes. */
export interface Relay {
  /** `verified`: over TLS to a mail exchanger whose name is verified, or not at all. */
  send(
    message: Prepared,
    envelope: Envelope,
    recipient: Recipient,
    options: { readonly verified: boolean; readonly signal: AbortSignal },
  ): Promise<Result>
}

/** Who signs mail of our domains. */
export interface Signatories {
  /**
   * For mail that was accepted `at`. [] when the domain does not sign.
   * @throws GatewayError DKIM_KEY_UNUSABLE, DKIM_KEYS_CORRUPT when it would sign and cannot
   */
  of(domain: string, at: Date): readonly (DkimIdentity & { readonly signer: DkimSigner })[]
}

/** A key that signs a message for its author, or one sentence for people why none does. */
export type FoundSigner =
  | { readonly kind: "signer"; readonly format: "smime"; readonly signer: CmsIdentity }
  | { readonly kind: "signer"; readonly format: "openpgp"; readonly signer: OpenPgpIdentity }
  | { readonly kind: "none"; readonly because: string }

/** Keys with which the gateway signs for our people. */
export interface SigningIdentities {
  /**
   * For mail of `account` that was accepted `at`. `format` null: the first of the account's that has a key.
   * @throws GatewayError GATEWAY_KEYS_CORRUPT, GATEWAY_KEY_UNUSABLE when it would sign and cannot
   */
  of(account: string, format: KeyFormat | null, at: Date): FoundSigner
}

/** Certificates of ours for people who have none, which clients of our people encrypt to. */
export interface StandIns {
  /**
   * What a message is to them that `account` has encrypted to these, on its way to this recipient.
   * @throws GatewayError STAND_INS_CORRUPT, STAND_IN_UNUSABLE when it would open and cannot
   */
  find(addressees: readonly Addressee[], account: string, recipient: Address): FoundStandIn
}

/** Reports of final failures to the sender. */
export interface Reports {
  /** Spools the report as a message of ours with the null reverse-path; the same `name` twice is one report. */
  submit(report: {
    readonly name: string
    readonly to: Address
    readonly octets: Uint8Array
    /** What it reports came with REQUIRETLS, and so does it (RFC 8689 §5). */
    readonly requireTls?: true
  }): Promise<void>
}

/** What aliases send on. */
export interface Forwarding {
  /** Spools it as a message of its own; the same `id` twice is one, whatever has become of it since. */
  submit(id: string, entry: NewEntry, content: AsyncIterable<Uint8Array>): Promise<void>
}

/** In whose name mail is sent on. */
export interface ReturnPaths {
  /** The reverse-path of mail by `sender` that leaves for `alias`, in a domain of ours. */
  forwarded(sender: Address, alias: Address, at: Date): Address
  /** Whom a bounce is for that came `at` for such an address of ours; null: it is none. */
  original(address: Address, at: Date): CameBack | null
}
