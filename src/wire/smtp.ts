import type { ListenAddress, ListenerName } from "../config/config.ts"
import { type Address, addressKey } from "../message/address.ts"
import type { Discovery } from "../profiles/discover.ts"
import { jobsFor, type Queue } from "../queue/queue.ts"
import { type SmtpListener, startSmtpIn } from "../smtp-in/listener.ts"
import type { Acceptance, ArrivingEntry, Departures, Recipients, Submitters, Visitors } from "../smtp-in/ports.ts"
import type { People } from "../store/people.ts"
import { ReturnPaths } from "../store/return-paths.ts"
import type { NewEntry } from "../store/spool.ts"
import { authenticatorOf } from "./authenticator.ts"
import type { Core } from "./core.ts"
import { departuresOf } from "./departures.ts"
import type { LiveDevices } from "./devices.ts"
import { refuseRevoked } from "./revoked.ts"
import { scannerOf } from "./scanner.ts"
import { claim, SHARES_PORTS } from "./shared-ports.ts"
import { standInsOf } from "./stand-ins.ts"
import type { LiveTls } from "./tls.ts"
import { visitorsOf } from "./visitors.ts"

/** The SMTP listeners that the configuration names and the roles allow. Others of ours may listen on what is `held`. */
export async function startSmtp(
  core: Core,
  queue: Queue,
  devices: LiveDevices,
  tls: LiveTls,
  correspondents: Discovery,
  held: ReadonlySet<string>,
): Promise<[string, SmtpListener][]> {
  const { config, roles } = core
  const departures = departuresOf({
    policy: config.policy.outgoing,
    people: core.people,
    discovery: correspondents,
    standIns: standInsOf(core),
  })
  const kinds = (["mx", "submission", "submissions"] as const).filter((kind) =>
    roles.has(kind === "mx" ? "mx" : "submission"),
  )
  const listeners: [string, SmtpListener][] = []
  // An account has one allowance, whichever port its devices send by.
  const visitors = { mx: visitorsOf(core), submission: visitorsOf(core) }
  for (const kind of kinds) {
    const listen = config.listen[kind]
    const shared = { queue, devices, tls, departures, visitors: visitors[kind === "mx" ? "mx" : "submission"] }
    if (listen) listeners.push([kind, await startOne(kind, await claim(kind, listen, held), core, shared)])
  }
  return listeners
}

/** What listeners have in common. */
interface Shared {
  readonly queue: Queue
  readonly devices: LiveDevices
  readonly tls: LiveTls
  readonly visitors: Visitors
  /** null: nothing that our people send is refused for policy. */
  readonly departures: Departures | null
}

async function startOne(
  kind: ListenerName & ("mx" | "submission" | "submissions"),
  listen: ListenAddress,
  core: Core,
  { queue, devices, tls, visitors, departures }: Shared,
): Promise<SmtpListener> {
  const { config } = core
  const { limits } = config
  const authenticator = kind === "mx" ? authenticatorOf(core) : null
  const scanner = scannerOf(config, kind === "mx" ? "mx" : "submission")
  const listener = await startSmtpIn({
    kind,
    host: listen.host,
    port: listen.port,
    sharesPort: SHARES_PORTS,
    hostname: config.hostname,
    postmasterDomain: config.domains[0] ?? config.hostname,
    tls: tls.current,
    limits: {
      messageSizeOctets: limits.messageSizeOctets,
      recipients: limits.recipients,
      connections: limits.smtpConnections,
      greetingDelayMs: kind === "mx" ? limits.smtpGreetingDelayMs : 0,
      idleMs: limits.smtpIdleMs,
    },
    recipients: recipientsOf(core),
    ...(kind === "mx" ? {} : { submitters: submittersOf(core.people, devices) }),
    acceptance: acceptanceOf(kind, core, queue),
    visitors,
    ...(authenticator ? { authenticator } : {}),
    ...(scanner ? { scanner } : {}),
    ...(kind !== "mx" && departures ? { departures } : {}),
    counters: core.counters,
    log: core.log,
    now: core.now,
  })
  tls.onChange((changed) => listener.reloadTls(changed))
  return listener
}

/** Our people, and whom mail that we have forwarded came from, for bounces of it. */
function recipientsOf({ people, database, config, now }: Core): Recipients {
  const returnPaths = new ReturnPaths(database, config)
  return {
    resolve(address, sender) {
      const { kind } = people.resolve(address)
      if (kind === "unknown" && sender === null && returnPaths.original(address, now()) !== null) return "local"
      return kind === "accounts" ? "local" : kind
    },
  }
}

function submittersOf(people: People, devices: LiveDevices): Submitters {
  return {
    async authenticate(username, password, remote) {
      const live = await devices.authenticate({ username, password, remote })
      if (live === null || live === "limited") return live
      const { account, device, revoked } = live
      return {
        account: account.address,
        device: device.name,
        readOnly: device.readOnly,
        revoked,
        owns: (address) => owns(people, account.address, address),
      }
    },
  }
}

/** An account writes under its own address, its `+tags`, and the aliases that lead to it. */
function owns(people: People, account: string, address: Address): boolean {
  if (addressKey(address) === account) return true
  const meaning = people.resolve(address)
  return meaning.kind === "accounts" && meaning.accounts.includes(account)
}

/** A message is accepted when it is sealed and named in the spool; its jobs may be lost, the sweep makes them again. */
function acceptanceOf(listener: string, core: Core, queue: Queue): Acceptance {
  return {
    async accept(entry, content) {
      const id = await core.spool.write(entryOf(entry), refuseRevoked(content, entry.envelope.recipients, core.people))
      // Not waited for: the spool is the truth, and the sweep finds what has no job.
      queue
        .add(...jobsFor(id, entry.envelope, entry.receivedAt))
        .catch((error: unknown) => core.log.error("smtp.not-queued", { id }, error))
      core.counters.add("postern_smtp_accepted_total", { listener })
      return id
    },
  }
}

/** What is spooled of a message beside its content; asked for when that has ended. */
function entryOf({ authentication, ...entry }: ArrivingEntry): () => NewEntry {
  return () => {
    const known = authentication()
    return known === null ? entry : { ...entry, authentication: known }
  }
}
