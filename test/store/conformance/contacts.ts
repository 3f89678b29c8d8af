import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { ContactPosts, KEPT_MS } from "../../../src/store/contact-posts.ts"
import { Contacts, REFUSED_MS, WAITING_MS } from "../../../src/store/contacts.ts"
import type { State } from "../../../src/store/database.ts"
import { People } from "../../../src/store/people.ts"
import { type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import { account } from "../../mesh/people.ts"
import type { StateDriver, TestState } from "./driver.ts"

/** What contacts of our people promise, whatever keeps them. */
export function contactsConformance(driver: StateDriver): void {
  const AT = new Date("2026-11-26T10:00:00Z")
  const later = (ms: number) => new Date(AT.getTime() + ms)
  const ALICE = "alice@example.test"
  const BOB = "bob@example.test"
  const CAROL = "carol@one.example"
  const { udf, envelope } = account(CAROL, 1).profile
  const other = account(CAROL, 2).profile

  let folder: TemporaryFolder
  let opened: TestState
  let database: State
  let people: People
  let contacts: Contacts
  let posts: ContactPosts

  beforeEach(async () => {
    folder = await temporaryFolder()
    opened = await driver.empty(folder.file("data"))
    database = opened.state
    people = new People(database, { domains: ["example.test"], postmaster: null, recryptionKeys: null })
    contacts = new Contacts(database)
    posts = new ContactPosts(database)
    const some = Uint8Array.of(4)
    const rest = { name: "", formats: ["smime"], root: some, intermediate: some, keys: [], profile: "{}" } as const
    for (const address of [ALICE, BOB]) people.addAccount({ address, ...rest }, AT)
  })

  afterEach(async () => {
    await opened[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  const asking = (changes: Partial<Parameters<Contacts["ask"]>[0]> = {}) => ({
    account: ALICE,
    address: CAROL,
    udf,
    profile: envelope,
    message: Uint8Array.of(1, 2),
    service: "MSERVICE",
    introducer: "",
    ...changes,
  })
  const facts = (of: string, address = CAROL) => contacts.factsOf(ALICE, of, address)
  const decided = (state: "accepted" | "refused") => contacts.decide(ALICE, CAROL, { state, decidedBy: ALICE }, AT)

  describe("contacts", () => {
    test("who asks is known by address and by UDF, and comes in only when he is accepted", () => {
      expect(contacts.ask(asking(), AT)).toBe(true)
      expect(contacts.at(ALICE, CAROL)).toMatchObject({ ...asking(), state: "asking", toldAt: null, decidedBy: "" })
      expect(contacts.byUdf(ALICE, udf.slice(0, 32))?.address).toBe(CAROL)
      expect(facts(udf)).toEqual({ blocked: false, accepted: false })
      expect(decided("accepted")).toBe(true)
      expect(facts(udf)).toEqual({ blocked: false, accepted: true })
      expect(contacts.factsOf(BOB, udf, CAROL)).toEqual({ blocked: false, accepted: false })
    })

    test("a contact's address under another profile is nobody's, and takes nobody's place", () => {
      contacts.ask(asking(), AT)
      decided("accepted")
      expect(contacts.ask(asking({ udf: other.udf, profile: other.envelope }), AT)).toBe(false)
      expect(facts(other.udf)).toEqual({ blocked: false, accepted: false })
      expect(facts(udf, "ceo@one.example")).toEqual({ blocked: false, accepted: false })
      expect(facts("Carol")).toEqual({ blocked: false, accepted: false })
      expect(contacts.at(ALICE, CAROL)?.udf).toBe(udf)
    })

    test("a profile is of one address", () => {
      contacts.ask(asking(), AT)
      expect(contacts.ask(asking({ address: "ceo@one.example" }), AT)).toBe(false)
    })

    test("who asks again takes the place of his request only where that was refused", () => {
      contacts.ask(asking(), AT)
      expect(contacts.ask(asking(), AT)).toBe(false)
      decided("refused")
      expect(contacts.ask(asking({ udf: other.udf, profile: other.envelope }), later(1))).toBe(false)
      expect(contacts.ask(asking({ message: Uint8Array.of(3) }), later(1))).toBe(true)
      expect(contacts.at(ALICE, CAROL)).toMatchObject({ state: "asking", message: Uint8Array.of(3), askedAt: later(1) })
    })

    test("a block is of the profile under any address, and of the address under any profile", () => {
      contacts.ask(asking(), AT)
      contacts.block(ALICE, CAROL, ALICE, AT)
      expect(facts(udf, "ceo@one.example").blocked).toBe(true)
      expect(facts(other.udf).blocked).toBe(true)
      expect(facts(other.udf, "ceo@one.example").blocked).toBe(false)
      expect(contacts.ask(asking(), AT)).toBe(false)
    })

    test("an address is blocked before anybody has asked from it, and so is a second", () => {
      for (const address of [CAROL, "dan@one.example"]) contacts.block(ALICE, address, BOB, AT)
      expect(contacts.at(ALICE, CAROL)).toMatchObject({ state: "blocked", udf: "", decidedBy: BOB })
      expect(facts(udf, "dan@one.example").blocked).toBe(true)
    })

    test("whom the person has asked is there at once, under the name that he is called by here", () => {
      contacts.accept({ ...asking(), decidedBy: ALICE }, AT)
      contacts.decide(ALICE, CAROL, { state: "accepted", decidedBy: ALICE, label: "Carol" }, AT)
      contacts.accept({ ...asking(), decidedBy: ALICE }, AT)
      expect(contacts.at(ALICE, CAROL)).toMatchObject({ state: "accepted", label: "Carol" })
    })

    test("requests are told once, and one that was made since then again", () => {
      contacts.ask(asking(), AT)
      const [first] = contacts.untold(5)
      if (first === undefined) throw new Error("none")
      contacts.told(first, later(5))
      expect(contacts.untold(5)).toEqual([])
      decided("refused")
      contacts.ask(asking(), later(9))
      contacts.told(first, later(10))
      expect(contacts.untold(5)).toHaveLength(1)
    })

    const from = (changes = {}) => ({
      account: ALICE,
      address: "new@one.example",
      service: "MSERVICE",
      introducer: "",
      ...changes,
    })

    test("the load counts who waits here, what a service or domain brought within a day, and all within an hour", () => {
      contacts.ask(asking(), AT)
      contacts.ask(asking({ account: BOB }), AT)
      contacts.block(ALICE, "x@one.example", ALICE, AT)
      const mine = { waiting: 1, waitingOfSite: 1, isKnownSite: true, newSites: 0, waitingOfIntroducer: 0 }
      const all = { ...mine, ofDomain: 2, ofService: 2, ofOrigin: 2, lately: 2 }
      expect(contacts.load(from(), AT)).toEqual(all)
      expect(contacts.load(from({ service: "MOTHER" }), AT)).toEqual({ ...all, ofService: 0 })
      const other = { ...all, waitingOfSite: 0, isKnownSite: false, ofDomain: 0 }
      expect(contacts.load(from({ address: "new@two.example" }), AT)).toEqual(other)
      const stranger = from({ address: "new@two.example", service: "MOTHER" })
      expect(contacts.load(stranger, AT)).toEqual({ ...other, ofService: 0, ofOrigin: 0 })
      decided("refused")
      const none = { ...all, waiting: 0, waitingOfSite: 0, lately: 0 }
      expect(contacts.load(from(), later(3_600_001))).toEqual(none)
      expect(contacts.load(from(), later(86_400_001)).ofOrigin).toBe(0)
    })

    test("the load counts hosts with the domain above them, domains that are new to the person, and whom one contact introduces", () => {
      contacts.ask(asking({ address: "carol@a.one.example", introducer: BOB }), AT)
      const one = contacts.load(from({ address: "x@b.one.example", introducer: BOB }), AT)
      expect(one).toMatchObject({ waitingOfSite: 1, isKnownSite: true, newSites: 1, waitingOfIntroducer: 1 })
      expect(contacts.load(from({ introducer: CAROL }), AT).waitingOfIntroducer).toBe(0)
      expect(contacts.load(from({ account: BOB }), AT)).toMatchObject({ isKnownSite: false, newSites: 0 })
      expect(contacts.load(from(), later(86_400_001))).toMatchObject({ isKnownSite: true, newSites: 0 })
      contacts.decide(ALICE, "carol@a.one.example", { state: "refused", decidedBy: ALICE }, AT)
      expect(contacts.load(from(), AT)).toMatchObject({ waitingOfSite: 0, isKnownSite: true, newSites: 1 })
      contacts.decide(ALICE, "carol@a.one.example", { state: "accepted", decidedBy: ALICE }, AT)
      expect(contacts.load(from(), AT)).toMatchObject({ isKnownSite: false, newSites: 0 })
    })

    test("requests that nobody answers are forgotten in time, and so are refusals; contacts and blocks are not", () => {
      contacts.ask(asking(), AT)
      contacts.ask(asking({ account: BOB }), AT)
      contacts.decide(BOB, CAROL, { state: "refused", decidedBy: BOB }, AT)
      contacts.block(ALICE, "x@one.example", ALICE, AT)
      contacts.forgetOld(later(Math.min(WAITING_MS, REFUSED_MS)))
      expect([...contacts.of(ALICE), ...contacts.of(BOB)]).toHaveLength(3)
      contacts.forgetOld(later(Math.max(WAITING_MS, REFUSED_MS) + 1))
      expect([...contacts.of(ALICE), ...contacts.of(BOB)].map(({ state }) => state)).toEqual(["blocked"])
      contacts.remove(ALICE, "x@one.example")
      expect(contacts.remove(ALICE, "x@one.example")).toBe(false)
    })

    test("another person handles requests until that is taken back, or he is gone", () => {
      contacts.setDelegate(ALICE, BOB, AT)
      expect(contacts.delegate(ALICE)).toBe(BOB)
      contacts.setDelegate(ALICE, null, AT)
      expect(contacts.delegate(ALICE)).toBeNull()
      expect(() => contacts.setDelegate(ALICE, ALICE, AT)).toThrow(expect.objectContaining({ code: "ACCOUNT_UNKNOWN" }))
      contacts.setDelegate(ALICE, BOB, AT)
      people.removeAccount(BOB)
      expect(contacts.delegate(ALICE)).toBeNull()
    })

    test("an account that is removed takes its contacts with it", () => {
      contacts.ask(asking(), AT)
      posts.add(leaving(), AT)
      people.removeAccount(ALICE)
      expect([contacts.of(ALICE), posts.of(ALICE)]).toEqual([[], []])
    })
  })

  const leaving = (changes: Partial<Parameters<ContactPosts["add"]>[0]> = {}) => ({
    id: "NAAA",
    account: ALICE,
    address: CAROL,
    udf: "",
    kind: "request" as const,
    text: "Hello",
    introduction: new Uint8Array(0),
    pin: "APIN",
    responseId: "MRESPONSE",
    ...changes,
  })

  describe("contact messages that leave", () => {
    test("are due until they are settled, and the same octets each time", () => {
      posts.add(leaving(), AT)
      const [first] = posts.due(AT, 5)
      if (first === undefined) throw new Error("none")
      posts.compose(first.id, udf, Uint8Array.of(7))
      posts.postpone(first, "asleep", later(1000))
      expect(posts.due(later(999), 5)).toEqual([])
      const [second] = posts.due(later(1000), 5)
      expect(second).toMatchObject({ udf, message: Uint8Array.of(7), attempts: 1, reason: "asleep" })
      posts.settle(first, "sent", "")
      expect(posts.due(later(1e9), 5)).toEqual([])
      expect(posts.of(ALICE)).toMatchObject([{ state: "sent" }])
    })

    test("a request is found by the answer that it waits for, and by the address that it went to", () => {
      posts.add(leaving(), AT)
      expect(posts.awaited(ALICE, "MRESPONSE")?.id).toBe("NAAA")
      expect(posts.awaited(BOB, "MRESPONSE")).toBeNull()
      posts.compose("NAAA", udf, Uint8Array.of(7))
      expect(posts.to(ALICE, CAROL)).toMatchObject({ id: "NAAA", udf })
      expect(posts.to(BOB, CAROL)).toBeNull()
      expect(posts.remove(ALICE, CAROL)).toBe(true)
      expect(posts.awaited(ALICE, "MRESPONSE")).toBeNull()
    })

    test("an answer is waited for by nobody, and the later of two to one address takes the earlier's place", () => {
      posts.add(leaving(), AT)
      posts.add(leaving({ id: "NBBB", kind: "answer" }), AT)
      expect(posts.of(ALICE).map(({ id }) => id)).toEqual(["NBBB"])
      expect(posts.awaited(ALICE, "MRESPONSE")).toBeNull()
    })

    test("what was answered by nobody is forgotten in time, and what is due is not", () => {
      posts.add(leaving(), AT)
      posts.forgetOld(later(KEPT_MS + 1))
      const [first] = posts.of(ALICE)
      if (first === undefined) throw new Error("forgotten")
      posts.settle(first, "failed", "no")
      posts.forgetOld(later(KEPT_MS + 1))
      expect(posts.of(ALICE)).toEqual([])
    })
  })
}
