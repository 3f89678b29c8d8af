import type { HmacKey } from "../crypto/primitives/hash.ts"
import { GatewayError, hasCode } from "../errors.ts"
import type { Log } from "../log/log.ts"
import { isAdmitted, type StrangersLoad, writeChallenge } from "../mesh/admission.ts"
import { type ContactVerdict, checkContactMessage, showsPin } from "../mesh/contact/check.ts"
import { checkIntroduction, readIntroduction } from "../mesh/contact/introduction.ts"
import { readContactMessage } from "../mesh/contact/message.ts"
import { saltedPin } from "../mesh/pin.ts"
import { type ProfileUser, verifyProfileUser } from "../mesh/profile.ts"
import { writtenKey } from "../message/address.ts"
import type { ContactBook } from "../store/contact-book.ts"
import type { AskedLately, Contact, NewRequest } from "../store/contacts.ts"
import type { Posted, PostResult, Receive } from "./ports.ts"

/** What an address's domain says of a profile. */
export interface Vouched {
  /** UDF of the one device that sends for the account as a gateway; null: none is published, and none may. */
  readonly gatewayDevice: string | null
}

/** What taking contact messages takes. */
export interface ContactMeans {
  readonly book: ContactBook
  /**
   * Asks the address's domain.
   * @returns null: it names no profile for this address, or another
   * @throws GatewayError KEY_SOURCE_SILENT
   */
  vouched(address: string, udf: string): Promise<Vouched | null>
  /** 32 octets that only this service has. */
  readonly admissionKey: HmacKey
  /** Bits of work that a stranger's request costs. */
  workOf(load: StrangersLoad): number
  readonly log: Log
}

/** Requests that wait for one person: more are taken of whom nothing is known here, and of who is introduced. */
export const MAX_WAITING = 50
/** Of them of one domain and the hosts below it, or introduced by one contact: nobody fills the place of all alone. */
export const MAX_WAITING_OF_SITE = 10
/**
 * Domains that are new to a person within a day: while they are fewer, one that is new is heard also where all places are taken. Who would have nobody heard needs so many of them each day, and
 * the person is told of no more.
 */
export const MAX_NEW_SITES = 10
/** Requests of one domain to all of us within a day; and of one service, but of its other domains the first are still heard. */
export const MAX_OF_ORIGIN = 200

type VerifiedContact = Extract<ContactVerdict, { readonly kind: "verified" }>

/** A message whose signatures are right, and what would be kept of it. */
interface Arrived {
  readonly verdict: VerifiedContact
  readonly contact: NewRequest
  readonly posted: Posted
  readonly means: ContactMeans
}

/**
 * Takes contact messages: requests of strangers, which wait until the person has answered, and the answers of those whom he has asked. Who the sender is says his
 * profile, which has signed; that the address is his says the address's domain, asked only when the sender has worked for it.
 */
export function receivingContacts(means: ContactMeans): Receive {
  return async (posted) => {
    const { account, message, peer, now } = posted
    const verdict = checkContactMessage(message, { service: peer, recipient: account.profile, now })
    if (verdict.kind === "refused") return noted(means, posted, "", verdict)
    if (!isCanonical(verdict.profile)) return noted(means, posted, "", refused("address malformed"))
    const result = await settled({ verdict, contact: contactOf(verdict, posted), posted, means })
    return noted(means, posted, verdict.profile.address, result)
  }
}

function settled(arrived: Arrived): PostResult | Promise<PostResult> {
  const { contact, verdict, means, posted } = arrived
  const known = means.book.contacts.byUdf(contact.account, contact.udf)
  if (known !== null && isRepeated(known, verdict)) return ACCEPTED
  if (known?.state === "blocked" || known?.state === "refused") return refused("not a contact")
  if (isAwaited(arrived)) return vouchedFor(arrived, () => means.book.answered(contact, posted.now))
  // An answer has no text, and answers nothing here.
  if (verdict.statement.text === "") return refused("text: empty")
  if (known?.state === "asking") return refused("asked already")
  // The answer that he was given may be lost.
  if (known?.state !== "accepted") return asked(arrived)
  means.book.answerAgain(known, posted.message, posted.now)
  return ACCEPTED
}

/** Everything that costs comes behind what costs the sender. */
function asked(arrived: Arrived): PostResult | Promise<PostResult> {
  const { contact, means, posted } = arrived
  const { account, address, udf, service } = contact
  const asking = means.book.posts.to(account, address)
  if (asking?.kind === "request" && asking.udf === udf)
    return vouchedFor(arrived, () => means.book.crossed(contact, posted.now))
  const introducer = introducerOf(arrived)
  const request = { ...contact, introducer: introducer ?? "" }
  const load = means.book.contacts.load(request, posted.now)
  if (isTooMuch(load, introducer !== null)) return LATER
  if (introducer === null) {
    const paidFor = { message: posted.message, service, account: posted.account.profile.udf }
    const { admissionKey: key } = means
    const isPaid = posted.admission !== null && isAdmitted(posted.admission, paidFor, key, posted.now)
    if (!isPaid) return { kind: "admission", challenge: writeChallenge(paidFor, means.workOf(load), key, posted.now) }
  }
  // Two of the same moment: one of them is told to come again, and finds the other. What came while the domain was asked counts, too.
  return vouchedFor(arrived, () => {
    const { contacts } = means.book
    return !isTooMuch(contacts.load(request, posted.now), introducer !== null) && contacts.ask(request, posted.now)
  })
}

