import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { connect, createServer } from "node:net"
import { hostname, tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import type { ClientConfig, Pool } from "pg"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { randomOctets } from "../../../src/crypto/primitives/random.ts"
import { HEAD_OCTETS } from "../../../src/crypto/seal/seal.ts"
import { connectionOptions, type PostgresStore } from "../../../src/store/postgres/connection.ts"
import { openPostgresSpool } from "../../../src/store/postgres/open-spool.ts"
import { openPool } from "../../../src/store/postgres/pool.ts"
import { TableHalves } from "../../../src/store/postgres/public-halves.ts"
import { PostgresSpool } from "../../../src/store/postgres/spool.ts"
import { PIECE_OCTETS } from "../../../src/store/postgres/spool-target.ts"
import { thisProcess } from "../../../src/store/process.ts"
import type { Spool } from "../../../src/store/spool.ts"
import { SpoolKeys } from "../../../src/store/spool-keys.ts"
import { Postgres, postgresPossible } from "../../harness/postgres.ts"
import { newEntry } from "../conformance/new-entry.ts"
import {
  CANARY,
  contentOf,
  describeSpool,
  idsIn,
  type Place,
  pieces,
  type Spooling,
  startSpooling,
} from "../conformance/spool.ts"

const WRITER = fileURLToPath(new URL("./spool-writer.ts", import.meta.url))
const code = (wanted: string) => expect.objectContaining({ code: wanted })

describe.skipIf(!postgresPossible)("PostgreSQL", () => {
  let server: Postgres
  let store: PostgresStore
  let options: ClientConfig
  let pool: Pool

  beforeAll(async () => {
    server = await Postgres.start({ settings: ["logging_collector=on"] })
    store = await server.database()
    options = connectionOptions(store, "test")
    await (await openPostgresSpool(store, null, { accepts: false, now: () => new Date() })).spool[Symbol.asyncDispose]()
    pool = openPool(options, 4)
  })
  afterAll(async () => {
    await pool.end()
    await server[Symbol.asyncDispose]()
  })

  async function makePlace(): Promise<Place> {
    await pool.query("TRUNCATE spool_key, spool_message, spool_body, spool_piece")
    const folder = mkdtempSync(join(tmpdir(), "postern-spool-"))
    return {
      folder,
      halves: new TableHalves(pool),
      open: async (keys) => new PostgresSpool({ pool: openPool(options, 4), ...keys }),
      octets,
      put,
      everything,
      close: async () => rmSync(folder, { recursive: true }),
    }
  }

  async function octets(id: string): Promise<Buffer> {
    const { rows } = await pool.query("SELECT head, body, tail FROM spool_message WHERE id = $1", [id])
    const [{ head, body, tail }] = rows
    const inner = await pool.query("SELECT octets FROM spool_piece WHERE body = $1 ORDER BY place", [body])
    return Buffer.concat([head, ...inner.rows.map((row) => row.octets), tail])
  }

  async function put(id: string, sealed: Buffer): Promise<void> {
    await pool.query("DELETE FROM spool_message WHERE id = $1", [id])
    const body = Buffer.from(randomOctets(16)).toString("hex")
    const head = sealed.subarray(0, HEAD_OCTETS)
    const rest = sealed.subarray(HEAD_OCTETS)
    const count = Math.max(0, Math.ceil(rest.length / PIECE_OCTETS) - 1)
    await pool.query("INSERT INTO spool_body (id, head, writer) VALUES ($1, $2, '')", [body, head])
    for (let place = 0; place < count; place++) {
      const piece = rest.subarray(place * PIECE_OCTETS, (place + 1) * PIECE_OCTETS)
      await pool.query("INSERT INTO spool_piece VALUES ($1, $2, $3)", [body, place, piece])
    }
    const values = [id, head, body, count, rest.subarray(count * PIECE_OCTETS)]
    await pool.query("INSERT INTO spool_message (id, head, body, pieces, tail) VALUES ($1, $2, $3, $4, $5)", values)
  }

  async function everything(): Promise<Buffer[]> {
    const { rows } = await pool.query(
      `SELECT convert_to(m::text, 'UTF8') AS row, head AS octets FROM spool_message m
       UNION ALL SELECT convert_to(id, 'UTF8'), tail FROM spool_message
       UNION ALL SELECT convert_to(b::text, 'UTF8'), head FROM spool_body b
       UNION ALL SELECT '', octets FROM spool_piece`,
    )
    return rows.flatMap((row) => [row.row, row.octets])
  }

  describe("as a spool", () => describeSpool(makePlace, 4_000_000))

  describe("as several machines see it", () => {
    let at: Spooling
    let spool: Spool
    beforeEach(async () => {
      at = await startSpooling(await makePlace(), new Date())
      spool = at.spool
    })
    afterEach(async () => {
      await spool[Symbol.asyncDispose]()
      await at.place.close()
    })

    /** Content that stops after its first piece until the test opens the gate. */
    function gated(octets: number) {
      const { promise: gate, resolve: open } = Promise.withResolvers<void>()
      const { promise: waiting, resolve: waits } = Promise.withResolvers<void>()
      async function* content(): AsyncIterable<Uint8Array> {
        yield randomOctets(octets)
        waits()
        await gate
        yield randomOctets(octets)
      }
      return { content: content(), waiting, open }
    }

    test("a slow client holds no connection, and its message is not there before it is whole", async () => {
      const { content, waiting, open } = gated(2 * PIECE_OCTETS)
      const written = spool.write(newEntry(), content)
      await waiting
      const { rows } = await pool.query(
        `SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'`,
      )
      expect(rows).toEqual([])
      expect((await pool.query("SELECT FROM spool_piece")).rowCount).toBeGreaterThan(0)
      expect(await idsIn(spool)).toEqual([])
      open()
      const id = await written
      expect(await idsIn(spool)).toEqual([id])
      expect(await contentOf(spool, id)).toHaveLength(4 * PIECE_OCTETS)
      await spool.remove(id)
      for (const table of ["spool_message", "spool_body", "spool_piece"])
        expect((await pool.query(`SELECT FROM ${table}`)).rowCount).toBe(0)
    })

    test("of two attempts that make the same message at once, one stays, whole", async () => {
      const contents = ["first", "second"].map((text) => text.repeat(100_000))
      await Promise.all(contents.map((text) => spool.write(newEntry(), pieces(text), "reportabc")))
      expect(contents).toContain((await contentOf(spool, "reportabc")).toString())
      expect((await pool.query("SELECT FROM spool_body")).rowCount).toBe(1)
    })

    test("leftovers of dead writers are removed; those of living ones, and new ones of other hosts, stay", async () => {
      const own = thisProcess()
      const rows: [writer: string, age: string, stays: boolean][] = [
        [`${hostname()}/99999999/1`, "0", false],
        [`${hostname()}/${process.pid}/1`, "0", false],
        [own, "48 hours", true],
        ["elsewhere/1/1", "23 hours", true],
        ["elsewhere/2/2", "25 hours", false],
      ]
      for (const [writer, age] of rows)
        await pool.query(
          `INSERT INTO spool_body (id, head, writer, begun_at) VALUES (gen_random_uuid(), '', $1, now() - $2::interval)`,
          [writer, age],
        )
      const id = await spool.write(newEntry(), pieces(randomOctets(2 * PIECE_OCTETS)))
      await pool.query("UPDATE spool_body SET writer = 'elsewhere/3/3', begun_at = '2000-01-01' WHERE head <> ''")
      expect(await spool.removeLeftovers()).toBe(3)
      const left = await pool.query("SELECT writer FROM spool_body WHERE head = '' ORDER BY writer")
      expect(left.rows.map(({ writer }) => writer)).toEqual(
        rows.flatMap(([writer, , stays]) => (stays ? [writer] : [])).toSorted(),
      )
      expect(await contentOf(spool, id)).toHaveLength(2 * PIECE_OCTETS)
    })

    test("a writer whose pieces were taken for leftovers, or lost, is refused", async () => {
      for (const loss of ["DELETE FROM spool_body", "DELETE FROM spool_piece"]) {
        const { content, waiting, open } = gated(2 * PIECE_OCTETS)
        const written = spool.write(newEntry(), content)
        await waiting
        await pool.query(loss)
        open()
        await expect(written).rejects.toThrow(code("SPOOL_FULL"))
      }
      for (const table of ["spool_message", "spool_body", "spool_piece"])
        expect((await pool.query(`SELECT FROM ${table}`)).rowCount).toBe(0)
    })

    test("a key is destroyed only when nothing is sealed to it, and then nothing more is", async () => {
      for (let round = 0; round < 5; round++) {
        const [current = ""] = await at.place.halves.ids()
        await using other = await at.place.open(at.with())
        const writing = Array.from({ length: 8 }, (_, index) =>
          (index % 2 === 0 ? spool : other).write(newEntry(), pieces("x")),
        )
        const [outcomes, destroyed] = await Promise.all([Promise.allSettled(writing), at.keys.destroy([current])])
        const ids = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []))
        for (const id of ids) expect((await contentOf(spool, id)).toString()).toBe("x")
        expect(destroyed).toEqual(ids.length > 0 ? [] : [current])
        for (const id of ids) await spool.remove(id)
        expect(await at.keys.destroy([current])).toEqual([current])
        await expect(spool.write(newEntry(), pieces("x"))).rejects.toThrow()
        await at.keys.rotate(at.clock)
        expect((await contentOf(spool, await spool.write(newEntry(), pieces("x")))).toString()).toBe("x")
        for (const id of await idsIn(spool)) await spool.remove(id)
      }
    })

    test("machines that start at once agree on one key", async () => {
      await at.keys.destroy(await at.place.halves.ids())
      const secrets = join(at.place.folder, "secrets", "spool")
      const pools = Array.from({ length: 6 }, () => openPool(options, 2))
      await Promise.all(pools.map((one) => new SpoolKeys(new TableHalves(one), secrets).rotate(at.clock)))
      await Promise.all(pools.map((one) => one.end()))
      expect(await at.place.halves.ids()).toHaveLength(1)
    })

    test("a database that is read only, full or away refuses, and the next message is taken", async () => {
      await pool.query("ALTER ROLE postern SET default_transaction_read_only = on")
      await using readOnly = await at.place.open(at.with())
      await expect(readOnly.write(newEntry(), pieces("x"))).rejects.toThrow(code("SPOOL_FULL"))
      await pool.query("ALTER ROLE postern RESET default_transaction_read_only")
      await using away = new PostgresSpool({
        pool: openPool({ ...options, host: "127.0.0.1", port: 1 }, 4),
        ...at.with(),
      })
      await expect(away.write(newEntry(), pieces("x"))).rejects.toThrow(code("SPOOL_FULL"))
      expect((await contentOf(spool, await spool.write(newEntry(), pieces("x")))).toString()).toBe("x")
    })

    test("the server's log shows nothing in clear, were it to write down each statement with its values", async () => {
      await server.query("postgres", "ALTER ROLE postern SET log_statement = 'all'")
      await server.query("postgres", "ALTER ROLE postern SET log_parameter_max_length_on_error = -1")
      await using logged = await at.place.open(at.with())
      const id = await logged.write(newEntry(), pieces(CANARY.repeat(10_000)))
      await contentOf(logged, id)
      await logged.remove(id)
      await server.query("postgres", "ALTER ROLE postern RESET ALL")
      const [row] = await server.query("postgres", "SELECT pg_read_file(pg_current_logfile()) AS log")
      const log = String(row?.["log"])
      expect(log).toContain("INSERT INTO spool_message")
      for (const word of [CANARY, Buffer.from(CANARY).toString("hex"), "example.test"]) expect(log).not.toContain(word)
    })

    test("a commit without an answer is not accepted, and the message may be there", async () => {
      await using relay = await deafRelay(`${options.host}/.s.PGSQL.${options.port}`)
      const deaf = new PostgresSpool({
        pool: openPool({ ...options, host: "127.0.0.1", port: relay.port }, 4),
        ...at.with(),
      })
      await deaf.write(newEntry(), pieces("heard"))
      relay.deafen()
      await expect(deaf.write(newEntry(), pieces("not heard"))).rejects.toThrow(code("SPOOL_FULL"))
      await expect.poll(() => idsIn(spool), { interval: 5 }).toHaveLength(2)
      await deaf[Symbol.asyncDispose]()
    })

    /** A process that accepts mail and is killed after so many messages. */
    async function killedAfter(messages: number, kill: (pid: number) => void): Promise<Map<string, number>> {
      const child = spawn(process.execPath, [WRITER, JSON.stringify(store)], {
        stdio: ["ignore", "pipe", "ignore"],
      })
      const exited = once(child, "exit")
      const promised = new Map<string, number>()
      for await (const line of createInterface({ input: child.stdout })) {
        const [id = "", sizeOctets] = line.split(" ")
        promised.set(id, Number(sizeOctets))
        if (promised.size === messages) kill(child.pid ?? 0)
      }
      await exited
      expect(promised.size).toBeGreaterThanOrEqual(messages)
      return promised
    }

    async function expectAll(promised: ReadonlyMap<string, number>): Promise<void> {
      for (const [id, sizeOctets] of promised) expect(await contentOf(spool, id)).toHaveLength(sizeOctets)
    }

    test("what a killed process promised is there for others; what it had not finished is removed", async () => {
      const promised = await killedAfter(40, (pid) => process.kill(pid, "SIGKILL"))
      await expectAll(promised)
      await spool.removeLeftovers()
      const unfinished = "SELECT FROM spool_body b WHERE NOT EXISTS (SELECT FROM spool_message WHERE body = b.id)"
      expect((await pool.query(unfinished)).rowCount).toBe(0)
      for (const id of await idsIn(spool)) expect((await contentOf(spool, id)).length).toBeGreaterThan(0)
    })

    test("what was promised before the server was killed is there when it is back", async () => {
      const promised = await killedAfter(60, () => void server.kill())
      await server.start()
      await expectAll(promised)
      expect((await contentOf(spool, await spool.write(newEntry(), pieces("x")))).toString()).toBe("x")
    })
  })
})

/** Passes on what either side says until it is told to keep the server's answers to itself: then it ends the connection behind a request. */
async function deafRelay(socket: string) {
  let deaf = false
  const relay = createServer((client) => {
    const upstream = connect(socket)
    client.on("data", (octets) => {
      upstream.write(octets)
      if (deaf) setImmediate(() => client.destroy())
    })
    upstream.on("data", (octets) => {
      if (!deaf) client.write(octets)
    })
    client.on("error", () => undefined)
    upstream.on("error", () => undefined)
    client.on("close", () => upstream.end())
    upstream.on("close", () => client.destroy())
  }).listen(0, "127.0.0.1")
  await once(relay, "listening")
  const address = relay.address()
  return {
    port: address !== null && typeof address === "object" ? address.port : 0,
    deafen: () => {
      deaf = true
    },
    [Symbol.asyncDispose]: async () => void relay.close(),
  }
}
