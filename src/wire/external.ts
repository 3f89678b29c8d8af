import { join } from "node:path"
import type { Config, Endpoint, ImapConfig, ImapLogin, RelayConfig, TransportRule } from "../config/config.ts"
import { readNamed, readSecretText } from "../config/load.ts"
import { appendingMailboxes } from "../deliver/imap-append.ts"
import { lmtpMailboxes, type SendLmtp } from "../deliver/lmtp.ts"
import type { Upstream } from "../imap-proxy/ports.ts"
import type { UpstreamLimits } from "../imap-proxy/upstream/connection-limits.ts"
import { masterLogins, storedLogins } from "../imap-proxy/upstream/logins.ts"
import { externalUpstream, type UpstreamLogins } from "../imap-proxy/upstream.ts"
import type { MailStore } from "../mailbox/store.ts"
import { dnsClient } from "../net/dns-client.ts"
import type { Mailboxes } from "../pipeline/ports.ts"
import { isOwnAddress, plainResolver } from "../smtp-out/dns.ts"
import type { Hop, HostHop, Resolver } from "../smtp-out/hop.ts"
import type { Relay } from "../smtp-out/relay.ts"
import { validatingResolver } from "../smtp-out/validating-resolver.ts"
import { UpstreamCredentials } from "../store/upstream-credentials.ts"
import type { Core } from "./core.ts"
import { embeddedUpstream } from "./imap.ts"
import { embeddedMailboxes } from "./worker.ts"

/** The store that the IMAP proxy shows, as configured. */
export function upstreamOf(core: Core, store: MailStore): Upstream {
  const { imap } = core.config
  return imap.kind === "embedded" ? embeddedUpstream(store) : imapServer(imap, core, "refuse")
}

/** An IMAP server outside, with a bound of its own on connections. */
export function imapServer(
  imap: ImapConfig & { kind: "imap" },
  core: Pick<Core, "config" | "database" | "now" | "log">,
  whenFull: UpstreamLimits["whenFull"],
): Upstream {
  const { endpoint, caFile, clientAddress, connections, connectionsPerAccount } = imap
  return externalUpstream({
    endpoint,
    logins: loginsOf(imap.login, core),
    clientAddress,
    authority: caFile === null ? null : readNamed(caFile, "authority"),
    limits: {
      connections,
      perAccount: whenFull === "wait" ? Math.min(DELIVERIES_PER_ACCOUNT, connectionsPerAccount) : connectionsPerAccount,
      connecting: CONNECTING,
      whenFull,
    },
  })
}

function loginsOf(login: ImapLogin, { config, database, now, log }: Parameters<typeof imapServer>[1]): UpstreamLogins {
  if (login.kind === "master") return masterLogins({ ...login, password: readSecretText(login.password) })
  const credentials = new UpstreamCredentials(database, join(config.secrets, "upstream"))
  return storedLogins({ credentials, now, log })
}

/** Where mail of our people goes, as configured. */
export function mailboxesOf(core: Core, store: MailStore, relay: Relay): Mailboxes {
  const { deliver, imap } = core.config
  switch (deliver.kind) {
    case "embedded":
      return embeddedMailboxes(store)
    case "imap": {
      const upstream = imap.kind === "embedded" ? embeddedUpstream(store) : imapServer(imap, core, "wait")
      return appendingMailboxes((account, signal) => upstream.connect(account, null, signal))
    }
    case "lmtp":
      return lmtpMailboxes(lmtpOver(relay, deliver.endpoint))
    default:
      return deliver satisfies never
  }
}

/** LMTP is spoken by what speaks SMTP. */
export function lmtpOver(relay: Relay, endpoint: Endpoint): SendLmtp {
  const hop: Hop =
    endpoint.kind === "unix"
      ? { kind: "host", host: "localhost", port: 0, tls: "opportunistic", protocol: "lmtp", socketPath: endpoint.path }
      : { ...hostHop(endpoint, null), protocol: "lmtp" }
  return async (message, sender, recipient, signal) => {
    const outcome = await relay.relayMessage(
      {
        sender,
        recipient,
        smtpUtf8: /[^\x00-\x7f]/.test(recipient.localPart),
        envelopeId: null,
        returnContent: null,
        notify: null,
        originalRecipient: null,
        sizeOctets: message.sizeOctets,
        content: () => message.content(),
      },
      hop,
      signal,
    )
    return outcome.kind === "relayed" ? { kind: "done", status: outcome.status } : outcome
  }
}

/** The next hop for a domain, as configured. */
export function hopsOf(config: Config): (domain: string) => Hop {
  const resolver = resolverOf(config)
  const rest = hopMaker(config.relay, null, resolver)
  const rules = config.transportRules.map((rule) => ({ rule, hop: hopMaker(rule.next, rule, resolver) }))
  return (domain) => (mostSpecific(domain, rules)?.hop ?? rest)(domain)
}

/** DNS about where mail goes, as configured. */
export function resolverOf({ dns }: Pick<Config, "dns">): Resolver {
  return dns.validating ? validatingResolver(dnsClient(dns.servers)) : plainResolver(dns.servers)
}

function hopMaker(next: RelayConfig, level: TransportRule | null, resolver: Resolver): (domain: string) => Hop {
  if (next.kind === "mx")
    return (domain) => ({ kind: "mx", domain, resolver, isOurs: isOwnAddress, ...(level === null ? {} : { level }) })
  const { endpoint, login } = next
  const hop = hostHop(endpoint, login && { username: login.user, password: readSecretText(login.password) })
  return () => hop
}

/** The rule of the domain itself, else the one of the nearest domain above it. */
function mostSpecific<T extends { readonly rule: { readonly domain: string } }>(
  domain: string,
  rules: readonly T[],
): T | null {
  const name = domain.toLowerCase()
  const fitting = rules.filter(({ rule }) =>
    rule.domain.startsWith("*.") ? name.endsWith(rule.domain.slice(1)) : name === rule.domain,
  )
  const exact = fitting.find(({ rule }) => !rule.domain.startsWith("*."))
  return exact ?? fitting.sort((a, b) => b.rule.domain.length - a.rule.domain.length)[0] ?? null
}

function hostHop(endpoint: Endpoint, auth: { readonly username: string; readonly password: string } | null): HostHop {
  if (endpoint.kind === "unix") throw new Error("relay.next is never a Unix socket")
  const tls = { tls: "implicit", starttls: "required", plain: "opportunistic" } as const
  return {
    kind: "host",
    host: endpoint.host,
    port: endpoint.port,
    tls: tls[endpoint.security],
    ...(auth ? { auth } : {}),
  }
}

/** Connections that are not logged in yet: enough for a healthy server to be busy, few enough for one that comes back. */
const CONNECTING = 100
/** In each thread: messages for one account take their turn, so that its devices find places left. */
const DELIVERIES_PER_ACCOUNT = 1
