import type { PublicHttpOptions } from "../../src/http/public.ts"

/** Nobody is here, and anybody may ask. */
export function nobodysKeys(domains: readonly string[]): Pick<PublicHttpOptions, "keys" | "askers"> {
  return {
    keys: { domains, profile: () => null, meshProfile: () => null, certificate: () => null, isKnown: () => false },
    askers: { mayAsk: async () => true, guessed: async () => undefined },
  }
}
