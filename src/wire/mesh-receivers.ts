import { knownConnections } from "../mesh/known-connections.ts"
import type { Receive, Receivers } from "../mesh-in/ports.ts"
import type { KeepMail } from "../pipeline/mesh/ports.ts"
import { receiveMail } from "../pipeline/mesh/receive.ts"
import type { Discovery } from "../profiles/discover.ts"
import type { MeshHost } from "../store/mesh-host.ts"
import { KeptMeshMail } from "../store/mesh-mail.ts"
import { contactReceiver } from "./contact-receiver.ts"
import type { Core } from "./core.ts"
import { meshSenders } from "./mesh-senders.ts"
import { Originals } from "./originals.ts"
import { readingKeys } from "./reading-keys.ts"
import { type MessageQueue, spoolOnce } from "./spool-once.ts"

/** What takes messages that other services post, by their type. */
export function meshReceivers(core: Core, host: MeshHost, queue: MessageQueue, correspondents: Discovery): Receivers {
  const { config, database, people, log } = core
  const seen = new KeptMeshMail(database)
  const senders = meshSenders(core, host, correspondents)
  const { certificatesOf, openPgpKeysOf } = readingKeys(people)
  const means = {
    senders,
    seen,
    keep: keeping(core, queue, seen),
    connectionOf: knownConnections(),
    certificatesOf: (address: string) => certificatesOf(address).map(({ digest }) => digest),
    openPgpKeysOf: (address: string) => openPgpKeysOf(address).map(({ fingerprint }) => fingerprint),
    hostname: config.hostname,
    maxMailOctets: config.limits.messageSizeOctets,
    log,
  }
  // Strangers are looked up anew: what was said of them before they came may be nothing.
  const vouched = (address: string, udf: string) => senders.find(address, udf, "anew")
  return new Map<string, Receive>([
    ["MessageMail", (posted) => receiveMail(posted, means)],
    ["MessageContact", contactReceiver(core, vouched)],
  ])
}

/** Sealed spool first; then what is remembered of it. The queue is not waited for: the spool is the truth, and the sweep finds what has no job. */
function keeping(core: Core, queue: MessageQueue, seen: KeptMeshMail): KeepMail {
  const originals = new Originals(core, seen)
  return async (entry, message, id, mail) => {
    const { queued } = await spoolOnce(core, queue, id, entry, once(message))
    queued.catch((error: unknown) => core.log.error("mesh.not-queued", { id }, error))
    return () => originals.keep(entry.origin.account ?? "", { mail, message })
  }
}

async function* once(octets: Uint8Array): AsyncGenerator<Uint8Array> {
  yield octets
}
