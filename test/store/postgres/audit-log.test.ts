import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { openPostgresAuditLog } from "../../../src/store/postgres/audit-log.ts"
import type { PostgresStore } from "../../../src/store/postgres/connection.ts"
import { databaseOf, Postgres, postgresPossible } from "../../harness/postgres.ts"
import { type AuditDriver, auditConformance } from "../../queue/audit-conformance.ts"

describe.skipIf(!postgresPossible)("PostgreSQL", () => {
  let server: Postgres
  let store: PostgresStore
  beforeAll(async () => {
    server = await Postgres.start()
    store = await server.database()
  })
  afterAll(() => server[Symbol.asyncDispose]())

  async function empty(): Promise<AuditDriver> {
    const audit = await openPostgresAuditLog(store)
    await server.query(databaseOf(store), "TRUNCATE audit")
    return { audit, close: () => audit[Symbol.asyncDispose]() }
  }

  auditConformance("PostgreSQL", empty)

  test("of machines that settle the same pairs at once, in any order, one counts and somebody sees all of a message", async () => {
    const machines = await Promise.all([empty(), empty(), empty()])
    const recipients = Array.from({ length: 30 }, (_, index) => `r${index}@example.test`)
    const orders = [recipients, recipients.toReversed(), [...recipients.slice(15), ...recipients.slice(0, 15)]]
    const done = (spoolId: string) => (recipient: string) =>
      ({ spoolId, recipient, outcome: "done", status: null, at: new Date() }) as const
    const seen = await Promise.all(
      machines.map(async ({ audit }, index) => {
        const one = done("one")
        await Promise.all([
          audit.write(...(orders[index] ?? []).map(done("all"))),
          ...recipients.map((recipient) => audit.write(one(recipient))),
        ])
        return await Promise.all([audit.settled("all"), audit.settled("one")])
      }),
    )
    for (const [index, spoolId] of ["all", "one"].entries()) {
      expect(seen.some((settled) => settled[index]?.size === recipients.length)).toBe(true)
      expect(await machines[0]?.audit.of(spoolId)).toHaveLength(recipients.length)
    }
    for (const machine of machines) await machine.close()
  })

  test("what was written before the server was killed is there when it is back", async () => {
    const { audit, close } = await empty()
    const written: string[] = []
    const row = (spoolId: string) =>
      ({ spoolId, recipient: "a@example.test", outcome: "done", status: null, at: new Date() }) as const
    const writing = Array.from({ length: 8 }, async (_, writer) => {
      for (let number = 0; ; number++) {
        await audit.write(row(`m${writer}x${number}`))
        written.push(`m${writer}x${number}`)
        if (written.length === 100) void server.kill()
      }
    })
    const ended = await Promise.allSettled(writing)
    for (const outcome of ended)
      expect(outcome).toEqual({ status: "rejected", reason: expect.objectContaining({ code: "STATE_AWAY" }) })
    await server.start()
    for (const spoolId of written) expect([...(await audit.settled(spoolId))]).toEqual(["a@example.test"])
    await close()
  })
})
