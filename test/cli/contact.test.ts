import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { readIntroduction } from "../../src/mesh/contact/introduction.ts"
import { ContactBook } from "../../src/store/contact-book.ts"
import { MeshAccounts } from "../../src/store/mesh-accounts.ts"
import { openEmbeddedState } from "../../src/store/state.ts"
import { carol, hers, NOON, request } from "../mesh/contact-world.ts"
import { account } from "../mesh/people.ts"
import { makeInstance, mustPostern, postern, type TestInstance } from "./postern.ts"

const ALICE = "alice@example.test"
const BOB = "bob@example.test"
const CAROL = carol.profile.address
const { udf } = carol.profile

let instance: TestInstance
beforeAll(async () => {
  instance = await makeInstance()
  for (const address of [ALICE, BOB]) await mustPostern(["account", "add", address, ...instance.config])
})
afterAll(() => instance[Symbol.dispose]())

const here = (...args: string[]) => mustPostern(["contact", ...args, ...instance.config])
const fails = async (...args: string[]) => {
  const { code, stderr } = await postern(["contact", ...args, ...instance.config])
  return [code, stderr]
}
const listed = async () => JSON.parse(await here("list", ALICE, "--json"))

/** What a gateway that runs would have kept. */
function inState(act: (book: ContactBook) => void): void {
  const state = openEmbeddedState(instance.file("data"))
  act(new ContactBook(state))
  state.close()
}

const someone = (changes = {}) => ({
  account: ALICE,
  address: CAROL,
  udf,
  profile: carol.profile.envelope,
  message: request(),
  service: hers.profile.udf,
  introducer: "",
  ...changes,
})

describe("postern contact", () => {
  beforeEach(() =>
    inState((book) => {
      for (const { address } of book.contacts.of(ALICE)) book.contacts.remove(ALICE, address)
      for (const { address } of book.posts.of(ALICE)) book.posts.remove(ALICE, address)
      book.contacts.setDelegate(ALICE, null, NOON)
      book.contacts.ask(someone(), new Date())
    }),
  )

  test("list shows who asks, what he writes behind bars, and a letter that looks like another as what it is", async () => {
    inState(({ contacts }) => {
      const lookalike = account("cаrol@one.example", 9).profile
      contacts.ask(someone({ address: lookalike.address, udf: lookalike.udf }), new Date())
    })
    const text = await here("list", ALICE)
    expect(text).toContain(`asking\t${CAROL}\t${udf}\n  | Hello Dave, we met in Bern.\n`)
    expect(text).toContain("asking\tc\\u{430}rol@one.example\t")
    expect(await listed()).toMatchObject({ account: ALICE, handledBy: ALICE, contacts: [{ state: "asking" }, {}] })
  })

  test.each([
    ["accept", "accepted"],
    ["refuse", "refused"],
    ["block", "blocked"],
  ])("%s answers who is named by his profile", async (command, state) => {
    await here(command, ALICE, udf)
    expect(await listed()).toMatchObject({ contacts: [{ address: CAROL, state, decidedBy: ALICE }] })
  })

  test("accept gives a name, and remove forgets", async () => {
    await here("accept", ALICE, CAROL, "--name", "Carol from Bern")
    expect(await listed()).toMatchObject({ contacts: [{ name: "Carol from Bern" }] })
    await here("remove", ALICE, CAROL)
    expect((await listed()).contacts).toEqual([])
  })

  test("block takes an address that nothing is known of, and accept does not", async () => {
    await here("block", ALICE, "Mallory@one.example")
    expect(await fails("accept", ALICE, "mallory@one.example")).toEqual([1, expect.stringContaining("who he is")])
    expect(await fails("accept", ALICE, "nobody@one.example")).toEqual([1, expect.stringContaining("has not asked")])
    expect(await fails("accept", ALICE, "MAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAA")).toEqual([1, expect.anything()])
  })

  test("others decide only where it was delegated to them", async () => {
    const byBob = ["accept", ALICE, udf, "--by", BOB]
    expect(await fails(...byBob)).toEqual([1, expect.stringContaining("does not handle them")])
    await here("delegate", ALICE, BOB)
    expect(await listed()).toMatchObject({ handledBy: BOB })
    await here(...byBob)
    expect(await listed()).toMatchObject({ contacts: [{ state: "accepted", decidedBy: BOB }] })
    await here("delegate", ALICE)
    expect(await fails("block", ALICE, udf, "--by", BOB)).toEqual([1, expect.anything()])
  })

  test("request is listed until it is answered, is taken once, and has no links", async () => {
    const asks = ["request", ALICE, "dan@one.example", "--text", "Hello Dan"]
    await here(...asks)
    const asked = { address: "dan@one.example", state: "asked", text: "Hello Dan" }
    expect((await listed()).contacts).toContainEqual(expect.objectContaining(asked))
    expect(await fails(...asks)).toEqual([1, expect.stringContaining("asked already")])
    const links = ["request", ALICE, "eve@one.example", "--text", "see www.example.org"]
    expect(await fails(...links)).toEqual([1, expect.stringContaining("text: link")])
  })

  test("introduce writes of contacts, to contacts, what a request takes along", async () => {
    const out = instance.file("for-carol")
    const introduces = ["introduce", ALICE, CAROL, "frank@one.example", "--out", out]
    expect(await fails(...introduces)).toEqual([1, expect.stringContaining("is no contact")])
    const frank = account("frank@one.example", 11).profile
    inState(({ contacts }) =>
      contacts.accept({ ...someone({ address: frank.address, udf: frank.udf }), decidedBy: ALICE }, NOON),
    )
    await here("accept", ALICE, CAROL)
    await here(...introduces)
    const asks = ["request", BOB, "frank@one.example", "--text", "Hello", "--introduction"]
    expect(await fails(...asks, instance.file("postern.toml"))).toEqual([1, expect.stringContaining("no introduction")])
    await here(...asks, out)
    inState(({ posts }) => {
      const introduction = readIntroduction(posts.to(BOB, frank.address)?.introduction ?? new Uint8Array(0))
      expect(introduction).toMatchObject({ subject: udf, recipient: frank.udf })
      posts.remove(BOB, frank.address)
    })
  })

  test("who has no part in the Mesh asks nobody", async () => {
    const state = openEmbeddedState(instance.file("data"))
    new MeshAccounts(state).remove(BOB)
    state.close()
    const noPart = [1, expect.stringContaining("no part in the Mesh")]
    expect(await fails("request", BOB, "dan@one.example", "--text", "Hello")).toEqual(noPart)
  })
})
