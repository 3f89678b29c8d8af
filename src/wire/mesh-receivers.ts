import { knownConnections } from "../mesh/known-connections.ts"
import type { Receive, Receivers } from "../mesh-in/ports.ts"
import { receiveMail } from "../pipeline/mesh/receive.ts"
import type { Discovery } from "../profiles/discover.ts"
import type { MeshHost } from "../store/mesh-host.ts"
import { KeptMeshMail } from "../store/mesh-mail.ts"
import { contactReceiver } from "./contact-receiver.ts"
import type { Core } from "./core.ts"
import { MailKeeper, type MailKeeperParts } from "./kept-mail.ts"
import { meshSenders } from "./mesh-senders.ts"
import { readingKeys } from "./reading-keys.ts"

/** What receiving takes beside the core. */
export interface MeshReceiverParts extends Pick<MailKeeperParts, "queue" | "atOnce"> {
  readonly correspondents: Discovery
}

/** What takes messages that other services post, by their type. */
export function meshReceivers(
  core: Core,
  host: MeshHost,
  { queue, atOnce, correspondents }: MeshReceiverParts,
): Receivers {
  const { config, database, people, log } = core
  const seen = new KeptMeshMail(database)
  const senders = meshSenders(core, host, correspondents)
  const { certificatesOf, openPgpKeysOf } = readingKeys(people)
  const means = {
    senders,
    seen,
    keep: new MailKeeper({ core, queue, atOnce }, seen).keep,
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
