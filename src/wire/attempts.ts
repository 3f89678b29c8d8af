import { join } from "node:path"
import { GatewaySigners } from "../identity/gateway-signers.ts"
import type { MailStore } from "../mailbox/store.ts"
import type { Discovery } from "../profiles/discover.ts"
import type { Handler, Queue } from "../queue/queue.ts"
import { CountedResults } from "../smtp-out/counted-results.ts"
import { Relay } from "../smtp-out/relay.ts"
import { FetchedPolicies } from "../smtp-out/sts-policies.ts"
import { KeptDepartures } from "../store/departures.ts"
import { DkimKeys } from "../store/dkim-keys.ts"
import { DkimSigners } from "../store/dkim-signers.ts"
import { GatewayKeys } from "../store/gateway-keys.ts"
import { KeptPolicies } from "../store/sts-policies.ts"
import { KeptTlsResults } from "../store/tls-results.ts"
import { arrivalsOf } from "./arrivals.ts"
import type { Core } from "./core.ts"
import { hopsOf, mailboxesOf } from "./external.ts"
import type { KeyMeans } from "./key-rules.ts"
import { keyserverMailOf } from "./keyserver-mail.ts"
import type { KnownPeople } from "./known-people.ts"
import { NotedDepartures } from "./noted-departures.ts"
import { standInsOf } from "./stand-ins.ts"
import { attempts, smtpRelay } from "./worker.ts"

/** What attempts at delivery need beside the core. */
export interface AttemptParts {
  /** Where reports are queued. */
  readonly queue: Pick<Queue, "add">
  readonly known: KnownPeople
  readonly store: MailStore
  readonly correspondents: Discovery
  readonly keyMeans: KeyMeans
}

/** Makes attempts at delivery in this thread; connections to other servers are ended with `stack`. */
export function openAttempts(
  core: Core,
  { queue, known, store, correspondents, keyMeans }: AttemptParts,
  stack: AsyncDisposableStack,
): Handler {
  const { config, database, now, log } = core
  const policies = new FetchedPolicies({ memory: new KeptPolicies(database), now, log })
  const results = stack.use(new CountedResults(new KeptTlsResults(database), now, log))
  const connections = stack.use(new Relay({ hostname: config.hostname, log, policies, results }))
  const mailboxes = mailboxesOf(core, store, connections)
  const relay = smtpRelay(connections, hopsOf(config))
  const signatories = new DkimSigners(new DkimKeys(join(config.secrets, "dkim")))
  const gatewayKeys = new GatewayKeys(join(config.secrets, "signing"))
  const signingIdentities = new GatewaySigners(gatewayKeys, (address) => core.people.account(address), now)
  const departures = stack.use(new NotedDepartures(new KeptDepartures(database), now, log))
  return attempts(core, {
    departures,
    queue,
    directory: known.directory,
    arrivals: arrivalsOf(core, correspondents, keyMeans),
    keyserverMail: keyserverMailOf(core),
    correspondents,
    mailboxes,
    relay,
    signatories,
    signingIdentities,
    standIns: standInsOf(core),
  })
}
