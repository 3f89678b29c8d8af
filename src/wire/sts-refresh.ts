import { FetchedPolicies } from "../smtp-out/sts-policies.ts"
import { KeptPolicies } from "../store/sts-policies.ts"
import type { Core } from "./core.ts"
import { resolverOf } from "./hops.ts"
import { startRounds } from "./rounds.ts"

/** Policies last for days; the first round waits for a start to be over. */
const FIRST_MS = 120e3
const EVERY_MS = 3600e3

/** Fetches known MTA-STS policies again before their time is over, also while no mail goes there (RFC 8461 §10.2). */
export function startStsRefresh({ config, database, now, log }: Core): AsyncDisposable {
  const policies = new FetchedPolicies({ memory: new KeptPolicies(database), now, log })
  const resolver = resolverOf(config)
  return startRounds({
    firstMs: FIRST_MS,
    everyMs: EVERY_MS,
    round: (signal) => policies.refresh(resolver, signal),
    onError: (error) => log.error("sts.not-refreshed", {}, error),
  })
}
