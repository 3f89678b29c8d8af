import { afterAll, beforeAll, describe, expect, test, vi } from "vitest"
import { readJson } from "../../src/crypto/jsonb/read.ts"
import { objectOf } from "../../src/crypto/jsonb/value.ts"
import { writeJson } from "../../src/crypto/jsonb/write.ts"
import { randomOctets } from "../../src/crypto/primitives/random.ts"
import type { MeshDoor } from "../../src/http/mesh-service.ts"
import { silentLog } from "../../src/log/log.ts"
import { signerWith } from "../../src/mesh/key-data.ts"
import { serviceKeys } from "../../src/mesh/profile-make.ts"
import { MAX_POSTS, postMembers, postsIn, postsTogether, resultsIn } from "../../src/mesh/protocol/post.ts"
import { MAX_REQUEST_OCTETS, readRequest, writeRequest } from "../../src/mesh/protocol/request.ts"
import { helloOf } from "../../src/mesh-in/hello.ts"
import type { Posted, PostResult } from "../../src/mesh-in/ports.ts"
import { type PostParts, postTo } from "../../src/mesh-in/post.ts"
import { meshService } from "../../src/mesh-in/service.ts"
import { MeshClient } from "../../src/mesh-out/client.ts"
import type { PeerRules } from "../../src/net/https-peers.ts"
import { bob, entity, NOW, sealed, serviceOne, serviceSigner } from "../mesh/mail-world.ts"
import { service } from "../mesh/people.ts"
import { HOST, listening } from "./world.ts"

const MAIL = (await sealed(entity())).message
const two = service(70)
const signal = new AbortController().signal
const own = { profile: serviceOne.profile, signer: serviceSigner(serviceOne) }

/** The peer's service: what it says may be replaced. */
const heard: Posted[] = []
let result: PostResult = { kind: "accepted" }
let receive: (posted: Posted) => PostResult | Promise<PostResult> = () => result
let requests = 0
let isAway = false
let spoiled: (octets: Uint8Array) => Uint8Array = (octets) => octets

const seenKeys = new Set<string>()
const parts: PostParts = {
  accounts: { of: (address) => (address === bob.profile.address ? { address, profile: bob.profile } : null) },
  receivers: new Map([
    [
      "MessageMail",
      async (posted) => {
        heard.push(posted)
        return receive(posted)
      },
    ],
  ]),
  seen: {
    async remember(key) {
      const text = Buffer.from(key).toString("hex")
      if (seenKeys.has(text)) return false
      seenKeys.add(text)
      return true
    },
  },
  log: silentLog(),
}
const answering = { profile: two.profile, signer: signerWith(serviceKeys(two.seed).signature) }
const inner = meshService({
  own: answering,
  handlers: { Hello: helloOf(answering, ["Post"]), Post: postTo(parts) },
  now: () => NOW,
  log: silentLog(),
})
const door: MeshDoor = {
  maxRequestOctets: MAX_REQUEST_OCTETS,
  mayAsk: async () => true,
  async answer(request) {
    requests += 1
    if (isAway) return null
    const answer = await inner(request)
    return answer && { octets: spoiled(answer.octets), form: answer.form, guesses: 0 }
  },
}

let site: Awaited<ReturnType<typeof listening>>
const stack = new AsyncDisposableStack()
beforeAll(async () => {
  site = stack.use(await listening(door, null))
})
afterAll(() => stack.disposeAsync())

function client(rules: Partial<PeerRules> = {}, now = NOW): MeshClient {
  return new MeshClient({ peers: stack.use(site.peers(rules)), own, random: randomOctets, now: () => now })
}
const to = { address: new URL(`https://${HOST}/.well-known/mmm/`), udf: two.profile.udf }
const post = (using = client(), where = to, account = bob.profile.address) => using.post(MAIL, account, where, signal)

test("a message is posted, in this service's name, and what the service says is believed", async () => {
  expect(await post()).toEqual({ kind: "accepted", diagnostic: "mail.two.example: Success" })
  expect(heard.at(-1)?.message).toEqual(MAIL)
  expect(heard.at(-1)?.peer.udf).toBe(serviceOne.profile.udf)
})

