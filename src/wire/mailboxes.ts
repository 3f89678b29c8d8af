import type { Endpoint } from "../config/config.ts"
import { appendingMailboxes } from "../deliver/imap-append.ts"
import { lmtpMailboxes, type SendLmtp } from "../deliver/lmtp.ts"
import type { MailStore } from "../mailbox/store.ts"
import { isNonAscii } from "../message/address.ts"
import type { Mailboxes } from "../pipeline/ports.ts"
import { stored } from "../pipeline/settle.ts"
import type { Hop } from "../smtp-out/hop.ts"
import type { Relay } from "../smtp-out/relay.ts"
import type { Core } from "./core.ts"
import { hostHop } from "./hops.ts"
import { embeddedUpstream, imapServer } from "./upstreams.ts"

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

/** Mail of our people into the embedded store. */
export function embeddedMailboxes(store: MailStore): Mailboxes {
  return {
    isPatient: true,
    async deliver(account, message, { name, receivedAt, repeated, quarantine }) {
      const once = message.once?.()
      await store.deliver(account, {
        uniqueName: name,
        sizeOctets: message.sizeOctets,
        content: once?.content ?? message.content(),
        ...(once ? { missing: () => once.missing(), bareLineEnds: once.bareLineEnds } : {}),
        internalDate: receivedAt,
        repeated,
        ...(quarantine ? { junk: true as const } : {}),
      })
      return stored(account, "stored")
    },
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
        smtpUtf8: isNonAscii(recipient),
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
