import { join } from "node:path"
import type { MeshShelf } from "../http/mesh-bulk.ts"
import { isBulkName, MeshBulk } from "../store/mesh-bulk.ts"
import type { Core } from "./core.ts"
import { startRounds } from "./rounds.ts"

/** Mail that is longer than a message. Of several machines one publishes what another gives out, so that without a common folder nothing is published. */
export function meshBulkOf({ data, mesh, store }: Core["config"]): MeshBulk {
  const own = join(data, "mesh-bulk")
  return new MeshBulk({
    incoming: join(own, "incoming"),
    published: mesh.bulk ?? (store.kind === "embedded" ? join(own, "published") : null),
  })
}

/** What is published here, as it is given out; null: this gateway has no part in the Mesh. */
export function meshShelfOf({ config, now }: Core): MeshShelf | null {
  if (config.mesh.service === null) return null
  const bulk = meshBulkOf(config)
  return {
    find: async (name) => (isBulkName(name) ? bulk.published(name, now()) : null),
    pulled: (name) => bulk.pulled(name, new Date(now().getTime() + PULLED_MS)),
  }
}

/** Removes published mail that nobody came for, and what was fetched for nobody. */
export function startBulkSweep({ config, now, log }: Core): AsyncDisposable {
  const bulk = meshBulkOf(config)
  return startRounds({
    firstMs: HOUR_MS,
    everyMs: HOUR_MS,
    round: async () => void (await bulk.sweep(now())),
    onError: (error) => log.error("mesh.bulk-not-swept", {}, error),
  })
}

const HOUR_MS = 3_600_000
/** Whoever has it may have lost it before it was stored. */
const PULLED_MS = 24 * HOUR_MS
