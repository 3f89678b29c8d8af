import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import type { State } from "../../../src/store/database.ts"
import { People } from "../../../src/store/people.ts"
import { PinnedCertificates } from "../../../src/store/pinned-certificates.ts"
import { Presence, presentProcesses, waitForAcks } from "../../../src/store/presence.ts"
import { openState } from "../../../src/store/state.ts"
import type { StateDriver, TestState } from "./driver.ts"

/** How processes hear of changes, whatever keeps the state. */
export function presenceConformance(driver: StateDriver): void {
  const now = () => new Date("2026-01-02T03:04:05Z")
  const OPTIONS = { roles: ["imap"], now, onError: () => undefined }
  let folder: string
  let opened: TestState
  let database: State
  let people: People

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "postern-presence-"))
    opened = await driver.empty(folder)
    database = opened.state
    people = new People(database, { domains: ["example.test"], postmaster: null, recryptionKeys: null })
  })

  afterEach(async () => {
    await opened[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true })
  })

  function change(): number {
    new PinnedCertificates(database).add("x@elsewhere.test", "smime", Uint8Array.of(1), now())
    return people.changeSequence()
  }

  const notConfirmed = expect.objectContaining({ code: "NOT_CONFIRMED" })

  describe("a change is confirmed", () => {
    test("at once when nobody must hear of it", async () => {
      await waitForAcks(database, change(), 0, now)
    })

    test("when every present process has reacted, also on other connections", async () => {
      const elsewhere = openState(opened.place)
      using one = new Presence(database, OPTIONS)
      using two = new Presence(elsewhere, { ...OPTIONS, roles: ["submission", "imap"] })
      const heard: string[] = []
      one.onChange(() => void heard.push("one"))
      two.onChange(async () => {
        await new Promise(setImmediate)
        heard.push("two")
      })
      await waitForAcks(database, change(), 1_000, now)
      expect(heard.toSorted()).toEqual(["one", "two"])
      two[Symbol.dispose]()
      elsewhere.close()
    })

    test("not while a listener fails or takes its time: NOT_CONFIRMED names the process", async () => {
      const failed = Promise.withResolvers<unknown>()
      using present = new Presence(database, { ...OPTIONS, onError: failed.resolve })
      let broken = true
      present.onChange(() => {
        if (broken) throw new Error("fault")
      })
      const sequence = change()
      expect(await failed.promise).toEqual(new Error("fault"))
      const wait = waitForAcks(database, sequence, 120, now)
      await expect(wait).rejects.toThrow(notConfirmed)
      await expect(wait).rejects.toThrow(new RegExp(`process ${process.pid} on .* \\(imap\\)`))
      broken = false
      await waitForAcks(database, sequence, 1_000, now)
    })

    test("without a listener that has ended, or a process that has", async () => {
      using present = new Presence(database, OPTIONS)
      let calls = 0
      const end = present.onChange(() => {
        calls += 1
      })
      end()
      await waitForAcks(database, change(), 1_000, now)
      expect(calls).toBe(0)
      present[Symbol.dispose]()
      expect(presentProcesses(database, now())).toEqual([])
    })

    test("without processes that were killed, or are silent on another host", async () => {
      const source = `
      import { openState } from ${JSON.stringify(join(process.cwd(), "src/store/state.ts"))}
      import { Presence } from ${JSON.stringify(join(process.cwd(), "src/store/presence.ts"))}
      const presence = new Presence(openState(${JSON.stringify(opened.place)}), { roles: ["imap"], now: () => new Date(${now().getTime()}), onError() {} })
      console.log("present")
      setInterval(() => presence, 1_000)`
      const child = spawn(process.execPath, ["--input-type=module-typescript", "--eval", source], {
        stdio: ["ignore", "pipe", "inherit"],
      })
      await once(child.stdout, "data")
      database.sql.run`INSERT INTO process VALUES ('elsewhere/1/1/', 'imap', 0, ${now().getTime()})`
      expect(presentProcesses(database, now())).toHaveLength(2)
      await waitForAcks(database, change(), 1_000, () => new Date(now().getTime() + 20_001))
      expect(presentProcesses(database, now())).toHaveLength(1)
      child.kill("SIGKILL")
      await once(child, "exit")
      expect(presentProcesses(database, now())).toEqual([])
    })
  })
}
