import type { AdminSource } from "../http/admin.ts"
import type { EmbeddedQueue } from "../queue/embedded.ts"
import type { Core } from "./core.ts"

/** What the administration listener tells of this process. */
export function adminSource(core: Core, queue: EmbeddedQueue): AdminSource {
  core.counters.gauge("postern_queue_jobs", "Jobs in the queue, by state.", () => queue.counts())
  return {
    metrics: () => core.counters.text(),
    troubles: () => (core.database.isOpen ? [] : ["state"]),
    async status() {
      return {
        pid: process.pid,
        roles: [...core.roles],
        domains: core.config.domains,
        accounts: core.people.accounts().length,
        queue: await queue.counts(),
      }
    },
  }
}
