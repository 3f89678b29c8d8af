import type { Address } from "../../message/address.ts"
import type { AutocryptPeer } from "../../profiles/autocrypt.ts"
import type { KeyCandidate } from "../../profiles/key.ts"
import type { HarvestedKey } from "../../profiles/sources/harvested.ts"
import type { KeyRules } from "../../profiles/usable/rules.ts"

/** Keys that are known for people who write to us. */
export interface KnownKeys {
  /** Not judged. `silent`: somebody who was asked has not answered. Never throws for what those do who are asked. */
  candidates(author: Address): Promise<{ readonly candidates: readonly KeyCandidate[]; readonly silent: boolean }>
}

/** What is needed to tell whether a signature counts. */
export interface VerifyingMeans {
  readonly keys: KnownKeys
  /** What is asked of an S/MIME signer's certificate. */
  rulesAt(at: Date): KeyRules
}

/** Of an S/MIME signature: whose it is to be, and when. */
export interface SmimeQuestion {
  readonly author: Address
  /** Lower case; empty when it is not said. */
  readonly micalg: string
  readonly at: Date
  readonly means: VerifyingMeans
}

/** Verdicts on signatures, as fields: decided once, so that a repeated delivery is the same octets. */
export interface Verdicts {
  find(spoolId: string): string | null
  /** @returns what holds: of two, the first */
  keep(spoolId: string, field: string, at: Date): string
}

/** Where keys of Autocrypt fields go. */
export interface Peers {
  changePeer(address: string, change: (known: AutocryptPeer | null) => AutocryptPeer | null): void
}

/** Where keys of signatures and attachments go. */
export interface Harvest {
  harvest(address: string, key: HarvestedKey): void
}
