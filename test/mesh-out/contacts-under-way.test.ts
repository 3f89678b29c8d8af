import { afterAll, beforeEach, describe, expect, test } from "vitest"
import { binaryUdf, presentUdf, UDF_TYPE } from "../../src/crypto/udf/udf.ts"
import { silentLog } from "../../src/log/log.ts"
import { responseIdOf } from "../../src/mesh/message-id.ts"
import {
  ContactsUnderWay,
  MAX_UNDER_WAY,
  MAX_UNDER_WAY_TO_DOMAIN,
  turns,
} from "../../src/mesh-out/contacts-under-way.ts"
import type { ContactPosting, ContactSending } from "../../src/mesh-out/send-contact.ts"
import { ContactBook } from "../../src/store/contact-book.ts"
import { People } from "../../src/store/people.ts"
import { eventually } from "../harness/instance.ts"
import { carol, carolsGateway, NOON } from "../mesh/contact-world.ts"
import { account } from "../mesh/people.ts"
import { openedState } from "../mesh-in/world.ts"

const CAROL = carol.profile.address
const opened = await openedState()
afterAll(() => opened[Symbol.asyncDispose]())
const people = new People(opened.state, { domains: ["one.example"], postmaster: null, recryptionKeys: null })
const some = Uint8Array.of(4)
const rest = { name: "", formats: ["smime"], root: some, intermediate: some, keys: [], profile: "{}" } as const
people.addAccount({ address: CAROL, ...rest }, NOON)
const { posts } = new ContactBook(opened.state)

/** Addresses that are being posted to; each is answered when it is told. */
const posted = new Map<string, (result: ContactPosting) => void>()
/** Each time that one was. */
let postings: string[] = []

beforeEach(() => {
  posted.clear()
  postings = []
  for (const { address } of posts.of(CAROL)) posts.remove(CAROL, address)
})

function underWay(changes: Partial<ContactSending<null>> = {}): ContactsUnderWay<null> {
  let made = 0
  return new ContactsUnderWay<null>({
    book: new ContactBook(opened.state),
    senderOf: () => ({ profile: carol.profile, speaker: carolsGateway }),
    find: async (address) => ({ profile: account(address, 7, null).profile, route: null }),
    post: (_message, { profile: { address } }, _admission, signal) =>
      new Promise((resolve, reject) => {
        postings.push(address)
        posted.set(address, resolve)
        signal.addEventListener("abort", () => reject(signal.reason))
      }),
    random: (octets) => new Uint8Array(octets).fill(++made),
    now: () => NOON,
    log: silentLog(),
    ...changes,
  })
}

function ask(...addresses: readonly string[]): void {
  const introduction = new Uint8Array(0)
  for (const [index, address] of addresses.entries()) {
    const id = presentUdf(binaryUdf(UDF_TYPE.nonce, new Uint8Array(16).fill(index)))
    posts.add(
      {
        id,
        account: CAROL,
        address,
        udf: "",
        kind: "request",
        text: "Hello",
        introduction,
        pin: "ADE7-4VMG-Q2MG-IDHU-3XKI-ZPEU-AE",
        responseId: responseIdOf(id),
      },
      NOON,
    )
  }
}

const stateOf = (address: string) => posts.to(CAROL, address)?.state
const names = () => [...posted.keys()].toSorted()
/** What was begun is posted by then: nothing on its way waits for more than promises. */
const begun = () => new Promise(setImmediate)
const arrived = (count: number) => eventually(`${count} posted`, () => posted.size === count)

describe("contact messages", () => {
  test("pass one whose service does not answer, which is begun once", async () => {
    await using sending = underWay()
    ask("a@slow.example", "b@two.example")
    sending.begin()
    await arrived(2)
    posted.get("b@two.example")?.({ kind: "accepted" })
    await eventually("the second is sent", () => stateOf("b@two.example") === "sent")
    sending.begin()
    await begun()
    expect(stateOf("a@slow.example")).toBe("due")
    posted.get("a@slow.example")?.({ kind: "accepted" })
    await eventually("the first is sent", () => stateOf("a@slow.example") === "sent")
    expect(postings).toEqual(["a@slow.example", "b@two.example"])
  })

  test("are so many at a time, and so many to one domain; the next follow when there is a place", async () => {
    await using sending = underWay()
    const at = (domain: string, count: number) => Array.from({ length: count }, (_, index) => `p${index}@${domain}`)
    ask(...at("slow.example", 6), ...at("two.example", 3), ...at("three.example", 3))
    sending.begin()
    await arrived(MAX_UNDER_WAY)
    const toSlow = () => names().filter((address) => address.endsWith("@slow.example")).length
    expect(toSlow()).toBe(MAX_UNDER_WAY_TO_DOMAIN)
    sending.begin()
    await begun()
    expect(postings).toHaveLength(MAX_UNDER_WAY)
    for (const answer of posted.values()) answer({ kind: "accepted" })
    await eventually("they are sent", () => posts.of(CAROL).filter(({ state }) => state === "sent").length === 8)
    sending.begin()
    await arrived(12)
    for (const answer of posted.values()) answer({ kind: "accepted" })
    await eventually("all are sent", () => posts.of(CAROL).every(({ state }) => state === "sent"))
    expect(postings.toSorted()).toEqual(names())
  })

  test("one that meets a fault of ours is tried in an hour, and keeps no other", async () => {
    await using sending = underWay({
      async find(address) {
        if (address.startsWith("a@")) throw new Error("fault")
        return { profile: account(address, 7, null).profile, route: null }
      },
    })
    ask("a@two.example", "b@two.example")
    sending.begin()
    await arrived(1)
    posted.get("b@two.example")?.({ kind: "accepted" })
    await eventually("the other is sent", () => stateOf("b@two.example") === "sent")
    const dueAt = new Date(NOON.getTime() + 3_600_000)
    expect(posts.to(CAROL, "a@two.example")).toMatchObject({ state: "due", reason: "internal error", dueAt })
  })

  test("that are under way when it ends are ended, and are due as they were", async () => {
    const sending = underWay()
    ask("a@slow.example")
    sending.begin()
    await arrived(1)
    await sending[Symbol.asyncDispose]()
    expect(posts.to(CAROL, "a@slow.example")).toMatchObject({ state: "due", attempts: 0, dueAt: NOON })
    sending.begin()
    await begun()
    expect(postings).toEqual(["a@slow.example"])
  })
})

test("work is done for one at a time, in turn, whatever becomes of the one before", async () => {
  const inTurn = turns()
  const log: string[] = []
  const { promise: first, reject } = Promise.withResolvers<void>()
  const works = [
    inTurn(async () => {
      log.push("first begins")
      await first
    }),
    inTurn(async () => void log.push("second")),
    inTurn(async () => void log.push("third")),
  ]
  await new Promise(setImmediate)
  expect(log).toEqual(["first begins"])
  reject(new Error("given up"))
  expect((await Promise.allSettled(works)).map(({ status }) => status)).toEqual(["rejected", "fulfilled", "fulfilled"])
  expect(log).toEqual(["first begins", "second", "third"])
})
