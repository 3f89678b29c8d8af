import { binaryUdf, presentUdf, UDF_TYPE } from "../crypto/udf/udf.ts"
import { GatewayError } from "../errors.ts"
import { readContactMessage } from "../mesh/contact/message.ts"
import { textFault } from "../mesh/contact/text.ts"
import { responseIdOf } from "../mesh/message-id.ts"
import { ContactPosts } from "./contact-posts.ts"
import { type Contact, Contacts, type NewRequest } from "./contacts.ts"
import type { Database } from "./database.ts"

/** Who decides, for whom, about whom: addresses as `addressKey` writes them. */
export interface Deciding {
  readonly account: string
  readonly address: string
  /** The person himself, or who handles his requests. */
  readonly by: string
}

/** What one of our people writes to somebody whose contact he wants to be. */
export interface Asking extends Deciding {
  readonly text: string
  /** UDF of the profile that it has to be; empty: whichever the address's domain names. */
  readonly udf: string
  /** ContactIntroduction, in its envelope; empty: none. */
  readonly introduction: Uint8Array
}

/** What people decide about contacts, and what comes of it: each decision and the message that it sends are one transaction. */
export class ContactBook {
  readonly contacts: Contacts
  readonly posts: ContactPosts
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
    this.contacts = new Contacts(database)
    this.posts = new ContactPosts(database)
  }

  /**
   * Asks somebody, once: what waits for its answer is known by it. Who has asked himself is accepted by it.
   * @throws GatewayError CONTACT_FORBIDDEN, CONTACT_TEXT, CONTACT_EXISTS: he is a contact already, blocked, or asked already
   */
  request(asking: Asking, random: (octets: number) => Uint8Array, now: Date): "asked" | "accepted" {
    const { account, address, by, text, udf, introduction } = asking
    this.#checkMay(account, by)
    const fault = textFault(text)
    if (fault !== null) throw new GatewayError("CONTACT_TEXT", `contact request: text: ${fault}`)
    return this.#database.transaction(() => {
      const known = this.contacts.at(account, address)
      if (known?.state === "accepted" || known?.state === "blocked")
        throw new GatewayError("CONTACT_EXISTS", `contact ${address} of ${account}: is ${known.state} already`)
      if (known?.state === "asking" && (udf === "" || udf === known.udf)) {
        this.accept({ account, address, by }, null, now)
        return "accepted"
      }
      const asked = this.posts.to(account, address)
      if (asked?.kind === "request" && asked.state !== "failed")
        throw new GatewayError("CONTACT_EXISTS", `contact ${address} of ${account}: is asked already`)
      const id = presentUdf(binaryUdf(UDF_TYPE.nonce, random(ID_OCTETS)))
      const pin = presentUdf(binaryUdf(UDF_TYPE.authenticatorSha2, random(PIN_OCTETS)))
      const responseId = responseIdOf(id)
      this.posts.add({ id, account, address, udf, kind: "request", text, introduction, pin, responseId }, now)
      return "asked"
    })
  }

  /** Accepts who has asked, and was perhaps refused or blocked since then. @throws GatewayError CONTACT_FORBIDDEN, CONTACT_UNKNOWN */
  accept({ account, address, by }: Deciding, label: string | null, now: Date): void {
    this.#checkMay(account, by)
    this.#database.transaction(() => {
      const known = this.#known(account, address)
      if (known.udf === "")
        throw new GatewayError("CONTACT_UNKNOWN", `contact ${address} of ${account}: has never shown who he is`)
      this.contacts.decide(account, address, { state: "accepted", decidedBy: by, label }, now)
      if (known.state !== "accepted") this.#answer(known, now)
    })
  }

  /** Says no, which the other side is not told. @throws GatewayError CONTACT_FORBIDDEN, CONTACT_UNKNOWN: nobody asks from this address */
  refuse({ account, address, by }: Deciding, now: Date): void {
    this.#checkMay(account, by)
    this.#database.transaction(() => {
      if (this.#known(account, address).state !== "asking")
        throw new GatewayError("CONTACT_UNKNOWN", `contact ${address} of ${account}: does not ask`)
      this.contacts.decide(account, address, { state: "refused", decidedBy: by }, now)
    })
  }

  /** Nothing comes in from this address or from the profile that it is known by. @throws GatewayError CONTACT_FORBIDDEN */
  block({ account, address, by }: Deciding, now: Date): void {
    this.#checkMay(account, by)
    this.#database.transaction(() => {
      this.contacts.block(account, address, by, now)
      this.posts.remove(account, address)
    })
  }

  /** Forgets contact, request and block. @throws GatewayError CONTACT_FORBIDDEN, CONTACT_UNKNOWN */
  remove({ account, address, by }: Deciding): void {
    this.#checkMay(account, by)
    this.#database.transaction(() => {
      const removed = [this.contacts.remove(account, address), this.posts.remove(account, address)]
      if (!removed.includes(true)) throw unknown(account, address)
    })
  }

  /** Whom our person had asked has answered. @returns false: it is not waited for any more */
  answered(contact: NewRequest, now: Date): boolean {
    return this.#database.transaction(() => {
      if (!this.posts.remove(contact.account, contact.address)) return false
      this.contacts.accept({ ...contact, decidedBy: contact.account }, now)
      return true
    })
  }

  /** Whom our person had asked asks as well: each has said what he wants. @returns as {@link answered} */
  crossed(contact: NewRequest, now: Date): boolean {
    return this.#database.transaction(() => {
      if (!this.answered(contact, now)) return false
      this.#answer(this.#known(contact.account, contact.address), now)
      return true
    })
  }

  /** He was accepted before and asks as if he had not heard of it. */
  answerAgain(contact: Contact, message: Uint8Array, now: Date): void {
    this.#answer({ ...contact, message }, now)
  }

  #answer({ account, address, udf, message }: Contact, now: Date): void {
    if (message.length === 0) return
    const { statement } = readContactMessage(message)
    if (!statement.reply) return
    const none = { text: "", introduction: new Uint8Array(0), responseId: "" }
    const id = responseIdOf(statement.messageId)
    this.posts.add({ ...none, id, account, address, udf, kind: "answer", pin: statement.pin ?? "" }, now)
  }

  #known(account: string, address: string): Contact {
    const known = this.contacts.at(account, address)
    if (known === null)
      throw new GatewayError("CONTACT_UNKNOWN", `contact ${address} of ${account}: has not asked to be one`)
    return known
  }

  #checkMay(account: string, by: string): void {
    if (by !== account && by !== this.contacts.delegate(account))
      throw new GatewayError("CONTACT_FORBIDDEN", `contacts of ${account}: ${by} does not handle them`)
  }
}

function unknown(account: string, address: string): GatewayError {
  return new GatewayError("CONTACT_UNKNOWN", `contact ${address} of ${account}: unknown`)
}

/** 136 bits with the type octet, as the identifiers of mail are. */
const ID_OCTETS = 16
/** 128 bits. */
const PIN_OCTETS = 16