/** As many mails as wanted, which the service holds until it is told to let them go. */
function held() {
  const { promise, resolve } = Promise.withResolvers<void>()
  const before = { requests, heard: heard.length }
  receive = async ({ admission }) => {
    await promise
    return admission === null ? { kind: "accepted" } : { kind: "refused", reason: String(admission[0]) }
  }
  return {
    letGo: resolve,
    requests: () => requests - before.requests,
    heard: () => heard.length - before.heard,
    [Symbol.dispose]: () => {
      receive = () => result
    },
  }
}

describe("many at the same time", () => {
  const admitted = (using: MeshClient, number: number, until = signal) =>
    using.postAdmitted(MAIL, bob.profile.address, to, Uint8Array.of(number), until)
  const said = (number: number) => ({ kind: "refused", diagnostic: `mail.two.example: Refused, ${number}` })

  test("what comes while a request is under way goes with the next one, and each hears of its own", async () => {
    const using = client()
    await post(using)
    using service = held()
    const before = site.connections()
    const all = Array.from({ length: 20 }, (_, number) => admitted(using, number))
    await vi.waitFor(() => expect(service.heard()).toBeGreaterThan(0))
    service.letGo()
    expect(await Promise.all(all)).toEqual(Array.from({ length: 20 }, (_, number) => said(number)))
    // The first by itself, the other 19 as many together as fit.
    expect(service.requests()).toBeLessThan(5)
    expect(service.heard()).toBe(20)
    expect(site.connections() - before).toBeLessThanOrEqual(4)
  })

  test("whoever waits no longer is let go, and the others are posted", async () => {
    const using = client()
    await post(using)
    using service = held()
    const leaving = new AbortController()
    const all = Array.from({ length: 6 }, (_, number) =>
      admitted(using, number, number % 2 === 0 ? signal : leaving.signal),
    )
    const settled = Promise.allSettled(all)
    await vi.waitFor(() => expect(service.heard()).toBeGreaterThan(0))
    leaving.abort(new Error("over"))
    service.letGo()
    const outcomes = await settled
    expect(outcomes.map((one) => (one.status === "fulfilled" ? one.value : String(one.reason)))).toEqual(
      Array.from({ length: 6 }, (_, number) => (number % 2 === 0 ? said(number) : "Error: over")),
    )
  })

  test("an answer that is lost: all of it waits, and is posted again as it was", async () => {
    const using = client()
    await post(using)
    using service = held()
    const all = () => Promise.all(Array.from({ length: 8 }, () => post(using)))
    spoiled = () => Buffer.from("<html>")
    service.letGo()
    try {
      expect(new Set((await all()).map(({ kind }) => kind))).toEqual(new Set(["later"]))
    } finally {
      spoiled = (octets) => octets
    }
    expect(service.heard()).toBe(8)
    expect(new Set((await all()).map(({ kind }) => kind))).toEqual(new Set(["accepted"]))
    expect(heard.slice(-16).every(({ message }) => Buffer.compare(message, MAIL) === 0)).toBe(true)
  })

  test("an answer with fewer results than messages is none", async () => {
    const read = { outcome: "Success", reason: "", time: NOW, envelope: new Uint8Array(0) } as const
    const members = (count: number) => {
      const results = Array.from({ length: count }, () => ({ Status: 201, StatusDescription: "Success" }))
      return objectOf(readJson(writeJson({ Results: results })), "members")
    }
    expect(resultsIn({ ...read, members: members(2) }, 2)).toHaveLength(2)
    expect(() => resultsIn({ ...read, members: members(1) }, 2)).toThrow("2 messages have 1 results")
    expect(() => resultsIn({ ...read, members: members(3) }, 2)).toThrow("2 messages have 3 results")
  })

  test("as many go together as fit, in number and in octets", () => {
    const posts = (count: number, octets: number) =>
      Array.from({ length: count }, () => ({ account: "", message: new Uint8Array(octets), admission: null }))
    expect(postsTogether(posts(1, 40_000))).toBe(1)
    expect(postsTogether(posts(1_000, 1))).toBe(MAX_POSTS)
    expect(postsTogether(posts(10, 32_768))).toBe(3)
    expect(postsTogether([...posts(2, 10), ...posts(5, 32_768)])).toBe(5)
    const all = posts(postsTogether(posts(9, 32_768)), 32_768)
    const terms = { target: two.profile.udf, time: NOW, nonce: new Uint8Array(16) }
    const request = writeRequest("Post", postMembers(serviceOne.profile, all), terms, [own.signer])
    expect(postsIn(readRequest(request).members)).toHaveLength(3)
    expect(request.length).toBeLessThan(MAX_REQUEST_OCTETS)
  })
})

