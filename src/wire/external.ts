import type { Config, Endpoint } from "../config/config.ts"
import { readSecretText } from "../config/load.ts"
import { appendingMailboxes } from "../deliver/imap-append.ts"
import type { Upstream } from "../imap-proxy/ports.ts"
import { externalUpstream } from "../imap-proxy/upstream.ts"
import type { MailStore } from "../mailbox/store.ts"
import type { Mailboxes } from "../pipeline/ports.ts"
import { isOwnAddress, systemResolver } from "../smtp-out/dns.ts"
import type { Hop } from "../smtp-out/hop.ts"
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
export function mailboxesOf(core: Core, store: MailStore): Mailboxes {
  const { deliver } = core.config
  switch (deliver.kind) {
    case "embedded":
      return embeddedMailboxes(store)
    case "imap":
      return appendingMailboxes((account) =>
        upstreamOf(core, store).connect(account, { address: "127.0.0.1" }, AbortSignal.timeout(CONNECT_MS)),
      )
    case "lmtp":
      return lmtpMailboxes(core, deliver.endpoint)
    default:
      return deliver satisfies never
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

function hostHop(endpoint: Endpoint, auth: { readonly username: string; readonly password: string } | null): Hop {
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

const CONNECT_MS = 30_000
