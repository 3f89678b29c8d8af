import type { Profile, ProfileUser } from "../mesh/profile.ts"
import type { SignedObject } from "../mesh/signed.ts"
import type { StoreEnd, StoreUpdate } from "../store/mesh-stores.ts"

/** An account of ours, as far as the service is concerned. */
export interface ServedAccount {
  readonly address: string
  readonly profile: ProfileUser
}

/** Accounts of ours. */
export interface ServedAccounts {
  /** @returns null: nobody is here by this address */
  of(address: string): ServedAccount | null
}

/** A message that another service has posted: its signature over the request has been checked, and nothing of the message but its length and its type. */
export interface Posted {
  readonly account: ServedAccount
  /** The envelope as it came. */
  readonly message: Uint8Array
  /** The same, read. */
  readonly object: SignedObject
  /** The service that posts; whether it speaks for the message's sender is said by the sender's profile. */
  readonly peer: Profile
  /** What answers a challenge, as its maker wrote it; null: there is none. */
  readonly admission: Uint8Array | null
  readonly now: Date
}

/** What became of a message. `accepted` only when it would survive a power cut. */
export type PostResult =
  | {
      readonly kind: "accepted"
      /** What is to be written down of it before that is said; of all messages of a request it is begun in one turn, so that one transaction can take it. */
      readonly remember?: () => Promise<void>
    }
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "later" }
  /** Come again with a solution: octets for whoever reads challenges. */
  | { readonly kind: "admission"; readonly challenge: Uint8Array }

/** Takes messages of one type, each in its own way: access control first (default deny), and a message that came before is accepted again and does nothing. */
export type Receive = (posted: Posted) => Promise<PostResult>

/** By type: "MessageMail", "MessageContact". What is not here is refused as unsupported. */
export type Receivers = ReadonlyMap<string, Receive>

/** Requests that came before. */
export interface SeenRequests {
  /** @returns false: this one did */
  remember(key: Uint8Array, until: Date, now: Date): Promise<boolean>
}

/** Catalogs and spools of accounts, by their addresses. */
export interface Stores {
  ends(account: string): readonly StoreEnd[]
  end(account: string, store: string): StoreEnd
  /** All or nothing, and on the disk when it returns. */
  append(
    account: string,
    updates: readonly StoreUpdate[],
    at: Date,
  ): { readonly kind: "appended" | "conflict"; readonly stores: readonly StoreEnd[] } | { readonly kind: "full" }
  /** Frames from this number on that are there still, `first` the number of the first of them: as many as `maxOctets` hold, and one at least where there is one. */
  frames(
    account: string,
    store: string,
    from: number,
    maxOctets: number,
  ): { readonly first: number; readonly frames: readonly Uint8Array[]; readonly isPartial: boolean }
  newest(account: string, store: string, name: string): Uint8Array | null
}
