import { randomOctets } from "../crypto/primitives/random.ts"
import { KnownKeys } from "../smtp-in/known-keys.ts"
import { dnsLookup } from "../smtp-in/lookups.ts"
import type { Authenticator } from "../smtp-in/ports.ts"
import { sharedLookups } from "../smtp-in/shared-lookups.ts"
import type { Core } from "./core.ts"
import { membership } from "./network.ts"

/**
 * What judges mail of other servers, as configured. It is loaded when the first message needs it: it takes a quarter of a second and 40 MB.
 * @returns null when nobody is judged
 */
export function authenticatorOf({ config, now }: Pick<Core, "config" | "now">): Authenticator | null {
  const { authentication, trusted, trustedSealers } = config.policy
  if (authentication === "off") return null
  const isTrusted = membership(trusted)
  const means = {
    authservId: config.hostname,
    lookup: sharedLookups(dnsLookup(config.dns.servers), () => performance.now()),
    now,
    sample: percentage,
    trustedSealers,
    keys: new KnownKeys(),
  }
  // Once: asking for a module that is there costs 50 microseconds.
  let loading: Promise<typeof import("../smtp-in/authenticate.ts")> | null = null
  return {
    enforced: authentication === "enforce",
    async begin(facts) {
      if (isTrusted(facts.remote)) return null
      loading ??= import("../smtp-in/authenticate.ts")
      const { Examining } = await loading
      return new Examining(facts, means)
    },
  }
}

/** 0 to 99, evenly enough: 2^32 is no multiple of 100 by far less than anybody counts. */
function percentage(): number {
  return Buffer.from(randomOctets(4)).readUInt32BE() % 100
}
