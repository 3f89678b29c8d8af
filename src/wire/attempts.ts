import { join } from "node:path"
import { GatewaySigners } from "../identity/gateway-signers.ts"
import type { MailStore } from "../mailbox/store.ts"
import { parseAddress } from "../message/address.ts"
import type { Gateway } from "../pipeline/gateway.ts"
import { type HeldMail, storeHeldMail } from "../pipeline/mesh/store.ts"
import { deliver } from "../pipeline/pipeline.ts"
import type { Result } from "../pipeline/ports.ts"
import type { Discovery } from "../profiles/discover.ts"
import type { Handler } from "../queue/queue.ts"
import { CountedResults } from "../smtp-out/counted-results.ts"
import { Relay } from "../smtp-out/relay.ts"
import { FetchedPolicies } from "../smtp-out/sts-policies.ts"
import { KeptDepartures } from "../store/departures.ts"
import { DkimKeys } from "../store/dkim-keys.ts"
import { DkimSigners } from "../store/dkim-signers.ts"
import { GatewayKeys } from "../store/gateway-keys.ts"
import { ReturnPaths } from "../store/return-paths.ts"
import { KeptPolicies } from "../store/sts-policies.ts"
import { KeptTlsResults } from "../store/tls-results.ts"
import { arrivalsOf } from "./arrivals.ts"
import { BesideThread } from "./beside.ts"
import type { Core } from "./core.ts"
import { hopsOf, smtpRelay } from "./hops.ts"
import type { KeyMeans } from "./key-rules.ts"
import { keyserverMailOf } from "./keyserver-mail.ts"
import type { KnownPeople } from "./known-people.ts"
import { mailboxesOf } from "./mailboxes.ts"
import { meshMailOf } from "./mesh-mail.ts"
import { NotedDepartures } from "./noted-departures.ts"
import type { MessageQueue } from "./spool-once.ts"
import { standInsOf } from "./stand-ins.ts"
import { forwardingOf, reportsOf } from "./worker.ts"

/** What attempts at delivery need beside the core. */
export interface AttemptParts {
  /** Where reports are queued, and what aliases send on. */
  readonly queue: MessageQueue
  readonly known: KnownPeople
  readonly store: MailStore
  readonly correspondents: Discovery
  readonly keyMeans: KeyMeans
}

/** What is made in a thread that delivers. */
export interface Attempts {
  /** An attempt at a job of the queue. */
  readonly attempt: Handler
  /** One at mail that is nowhere yet. */
  readonly storeHeld: StoreHeld
}

export type StoreHeld = (mail: HeldMail, signal: AbortSignal) => Promise<Result>

/** Makes attempts at delivery in this thread; connections to other servers are ended with `stack`. */
export function openAttempts(core: Core, parts: AttemptParts, stack: AsyncDisposableStack): Attempts {
  const gateway = gatewayOf(core, parts, stack)
  return {
    attempt: (job, signal) => deliver(job, gateway, signal),
    storeHeld: (mail, signal) => storeHeldMail(mail, gateway, signal),
  }
}

function gatewayOf(
  core: Core,
  { queue, known, store, correspondents, keyMeans }: AttemptParts,
  stack: AsyncDisposableStack,
): Gateway {
  const { config, database, now, log } = core
  const policies = new FetchedPolicies({ memory: new KeptPolicies(database), now, log })
  const results = stack.use(new CountedResults(new KeptTlsResults(database), now, log))
  const connections = stack.use(new Relay({ hostname: config.hostname, log, policies, results }))
  const beside = stack.use(new BesideThread())
  const gatewayKeys = new GatewayKeys(join(config.secrets, "signing"))
  return {
    open: (id) => core.spool.open(id),
    directory: known.directory,
    arrivals: arrivalsOf(core, correspondents, keyMeans),
    keyserverMail: keyserverMailOf(core),
    correspondents,
    departures: stack.use(new NotedDepartures(new KeptDepartures(database), now, log)),
    policy: config.policy.outgoing,
    mailboxes: mailboxesOf(core, store, connections),
    relay: smtpRelay(connections, hopsOf(config)),
    signatories: new DkimSigners(new DkimKeys(join(config.secrets, "dkim"))),
    signingIdentities: new GatewaySigners(gatewayKeys, (address) => core.people.account(address), now),
    standIns: standInsOf(core),
    reports: reportsOf(core, queue),
    forwarding: forwardingOf(core, queue),
    returnPaths: new ReturnPaths(database, config),
    mesh: meshMailOf(core, stack),
    beside: (sizeOctets) => beside.for(sizeOctets),
    domains: config.domains,
    hostname: config.hostname,
    // Not of the host's name: postmaster of a domain is read by somebody (RFC 5321 §4.5.1), and its mail is signed.
    postmaster: parseAddress(`postmaster@${config.domains[0] ?? config.hostname}`),
    lifetimeMs: config.limits.queueLifetimeMs,
    delayWarningMs: config.limits.delayWarningMs,
    now,
    log,
  }
}
