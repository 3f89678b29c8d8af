import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { numberIn, octetsIn, type State, textIn } from "../../../src/store/database.ts"
import { type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import type { StateDriver, TestState } from "./driver.ts"

/** What every driver of the state promises those who write statements. */
export function databaseConformance(driver: StateDriver): void {
  let folder: TemporaryFolder
  let opened: TestState
  let state: State

  beforeEach(async () => {
    folder = await temporaryFolder()
    opened = await driver.empty(folder.file("data"))
    state = opened.state
  })

  afterEach(async () => {
    await opened[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  const insert = (name: string, at = 0) =>
    state.sql.run`INSERT INTO process (name, roles, acknowledged, seen_at) VALUES (${name}, 'x', ${at}, ${at})`
  const names = () => state.sql.all`SELECT name FROM process ORDER BY name`.map((row) => textIn(row, "name"))

  describe("a statement", () => {
    test("gives back what was bound, of every kind", () => {
      const octets = Uint8Array.from({ length: 256 }, (_, index) => index)
      state.sql.run`
        INSERT INTO account (address, name, formats, root, intermediate, profile, added_at)
        VALUES ('a', ${"Ä 'quoted' \\ $1"}, '', ${octets}, ${Buffer.from(octets).subarray(7, 9)}, '', ${Number.MAX_SAFE_INTEGER})`
      const row = state.sql.get`SELECT * FROM account`
      expect(textIn(row, "name")).toBe("Ä 'quoted' \\ $1")
      expect(octetsIn(row, "root")).toEqual(octets)
      expect(octetsIn(row, "intermediate")).toEqual(Uint8Array.of(7, 8))
      expect(numberIn(row, "added_at")).toBe(Number.MAX_SAFE_INTEGER)
      state.sql.run`
        INSERT INTO device (id, account, name, read_only, password, added_at) VALUES ('d', 'a', 'd', 0, ${null}, -1)`
      expect(state.sql.get`SELECT password, added_at, revoked_at FROM device`).toEqual({
        password: null,
        added_at: -1,
        revoked_at: null,
      })
    })

    test("without rows gives none, and counts what it changed", () => {
      expect(state.sql.get`SELECT * FROM process`).toBeUndefined()
      expect([insert("a").changes, insert("b").changes]).toEqual([1, 1])
      expect(state.sql.run`DELETE FROM process`.changes).toBe(2)
      expect(state.sql.run`DELETE FROM process`.changes).toBe(0)
    })

    test("that is refused leaves the connection as it was", () => {
      insert("a")
      expect(() => insert("a")).toThrow()
      expect(names()).toEqual(["a"])
    })

    test("sorts text by its octets", () => {
      for (const name of ["b", "a-", "B", "ä", "a"]) insert(name)
      expect(names()).toEqual(["B", "a", "a-", "b", "ä"])
    })
  })

  describe("a transaction", () => {
    test("that throws changes nothing; one within another joins it", () => {
      expect(() =>
        state.transaction(() => {
          state.transaction(() => insert("inner"))
          expect(names()).toEqual(["inner"])
          throw new Error("no")
        }),
      ).toThrow("no")
      expect(state.transaction(() => insert("kept").changes)).toBe(1)
      expect(names()).toEqual(["kept"])
    })

    test("in which a statement was refused changes nothing, and the next one does", () => {
      expect(() =>
        state.transaction(() => {
          insert("a")
          insert("a")
        }),
      ).toThrow()
      state.transaction(() => insert("b"))
      expect(names()).toEqual(["b"])
    })

    test("moves the change sequence for itself at once, and for others when it is committed", () => {
      const before = state.changeSequence()
      const move = () => state.sql.run`UPDATE change SET sequence = sequence + 1`
      state.transaction(() => {
        move()
        expect(state.changeSequence()).toBe(before + 1)
      })
      expect(state.changeSequence()).toBe(before + 1)
      expect(() =>
        state.transaction(() => {
          move()
          throw new Error("no")
        }),
      ).toThrow("no")
      expect(state.changeSequence()).toBe(before + 1)
    })
  })

  test("a state that is closed is closed, also twice", () => {
    state.close()
    state.close()
    expect(state.isOpen).toBe(false)
    expect(() => state.sql.get`SELECT 1`).toThrow()
  })
}