function isTooMuch(load: AskedLately, isIntroduced: boolean): boolean {
  const { ofDomain, ofService, waiting, waitingOfSite } = load
  // One domain of many at a service must not close it to the others.
  if (ofDomain >= MAX_OF_ORIGIN || (ofService >= MAX_OF_ORIGIN && ofDomain > 0)) return true
  if (isIntroduced) return load.waitingOfIntroducer >= MAX_WAITING_OF_SITE
  if (waiting < MAX_WAITING && waitingOfSite < MAX_WAITING_OF_SITE) return false
  return load.isKnownSite || load.newSites >= MAX_NEW_SITES
}

/** Does what was asked for (false: not now), once the address's domain has said that the address is this profile's, and nothing here says otherwise. */
async function vouchedFor({ contact, verdict, means }: Arrived, act: () => boolean): Promise<PostResult> {
  const { account, address, udf } = contact
  const vouched = await asksDomain(means, address, udf)
  if (vouched === "silent") return LATER
  if (vouched === null) return refused("its address does not name this profile")
  const { speaker } = verdict
  if (speaker.via === "gateway" && speaker.connection.subject !== vouched.gatewayDevice)
    return refused("device revoked")
  const known = means.book.contacts.at(account, address)
  if (known?.state === "blocked") return refused("not a contact")
  if (known !== null && known.udf !== udf) return refused("known by another profile")
  const same = means.book.contacts.byUdf(account, udf)
  if (same !== null && same.address !== address) return refused("known under another address")
  return act() ? ACCEPTED : LATER
}

async function asksDomain(means: ContactMeans, address: string, udf: string): Promise<Vouched | null | "silent"> {
  try {
    return await means.vouched(address, udf)
  } catch (error) {
    if (hasCode(error, "KEY_SOURCE_SILENT")) return "silent"
    throw error
  }
}

function contactOf({ profile }: VerifiedContact, { account, message, peer }: Posted): NewRequest {
  return {
    account: account.address,
    address: profile.address,
    udf: profile.udf,
    profile: profile.envelope,
    message,
    service: peer.udf,
    introducer: "",
  }
}

/** The address is written as all are here: what only looks like one is none. */
function isCanonical({ address }: ProfileUser): boolean {
  return writtenKey(address) === address
}

function isRepeated({ message }: Contact, { statement }: VerifiedContact): boolean {
  return message.length > 0 && readContactMessage(message).statement.messageId === statement.messageId
}

/** It is the answer to our person's request: from whom he asked, with the PIN that only that one was sent. */
function isAwaited({ verdict: { statement }, contact, means }: Arrived): boolean {
  const request = means.book.posts.awaited(contact.account, statement.messageId)
  return (
    request !== null &&
    request.udf === contact.udf &&
    request.address === contact.address &&
    showsPin(statement, saltedPin(request.pin, "Contact"), contact.account)
  )
}

/** @returns address of the contact of the recipient's who introduces the sender; null: nobody does, or nobody whom he knows */
function introducerOf({ verdict, contact, posted, means }: Arrived): string | null {
  const { introduction: envelope } = verdict.statement
  if (envelope === null) return null
  try {
    const introduction = readIntroduction(envelope)
    const known = means.book.contacts.byUdf(contact.account, introduction.introducer)
    if (known?.state !== "accepted") return null
    const introducer = verifyProfileUser(known.profile, known.udf)
    const who = { introducer, subject: verdict.profile, recipient: posted.account.profile }
    checkIntroduction(introduction, who, posted.now)
    return known.address
  } catch (error) {
    // Whatever is wrong with it, it is no introduction: the sender works like any other.
    if (error instanceof GatewayError) return null
    throw error
  }
}

/** @param address empty where nothing says that it is one */
function noted({ log }: ContactMeans, { account, peer }: Posted, address: string, result: PostResult): PostResult {
  const reason = result.kind === "refused" ? { reason: result.reason } : {}
  const who = { account: account.address, address, service: peer.udf }
  log.info("mesh.contact", { ...who, outcome: result.kind, ...reason })
  return result
}

function refused(reason: string): PostResult {
  return { kind: "refused", reason }
}

const ACCEPTED: PostResult = { kind: "accepted" }
const LATER: PostResult = { kind: "later" }
