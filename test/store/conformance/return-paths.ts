import { existsSync, readdirSync, statSync } from "node:fs"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { addressKey, formatAddress, parseAddress } from "../../../src/message/address.ts"
import { numberIn } from "../../../src/store/database.ts"
import { makeReturnPathKey, ReturnPaths } from "../../../src/store/return-paths.ts"
import { type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import type { StateDriver, TestState } from "./driver.ts"

/** What reverse-paths of forwarded mail promise, whatever keeps those that are too long. */
export function returnPathsConformance(driver: StateDriver): void {
  const DAY_MS = 86_400_000
  let folder: TemporaryFolder
  let opened: TestState
  let days: number

  beforeEach(async () => {
    folder = await temporaryFolder()
    opened = await driver.empty(folder.file("data"))
    days = 0
  })

  afterEach(async () => {
    await opened[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  function paths(secrets = "secrets"): ReturnPaths {
    return new ReturnPaths(opened.state, { domains: ["example.test", "other.test"], secrets: folder.file(secrets) })
  }

  const now = () => new Date(Date.UTC(2026, 10, 27, 10) + days * DAY_MS)

  const forwarded = (sender: string, alias = "sales@example.test", on = paths()) =>
    formatAddress(on.forwarded(parseAddress(sender), parseAddress(alias), now()))
  const original = (address: string, on = paths()) => {
    const found = on.original(parseAddress(address), now())
    return found && formatAddress(found.sender)
  }
  const aliasOf = (address: string) => {
    const found = paths().original(parseAddress(address), now())
    return found === null ? "none" : found.alias && formatAddress(found.alias)
  }
  const LONG = `${"bounces+0123456789-".repeat(3)}x@mail.else.test`

  describe("a reverse-path of mail that is forwarded", () => {
    test.each([
      ["of a domain of ours stays", "a@other.test", /^a@other\.test$/],
      ["of another is in the domain of the alias", "Carol@else.test", /^SRS0=.*=else\.test=Carol@example\.test$/],
      ["that is too long is kept", LONG, /^SRS0=[A-Z2-7]{8}=[A-Z2-7]{8}==[a-z2-7]{24}@example\.test$/],
    ])("%s", (_, sender, form) => {
      const made = forwarded(sender)
      expect(made).toMatch(form)
      if (sender === "a@other.test") return
      expect([original(made), original(made.toLowerCase())?.toLowerCase()]).toEqual([sender, sender.toLowerCase()])
      days = 21
      expect(original(made)).toBe(sender)
      days = 22
      expect(original(made)).toBeNull()
    })

    test("is nobody's who has not our secret, which is made at first use and for us alone", () => {
      const made = [forwarded("carol@else.test"), forwarded(LONG)]
      makeReturnPathKey(folder.file("others"))
      const other = paths("others")
      expect(made.map((address) => original(address, other))).toEqual([null, null])
      expect(readdirSync(folder.file("secrets"))).toEqual(["srs"])
      expect(statSync(folder.file("secrets/srs/key")).mode & 0o777).toBe(0o600)
    })

    test("cannot be told by who lacks the secret where something is forwarded, and he makes none", () => {
      const made = forwarded("carol@else.test")
      const lacking = paths("elsewhere")
      expect(original(made, lacking)).toBeNull()
      opened.state.sql
        .run`INSERT INTO alias_target (alias, target, forward) VALUES ('a@example.test', 'b@else.test', 'clear')`
      expect(() => original(made, lacking)).toThrow(expect.objectContaining({ code: "RETURN_PATHS_KEYLESS" }))
      expect(original("nobody@example.test", lacking)).toBeNull()
      expect(existsSync(folder.file("elsewhere"))).toBe(false)
      makeReturnPathKey(folder.file("elsewhere"))
      expect(original(made, lacking)).toBeNull()
    })

    test("in a domain that is not ours is none of ours", () => {
      expect(original(forwarded("carol@else.test").replace("@example.test", "@else.test"))).toBeNull()
      expect(original(forwarded("carol@else.test").replace("@example.test", "@other.test"))).toBeNull()
      expect(original("carol@example.test")).toBeNull()
    })

    test("that came round by another forwarder leads to its sender", () => {
      const first = parseAddress(forwarded("carol@else.test"))
      const there = `SRS1=xyz=example.test==${first.localPart.slice(5)}@third.test`
      const again = forwarded(there, "second@other.test")
      expect(again).toMatch(/^SRS1=[A-Z2-7]{8}=example\.test==/)
      expect(original(again)).toBe("carol@else.test")
      expect(aliasOf(again)).toBe("sales@example.test")
    })

    test("of another forwarder's leads to him, and tells the domain alone", () => {
      const made = forwarded("SRS0=abcd=T7=first.test=carol@third.test")
      expect(made).toMatch(/^SRS1=/)
      expect([original(made), aliasOf(made)]).toEqual(["SRS0=abcd=T7=first.test=carol@third.test", null])
      expect(paths().original(parseAddress(made), now())).toMatchObject({ domain: "example.test", day: null })
    })

    test("tells the alias as its sender wrote it, the day and the domain", () => {
      for (const sender of ["carol@else.test", LONG])
        for (const alias of ["Sales@example.test", "sales+x@example.test", "info@other.test"]) {
          days = 0
          const made = forwarded(sender, alias)
          days = 21
          expect(aliasOf(made)).toBe(alias)
          expect(aliasOf(made.toLowerCase())).toBe(alias)
          const found = paths().original(parseAddress(made), now())
          expect(found).toMatchObject({ domain: alias.split("@")[1], day: new Date("2026-11-27T00:00:00Z") })
        }
    })

    test("whose alias nobody knows any more leads to its sender, and so does one of an alias whose name another has", () => {
      const made = forwarded("carol@else.test")
      const { sql } = opened.state
      sql.run`UPDATE return_alias SET alias = 'other@example.test'`
      const nameless = forwarded("carol@else.test")
      expect(nameless).toMatch(/^SRS0=[A-Z2-7]{8}=[A-Z2-7]{2}=else/)
      expect([original(nameless), aliasOf(nameless)]).toEqual(["carol@else.test", null])
      days = 2
      expect(aliasOf(forwarded("carol@else.test"))).toBeNull()
      sql.run`DELETE FROM return_alias`
      expect([original(made), aliasOf(made)]).toEqual(["carol@else.test", null])
    })

    test("has its alias kept for as long as a bounce may come, and not for ever", () => {
      const rows = () => numberIn(opened.state.sql.get`SELECT count(*) AS n FROM return_alias`, "n")
      const made = forwarded("carol@else.test")
      forwarded("dave@else.test")
      expect(rows()).toBe(1)
      days = 20
      forwarded("carol@else.test", "info@example.test")
      expect([aliasOf(made), rows()]).toEqual(["sales@example.test", 2])
      days = 40
      forwarded("carol@else.test", "third@example.test")
      expect(rows()).toBe(2)
    })

    test("whose sender, or alias, is still in use is known for as long as any other", () => {
      for (const sender of [LONG, "carol@else.test"]) {
        days = 0
        forwarded(sender)
        days = 29
        const made = forwarded(sender)
        days = 31
        forwarded(LONG.replace("x@", "y@"), "info@example.test")
        days = 50
        expect([original(made), aliasOf(made)]).toEqual([sender, "sales@example.test"])
      }
    })

    test("that is kept goes when nobody can use it any more", () => {
      const made = forwarded(LONG)
      const rows = () => numberIn(opened.state.sql.get`SELECT count(*) AS n FROM return_path`, "n")
      forwarded(LONG)
      expect(rows()).toBe(1)
      days = 5
      forwarded(LONG)
      days = 24
      forwarded(LONG.replace("x@", "y@"))
      expect(rows()).toBe(2)
      expect(original(made)).toBeNull()
      days = 60
      forwarded(LONG.replace("x@", "z@"))
      expect(rows()).toBe(1)
      expect(addressKey(parseAddress(made))).toBe(made.toLowerCase())
    })
  })
}
