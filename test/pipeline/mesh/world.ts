import { parseConfig } from "../../../src/config/load.ts"
import { cmsRecipient } from "../../../src/crypto/cms/recipient.ts"
import { verifyMailProfile } from "../../../src/identity/mail-profile.ts"
import { silentLog } from "../../../src/log/log.ts"
import { verifyConnectionDevice } from "../../../src/mesh/connection.ts"
import { readAnySigned } from "../../../src/mesh/signed.ts"
import { parseAddress } from "../../../src/message/address.ts"
import type { Gateway, OpenMessage } from "../../../src/pipeline/gateway.ts"
import type { MailIdentity, MailReceipt, MeshMail, SeenMail } from "../../../src/pipeline/mesh/ports.ts"
import { type ReceivingMeans, receiveMail } from "../../../src/pipeline/mesh/receive.ts"
import { collect } from "../../../src/pipeline/prepared.ts"
import { NO_RESTORERS } from "../../../src/pipeline/restore.ts"
import { stored } from "../../../src/pipeline/settle.ts"
import type { SpoolEntry } from "../../../src/store/spool.ts"
import { alice, bob, bobCertificate, gateway as device, NOW, outgoing, serviceOne } from "../../mesh/mail-world.ts"
import { UNKNOWN } from "../../profiles/unknown.ts"

const BOB = bob.profile.address
export const bobRecipient = cmsRecipient(bobCertificate)

/** Remembered in memory, as the state does it. */
export function seenMail(): SeenMail & { add(mail: MailIdentity): void } {
  const rows: MailIdentity[] = []
  const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0
  const digestUnder = (sender: string, salt: Uint8Array) =>
    rows.find((one) => one.sender === sender && same(one.salt, salt))?.payloadDigest ?? null
  return {
    look(mail) {
      const known = rows.find((one) => one.recipient === mail.recipient && one.messageId === mail.messageId)
      if (known) return same(known.digest, mail.digest) ? "accepted" : "other message"
      const before = digestUnder(mail.sender, mail.salt)
      return before === null || same(before, mail.payloadDigest) ? "new" : "other text"
    },
    add: (mail) => void rows.push(mail),
  }
}

export interface Kept {
  readonly entry: SpoolEntry
  readonly message: Uint8Array
  readonly id: string
}

/** Bob's gateway as it takes mail: it knows Alice, and keeps what it accepts. */
export function receiving(options: Partial<ReceivingMeans> = {}) {
  const kept: Kept[] = []
  const seen = seenMail()
  const means: ReceivingMeans = {
    senders: {
      admits: () => true,
      find: async () => ({ profile: senderOf(serviceOne.profile.udf), gatewayDevice: device.profile.udf }),
    },
    seen,
    keep: async ({ entry, message, id, mail }) => {
      const seed = new Uint8Array(32)
      if (!kept.some((one) => one.id === id))
        kept.push({ entry: { ...entry, seed, sizeOctets: message.length }, message, id })
      return { kind: "accepted", remember: async () => seen.add(mail) }
    },
    connectionOf: verifyConnectionDevice,
    certificatesOf: () => [bobRecipient.digest],
    openPgpKeysOf: () => [],
    hostname: "mail.two.example",
    maxMailOctets: 1_000_000,
    log: silentLog(),
    ...options,
  }
  const post = async (message: Uint8Array, peer = serviceOne.profile, now = NOW): Promise<MailReceipt> => {
    const posted = { account: { address: BOB, profile: bob.profile }, object: readAnySigned(message), peer, now }
    const receipt = await receiveMail(posted, means)
    if (receipt.kind !== "accepted") return receipt
    await receipt.remember?.()
    return { kind: "accepted" }
  }
  return { kept, post, means }
}

/** Alice's profile as her service's; fixtures do not name one. */
export const senderOf = (serviceUdf: string | null) => ({ ...alice.profile, serviceUdf })

/** The entry, as an attempt opens it. */
export function opened({ entry, message }: Kept): OpenMessage {
  return {
    entry,
    async *content() {
      yield message
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
}

/** What a gateway gives out, in whatever way. */
export interface Seen {
  readonly mails: { readonly account: string; readonly name: string; readonly octets: Uint8Array }[]
  readonly relayed: Uint8Array[]
  readonly reports: string[]
}

export function meshMail(options: Partial<MeshMail> = {}): MeshMail {
  const fail = () => Promise.reject(new Error("nobody is asked"))
  return {
    service: outgoing.service,
    profileIn: verifyMailProfile,
    senderOf: () => null,
    recipientOf: () => null,
    certificatesOf: () => [bobRecipient],
    openPgpKeysOf: () => [],
    publish: fail,
    withdraw: fail,
    published: fail,
    post: fail,
    ...options,
  }
}

/** A gateway with Bob's mailbox. */
export function gatewayWith(message: OpenMessage, mesh: MeshMail | null, options: Partial<Gateway> = {}) {
  const seen: Seen = { mails: [], relayed: [], reports: [] }
  const gateway: Gateway = {
    open: async () => message,
    directory: {
      resolve: ({ localPart, domain }) =>
        `${localPart}@${domain}` === BOB ? { kind: "accounts", accounts: [BOB], forwards: [] } : { kind: "foreign" },
      atRest: (account) => ({
        account,
        target: { format: "smime", recipients: [bobRecipient], cipher: "aes-256-cbc" },
        subject: "clear",
        markerKey: new Uint8Array(32).fill(5),
        restorers: NO_RESTORERS,
      }),
      autocrypt: () => null,
    },
    arrivals: { examine: async () => null },
    keyserverMail: { stored: async () => undefined },
    correspondents: { resolve: async () => UNKNOWN, ask: async () => UNKNOWN, used: () => undefined },
    departures: { note: () => undefined },
    policy: parseConfig('domains = ["one.example"]', "/x").policy.outgoing,
    mailboxes: {
      async deliver(account, mail, { name }) {
        seen.mails.push({ account, name, octets: new Uint8Array(await collect(mail.content())) })
        return stored(account, "stored")
      },
    },
    relay: {
      async send(leaving) {
        seen.relayed.push(new Uint8Array(await collect(leaving.content())))
        return { kind: "done", status: { recipient: BOB, action: "relayed", status: "2.0.0", diagnostic: "250" } }
      },
    },
    signatories: { of: () => [] },
    standIns: { find: () => ({ kind: "none" }) },
    signingIdentities: { of: () => ({ kind: "none", because: "no key" }) },
    reports: {
      async submit({ octets }) {
        seen.reports.push(Buffer.from(octets).toString())
      },
    },
    forwarding: { submit: () => Promise.reject(new Error("nothing is forwarded")) },
    returnPaths: { forwarded: (sender) => sender, original: () => null },
    domains: ["two.example"],
    mesh,
    beside: () => null,
    hostname: "mail.two.example",
    postmaster: parseAddress("postmaster@two.example"),
    lifetimeMs: 86_400e3,
    delayWarningMs: 0,
    now: () => NOW,
    log: silentLog(),
    ...options,
  }
  return { gateway, seen }
}
