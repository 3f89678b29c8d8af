import type { MailStore } from "../mailbox/store.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import type { Gateway } from "../pipeline/gateway.ts"
import { deliver } from "../pipeline/pipeline.ts"
import type {
  Arrivals,
  Correspondents,
  Departures,
  Directory,
  KeyserverMail,
  Mailboxes,
  Relay as RelayPort,
  Reports,
  Result,
  Signatories,
  SigningIdentities,
  StandIns,
} from "../pipeline/ports.ts"
import { stored } from "../pipeline/settle.ts"
import { type Handler, jobsFor, type Queue } from "../queue/queue.ts"
import type { Hop } from "../smtp-out/hop.ts"
import type { Relay } from "../smtp-out/relay.ts"
import type { Core } from "./core.ts"

/** What attempts at delivery need beside the core. */
export interface DeliveryParts {
  /** Where reports are queued. */
  readonly queue: Pick<Queue, "add">
  readonly directory: Directory
  readonly arrivals: Arrivals
  readonly keyserverMail: KeyserverMail
  readonly correspondents: Correspondents
  readonly departures: Departures
  readonly mailboxes: Mailboxes
  readonly relay: RelayPort
  readonly signatories: Signatories
  readonly signingIdentities: SigningIdentities
  readonly standIns: StandIns
}

/** Makes attempts at delivery in this thread. */
export function attempts(core: Core, parts: DeliveryParts): Handler {
  const gateway: Gateway = {
    open: (id) => core.spool.open(id),
    directory: parts.directory,
    arrivals: parts.arrivals,
    keyserverMail: parts.keyserverMail,
    correspondents: parts.correspondents,
    departures: parts.departures,
    policy: core.config.policy.outgoing,
    mailboxes: parts.mailboxes,
    relay: parts.relay,
    signatories: parts.signatories,
    signingIdentities: parts.signingIdentities,
    standIns: parts.standIns,
    reports: reportsOf(core, parts.queue),
    hostname: core.config.hostname,
    // Not of the host's name: postmaster of a domain is read by somebody (RFC 5321 §4.5.1), and its mail is signed.
    postmaster: parseAddress(`postmaster@${core.config.domains[0] ?? core.config.hostname}`),
    lifetimeMs: core.config.limits.queueLifetimeMs,
    delayWarningMs: core.config.limits.delayWarningMs,
    now: core.now,
    log: core.log,
  }
  return (job, signal) => deliver(job, gateway, signal)
}

/** Works the queue until `signal` ends and the attempts under way are settled. */
export function work(core: Core, queue: Queue, attempt: Handler, signal: AbortSignal): Promise<void> {
  const counted: Handler = async (job, ending) => {
    const outcome = await attempt(job, ending)
    core.counters.add("postern_deliveries_total", { outcome: outcome.kind })
    return outcome
  }
  return queue.work(counted, { concurrency: core.config.limits.deliveries, signal })
}

/** Mail of our people into the embedded store. */
export function embeddedMailboxes(store: MailStore): Mailboxes {
  return {
    async deliver(account, message, { name, receivedAt, repeated, quarantine }) {
      await store.deliver(account, {
        uniqueName: name,
        sizeOctets: message.sizeOctets,
        content: message.content(),
        internalDate: receivedAt,
        repeated,
        ...(quarantine ? { junk: true as const } : {}),
      })
      return stored(account, "stored")
    },
  }
}

/** Mail for other domains, over SMTP. */
export function smtpRelay(relay: Relay, hopFor: (domain: string) => Hop): RelayPort {
  return {
    async send(message, envelope, recipient, { verified, signal }): Promise<Result> {
      const usual = hopFor(recipient.address.domain)
      const hop = verified ? verifiedHop(usual) : usual
      if (hop === null) return { kind: "hold", reason: UNVERIFIABLE, told: true }
      const outcome = await relay.relayMessage(
        {
          sender: envelope.sender,
          recipient: recipient.address,
          smtpUtf8: envelope.smtpUtf8,
          ...(envelope.requireTls ? { requireTls: true } : {}),
          envelopeId: envelope.envelopeId,
          returnContent: envelope.returnContent,
          notify: recipient.notify,
          originalRecipient: recipient.originalRecipient,
          sizeOctets: message.sizeOctets,
          content: () => message.content(),
        },
        hop,
        signal,
      )
      return outcome.kind === "relayed" ? { ...outcome, kind: "done" } : outcome
    },
  }
}

/** The same hop, but only over TLS with a verified name. @returns null where what is behind it cannot be known: a next hop of ours is not the recipient's. */
function verifiedHop(hop: Hop): Hop | null {
  if (hop.kind !== "mx") return null
  return { ...hop, level: { tls: hop.level?.tls === "dane" ? "dane" : "required", mx: hop.level?.mx ?? [] } }
}

const UNVERIFIABLE = "policy wants TLS to the recipient's own server, and mail leaves by another (relay.next)"

/** Reports go the way of all mail: sealed into the spool, then the queue. */
export function reportsOf(core: Core, queue: Pick<Queue, "add">): Reports {
  return {
    async submit({ name, to, octets, requireTls }) {
      const receivedAt = core.now()
      const { hostname } = core.config
      const envelope = {
        sender: null,
        recipients: [{ address: to, notify: ["NEVER"] as const, originalRecipient: null }],
        smtpUtf8: /[^\x00-\x7f]/.test(addressKey(to)),
        ...(requireTls ? { requireTls } : {}),
        envelopeId: null,
        returnContent: null,
      }
      const origin = {
        kind: "submission" as const,
        account: null,
        device: null,
        remote: "",
        helo: hostname,
        tls: false,
      }
      const received = `Received: by ${hostname} (Postern) id ${name};\r\n ${receivedAt.toUTCString().replace("GMT", "+0000")}\r\n`
      const id = await core.spool.write({ envelope, origin, received, receivedAt }, once(octets), name)
      await queue.add(...jobsFor(id, envelope, receivedAt))
    },
  }
}

async function* once(octets: Uint8Array): AsyncGenerator<Uint8Array> {
  yield octets
}
