import type { Prepared } from "../pipeline/prepared.ts"

/** Opens a connection to the IMAP server behind the proxy, logged in as an account; a new one each time. @throws GatewayError UPSTREAM_* */
export type OpenStore = () => Promise<RemoteStore>

/** An account's mail on an IMAP server. A connection that is lost ends what is asked for with GatewayError UPSTREAM_UNAVAILABLE. */
export interface RemoteStore extends AsyncDisposable {
  /** In upper case, as told after login. */
  readonly capabilities: ReadonlySet<string>
  mailboxes(): Promise<readonly RemoteMailbox[]>
  /** @throws GatewayError UPSTREAM_REFUSED */
  select(mailbox: RemoteMailbox, access: "read" | "write"): Promise<SelectedMailbox>
}

/** A mailbox as the server lists it (RFC 9051 §7.3.1). */
export interface RemoteMailbox {
  /** In Unicode, with the server's separator between levels. */
  readonly name: string
  /** As sent: modified UTF-7 (RFC 3501 §5.1.3). */
  readonly wireName: string
  readonly separator: string
  /** Name attributes, SPECIAL-USE ones included (RFC 6154). */
  readonly attributes: readonly string[]
  readonly messages: number
}

/** What a server tells of a message. */
export interface RemoteMessage {
  readonly uid: number
  readonly sizeOctets: number
  /** Without \Recent. */
  readonly flags: readonly string[]
  /** INTERNALDATE. */
  readonly receivedAt: Date | null
  /** The header field that was asked for, name included; empty: the message has none. */
  readonly field: string
}

/** The selected mailbox. Messages that others have expunged are left out of every answer. */
export interface SelectedMailbox {
  readonly uidValidity: bigint
  /** Messages with this UID or a higher one, new ones included. `field` is a header field's name. */
  list(fromUid: number, field: string): Promise<readonly RemoteMessage[]>
  /** Whole messages; sets no \Seen. */
  read(uids: readonly number[]): Promise<ReadonlyMap<number, Uint8Array>>
  /** One message, piece by piece; sets no \Seen. */
  stream(uid: number): AsyncIterable<Uint8Array>
  /** As they are now, without \Recent. */
  flags(uids: readonly number[]): Promise<ReadonlyMap<number, readonly string[]>>
  readonly changes: MailboxChanges
}

/** What can be done to the selected mailbox, when it was selected for writing. */
export interface MailboxChanges {
  /** @throws GatewayError UPSTREAM_REFUSED, MAILBOX_FULL with the server's words */
  append(message: Prepared, flags: readonly string[], receivedAt: Date | null): Promise<void>
  changeFlags(
    uid: number,
    change: { readonly add: readonly string[]; readonly remove: readonly string[] },
  ): Promise<void>
  flagDeleted(uids: readonly number[]): Promise<void>
  /** Removes these messages and no others (RFC 4315 §2.1). @returns false when the server cannot do that */
  expunge(uids: readonly number[]): Promise<boolean>
}
