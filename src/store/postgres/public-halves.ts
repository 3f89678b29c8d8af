import type { Pool } from "pg"
import type { PublicHalves } from "../spool-keys.ts"
import { query, rowsOf, transaction } from "./pool.ts"
import { KEYS_IN_USE } from "./spool.ts"

/** Public halves of the spool's keys as rows of spool_key, for machines that share no folder but `secrets/`. */
export class TableHalves implements PublicHalves {
  readonly #pool: Pool

  constructor(pool: Pool) {
    this.#pool = pool
  }

  async ids(): Promise<readonly string[]> {
    return (await rowsOf<{ id: string }>(this.#pool, { text: "SELECT id FROM spool_key" })).map(({ id }) => id)
  }

  async read(id: string): Promise<Uint8Array | null> {
    const text = "SELECT point FROM spool_key WHERE id = $1"
    const [row] = await rowsOf<{ point: Uint8Array }>(this.#pool, { text, values: [id] })
    return row?.point ?? null
  }

  async add(id: string, point: Uint8Array): Promise<void> {
    await query(this.#pool, { text: "INSERT INTO spool_key (id, point) VALUES ($1, $2)", values: [id, point] })
  }

  async withdraw(id: string): Promise<void> {
    await query(this.#pool, { text: "DELETE FROM spool_key WHERE id = $1", values: [id] })
  }

  /**
   * Every statement that writes a message looks for its key in spool_key: once the table is locked none is under way, and those that
   * come after find the key gone.
   */
  async retire(ids: readonly string[]): Promise<readonly string[]> {
    return await transaction(this.#pool, async (client) => {
      await client.query("LOCK TABLE spool_key IN ACCESS EXCLUSIVE MODE")
      const { rows } = await client.query<{ readonly id: string }>(KEYS_IN_USE)
      const used = new Set(rows.map(({ id }) => id))
      const unused = ids.filter((id) => !used.has(id))
      await client.query("DELETE FROM spool_key WHERE id = ANY($1)", [unused])
      return unused
    })
  }

  async alone<T>(act: () => Promise<T>): Promise<T> {
    const [outcome] = await transaction(this.#pool, async (client) => {
      await client.query("SELECT pg_advisory_xact_lock($1)", [KEYS_LOCK])
      return await Promise.allSettled([act()])
    })
    if (outcome.status === "rejected") throw outcome.reason
    return outcome.value
  }
}

/** Names the lock of those who make keys; any number that nothing else in the database uses. */
const KEYS_LOCK = 7_067_602
