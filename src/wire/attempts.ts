import { join } from "node:path"
import type { MailStore } from "../mailbox/store.ts"
import type { Handler, Queue } from "../queue/queue.ts"
import { Relay } from "../smtp-out/relay.ts"
import { DkimKeys } from "../store/dkim-keys.ts"
import { DkimSigners } from "../store/dkim-signers.ts"
import type { Core } from "./core.ts"
import { hopsOf, mailboxesOf } from "./external.ts"
import type { KnownPeople } from "./known-people.ts"
import { attempts, smtpRelay } from "./worker.ts"

/** What attempts at delivery need beside the core. */
export interface AttemptParts {
  /** Where reports are queued. */
  readonly queue: Pick<Queue, "add">
  readonly known: KnownPeople
  readonly store: MailStore
}

/** Makes attempts at delivery in this thread; connections to other servers are ended with `stack`. */
export function openAttempts(core: Core, { queue, known, store }: AttemptParts, stack: AsyncDisposableStack): Handler {
  const connections = stack.use(new Relay({ hostname: core.config.hostname, log: core.log }))
  const mailboxes = mailboxesOf(core, store, connections)
  const relay = smtpRelay(connections, hopsOf(core.config))
  const signatories = new DkimSigners(new DkimKeys(join(core.config.secrets, "dkim")))
  return attempts(core, { queue, directory: known.directory, mailboxes, relay, signatories })
}