const results: readonly (readonly [what: PostResult, kind: string, diagnostic: string])[] = [
  [{ kind: "refused", reason: "not a contact" }, "refused", "Refused, not a contact"],
  [{ kind: "refused", reason: "x\r\nY: z\u0007" }, "refused", "Refused, x??Y: z?"],
  [{ kind: "later" }, "later", "Later"],
  [{ kind: "admission", challenge: Uint8Array.of(1) }, "refused", "Admission"],
]
test.each(results)("%j", async (what, kind, diagnostic) => {
  result = what
  try {
    expect(await post()).toEqual({ kind, diagnostic: `mail.two.example: ${diagnostic}` })
  } finally {
    result = { kind: "accepted" }
  }
})

test("an account that is not there: unknown", async () => {
  expect(await post(client(), to, "nobody@two.example")).toMatchObject({ kind: "unknown" })
})

describe("whoever does not answer as the service is none, and the message waits", () => {
  const later = { kind: "later", diagnostic: expect.any(String) }

  test("away", async () => {
    isAway = true
    try {
      expect(await post()).toEqual(later)
    } finally {
      isAway = false
    }
  })

  test("another service at its address", async () => {
    expect(await post(client(), { ...to, udf: service(80).profile.udf })).toEqual(later)
  })

  test.each([
    [
      "with one bit another",
      (octets: Uint8Array) => octets.map((one, at) => (at === octets.length >> 1 ? one ^ 1 : one)),
    ],
    ["cut off", (octets: Uint8Array) => octets.subarray(0, 100)],
    ["no answer at all", () => Buffer.from("<html>")],
    ["too long", () => new Uint8Array(MAX_REQUEST_OCTETS + 1)],
  ])("a lying one: %s", async (_, spoil) => {
    const using = client()
    expect(await post(using)).toMatchObject({ kind: "accepted" })
    spoiled = spoil
    try {
      expect(await post(using)).toEqual(later)
    } finally {
      spoiled = (octets) => octets
    }
  })

  test("the answer to another request", async () => {
    const using = client()
    let first: Uint8Array | null = null
    spoiled = (octets) => (first ??= octets)
    await post(using)
    spoiled = (octets) => octets
    first = null
    await post(using)
    spoiled = (octets) => (first ??= octets)
    try {
      expect(await post(using)).toMatchObject({ kind: "accepted" })
      expect(await post(using)).toEqual(later)
    } finally {
      spoiled = (octets) => octets
    }
  })

  test("clocks that differ by more than a request lives", async () => {
    expect(await post(client({}, new Date(NOW.getTime() - 3_600_000)))).toEqual(later)
  })

  test.each<readonly [string, Partial<PeerRules>]>([
    ["a certificate of an unknown authority", { authority: "" }],
    ["no such name", { resolve: async () => ({ kind: "no-name" }) }],
    ["an address inside", { isAllowed: () => false }],
    ["nobody listens", { port: 1 }],
    ["DNS does not answer", { resolve: () => Promise.reject(new Error("ESERVFAIL")) }],
  ])("%s", async (_, rules) => {
    expect(await post(client(rules))).toEqual(later)
  })

  test("a certificate of another name", async () => {
    const at = new URL(`https://other.example/.well-known/mmm/`)
    expect(await post(client(), { ...to, address: at })).toEqual({
      kind: "later",
      diagnostic: expect.stringContaining("certificate"),
    })
  })

  test("an address with a port of its own", async () => {
    expect(await post(client(), { ...to, address: new URL(`https://${HOST}:8443/.well-known/mmm/`) })).toEqual(later)
  })
})
