import { randomOctets } from "../crypto/primitives/random.ts"
import { GatewayError } from "../errors.ts"
import { overMesh, verifyMailProfile } from "../identity/mail-profile.ts"
import { readContactMessage } from "../mesh/contact/message.ts"
import { type ProfileUser, verifyProfileUser } from "../mesh/profile.ts"
import { readAnySigned } from "../mesh/signed.ts"
import { speakerOf } from "../mesh/speaker.ts"
import type { Receivers } from "../mesh-in/ports.ts"
import { composeRequestMail } from "../mesh-in/request-mail.ts"
import { MeshClient, type PeerService } from "../mesh-out/client.ts"
import { ContactsUnderWay } from "../mesh-out/contacts-under-way.ts"
import type { ContactPosting, ContactRecipient, ContactSending } from "../mesh-out/send-contact.ts"
import { parseAddress } from "../message/address.ts"
import { dnsAddresses } from "../net/addresses.ts"
import { HttpsPeers } from "../net/https-peers.ts"
import type { Reports } from "../pipeline/ports.ts"
import { reportName } from "../pipeline/report-name.ts"
import type { Discovery } from "../profiles/discover.ts"
import { ContactBook } from "../store/contact-book.ts"
import { type Contact, WAITING_MS } from "../store/contacts.ts"
import { MeshAccounts } from "../store/mesh-accounts.ts"
import { type MeshHost, openConnectedHost } from "../store/mesh-host.ts"
import { contactToken } from "./contact-api.ts"
import type { Core } from "./core.ts"
import { meshReceivers } from "./mesh-receivers.ts"
import { meshSenderOf } from "./mesh-sender.ts"
import { startRounds } from "./rounds.ts"
import type { MessageQueue } from "./spool-once.ts"
import { reportsOf } from "./worker.ts"

/** Tells people who asks, and sends what they say, until it is disposed of. */
export function startContacts(core: Core, queue: MessageQueue, correspondents: Discovery): AsyncDisposable {
  const { config, database, now, log } = core
  const book = new ContactBook(database)
  const stack = new AsyncDisposableStack()
  contactToken(config.secrets)
  const reports = reportsOf(core, queue)
  const host = openConnectedHost(config.secrets, new MeshAccounts(database), now())
  const receivers = meshReceivers(core, host, { queue, atOnce: null, correspondents })
  const posts = stack.use(new ContactsUnderWay(sendingOf(core, book, { host, correspondents, receivers }, stack)))
  const onError = (error: unknown) => log.error("mesh.contacts-failed", {}, error)
  const round = async (): Promise<void> => {
    posts.begin()
    await tellOfRequests(core, book, reports)
  }
  const forget = async (): Promise<void> => {
    book.contacts.forgetOld(now())
    book.posts.forgetOld(now())
  }
  stack.use(startRounds({ firstMs: FIRST_MS, everyMs: EVERY_MS, round, onError }))
  stack.use(startRounds({ firstMs: FIRST_MS, everyMs: HOUR_MS, round: forget, onError }))
  return stack
}

type Telling = Pick<Core, "config" | "now" | "log">

/** Tells people of requests that they have not heard of. What is wrong with one of them keeps no other. */
export async function tellOfRequests(core: Telling, book: ContactBook, reports: Reports): Promise<void> {
  for (const contact of book.contacts.untold(AT_ONCE)) {
    try {
      await tell(core, book, contact, reports)
    } catch (error) {
      const { account, address } = contact
      core.log.error("mesh.contacts-failed", { account, address }, error)
    }
  }
}

/** Queued first, under a name that is the request's: who is ended between that and the note of it queues the same mail again. */
async function tell(
  { config, now, log }: Telling,
  book: ContactBook,
  contact: Contact,
  reports: Reports,
): Promise<void> {
  const { account, address, askedAt } = contact
  const handledBy = book.contacts.delegate(account)
  const name = reportName("contact request", account, contact.udf, askedAt.toISOString())
  const to = parseAddress(handledBy ?? account)
  const { statement, object } = readContactMessage(contact.message)
  const profile = verifyProfileUser(contact.profile, contact.udf)
  const octets = composeRequestMail({
    request: {
      ...contact,
      via: speakerOf(object.end, profile, statement.connection, askedAt).via,
      text: statement.text,
      until: new Date(askedAt.getTime() + WAITING_MS),
    },
    isDelegated: handledBy !== null,
    from: parseAddress(`postmaster@${config.domains[0] ?? config.hostname}`),
    to,
    messageId: `<contact-${name}@${config.hostname}>`,
    date: askedAt,
  })
  await reports.submit({ name, to, octets })
  book.contacts.told(contact, now())
  log.info("mesh.contact-told", { account, address, to: handledBy ?? account })
}

