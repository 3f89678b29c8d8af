import type { MailStore } from "../mailbox/store.ts"
import type { Discovery } from "../profiles/discover.ts"
import type { WorkQueue } from "../queue/queue.ts"
import type { StoreHeld } from "./attempts.ts"
import type { Core } from "./core.ts"
import type { LiveDevices } from "./devices.ts"
import type { ImapProcesses } from "./imap-processes.ts"
import type { KnownPeople } from "./known-people.ts"
import { type Listener, named } from "./listener.ts"
import type { LiveTls } from "./tls.ts"

/** What listeners need beside the core. */
export interface ListenerParts {
  readonly queue: WorkQueue
  readonly devices: LiveDevices
  readonly known: KnownPeople
  readonly store: MailStore
  readonly tls: LiveTls
  readonly correspondents: Discovery
  /** null: nobody delivers in this process, or not into mailboxes of ours. */
  readonly storeHeld: StoreHeld | null
}

/**
 * Starts the listeners that the configuration names and the roles allow; others of ours may listen on what is `held`. A process loads the
 * protocols that it speaks, no others: each is a tenth of the time of a start, the web a fifth.
 * @param imap serves IMAP in this process's place
 * @throws GatewayError LISTEN_FAILED
 */
export async function startListeners(
  core: Core,
  parts: ListenerParts,
  imap: ImapProcesses | null,
  held: ReadonlySet<string>,
): Promise<Listener[]> {
  const started: Listener[] = []
  try {
    for await (const listener of listenersOf(core, parts, imap, held)) started.push(listener)
    return started
  } catch (error) {
    await Promise.all(started.map((listener) => listener.close(0)))
    throw error
  }
}

async function* listenersOf(
  core: Core,
  parts: ListenerParts,
  imap: ImapProcesses | null,
  held: ReadonlySet<string>,
): AsyncGenerator<Listener> {
  const { roles } = core
  const { queue, devices, known, store, tls, correspondents } = parts
  if (roles.has("mx") || roles.has("submission")) {
    const { startSmtp } = await import("./smtp.ts")
    for (const [name, listener] of await startSmtp(core, queue, devices, tls, correspondents, held))
      yield named(name, listener)
  }
  if (roles.has("imap")) {
    const { imapParts, startImap } = await import("./imap.ts")
    const served = await startImap(core, imapParts(core, known, { devices, store, tls }), held)
    for (const [name, listener] of served) yield named(name, listener)
  } else if (imap !== null) for (const [name, listener] of await imap.listen(held)) yield named(name, listener)
  if (roles.has("submission")) {
    const { startLdap } = await import("./ldap.ts")
    yield* await startLdap(core, parts, held)
  }
  if (roles.has("http") || core.config.listen.admin !== null) {
    const { startWeb } = await import("./web.ts")
    yield* startWeb(core, parts, imap, held)
  }
}
