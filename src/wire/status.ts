import type { AdminSource } from "../http/admin.ts"
import type { EmbeddedQueue } from "../queue/embedded.ts"
import type { Core } from "./core.ts"
import type { ImapProcesses } from "./imap-processes.ts"

/** What the administration listener tells of this process and, where there are some, of those that serve IMAP. */
export function adminSource(core: Core, queue: EmbeddedQueue, imap: ImapProcesses | null): AdminSource {
  core.counters.gauge("postern_queue_jobs", "Jobs in the queue, by state.", "state", () => queue.counts())
  return {
    metrics: async () => core.counters.text(),
    troubles: () => [...(isStateThere(core) ? [] : ["state"]), ...(imap?.serving === false ? ["imap"] : [])],
    async status() {
      return {
        pid: process.pid,
        roles: [...core.roles, ...(imap === null ? [] : ["imap"])],
        ...(imap === null ? {} : { imap: imap.states() }),
        domains: core.config.domains,
        accounts: core.people.accounts().length,
        queue: await queue.counts(),
      }
    },
  }
}

function isStateThere({ database }: Core): boolean {
  try {
    database.changeSequence()
    return true
  } catch {
    // Whatever it is: who cannot say what has changed is not ready.
    return false
  }
}
