import { GatewayError } from "../errors.ts"
import type { SenderFacts } from "../mesh/access.ts"
import type { StrangersLoad } from "../mesh/admission.ts"
import { siteOf } from "../message/site.ts"
import { type Database, dateIn, numberIn, octetsIn, optionalDateIn, type Row, textIn } from "./database.ts"
import { udfName } from "./udf-name.ts"

/**
 * What somebody is to one of our people. `asking`: he has asked, and waits for an answer. `refused`: he was told no, and may ask again when some time has gone by.
 */
export type ContactState = "asking" | "accepted" | "refused" | "blocked"

/** Somebody whom one of our people knows over the Mesh, or who asks to be known. There is one of an address: who has another profile is another person. */
export interface Contact {
  /** One of our people, as `addressKey` writes it; so is `address`. */
  readonly account: string
  readonly address: string
  /** Of the profile; empty where an address was blocked that nobody has shown a profile of. */
  readonly udf: string
  readonly state: ContactState
  /** What our person calls him; empty: nothing. What he calls himself is kept nowhere. */
  readonly label: string
  /** ProfileUser, in its envelope: what the contact is known by from now on. Empty as `udf` is. */
  readonly profile: Uint8Array
  /** His MessageContact as it came, so that it can be checked again; empty: none did. */
  readonly message: Uint8Array
  /** UDF of the service that brought it. */
  readonly service: string
  /** Address of the contact that has introduced him; empty: none. */
  readonly introducer: string
  /** Who has decided, for his own or for whom he handles requests; empty: nobody yet. */
  readonly decidedBy: string
  readonly askedAt: Date
  readonly changedAt: Date
  /** When the person was told that he asks. */
  readonly toldAt: Date | null
}

/** A request that has been checked, to be answered by the person. */
export type NewRequest = Pick<Contact, "account" | "address" | "udf" | "profile" | "message" | "service" | "introducer">

/** A site is a domain with the hosts below it ({@link file://../message/site.ts}). */
export interface AskedLately extends StrangersLoad {
  /** Those of {@link StrangersLoad.waiting} that are of the same site. */
  readonly waitingOfSite: number
  /** Somebody of the same site asks this person, or was refused or blocked by him. */
  readonly isKnownSite: boolean
  /** Sites of which one has asked this person within a day, and nobody before that is remembered. */
  readonly newSites: number
  /** Those of {@link StrangersLoad.waiting} that the same contact introduces; 0: nobody introduces. */
  readonly waitingOfIntroducer: number
  /** Requests of this domain to anybody here within a day. */
  readonly ofDomain: number
  /** Of this service. */
  readonly ofService: number
}

