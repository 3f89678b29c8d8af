import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest"
import { GroupCommit } from "../../src/queue/group-commit.ts"
import { type Database, numberIn } from "../../src/store/database.ts"
import { openDatabase } from "../../src/store/sqlite.ts"

let folder: string
let database: Database

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "postern-commit-"))
  database = openDatabase(join(folder, "x.db"), ["CREATE TABLE t (n INTEGER NOT NULL CHECK (n < 100)) STRICT"])
})

afterEach(() => {
  database.close()
  rmSync(folder, { recursive: true })
})

const count = () => numberIn(database.sql.get`SELECT count(*) AS n FROM t`, "n")

test("writes of one turn share a transaction, and nothing is said before it is committed", async () => {
  const commits = new GroupCommit(database)
  const elsewhere = openDatabase(join(folder, "x.db"), ["-"])
  const seen: number[] = []
  const writes = [1, 2, 3].map(async (n) => {
    await commits.run(() => {
      database.sql.run`INSERT INTO t VALUES (${n})`
      seen.push(numberIn(elsewhere.sql.get`SELECT count(*) AS n FROM t`, "n"))
    })
    expect(numberIn(elsewhere.sql.get`SELECT count(*) AS n FROM t`, "n")).toBe(3)
  })
  expect(count()).toBe(0)
  await Promise.all(writes)
  expect(seen).toEqual([0, 0, 0])
  elsewhere.close()
})

test("a bad write fails alone", async () => {
  const commits = new GroupCommit(database)
  const writes = [1, 100, 2].map((n) => commits.run(() => database.sql.run`INSERT INTO t VALUES (${n})`.changes))
  expect((await Promise.allSettled(writes)).map((write) => write.status)).toEqual([
    "fulfilled",
    "rejected",
    "fulfilled",
  ])
  expect(count()).toBe(2)
  await expect(commits.run(() => database.sql.run`INSERT INTO t VALUES (100)`)).rejects.toThrow("CHECK")
})

test("what comes soon behind a commit waits for others; who comes long behind it waits for nobody", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "setImmediate", "performance"] })
  onTestFinished(() => void vi.useRealTimers())
  const commits = new GroupCommit(database, { spacingMs: 5 })
  await vi.advanceTimersByTimeAsync(1_000)
  const write = (n: number) => void commits.run(() => database.sql.run`INSERT INTO t VALUES (${n})`)
  write(1)
  await vi.advanceTimersByTimeAsync(0)
  expect(count()).toBe(1)
  write(2)
  await vi.advanceTimersByTimeAsync(2)
  write(3)
  await vi.advanceTimersByTimeAsync(2)
  expect(count()).toBe(1)
  const transactions = vi.spyOn(database, "transaction")
  await vi.advanceTimersByTimeAsync(1)
  expect([count(), transactions.mock.calls.length]).toEqual([3, 1])
  await vi.advanceTimersByTimeAsync(5)
  write(4)
  await vi.advanceTimersByTimeAsync(0)
  expect(count()).toBe(4)
})
