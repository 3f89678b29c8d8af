import { parseConfig } from "../../src/config/load.ts"
import { silentLog } from "../../src/log/log.ts"
import { parseAddress } from "../../src/message/address.ts"
import type { Gateway, OpenMessage } from "../../src/pipeline/gateway.ts"

/** A gateway of one.test that has this message for somebody elsewhere. Who stores, sends, forwards or answers in it says the test: nobody else is there. */
export function quietGateway(message: OpenMessage, parts: Partial<Gateway>): Gateway {
  const nobody = () => Promise.reject(new Error("nobody is there"))
  return {
    open: async () => message,
    directory: { resolve: () => ({ kind: "foreign" }), atRest: () => null, autocrypt: () => null },
    arrivals: { examine: nobody },
    keyserverMail: { stored: nobody },
    correspondents: { resolve: nobody, ask: nobody, used: () => undefined },
    departures: { note: () => undefined },
    policy: policyOf(""),
    mailboxes: { deliver: nobody },
    relay: { send: nobody },
    signatories: { of: () => [] },
    standIns: { find: () => ({ kind: "none" }) },
    signingIdentities: { of: () => ({ kind: "none", because: "no key" }) },
    reports: { submit: nobody },
    forwarding: { submit: nobody },
    returnPaths: { forwarded: (sender) => sender, original: () => null },
    mesh: null,
    beside: () => null,
    domains: ["one.test"],
    hostname: "mail.one.test",
    postmaster: parseAddress("postmaster@one.test"),
    lifetimeMs: 86_400e3,
    delayWarningMs: 0,
    now: () => message.entry.receivedAt,
    log: silentLog(),
    ...parts,
  }
}

/** `policy`: lines of `[policy]`. */
export function policyOf(policy: string): Gateway["policy"] {
  return parseConfig(`domains = ["one.test"]\n[policy]\n${policy}`, "/x").policy.outgoing
}
