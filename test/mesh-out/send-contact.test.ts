import { afterAll, beforeEach, describe, expect, test } from "vitest"
import { GatewayError } from "../../src/errors.ts"
import { silentLog } from "../../src/log/log.ts"
import { MAX_BITS, writeChallenge } from "../../src/mesh/admission.ts"
import { readAnySigned } from "../../src/mesh/signed.ts"
import { receivingContacts } from "../../src/mesh-in/receive-contact.ts"
import {
  type ContactPosting,
  type ContactSending,
  RETRY_MS,
  sendContact,
  TRIED_MS,
} from "../../src/mesh-out/send-contact.ts"
import { ContactBook } from "../../src/store/contact-book.ts"
import { People } from "../../src/store/people.ts"
import { carol, carolsGateway, dave, davesGateway, hers, his, mallory, NOON } from "../mesh/contact-world.ts"
import { connectedDevice } from "../mesh/people.ts"
import { openedState } from "../mesh-in/world.ts"

const CAROL = carol.profile.address
const DAVE = dave.profile.address
const clock = { now: NOON }
const KEY = new Uint8Array(32).fill(3)

/** What domains say: by address, the profile and the gateway's device in it. */
const domains = new Map<string, { readonly profile: typeof carol.profile; readonly device: string } | "silent">()
function domainOf(address: string) {
  const answer = domains.get(address)
  if (answer === "silent") throw new GatewayError("KEY_SOURCE_SILENT", "silent")
  return answer ?? null
}

/** A gateway with one person. */
async function gateway(person: typeof carol, speaker: typeof carolsGateway, service: typeof hers) {
  const { state, ...opened } = await openedState()
  const { address } = person.profile
  const people = new People(state, { domains: [address.replace(/.*@/, "")], postmaster: null, recryptionKeys: null })
  const some = Uint8Array.of(4)
  people.addAccount(
    { address, name: "", formats: ["smime"], root: some, intermediate: some, keys: [], profile: "{}" },
    NOON,
  )
  const book = new ContactBook(state)
  const receive = receivingContacts({
    book,
    vouched: async (of, udf) => {
      const answer = domainOf(of)
      return answer?.profile.udf === udf ? { gatewayDevice: answer.device } : null
    },
    workOf: () => 4,
    admissionKey: KEY,
    log: silentLog(),
  })
  return { ...opened, address, person, speaker, service, book, receive }
}

type Gateway = Awaited<ReturnType<typeof gateway>>
const one = await gateway(carol, carolsGateway, hers)
const two = await gateway(dave, davesGateway, his)
afterAll(async () => {
  await one[Symbol.asyncDispose]()
  await two[Symbol.asyncDispose]()
})

const sent: Uint8Array[] = []
let nonces = 0
function sendingFrom(from: Gateway, to: Gateway): ContactSending<null> {
  return {
    book: from.book,
    senderOf: (account) => (account === from.address ? { profile: from.person.profile, speaker: from.speaker } : null),
    find: async (address) => {
      const answer = domainOf(address)
      return answer === null ? null : { profile: answer.profile, route: null }
    },
    async post(message, _recipient, admission) {
      sent.push(message)
      const account = { address: to.address, profile: to.person.profile }
      const result = await to.receive({
        account,
        message,
        object: readAnySigned(message),
        peer: from.service.profile,
        admission,
        now: clock.now,
      })
      return result.kind === "later" ? { kind: "later", reason: "asked to come later" } : result
    },
    inTurn: (work) => work(),
    random: (octets) => new Uint8Array(octets).fill(++nonces),
    now: () => clock.now,
    log: silentLog(),
  }
}

const signal = new AbortController().signal
/** Sends all that is due. */
async function round(from: Gateway, changes: Partial<ContactSending<null>> = {}): Promise<void> {
  const sending = { ...sendingFrom(from, from === one ? two : one), ...changes }
  for (const post of from.book.posts.due(clock.now, 10)) await sendContact(post, sending, signal)
}

const asks = { account: CAROL, address: DAVE, by: CAROL, text: "Hello Dave", udf: "", introduction: new Uint8Array(0) }
const random = (octets: number) => new Uint8Array(octets).fill(++nonces)
const isContact = (of: Gateway, { person }: Gateway) =>
  of.book.contacts.factsOf(of.address, person.profile.udf, person.profile.address).accepted

beforeEach(() => {
  clock.now = NOON
  sent.length = 0
  domains.clear()
  domains.set(CAROL, { profile: carol.profile, device: connectedDevice(carol, 90, []).profile.udf })
  domains.set(DAVE, { profile: dave.profile, device: connectedDevice(dave, 94, []).profile.udf })
  for (const { book, address } of [one, two]) {
    for (const contact of book.contacts.of(address)) book.contacts.remove(address, contact.address)
    for (const post of book.posts.of(address)) book.posts.remove(address, post.address)
  }
})

