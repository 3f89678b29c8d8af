import { CONNECT } from "../mesh-in/connect.ts"
import { MeshStores } from "../store/mesh-stores.ts"
import type { Core } from "./core.ts"
import { startRounds } from "./rounds.ts"

/** The store of what others send to an account. */
export const INBOUND = "Inbound"

/** Drops originals that have been kept for as long as is configured: what was made of them is in the mailbox. And what devices asked that nobody has connected. */
export function startInboundSweep(
  { database, config, now, log }: Pick<Core, "database" | "config" | "now" | "log">,
  firstMs = HOUR_MS,
): AsyncDisposable {
  const stores = new MeshStores(database, config.mesh.storageOctets)
  return startRounds({
    firstMs,
    everyMs: HOUR_MS,
    round: async (signal) => {
      for (const [store, keptMs] of [
        [INBOUND, config.mesh.keepMs],
        [CONNECT, ASKED_MS],
      ] as const) {
        const before = new Date(now().getTime() - keptMs)
        while (!signal.aborted && stores.drop(store, before, DROPPED_AT_ONCE)) await new Promise(setImmediate)
      }
    },
    onError: (error) => log.error("mesh.inbound-not-swept", {}, error),
  })
}

const HOUR_MS = 3_600_000
/** Strangers write there, some megabyte a day at most; an answer is waited for by a person who sits before both devices. */
const ASKED_MS = 30 * 86_400_000
/** A turn of the event loop waits for it. */
const DROPPED_AT_ONCE = 200
