import type { Config, Endpoint } from "../config/config.ts"
import { readSecretText } from "../config/load.ts"
import { appendingMailboxes } from "../deliver/imap-append.ts"
import { lmtpMailboxes, type SendLmtp } from "../deliver/lmtp.ts"
import type { Upstream } from "../imap-proxy/ports.ts"
import { externalUpstream } from "../imap-proxy/upstream.ts"
import type { MailStore } from "../mailbox/store.ts"
import type { Mailboxes } from "../pipeline/ports.ts"
import { isOwnAddress, systemResolver } from "../smtp-out/dns.ts"
import type { Hop, HostHop } from "../smtp-out/hop.ts"
import type { Relay } from "../smtp-out/relay.ts"
import type { Core } from "./core.ts"
import { embeddedUpstream } from "./imap.ts"
import { embeddedMailboxes } from "./worker.ts"

/** The store that the IMAP proxy shows, as configured. */
export function upstreamOf(core: Core, store: MailStore): Upstream {
  const { imap } = core.config
  if (imap.kind === "embedded") return embeddedUpstream(store)
  if (imap.login.kind !== "master") throw new Error("refused at start")
  return externalUpstream({
    endpoint: imap.endpoint,
    master: { user: imap.login.user, password: readSecretText(imap.login.password) },
    log: core.log,
  })
}

/** Where mail of our people goes, as configured. */
export function mailboxesOf(core: Core, store: MailStore, relay: Relay): Mailboxes {
  const { deliver } = core.config
  switch (deliver.kind) {
    case "embedded":
      return embeddedMailboxes(store)
    case "imap":
      return appendingMailboxes((account, signal) => upstreamOf(core, store).connect(account, OURSELVES, signal))
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
  const { relay } = config
  if (relay.kind === "mx") {
    const resolver = systemResolver()
    return (domain) => ({ kind: "mx", domain, resolver, isOurs: isOwnAddress })
  }
  const hop = hostHop(
    relay.endpoint,
    relay.login && { username: relay.login.user, password: readSecretText(relay.login.password) },
  )
  return () => hop
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

/** Nobody's connection but our own. */
const OURSELVES = { address: "127.0.0.1" }
