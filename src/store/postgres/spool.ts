import type { Pool } from "pg"
import { randomOctets } from "../../crypto/primitives/random.ts"
import type { Decapsulator } from "../../crypto/primitives/seal-key.ts"
import { Sealer } from "../../crypto/seal/seal.ts"
import { GatewayError, hasCode } from "../../errors.ts"
import { lifeOf } from "../process.ts"
import { openSealed, type SpooledMessage, writeSealed } from "../sealed-message.ts"
import { isSpoolId, type NewEntry, newSpoolId, type Spool } from "../spool.ts"
import { formatEntry } from "../spool-entry.ts"
import type { SpoolPublicKeys } from "../spool-keys.ts"
import { Acceptances } from "./acceptances.ts"
import { isForeignKeyViolation, rowsOf } from "./pool.ts"
import { messageSource } from "./spool-source.ts"
import { MessageTarget, refused } from "./spool-target.ts"
import { Together } from "./together.ts"

/** Where the spool is, and its keys. */
export interface PostgresSpoolOptions {
  /** Its tables are there. Ended with the spool. */
  readonly pool: Pool
  readonly publicKeys: Pick<SpoolPublicKeys, "current" | "forget">
  /** null: this process only accepts mail, and cannot open what it accepted. Throws GatewayError SPOOL_KEY_MISSING. */
  readonly privateKeys: { decapsulator(keyId: Uint8Array): Decapsulator } | null
  readonly now: () => Date
}

/**
 * Accepted messages, sealed, in PostgreSQL. A message is accepted at one instant: the commit of its row. Small ones that come at once share one statement;
 * pieces of a large one are written before, each by a statement of its own, so that a slow client holds no connection.
 */
export class PostgresSpool implements Spool {
  readonly #options: PostgresSpoolOptions
  readonly #pool: Pool
  readonly #acceptances: Acceptances
  readonly #removals: Together<string, void>

  constructor(options: PostgresSpoolOptions) {
    this.#options = options
    this.#pool = options.pool
    this.#acceptances = new Acceptances(options.pool)
    const share = () => 1 / REMOVED_TOGETHER
    this.#removals = new Together({ statements: 1, share }, (ids) => this.#removeAll(ids))
  }

  async write(entry: NewEntry | (() => NewEntry), content: AsyncIterable<Uint8Array>, id?: string): Promise<string> {
    if (id !== undefined && (await this.has(id))) return id
    const name = id ?? newSpoolId(this.#options.now())
    const seed = randomOctets(32)
    const begin = async () => new MessageTarget(this.#pool, this.#acceptances, name, await this.#sealer(name))
    const trailer = (sizeOctets: number) =>
      formatEntry({ ...(typeof entry === "function" ? entry() : entry), seed, sizeOctets })
    try {
      await writeSealed(begin, content, trailer)
      return name
    } catch (error) {
      // The key may be gone, or another attempt of the same id came first.
      this.#options.publicKeys.forget()
      if (id !== undefined && hasCode(error, "SPOOL_FULL") && (await this.has(id))) return id
      throw error
    }
  }

  async open(id: string): Promise<SpooledMessage | null> {
    if (!isSpoolId(id)) return null
    const source = await messageSource(this.#pool, id)
    return source && (await openSealed(source, id, (keyId) => this.#decapsulator(keyId)))
  }

  async has(id: string): Promise<boolean> {
    if (!isSpoolId(id)) throw new GatewayError("USAGE", `spool: ${id} is no id`)
    return (await rowsOf(this.#pool, { name: "spool-exists", text: EXISTS, values: [id] })).length > 0
  }

  async remove(id: string): Promise<void> {
    if (!isSpoolId(id)) return
    await this.#removals.run(id)
  }

  async *ids(): AsyncIterable<string> {
    for (let last = ""; ; ) {
      const rows = await rowsOf<{ id: string }>(this.#pool, { name: "spool-ids", text: IDS, values: [last, PAGE_ROWS] })
      for (const { id } of rows) yield id
      last = rows.at(-1)?.id ?? last
      if (rows.length < PAGE_ROWS) return
    }
  }

  async removeLeftovers(): Promise<number> {
    const bodies = await rowsOf<{ id: string; writer: string; old: boolean }>(this.#pool, { text: UNFINISHED })
    let removed = 0
    for (const { id, writer, old } of bodies) {
      const life = lifeOf(writer)
      if (life === "dead" || (life === "elsewhere" && old)) removed += await this.#removeUnfinished(id)
    }
    return removed
  }

  async keysInUse(): Promise<ReadonlySet<string>> {
    const rows = await rowsOf<{ id: string }>(this.#pool, { text: KEYS_IN_USE })
    return new Set(rows.map(({ id }) => id))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.end()
  }

  async #sealer(name: string): Promise<Sealer> {
    try {
      return new Sealer(await this.#options.publicKeys.current(), name)
    } catch (error) {
      throw hasCode(error, "SPOOL_KEY_MISSING") ? error : refused(error)
    }
  }

  async #removeAll(ids: readonly string[]): Promise<void> {
    await rowsOf(this.#pool, { name: "spool-remove", text: REMOVE, values: [ids] })
  }

  async #removeUnfinished(body: string): Promise<number> {
    try {
      return (await rowsOf(this.#pool, { text: REMOVE_UNFINISHED, values: [body] })).length
    } catch (error) {
      // Its message was accepted at this moment.
      if (isForeignKeyViolation(error)) return 0
      throw error
    }
  }

  #decapsulator(keyId: Uint8Array): Decapsulator {
    if (this.#options.privateKeys === null)
      throw new GatewayError("SPOOL_KEY_MISSING", "spool: this role has no private keys")
    return this.#options.privateKeys.decapsulator(keyId)
  }
}

const PAGE_ROWS = 1_000
const REMOVED_TOGETHER = 200

const EXISTS = "SELECT FROM spool_message WHERE id = $1"
const IDS = "SELECT id FROM spool_message WHERE id > $1 ORDER BY id LIMIT $2"
/** Not waited for on the disk: what a power cut brings back, the queue's record says is settled. */
const REMOVE = `
  WITH gone AS (
    DELETE FROM spool_message USING set_config('synchronous_commit', 'off', true)
    WHERE id = ANY($1::text[]) RETURNING body)
  DELETE FROM spool_body USING gone WHERE spool_body.id = gone.body`
const NO_MESSAGE = "NOT EXISTS (SELECT FROM spool_message WHERE spool_message.body = spool_body.id)"
/** By the database's clock, which is one for all machines. No message takes as long as this to arrive. */
const UNFINISHED = `
  SELECT id, writer, begun_at < now() - interval '24 hours' AS old FROM spool_body WHERE ${NO_MESSAGE}`
const REMOVE_UNFINISHED = `DELETE FROM spool_body WHERE id = $1 AND ${NO_MESSAGE} RETURNING id`
/** The id stands behind the magic. */
export const KEYS_IN_USE = `
  SELECT DISTINCT encode(substring(head FROM 9 FOR 16), 'hex') AS id
  FROM (SELECT head FROM spool_message UNION ALL SELECT head FROM spool_body) AS sealed`
