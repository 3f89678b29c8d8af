import type { AdminSource } from "../http/admin.ts"
import type { WorkQueue } from "../queue/queue.ts"
import type { Core } from "./core.ts"
import type { ImapProcesses } from "./imap-processes.ts"

/** What the administration listener tells of this process and, where there are some, of those that serve IMAP. */
export function adminSource(core: Core, queue: WorkQueue, imap: ImapProcesses | null): AdminSource {
  const { counters, config } = core
  counters.gauge("postern_queue_jobs", "Jobs in the queue, by state.", "state", () =>
    queue.isThere ? queue.counts() : {},
  )
  const isThere = () => ({ [config.queue.kind]: queue.isThere ? 1 : 0 })
  counters.gauge("postern_queue_there", "Whether what keeps the queue answers: 1, or 0.", "kind", isThere)
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
        queue: queue.isThere ? await queue.counts() : null,
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
