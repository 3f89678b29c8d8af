import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { KeptDepartures } from "../../../src/store/departures.ts"
import { KeptExpiryWarnings } from "../../../src/store/expiry-warnings.ts"
import { KeptProfiles, MAX_NAMES } from "../../../src/store/kept-profiles.ts"
import { KeptKeyAnswers, MAX_ANSWER_LENGTH } from "../../../src/store/key-answers.ts"
import { KeptKeyMemory } from "../../../src/store/key-memory.ts"
import { KeptVerdicts, MailKeys } from "../../../src/store/mail-keys.ts"
import { type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import type { StateDriver, TestState } from "./driver.ts"

/** What is kept of other people's keys, whatever keeps it. */
export function keysConformance(driver: StateDriver): void {
  const AT = new Date("2026-01-02T03:04:05Z")
  const DAY_MS = 86_400e3
  const later = (days: number) => new Date(AT.getTime() + days * DAY_MS)
  let folder: TemporaryFolder
  let opened: TestState

  beforeEach(async () => {
    folder = await temporaryFolder()
    opened = await driver.empty(folder.file("data"))
  })

  afterEach(async () => {
    await opened[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  describe("profiles that were met", () => {
    test("the newest one's time of each root is known, of the last few roots of an address, until they are forgotten", () => {
      const kept = new KeptProfiles(opened.state)
      expect(kept.newest("b@else.test", "A")).toBeNull()
      kept.saw("b@else.test", "A", later(2), later(3))
      kept.saw("b@else.test", "A", later(1), later(4))
      kept.saw("b@else.test", "B", later(1), later(4))
      kept.saw("c@else.test", "A", later(1), later(4))
      expect(["A", "B"].map((udf) => kept.newest("b@else.test", udf))).toEqual([later(2), later(1)])
      for (let root = 0; root < MAX_NAMES; root += 1) kept.saw("b@else.test", `C${root}`, later(1), later(5 + root))
      expect(["A", "B", "C0"].map((udf) => kept.newest("b@else.test", udf))).toEqual([null, null, later(1)])
      expect([kept.forget("b@else.test"), kept.forget("b@else.test")]).toEqual([MAX_NAMES, 0])
      expect([kept.newest("b@else.test", "C0"), kept.newest("c@else.test", "A")]).toEqual([null, later(1)])
    })
  })

  describe("answers", () => {
    test("the last one of each source for each address is read back, for as long as it is to be kept", () => {
      const kept = new KeptKeyAnswers(opened.state, 30 * DAY_MS)
      expect(kept.find("b@else.test", "wkd")).toBeNull()
      kept.keep("b@else.test", "wkd", { text: "1", askedAt: AT })
      kept.keep("b@else.test", "wkd", { text: `{"long":"${"x".repeat(100_000)}"}`, askedAt: later(1) })
      kept.keep("b@else.test", "profile", { text: "3", askedAt: AT })
      kept.keep("ü@else.test", "wkd", { text: "4", askedAt: later(20) })
      expect(kept.find("b@else.test", "wkd")).toMatchObject({ askedAt: later(1) })
      expect(kept.find("b@else.test", "wkd")?.text).toHaveLength(100_011)
      expect(kept.find("b@else.test", "profile")?.text).toBe("3")
      kept.keep("c@else.test", "wkd", { text: "5", askedAt: later(40) })
      expect(kept.find("b@else.test", "wkd")).toBeNull()
      expect(kept.find("ü@else.test", "wkd")?.text).toBe("4")
    })

    test("strangers choose how long answers are: a very long one is not kept, nor the one before it", () => {
      const kept = new KeptKeyAnswers(opened.state, DAY_MS)
      kept.keep("b@else.test", "wkd", { text: "1", askedAt: AT })
      kept.keep("b@else.test", "wkd", { text: "x".repeat(MAX_ANSWER_LENGTH + 1), askedAt: AT })
      expect(kept.find("b@else.test", "wkd")).toBeNull()
      kept.keep("b@else.test", "wkd", { text: "x".repeat(MAX_ANSWER_LENGTH), askedAt: AT })
      expect(kept.find("b@else.test", "wkd")?.text).toHaveLength(MAX_ANSWER_LENGTH)
    })
  })

  describe("warnings", () => {
    test("the last one of each key is told, until the key has long ended", () => {
      const warnings = new KeptExpiryWarnings(opened.state)
      expect(warnings.toldDays("one")).toBeNull()
      warnings.tell("one", 30, later(30), AT)
      warnings.tell("one", 14, later(30), later(16))
      warnings.tell("two", 30, later(60), later(30))
      expect([warnings.toldDays("one"), warnings.toldDays("two")]).toEqual([14, 30])
      warnings.tell("two", 3, later(60), later(61))
      expect([warnings.toldDays("one"), warnings.toldDays("two")]).toEqual([null, 3])
    })
  })

  describe("memory", () => {
    const key = (lineage: string, trust = "domain", expiresAt: Date | null = null) => ({
      ...{ format: "openpgp", lineage, source: "wkd", trust, fingerprint: `f-${lineage}`, expiresAt },
    })

    test("keys of an address are told, last seen first, with the first and the last time", () => {
      const memory = new KeptKeyMemory(opened.state)
      memory.saw("b@else.test", [key("one")], AT)
      memory.saw("b@else.test", [key("two")], later(1))
      memory.saw("b@else.test", [key("one")], later(2))
      expect(memory.of("b@else.test")).toEqual([
        { ...key("one"), firstSeen: AT, lastSeen: later(2) },
        { ...key("two"), firstSeen: later(1), lastSeen: later(1) },
      ])
      expect(memory.of("c@else.test")).toEqual([])
    })

    test("what is known is written once a day, a change of its trust at once", () => {
      const memory = new KeptKeyMemory(opened.state)
      memory.saw("b@else.test", [key("one")], AT)
      memory.saw("b@else.test", [key("one")], later(0.9))
      expect(memory.of("b@else.test")[0]?.lastSeen).toEqual(AT)
      memory.saw("b@else.test", [key("one", "dnssec")], later(0.9))
      expect(memory.of("b@else.test")[0]).toMatchObject({ trust: "dnssec", lastSeen: later(0.9) })
    })

    test("it is known how far those were believed who gave keys of a domain", () => {
      const memory = new KeptKeyMemory(opened.state)
      memory.saw("b@else.test", [key("one"), key("two", "dnssec")], AT)
      memory.saw("c@other.test", [key("three", "keyserver")], AT)
      expect([memory.trustsOf("else.test"), memory.trustsOf("st")]).toEqual([["dnssec", "domain"], []])
    })

    test("a new end of the same key is written at once", () => {
      const memory = new KeptKeyMemory(opened.state)
      memory.saw("b@else.test", [key("one", "domain", later(5))], AT)
      memory.saw("b@else.test", [key("one", "domain", later(365))], later(0.1))
      expect(memory.of("b@else.test")).toMatchObject([{ expiresAt: later(365) }])
    })

    test("keys near their end are those that were met lately and that no other took the place of", () => {
      const memory = new KeptKeyMemory(opened.state)
      const ending = () => memory.endingLately(later(40), 30).map(({ address, fingerprint }) => [address, fingerprint])
      memory.saw("never@else.test", [key("a")], later(40))
      memory.saw("over@else.test", [key("b", "domain", later(39))], later(38))
      memory.saw("far@else.test", [key("c", "domain", later(71))], later(40))
      memory.saw("long-ago@else.test", [key("d", "domain", later(50))], later(9))
      memory.saw("renewed@else.test", [key("e", "domain", later(50))], later(20))
      memory.saw("renewed@else.test", [key("f", "domain", later(400))], later(23))
      memory.saw("two@else.test", [key("g", "domain", later(60)), key("h", "domain", later(400))], later(30))
      memory.saw("soon@else.test", [key("i", "domain", later(50))], later(30))
      expect(ending()).toEqual([
        ["soon@else.test", "f-i"],
        ["two@else.test", "f-g"],
      ])
    })

    test("an administrator may forget an address", () => {
      const memory = new KeptKeyMemory(opened.state)
      memory.saw("b@else.test", [key("one"), key("two")], AT)
      expect([memory.forget("b@else.test"), memory.forget("b@else.test"), memory.of("b@else.test")]).toEqual([2, 0, []])
    })
  })

  describe("keys of mail", () => {
    const peer = (certificate: number, saidAt: Date, isMutual = true) => ({
      certificate: Uint8Array.of(certificate, 0, 255),
      isMutual,
      saidAt,
      seenAt: saidAt,
    })
    const harvested = (digest: string, sentAt: Date, format = "smime") => ({
      format,
      digest,
      certificate: Uint8Array.of(1, 0, 2),
      chain: Uint8Array.of(3),
      capabilities: new Uint8Array(0),
      sentAt,
    })

    test("what Autocrypt fields said is read back, and changed by what is known", () => {
      const kept = new MailKeys(opened.state)
      expect(kept.peer("b@else.test")).toBeNull()
      kept.changePeer("b@else.test", (known) => (known === null ? peer(1, AT) : null))
      expect(kept.peer("b@else.test")).toEqual(peer(1, AT))
      kept.changePeer("b@else.test", (known) => (known === null ? null : peer(2, later(1), false)))
      expect(kept.peer("b@else.test")).toEqual(peer(2, later(1), false))
      kept.changePeer("b@else.test", () => null)
      expect(kept.peer("b@else.test")).toEqual(peer(2, later(1), false))
      expect(kept.peer("c@else.test")).toBeNull()
    })

    test("of each format the three newest keys stay, newest first", () => {
      const kept = new MailKeys(opened.state)
      for (const [digest, days] of [
        ["b", 2],
        ["a", 1],
        ["d", 4],
        ["c", 3],
      ] as const)
        kept.harvest("b@else.test", harvested(digest, later(days)))
      kept.harvest("b@else.test", harvested("o", AT, "openpgp"))
      expect(kept.harvested("b@else.test")).toEqual([
        harvested("d", later(4)),
        harvested("c", later(3)),
        harvested("b", later(2)),
        harvested("o", AT, "openpgp"),
      ])
      kept.harvest("b@else.test", harvested("a", later(1)))
      expect(kept.harvested("b@else.test").map(({ digest }) => digest)).toEqual(["d", "c", "b", "o"])
    })

    test("a key that is known is written once a day", () => {
      const kept = new MailKeys(opened.state)
      kept.harvest("b@else.test", harvested("a", AT))
      kept.harvest("b@else.test", harvested("a", later(0.9)))
      expect(kept.harvested("b@else.test")).toEqual([harvested("a", AT)])
      kept.harvest("b@else.test", { ...harvested("a", later(1)), capabilities: Uint8Array.of(9) })
      expect(kept.harvested("b@else.test")).toEqual([{ ...harvested("a", later(1)), capabilities: Uint8Array.of(9) }])
    })

    test("an administrator may forget an address", () => {
      const kept = new MailKeys(opened.state)
      kept.changePeer("b@else.test", () => peer(1, AT))
      kept.harvest("b@else.test", harvested("a", AT))
      expect([kept.forget("b@else.test"), kept.forget("b@else.test")]).toEqual([2, 0])
      expect([kept.peer("b@else.test"), kept.harvested("b@else.test")]).toEqual([null, []])
    })
  })

  describe("decisions about leaving mail", () => {
    test("the last one of each message and recipient is read back, for ninety days", () => {
      const kept = new KeptDepartures(opened.state)
      const departure = (spoolId: string, days: number, decision = "send") => ({
        ...{ spoolId, recipient: "b@else.test", sender: "a@one.test", at: later(days), decision, facts: "{}" },
      })
      const since = () => kept.since(later(-1), null, 10).map(({ spoolId, decision }) => [spoolId, decision])
      kept.add([departure("id1", 0, "wait"), departure("id2", 2)], later(2))
      kept.add([departure("id1", 1)], later(2))
      expect(since()).toEqual([
        ["id1", "send"],
        ["id2", "send"],
      ])
      kept.add([departure("id3", 91.5)], later(91.5))
      expect(since()).toEqual([
        ["id2", "send"],
        ["id3", "send"],
      ])
    })
  })

  describe("verdicts on signatures", () => {
    test("the first one holds, for two months", () => {
      const kept = new KeptVerdicts(opened.state)
      expect(kept.find("id1")).toBeNull()
      expect(kept.keep("id1", "first", AT)).toBe("first")
      expect(kept.keep("id1", "second", later(1))).toBe("first")
      expect(kept.find("id1")).toBe("first")
      kept.keep("id2", "other", later(61))
      expect([kept.find("id1"), kept.find("id2")]).toEqual([null, "other"])
    })
  })
}
