import { spawn } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import { numberIn, type State } from "../../../src/store/database.ts"
import { connectionOptions, type PostgresStore } from "../../../src/store/postgres/connection.ts"
import { openPool } from "../../../src/store/postgres/pool.ts"
import { PostgresState } from "../../../src/store/postgres/state.ts"
import { Presence } from "../../../src/store/presence.ts"
import { databaseOf, Postgres, postgresPossible } from "../../harness/postgres.ts"

const away = expect.objectContaining({ code: "STATE_AWAY" })
/** For what is to come within moments; the suite shares two processors. */
/** Less than an answer is waited for. */
const AT_ONCE_MS = 2_000
const SOON = { interval: 10, timeout: 10_000 }

describe.skipIf(!postgresPossible)("a state in PostgreSQL", async () => {
  if (!postgresPossible) return
  const server = await Postgres.start()
  afterAll(() => server[Symbol.asyncDispose]())

  async function opened(): Promise<{ state: State; store: PostgresStore } & Disposable> {
    const store = await server.database()
    const state = PostgresState.open(store)
    return { state, store, [Symbol.dispose]: () => state.close() }
  }
  const insert = (state: State, name: string) =>
    state.sql.run`INSERT INTO process (name, roles, acknowledged, seen_at) VALUES (${name}, '', 0, 0)`
  const count = (state: State) => numberIn(state.sql.get`SELECT count(*) AS rows FROM process`, "rows")
  const move = (state: State) =>
    state.transaction(() => state.sql.run`UPDATE change SET sequence = sequence + 1`.changes)
  const elapsedMs = (act: () => void) => {
    const startedMs = performance.now()
    act()
    return performance.now() - startedMs
  }

  test("whose server is killed within a transaction: nothing of it is kept, nothing goes on beside it, and it comes back", async () => {
    using open = await opened()
    const { state } = open
    insert(state, "before")
    let killed: Promise<void> = Promise.resolve()
    const broken = () =>
      state.transaction(() => {
        insert(state, "lost")
        killed = server.kill()
        expect(() => insert(state, "not beside it")).toThrow(away)
        expect(() => insert(state, "nor later")).toThrow(/lost within the transaction/)
      })
    expect(broken).toThrow(/lost within the transaction/)
    await killed
    const waited = elapsedMs(() => expect(() => count(state)).toThrow(away))
    expect(waited).toBeLessThan(AT_ONCE_MS)
    expect(() => PostgresState.open(open.store)).toThrow(away)
    await server.start()
    await expect.poll(() => attempt(() => count(state)), SOON).toBe(1)
    state.transaction(() => insert(state, "after"))
    expect(count(state)).toBe(2)
  })

  test("whose server is killed within a commit says that nobody knows what became of it", async () => {
    using open = await opened()
    const { state } = open
    let killed: Promise<void> = Promise.resolve()
    const unknown = () =>
      state.transaction(() => {
        insert(state, "perhaps")
        server.suspend()
        killed = server.kill(200)
      })
    expect(unknown).toThrow(/^postgres: commit: no connection: whether the transaction took place is unknown$/)
    // It may have moved the sequence.
    expect(() => state.changeSequence()).toThrow(away)
    await killed
    await server.start()
    await expect.poll(() => attempt(() => count(state)), SOON).toBe(0)
  })

  test("whose server hangs: one call waits and the rest do not, what is known is trusted for a while, and then doubted; a pool ends", async () => {
    using open = await opened()
    const { state } = open
    const told: string[] = []
    const onError = (error: unknown) => told.push(error instanceof Error ? error.message : String(error))
    const onReturn = () => told.push("returned")
    using presence = new Presence(state, { roles: ["imap"], now: () => new Date(), onError, onReturn })
    presence.onDoubt(() => told.push("doubt"))
    presence.onReturn(() => told.push("back"))
    const sequence = state.changeSequence()
    const pool = openPool(connectionOptions(open.store, "test"), 1)
    await pool.query("SELECT")
    server.suspend()
    const ended = pool.end()
    const hungMs = performance.now()
    try {
      expect(elapsedMs(() => expect(() => count(state)).toThrow(/no answer in time/))).toBeLessThan(20_000)
      expect(elapsedMs(() => expect(() => count(state)).toThrow(away))).toBeLessThan(AT_ONCE_MS)
      expect(state.changeSequence()).toBe(sequence)
      await expect.poll(() => told, SOON).toContain("doubt")
      expect(performance.now() - hungMs).toBeLessThan(30_000)
      expect(() => state.changeSequence()).toThrow(away)
      expect(told).toHaveLength(2)
      await ended
    } finally {
      server.resume()
    }
    await expect.poll(() => attempt(() => state.changeSequence()), SOON).toBe(sequence)
    await expect.poll(() => told.slice(2).toSorted(), SOON).toEqual(["back", "returned"])
  })

  test("hears of changes when nobody tells it, and when the connection was cut meanwhile", async () => {
    using open = await opened()
    using other = { state: PostgresState.open(open.store), [Symbol.dispose]: () => other.state.close() }
    const administer = (text: string) => server.query(databaseOf(open.store), text)
    const heard = () => attempt(() => open.state.changeSequence())
    move(other.state)
    await expect.poll(heard, SOON).toBe(2)
    await administer("ALTER TABLE change DISABLE TRIGGER change_told")
    move(other.state)
    await expect.poll(heard, SOON).toBe(3)
    await administer("ALTER TABLE change ENABLE TRIGGER change_told")
    await administer(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'postern state'",
    )
    await expect.poll(() => attempt(() => move(other.state)), SOON).toBe(1)
    await expect.poll(heard, SOON).toBe(4)
  })

  test("is made, and written to, by several processes at once", async () => {
    const store = await server.database()
    const source = `
      import { PostgresState } from ${JSON.stringify(join(process.cwd(), "src/store/postgres/state.ts"))}
      const state = PostgresState.open(${JSON.stringify(store)})
      for (let n = 0; n < 50; n++) state.transaction(() => {
        const { sequence } = state.sql.get\`SELECT sequence FROM change\`
        state.sql.run\`UPDATE change SET sequence = \${sequence + 1}\`
      })
      state.close()`
    const writers = Array.from({ length: 3 }, () =>
      spawn(process.execPath, ["--input-type=module-typescript", "--eval", source], { stdio: "inherit" }),
    )
    expect(await Promise.all(writers.map(async (writer) => (await once(writer, "exit"))[0]))).toEqual([0, 0, 0])
    const state = PostgresState.open(store)
    expect(state.changeSequence()).toBe(151)
    state.close()
  })

  test("does not wait for ever for a writer that hangs, and goes on", async () => {
    using open = await opened()
    const hanging = await server.client(databaseOf(open.store))
    await hanging.query("BEGIN; SELECT pg_advisory_xact_lock(7067602)")
    const waited = elapsedMs(() => expect(() => move(open.state)).toThrow(away))
    expect(waited).toBeLessThan(20_000)
    expect(count(open.state)).toBe(0)
    await hanging.end()
    expect(move(open.state)).toBe(1)
  })

  test("does not commit what is left of a transaction in which a statement failed", async () => {
    using open = await opened()
    const { state } = open
    const swallow = () =>
      state.transaction(() => {
        insert(state, "a")
        expect(() => insert(state, "a")).toThrow(expect.objectContaining({ code: "STATE_REFUSED" }))
      })
    expect(swallow).toThrow(/rolled back/)
    expect(count(state)).toBe(0)
  })

  test.each([
    ["of a newer version", "STATE_VERSION", "UPDATE schema_version SET version = 99"],
    [
      "whose clock is another's",
      "STATE_AWAY",
      `CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT now() - interval '3 s' $$;
       DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); END $$`,
    ],
    ["without its change sequence", "STATE_CORRUPT", "DELETE FROM change"],
    ["whose tables somebody altered", "STATE_REFUSED", "ALTER TABLE change RENAME COLUMN sequence TO other"],
  ])("%s is refused", async (_what, code, harm) => {
    const store = await server.database()
    PostgresState.open(store).close()
    await server.query(databaseOf(store), harm)
    expect(() => PostgresState.open(store)).toThrow(expect.objectContaining({ code }))
  })

  test("of other text than UTF-8, or that is not there, is refused", async () => {
    await server.query("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    const { url } = await server.database()
    const named = (name: string): PostgresStore => ({
      kind: "postgres",
      url: url.replace(/test_\d+/, name),
      password: null,
    })
    expect(() => PostgresState.open(named("latin"))).toThrow(expect.objectContaining({ code: "STATE_CORRUPT" }))
    expect(() => PostgresState.open(named("nowhere"))).toThrow(/"nowhere" does not exist/)
  })
})

/** What `act` gives, or the code of what it throws. */
function attempt<T>(act: () => T): T | string {
  try {
    return act()
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error)
  }
}