/** The contacts of our people. Nothing is cached: a block counts for the next message, in every process. */
export class Contacts {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** First asked first. */
  of(account: string): readonly Contact[] {
    return this.#database.sql.all`
      SELECT * FROM mesh_contact WHERE account = ${account} ORDER BY asked_at, address`.map(contactIn)
  }

  /** @returns null: nothing is known of this address */
  at(account: string, address: string): Contact | null {
    const row = this.#database.sql.get`SELECT * FROM mesh_contact WHERE account = ${account} AND address = ${address}`
    return row === undefined ? null : contactIn(row)
  }

  /** By the UDF of the profile, presented with 130 bits or more. @returns null: nobody of this name is known */
  byUdf(account: string, presented: string): Contact | null {
    const name = udfName(presented)
    if (name === null) return null
    const row = this.#database.sql.get`SELECT * FROM mesh_contact WHERE account = ${account} AND name = ${name}`
    return row === undefined ? null : contactIn(row)
  }

  /** What access control asks: an address alone counts for a block, and nobody is accepted but who has both. */
  factsOf(account: string, udf: string, address: string): Omit<SenderFacts, "ours"> {
    const known = this.byUdf(account, udf)
    return {
      blocked: known?.state === "blocked" || this.at(account, address)?.state === "blocked",
      accepted: known?.state === "accepted" && known.address === address,
    }
  }

  /** How much strangers ask for now. `request`: who asks whom, through which service, and who introduces him. */
  load(request: Pick<Contact, "account" | "address" | "service" | "introducer">, now: Date): AskedLately {
    const { account, address, service, introducer } = request
    const [domain, dayAgo] = [domainOf(address), now.getTime() - DAY_MS]
    const row = this.#database.sql.get`
      SELECT
        (SELECT COUNT(*) FROM mesh_contact WHERE service = ${service} AND message_at > ${dayAgo}) AS of_service,
        (SELECT COUNT(*) FROM mesh_contact WHERE domain = ${domain} AND message_at > ${dayAgo}) AS of_domain,
        (SELECT COUNT(*) FROM mesh_contact WHERE message_at > ${now.getTime() - HOUR_MS}) AS lately`
    const count = (column: string) => Number(row?.[column] ?? 0)
    const [ofService, ofDomain] = [count("of_service"), count("of_domain")]
    const ofPerson = askedOf(this.#strangersOf(account), { site: siteOf(domain), introducer, dayAgo })
    return { ...ofPerson, ofService, ofDomain, ofOrigin: Math.max(ofService, ofDomain), lately: count("lately") }
  }

  /** Some hundred rows at most ask; what the person has blocked is his own doing. */
  #strangersOf(account: string): readonly Stranger[] {
    return this.#database.sql.all`
      SELECT domain, state, introducer, message_at FROM mesh_contact WHERE account = ${account} AND state <> 'accepted'`.map(
      (row) => ({
        site: siteOf(textIn(row, "domain")),
        isWaiting: textIn(row, "state") === "asking",
        introducer: textIn(row, "introducer"),
        askedAt: numberIn(row, "message_at"),
      }),
    )
  }

  /**
   * Keeps a request until the person answers. What stands there of the same address has to be of the same profile, and refused.
   * @returns false: something else was there, and stays
   */
  ask(request: NewRequest, now: Date): boolean {
    return this.#database.transaction(() => {
      const known = this.at(request.account, request.address)
      if (known !== null && (known.udf !== request.udf || known.state !== "refused")) return false
      const other = this.byUdf(request.account, request.udf)
      if (other !== null && other.address !== request.address) return false
      this.#put({ ...request, state: "asking", label: known?.label ?? "", decidedBy: "" }, now)
      return true
    })
  }

  /** Keeps a contact whom the person has asked himself. */
  accept(contact: NewRequest & Pick<Contact, "decidedBy">, now: Date): void {
    this.#database.transaction(() => {
      const label = this.at(contact.account, contact.address)?.label ?? ""
      this.#put({ ...contact, state: "accepted", label }, now)
    })
  }

  /** Blocks an address, whether it is known or not. */
  block(account: string, address: string, decidedBy: string, now: Date): void {
    this.#database.transaction(() => {
      if (this.decide(account, address, { state: "blocked", decidedBy }, now)) return
      const nobody = { udf: "", profile: EMPTY, message: EMPTY, service: "", introducer: "" }
      this.#put({ account, address, ...nobody, state: "blocked", label: "", decidedBy }, now)
    })
  }

  /** @returns false: nothing is known of this address */
  decide(
    account: string,
    address: string,
    { state, decidedBy, label = null }: Pick<Contact, "state" | "decidedBy"> & { readonly label?: string | null },
    now: Date,
  ): boolean {
    const { changes } = this.#database.sql.run`
      UPDATE mesh_contact SET state = ${state}, decided_by = ${decidedBy}, label = COALESCE(${label}, label), changed_at = ${now.getTime()}
      WHERE account = ${account} AND address = ${address}`
    return Number(changes) === 1
  }

  /** Nothing is known of this address any more. @returns false: nothing was */
  remove(account: string, address: string): boolean {
    const { changes } = this.#database.sql
      .run`DELETE FROM mesh_contact WHERE account = ${account} AND address = ${address}`
    return Number(changes) === 1
  }

  /** Requests that the person has not been told of, oldest first. */
  untold(limit: number): readonly Contact[] {
    return this.#database.sql.all`
      SELECT * FROM mesh_contact WHERE state = 'asking' AND told_at IS NULL ORDER BY asked_at LIMIT ${limit}`.map(
      contactIn,
    )
  }

  told({ account, address, askedAt }: Contact, now: Date): void {
    this.#database.sql.run`
      UPDATE mesh_contact SET told_at = ${now.getTime()}
      WHERE account = ${account} AND address = ${address} AND asked_at = ${askedAt.getTime()}`
  }

  /** Forgets requests that nobody has answered in time, and refusals that are over: who was refused may ask again. */
  forgetOld(now: Date): void {
    this.#database.sql.run`
      DELETE FROM mesh_contact WHERE (state = 'asking' AND asked_at < ${now.getTime() - WAITING_MS})
        OR (state = 'refused' AND changed_at < ${now.getTime() - REFUSED_MS})`
  }

  /** Who handles the requests to this person; null: he himself. */
  delegate(account: string): string | null {
    const row = this.#database.sql.get`SELECT delegate FROM mesh_delegate WHERE account = ${account}`
    return row === undefined ? null : textIn(row, "delegate")
  }

  /** Both are accounts of ours. @throws GatewayError ACCOUNT_UNKNOWN when it is the same person */
  setDelegate(account: string, delegate: string | null, now: Date): void {
    if (account === delegate)
      throw new GatewayError("ACCOUNT_UNKNOWN", `contact delegate ${account}: is the person himself`)
    this.#database.transaction(() => {
      this.#database.sql.run`DELETE FROM mesh_delegate WHERE account = ${account}`
      if (delegate !== null)
        this.#database.sql.run`
          INSERT INTO mesh_delegate (account, delegate, added_at) VALUES (${account}, ${delegate}, ${now.getTime()})`
    })
  }

  /** Takes the place of what stood there of the address. */
  #put(contact: Omit<Contact, "askedAt" | "changedAt" | "toldAt">, now: Date): void {
    const { account, address, udf, state, label, profile, message, service, introducer, decidedBy } = contact
    const at = now.getTime()
    this.#database.sql.run`DELETE FROM mesh_contact WHERE account = ${account} AND address = ${address}`
    this.#database.sql.run`
      INSERT INTO mesh_contact (account, address, domain, udf, name, state, label, profile, message, service, introducer, decided_by, message_at, asked_at, changed_at)
      VALUES (${account}, ${address}, ${domainOf(address)}, ${udf}, ${udfName(udf) ?? ""}, ${state}, ${label}, ${profile}, ${message}, ${service}, ${introducer},
        ${decidedBy}, ${message.length === 0 ? 0 : at}, ${at}, ${at})`
  }
}

/** Somebody who is not a contact: who asks, was refused or is blocked. */
interface Stranger {
  readonly site: string
  readonly isWaiting: boolean
  readonly introducer: string
  /** Milliseconds since 1970; 0: he never has. */
  readonly askedAt: number
}

function askedOf(
  strangers: readonly Stranger[],
  { site, introducer, dayAgo }: { readonly site: string; readonly introducer: string; readonly dayAgo: number },
): Omit<AskedLately, "ofService" | "ofDomain" | "ofOrigin" | "lately"> {
  const waiting = strangers.filter(({ isWaiting }) => isWaiting)
  const bySite = Map.groupBy(strangers, (one) => one.site)
  const isNew = (of: readonly Stranger[]) => of.length === 1 && of.every(({ askedAt }) => askedAt > dayAgo)
  return {
    waiting: waiting.length,
    waitingOfSite: waiting.filter((one) => one.site === site).length,
    isKnownSite: bySite.has(site),
    newSites: [...bySite.values()].filter(isNew).length,
    waitingOfIntroducer: introducer === "" ? 0 : waiting.filter((one) => one.introducer === introducer).length,
  }
}

/** For so long a request waits for its answer. */
export const WAITING_MS = 30 * 86_400e3
/** For so long who was refused is not heard. */
export const REFUSED_MS = 30 * 86_400e3
const DAY_MS = 86_400e3
const HOUR_MS = 3_600e3
const EMPTY = new Uint8Array(0)

function domainOf(address: string): string {
  return address.slice(address.lastIndexOf("@") + 1)
}

function contactIn(row: Row): Contact {
  return {
    account: textIn(row, "account"),
    address: textIn(row, "address"),
    udf: textIn(row, "udf"),
    // What is damaged lets nobody in.
    state: STATES.find((state) => state === textIn(row, "state")) ?? "blocked",
    label: textIn(row, "label"),
    profile: octetsIn(row, "profile"),
    message: octetsIn(row, "message"),
    service: textIn(row, "service"),
    introducer: textIn(row, "introducer"),
    decidedBy: textIn(row, "decided_by"),
    askedAt: dateIn(row, "asked_at"),
    changedAt: dateIn(row, "changed_at"),
    toldAt: optionalDateIn(row, "told_at"),
  }
}

const STATES = ["asking", "accepted", "refused", "blocked"] as const
