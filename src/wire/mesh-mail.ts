import { MESH_PATH } from "../config/mesh.ts"
import { randomOctets } from "../crypto/primitives/random.ts"
import { contentIdentifier } from "../crypto/udf/symmetric.ts"
import { GatewayError } from "../errors.ts"
import type { MailStatement } from "../mesh/mail/statement.ts"
import { MeshClient } from "../mesh-out/client.ts"
import { fetchBulk } from "../mesh-out/fetch.ts"
import { dnsAddresses } from "../net/addresses.ts"
import { HttpsPeers } from "../net/https-peers.ts"
import type { MeshMail, MeshSender, PublishedMail } from "../pipeline/mesh/ports.ts"
import { type MeshAccount, MeshAccounts } from "../store/mesh-accounts.ts"
import type { MeshBulk } from "../store/mesh-bulk.ts"
import { type MeshHost, openConnectedHost } from "../store/mesh-host.ts"
import type { Core } from "./core.ts"
import { mailProfiles } from "./mail-profiles.ts"
import { meshBulkOf } from "./mesh-bulk.ts"
import { meshSenderOf } from "./mesh-sender.ts"
import { readingKeys } from "./reading-keys.ts"

/** The Mesh as attempts at delivery need it; null: this gateway has no part in it. Connections are ended with `stack`. */
export function meshMailOf(core: Core, stack: AsyncDisposableStack): MeshMail | null {
  const { config, database, people, now } = core
  const service = config.mesh.service
  if (service === null) return null
  const accounts = new MeshAccounts(database)
  const host = openConnectedHost(config.secrets, accounts, now())
  const bulk = meshBulkOf(config)
  const peers = stack.use(new HttpsPeers({ resolve: dnsAddresses(config.dns.servers) }))
  const client = new MeshClient({ peers, own: host.service, random: randomOctets, now })
  const domain = new URL(service).hostname
  const senders = senderCache(host, core)
  const keys = readingKeys(people)
  return {
    service: { ...host.service, domain },
    profileIn: mailProfiles(),
    senderOf(address) {
      const account = accounts.of(address)
      return account === null ? null : senders(account)
    },
    recipientOf(address) {
      const account = accounts.of(address)
      if (account === null) return null
      const { profile } = account
      const [[certificate], [openPgp]] = [keys.certificatesOf(address), keys.openPgpKeysOf(address)]
      if (openPgp !== undefined) return { profile, certificate: null, openPgp }
      return certificate === undefined ? null : { profile, certificate }
    },
    ...keys,
    publish: (name, envelope) => bulk.publish(name, envelope, laterBy(now(), config.limits.queueLifetimeMs + DAY_MS)),
    withdraw: (name) => bulk.withdraw(name),
    published: (statement, signal) => publishedMail(statement, { bulk, peers, domain, now }, signal),
    post: (message, { profile, service: to }, signal) => client.post(message, profile.address, to, signal),
  }
}

/** Whether the gateway may send for an account is looked at again now and then: its connection ends. */
function senderCache(host: MeshHost, core: Pick<Core, "now" | "log">) {
  const known = new WeakMap<MeshAccount, { readonly sender: MeshSender | null; readonly untilMs: number }>()
  return (account: MeshAccount): MeshSender | null => {
    const nowMs = core.now().getTime()
    const kept = known.get(account)
    if (kept !== undefined && nowMs < kept.untilMs) return kept.sender
    const sender = meshSenderOf(host, account, core)
    known.set(account, { sender, untilMs: nowMs + LOOK_AGAIN_MS })
    return sender
  }
}

interface FetchParts {
  readonly bulk: MeshBulk
  readonly peers: HttpsPeers
  /** Ours. */
  readonly domain: string
  readonly now: () => Date
}

async function publishedMail(
  { body, payloadOctets }: MailStatement,
  { bulk, peers, domain, now }: FetchParts,
  signal: AbortSignal,
): Promise<PublishedMail> {
  if (body.kind !== "published") throw new GatewayError("STATE_CORRUPT", "mesh: mail is published nowhere")
  const name = contentIdentifier(body.locator.udf.text)
  // Of one of our people to another.
  const own = body.locator.domain === domain ? await bulk.published(name, now()) : null
  if (own !== null) return { content: () => own.content(), discard: () => bulk.withdraw(name) }
  const source = {
    url: new URL(`https://${body.locator.domain}${MESH_PATH}bulk/${name}`),
    part: () => bulk.part(name, laterBy(now(), INCOMING_MS)),
    maxOctets: payloadOctets + FRAME_OCTETS + payloadOctets / 16,
    peers,
  }
  return {
    async *content(reading) {
      const here = await bulk.incoming(name, now())
      const passingMs = reading === "once" ? PASSING_MS : 0
      yield* here === null ? fetchBulk({ ...source, passingMs }, signal) : here.content()
    },
    discard: () => bulk.discard(name),
  }
}

function laterBy(from: Date, ms: number): Date {
  return new Date(from.getTime() + ms)
}

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
/** As long as mail is tried at most, and a part of it waits for the next attempt. */
const INCOMING_MS = 14 * DAY_MS
const LOOK_AGAIN_MS = 60_000
/** What is fetched within this time need not be kept beside where it is stored: that halves what is written. */
const PASSING_MS = 10_000
/** Header and trailer of an envelope; the lengths of its pieces come to less than a sixteenth. */
const FRAME_OCTETS = 1_048_576
