import type { Revocations, UsableKey } from "../key.ts"

/** What a format's rules make of a candidate; `because` is one clause or sentence for people, without its full stop. */
export type Verdict =
  | {
      readonly kind: "good"
      /** As they stand in the key. */
      readonly addresses: readonly string[]
      readonly facts: KeyFacts
      readonly because: string
      readonly until: Date | null
      readonly revoked?: Revocations
    }
  | { readonly kind: "rejected"; readonly because: string; readonly revoked?: Revocations }
  | { readonly kind: "undecided"; readonly because: string }

export type KeyFacts = Pick<
  UsableKey,
  "octets" | "fingerprint" | "subkeys" | "vouched" | "algorithm" | "expiresAt" | "reads"
>

/** The earlier of two ends, of which null is never. */
export function earlier(a: Date | null, b: Date | null): Date | null {
  if (a === null || b === null) return a ?? b
  return a.getTime() < b.getTime() ? a : b
}
