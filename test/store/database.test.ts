import { execFile } from "node:child_process"
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { numberIn, textIn } from "../../src/store/database.ts"
import { secret } from "../../src/store/secrets.ts"
import { openDatabase } from "../../src/store/sqlite.ts"

const run = promisify(execFile)
let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "postern-database-"))
})

afterEach(() => rmSync(folder, { recursive: true }))

const path = () => join(folder, "x.db")
const code = (wanted: string) => expect.objectContaining({ code: wanted })

/** Runs `source` in `count` processes at once. */
async function processes(count: number, source: string): Promise<string[]> {
  const starts = Array.from({ length: count }, () =>
    run(process.execPath, ["--input-type=module-typescript", "--eval", source]),
  )
  return (await Promise.all(starts)).map(({ stdout }) => stdout)
}
const module = (name: string) => JSON.stringify(join(process.cwd(), "src/store", name))

describe("a database", () => {
  test("migrates from any older version, in order", () => {
    openDatabase(path(), ["CREATE TABLE t (a TEXT) STRICT; INSERT INTO t VALUES ('kept')"]).close()
    const database = openDatabase(path(), ["never run again", "ALTER TABLE t ADD COLUMN b INTEGER NOT NULL DEFAULT 7"])
    expect(database.sql.get`SELECT * FROM t`).toEqual({ a: "kept", b: 7 })
    database.close()
  })

  test("of a newer version is refused", () => {
    openDatabase(path(), ["SELECT 1", "SELECT 1"]).close()
    expect(() => openDatabase(path(), ["SELECT 1"])).toThrow(code("STATE_VERSION"))
  })

  test("that is none is refused", () => {
    writeFileSync(path(), "something else, and long enough to be looked at".repeat(50))
    expect(() => openDatabase(path(), [])).toThrow(code("STATE_CORRUPT"))
  })

  test("a migration that fails leaves the version before it", () => {
    expect(() => openDatabase(path(), ["CREATE TABLE t (a TEXT)", "CREATE TABLE t (a TEXT)"])).toThrow("already exists")
    openDatabase(path(), ["CREATE TABLE t (a TEXT)"]).close()
  })

  test("waits for the disk at each commit, but for those that need not", () => {
    const database = openDatabase(path(), ["CREATE TABLE t (a TEXT)"])
    const level = () => numberIn(database.sql.get`PRAGMA synchronous`, "synchronous")
    const [NORMAL, FULL] = [1, 2]
    expect(database.transaction(level)).toBe(FULL)
    expect(database.transaction(level, "later")).toBe(NORMAL)
    // One within another reaches the disk with it.
    expect(database.transaction(() => database.transaction(level, "later"))).toBe(FULL)
    const failing = () =>
      database.transaction(() => {
        throw new Error("no")
      }, "later")
    expect(failing).toThrow("no")
    expect(level()).toBe(FULL)
    database.close()
  })

  test("and its WAL are for the owner alone", () => {
    const database = openDatabase(path(), ["CREATE TABLE t (a TEXT)"])
    for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o077, name).toBe(0)
    database.close()
  })

  test("a transaction that throws changes nothing; one within another joins it", () => {
    const database = openDatabase(path(), ["CREATE TABLE t (a TEXT) STRICT"])
    const insert = (a: string) => database.sql.run`INSERT INTO t VALUES (${a})`
    expect(() =>
      database.transaction(() => {
        database.transaction(() => insert("inner"))
        throw new Error("no")
      }),
    ).toThrow("no")
    database.transaction(() => insert("kept"))
    expect(database.sql.all`SELECT * FROM t`.map((row) => textIn(row, "a"))).toEqual(["kept"])
    expect(() => numberIn(database.sql.get`SELECT a FROM t`, "a")).toThrow(code("STATE_CORRUPT"))
    database.close()
  })

  test("is opened, migrated and written by several processes at once", async () => {
    const source = `
      import { openDatabase } from ${module("sqlite.ts")}
      const database = openDatabase(${JSON.stringify(path())}, ["CREATE TABLE t (n INTEGER NOT NULL) STRICT; INSERT INTO t VALUES (0)"])
      for (let n = 0; n < 100; n++) database.transaction(() => database.sql.run\`UPDATE t SET n = n + 1\`)`
    await processes(4, source)
    const database = openDatabase(path(), ["-"])
    expect(numberIn(database.sql.get`SELECT n FROM t`, "n")).toBe(400)
    database.close()
  })
})

describe("a secret", () => {
  test("is made once, for the owner alone, and kept", () => {
    const made = secret(join(folder, "secrets"), "marker")
    expect(made).toHaveLength(32)
    expect(secret(join(folder, "secrets"), "marker")).toEqual(made)
    expect(secret(join(folder, "secrets"), "other")).not.toEqual(made)
    expect(statSync(join(folder, "secrets")).mode & 0o777).toBe(0o700)
    expect(statSync(join(folder, "secrets", "marker")).mode & 0o777).toBe(0o600)
    expect(readdirSync(join(folder, "secrets")).toSorted()).toEqual(["marker", "other"])
    expect(() => secret(join(folder, "secrets"), "marker", 16)).toThrow(code("STATE_CORRUPT"))
  })

  test("is the same for processes that start at once", async () => {
    const source = `
      import { secret } from ${module("secrets.ts")}
      console.log(Buffer.from(secret(${JSON.stringify(folder)}, "marker")).toString("hex"))`
    expect(new Set(await processes(4, source)).size).toBe(1)
  })
})
