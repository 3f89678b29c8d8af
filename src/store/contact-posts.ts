import { type Database, dateIn, numberIn, octetsIn, type Row, textIn } from "./database.ts"

/** A contact message of one of our people, on its way or waiting to be answered. */
export interface ContactPost {
  /** Its MessageId. */
  readonly id: string
  readonly account: string
  /** To whom, as `addressKey` writes it. */
  readonly address: string
  /** UDF of the profile that it goes to, and no other's; empty: whichever the address's domain names, until it has been named. */
  readonly udf: string
  /** An answer is to the request that is kept of the same address ({@link file://./contacts.ts}). */
  readonly kind: "request" | "answer"
  readonly text: string
  /** Empty: nobody introduces our person. */
  readonly introduction: Uint8Array
  /** The PIN that an answer has to show: what is sent. Kept salted is not enough, as a repeat is the same octets. Empty: none. */
  readonly pin: string
  /** MessageId of the answer that is waited for. */
  readonly responseId: string
  /** As it was signed and goes out, the same each time; empty: not yet. */
  readonly message: Uint8Array
  readonly state: "due" | "sent" | "failed"
  /** Why it failed, or has not gone yet; for people. */
  readonly reason: string
  readonly attempts: number
  readonly dueAt: Date
  readonly madeAt: Date
}

/** What is stated when a message is to be sent. */
export type NewPost = Pick<
  ContactPost,
  "id" | "account" | "address" | "udf" | "kind" | "text" | "introduction" | "pin" | "responseId"
>

/** Contact messages that leave; and requests that were sent, until they are answered. One of an account to an address. */
export class ContactPosts {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** First made first. */
  of(account: string): readonly ContactPost[] {
    return this.#database.sql.all`
      SELECT * FROM mesh_contact_post WHERE account = ${account} ORDER BY made_at, id`.map(postIn)
  }

  /** Takes the place of an earlier one to the same address. */
  add(post: NewPost, now: Date): void {
    const { id, account, address, udf, kind, text, introduction, pin, responseId } = post
    const at = now.getTime()
    this.#database.transaction(() => {
      this.#database.sql.run`DELETE FROM mesh_contact_post WHERE account = ${account} AND address = ${address}`
      this.#database.sql.run`
        INSERT INTO mesh_contact_post (id, account, address, udf, kind, text, introduction, pin, response_id, message, state, reason, attempts,
          due_at, made_at)
        VALUES (${id}, ${account}, ${address}, ${udf}, ${kind}, ${text}, ${introduction}, ${pin}, ${responseId}, ${EMPTY}, 'due', '', 0, ${at},
          ${at})`
    })
  }

  /** Those whose time has come, longest due first. */
  due(now: Date, limit: number): readonly ContactPost[] {
    return this.#database.sql.all`
      SELECT * FROM mesh_contact_post WHERE state = 'due' AND due_at <= ${now.getTime()} ORDER BY due_at, id LIMIT ${limit}`.map(
      postIn,
    )
  }

  /** What the message is from now on, and to whom. */
  compose(id: string, udf: string, message: Uint8Array): void {
    this.#database.sql.run`UPDATE mesh_contact_post SET udf = ${udf}, message = ${message} WHERE id = ${id}`
  }

  /** The attempt came to nothing; another is made then. */
  postpone({ id, attempts }: ContactPost, reason: string, dueAt: Date): void {
    this.#database.sql.run`
      UPDATE mesh_contact_post SET attempts = ${attempts + 1}, reason = ${reason}, due_at = ${dueAt.getTime()} WHERE id = ${id}`
  }

  /** It will not be tried again. A failed one stays, to be seen. */
  settle({ id, attempts }: ContactPost, state: "sent" | "failed", reason: string): void {
    this.#database.sql.run`
      UPDATE mesh_contact_post SET state = ${state}, reason = ${reason}, attempts = ${attempts + 1} WHERE id = ${id}`
  }

  /** The request that an answer with this MessageId is to. @returns null: none, or it has been answered */
  awaited(account: string, responseId: string): ContactPost | null {
    const row = this.#database.sql.get`
      SELECT * FROM mesh_contact_post WHERE account = ${account} AND kind = 'request' AND response_id = ${responseId}`
    return row === undefined ? null : postIn(row)
  }

  /** What leaves for this address, or was sent to it. @returns null: nothing */
  to(account: string, address: string): ContactPost | null {
    const row = this.#database.sql
      .get`SELECT * FROM mesh_contact_post WHERE account = ${account} AND address = ${address}`
    return row === undefined ? null : postIn(row)
  }

  /** @returns false: there was none to this address */
  remove(account: string, address: string): boolean {
    const { changes } = this.#database.sql
      .run`DELETE FROM mesh_contact_post WHERE account = ${account} AND address = ${address}`
    return Number(changes) > 0
  }

  /** Forgets what has been answered by nobody, or failed, for long. */
  forgetOld(now: Date): void {
    this.#database.sql.run`
      DELETE FROM mesh_contact_post WHERE state <> 'due' AND made_at < ${now.getTime() - KEPT_MS}`
  }
}

/** As long as the other side's person has for his answer, and as long as that may be under way. */
export const KEPT_MS = 40 * 86_400e3
const EMPTY = new Uint8Array(0)

function postIn(row: Row): ContactPost {
  return {
    id: textIn(row, "id"),
    account: textIn(row, "account"),
    address: textIn(row, "address"),
    udf: textIn(row, "udf"),
    kind: textIn(row, "kind") === "answer" ? "answer" : "request",
    text: textIn(row, "text"),
    introduction: octetsIn(row, "introduction"),
    pin: textIn(row, "pin"),
    responseId: textIn(row, "response_id"),
    message: octetsIn(row, "message"),
    state: STATES.find((state) => state === textIn(row, "state")) ?? "failed",
    reason: textIn(row, "reason"),
    attempts: numberIn(row, "attempts"),
    dueAt: dateIn(row, "due_at"),
    madeAt: dateIn(row, "made_at"),
  }
}

const STATES = ["due", "sent", "failed"] as const