/** Where a contact message goes: to another service, or to a colleague. */
type Route = PeerService | "here"

interface SendingMeans {
  readonly host: MeshHost
  readonly correspondents: Discovery
  readonly receivers: Receivers
}

function sendingOf(
  core: Core,
  book: ContactBook,
  { host, correspondents, receivers }: SendingMeans,
  stack: AsyncDisposableStack,
): Omit<ContactSending<Route>, "inTurn"> {
  const { config, database, now, log } = core
  const accounts = new MeshAccounts(database)
  const peers = stack.use(new HttpsPeers({ resolve: dnsAddresses(config.dns.servers) }))
  const client = new MeshClient({ peers, own: host.service, random: randomOctets, now })
  return {
    book,
    senderOf(address) {
      const account = accounts.of(address)
      const sender = account === null ? null : meshSenderOf(host, account, core)
      return sender === null ? null : { profile: sender.profile, speaker: sender.device }
    },
    async find(address) {
      const own = accounts.of(address)
      return own === null ? foundRecipient(address, correspondents) : { profile: own.profile, route: "here" }
    },
    post: (message, { profile, route }, admission, signal) =>
      route === "here"
        ? postHere(message, profile, admission, { receivers, host, now: now() })
        : postThere(client, message, profile, route, admission, signal),
    random: randomOctets,
    now,
    log,
  }
}

/** By the mail profile that the address's domain publishes now. @throws GatewayError KEY_SOURCE_SILENT */
async function foundRecipient(
  address: string,
  correspondents: Pick<Discovery, "ask">,
): Promise<ContactRecipient<Route> | null> {
  const { keys, unanswered } = await correspondents.ask(parseAddress(address))
  const [found] = keys.filter(({ format }) => format === "mesh").map(({ octets }) => verifyMailProfile(octets))
  const service = found && overMesh(found)
  if (found !== undefined && service !== undefined)
    return { profile: found.profile, route: { address: new URL(service.service), udf: service.serviceUdf } }
  if (found === undefined && unanswered.length > 0)
    throw new GatewayError("KEY_SOURCE_SILENT", `mesh: no answer about ${address}`)
  return null
}

async function postThere(
  client: MeshClient,
  message: Uint8Array,
  { address }: ProfileUser,
  to: PeerService,
  admission: Uint8Array | null,
  signal: AbortSignal,
): Promise<ContactPosting> {
  const outcome = await client.postAdmitted(message, address, to, admission, signal)
  if (outcome.kind === "admission") return outcome
  const kind = outcome.kind === "unknown" ? "refused" : outcome.kind
  return { kind, reason: kind === "accepted" ? "" : outcome.diagnostic }
}

/** A colleague is asked like anybody else, without a network between. */
async function postHere(
  message: Uint8Array,
  profile: ProfileUser,
  admission: Uint8Array | null,
  { receivers, host, now }: { readonly receivers: Receivers; readonly host: MeshHost; readonly now: Date },
): Promise<ContactPosting> {
  const receive = receivers.get("MessageContact")
  if (receive === undefined) return { kind: "refused", reason: "contact messages are not taken here" }
  const account = { address: profile.address, profile }
  const object = readAnySigned(message)
  const result = await receive({ account, message, object, peer: host.service.profile, admission, now })
  return result.kind === "later" ? { kind: "later", reason: "is to come later" } : result
}

const FIRST_MS = 500
/** Two look-ups in a state that is at hand; a person waits at the other end. */
const EVERY_MS = 2_000
const HOUR_MS = 3_600_000
/** The others follow in the next round. */
const AT_ONCE = 20
