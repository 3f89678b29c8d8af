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

  const forwarded = (sender: string, domain = "example.test", on = paths()) =>
    formatAddress(on.forwarded(parseAddress(sender), domain, now()))
  const original = (address: string, on = paths()) => {
    const found = on.original(parseAddress(address), now())
    return found && formatAddress(found)
  }
  const LONG = `${"bounces+0123456789-".repeat(3)}x@mail.else.test`

  describe("a reverse-path of mail that is forwarded", () => {
    test.each([
      ["of a domain of ours stays", "a@other.test", /^a@other\.test$/],
      ["of another is in the domain of the alias", "Carol@else.test", /^SRS0=.*=else\.test=Carol@example\.test$/],
      ["that is too long is kept", LONG, /^SRS0=[A-Z2-7]{8}=[A-Z2-7]{2}==[a-z2-7]{24}@example\.test$/],
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
      const first = paths().forwarded(parseAddress("carol@else.test"), "example.test", now())
      const there = `SRS1=xyz=example.test==${first.localPart.slice(5)}@third.test`
      const again = forwarded(there, "other.test")
      expect(again).toMatch(/^SRS1=[A-Z2-7]{8}=example\.test==/)
      expect(original(again)).toBe("carol@else.test")
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