describe("an exchange of contacts", () => {
  test("makes each a contact of the other when the one who was asked accepts, and not before", async () => {
    one.book.request(asks, random, NOON)
    await round(one)
    expect([isContact(one, two), isContact(two, one)]).toEqual([false, false])
    expect(one.book.posts.of(CAROL)).toMatchObject([{ state: "sent", udf: dave.profile.udf }])
    two.book.accept({ account: DAVE, address: CAROL, by: DAVE }, null, NOON)
    await round(two)
    expect([isContact(one, two), isContact(two, one)]).toEqual([true, true])
    expect(one.book.posts.of(CAROL)).toEqual([])
  })

  test("of two who ask each other at the same time needs nobody's answer", async () => {
    one.book.request(asks, random, NOON)
    const [post] = one.book.posts.of(CAROL)
    two.book.request({ ...asks, account: DAVE, address: CAROL, by: DAVE }, random, NOON)
    // Both have gone out before either arrives.
    const asleep = async (): Promise<ContactPosting> => ({ kind: "later", reason: "asleep" })
    await round(one, { post: asleep })
    await round(two, { post: asleep })
    clock.now = new Date(NOON.getTime() + RETRY_MS)
    await round(one)
    expect(isContact(two, one)).toBe(true)
    await round(two)
    expect(isContact(one, two)).toBe(true)
    expect(post?.kind).toBe("request")
  })

  test("survives an answer that was lost: who takes his request back and asks again is answered again", async () => {
    one.book.request(asks, random, NOON)
    await round(one)
    two.book.accept({ account: DAVE, address: CAROL, by: DAVE }, null, NOON)
    await round(two, { post: async () => ({ kind: "refused", reason: "lost" }) })
    expect(() => one.book.request(asks, random, NOON)).toThrow(expect.objectContaining({ code: "CONTACT_EXISTS" }))
    one.book.remove(asks)
    one.book.request(asks, random, NOON)
    await round(one)
    await round(two)
    expect(isContact(one, two)).toBe(true)
  })

  test("ends where the one who was asked refuses, and the other is told nothing", async () => {
    one.book.request(asks, random, NOON)
    await round(one)
    two.book.refuse({ account: DAVE, address: CAROL, by: DAVE }, NOON)
    await round(two)
    expect([isContact(one, two), isContact(two, one)]).toEqual([false, false])
    expect(one.book.posts.of(CAROL)).toMatchObject([{ state: "sent" }])
  })
})

describe("a contact message", () => {
  test("is worked for, and is the same octets at each attempt", async () => {
    one.book.request(asks, random, NOON)
    domains.set(CAROL, "silent")
    await round(one)
    expect(one.book.posts.of(CAROL)).toMatchObject([{ state: "due", reason: "asked to come later", attempts: 1 }])
    expect(one.book.posts.due(new Date(NOON.getTime() + RETRY_MS - 1), 5)).toEqual([])
    domains.set(CAROL, { profile: carol.profile, device: connectedDevice(carol, 90, []).profile.udf })
    clock.now = new Date(NOON.getTime() + RETRY_MS)
    await round(one)
    expect(sent.map((message) => Buffer.compare(message, sent[0] ?? message))).toEqual([0, 0, 0, 0])
    expect(two.book.contacts.at(DAVE, CAROL)?.state).toBe("asking")
  })

  test("to the address of another profile than was said, or than it began with, is not sent", async () => {
    one.book.request({ ...asks, udf: mallory.profile.udf }, random, NOON)
    await round(one)
    expect(one.book.posts.of(CAROL)).toMatchObject([
      { state: "failed", reason: "its domain names another profile for it" },
    ])
    expect(sent).toEqual([])
  })

  test.each([
    ["whose domain is silent waits", "silent", "due", "its domain does not answer"],
    ["to whom nobody has a profile of fails", null, "failed", "its domain says that it has no part in the Mesh"],
  ] as const)("to somebody %s", async (_, answer, state, reason) => {
    if (answer === null) domains.delete(DAVE)
    else domains.set(DAVE, answer)
    one.book.request(asks, random, NOON)
    await round(one)
    expect(one.book.posts.of(CAROL)).toMatchObject([{ state, reason }])
  })

  test("of somebody who has no part in the Mesh fails", async () => {
    one.book.request(asks, random, NOON)
    await round(one, { senderOf: () => null })
    expect(one.book.posts.of(CAROL)).toMatchObject([{ state: "failed" }])
  })

  test("is tried for five days", async () => {
    one.book.request(asks, random, NOON)
    clock.now = new Date(NOON.getTime() + TRIED_MS)
    await round(one, { post: async () => ({ kind: "later", reason: "asleep" }) })
    expect(one.book.posts.of(CAROL)).toMatchObject([{ state: "failed", reason: "asleep" }])
  })

  test.each([
    ["that wants more work than anybody should do is given up", MAX_BITS + 1, "failed"],
    ["that wants more work once it was done is asked later", 2, "due"],
  ] as const)("to a service %s", async (_, bits, state) => {
    one.book.request(asks, random, NOON)
    const challenge = writeChallenge({ message: new Uint8Array(0), service: "", account: "" }, bits, KEY, NOON)
    await round(one, { post: async () => ({ kind: "admission", challenge }) })
    expect(one.book.posts.of(CAROL)).toMatchObject([{ state }])
  })
})
