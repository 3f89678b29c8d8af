import { afterAll, beforeEach, describe, expect, test } from "vitest"
import { readHello } from "../../src/mesh/protocol/answer.ts"
import { REQUEST_LIFE_MS } from "../../src/mesh/protocol/check.ts"
import { requestDigest, writeRequest } from "../../src/mesh/protocol/request.ts"
import { signObject } from "../../src/mesh/signed.ts"
import { helloOf } from "../../src/mesh-in/hello.ts"
import type { Posted, PostResult } from "../../src/mesh-in/ports.ts"
import { postTo } from "../../src/mesh-in/post.ts"
import { CREATED } from "../mesh/people.ts"
import { answering, carol, home, NOON, peer, signerOf, stranger, terms } from "../mesh/protocol-world.ts"
import { asked, carolsHome, plain } from "./world.ts"

const parts = await carolsHome()
afterAll(() => parts.opened[Symbol.asyncDispose]())

let posted: Posted[] = []
let result: PostResult = { kind: "accepted" }
beforeEach(() => {
  posted = []
  result = { kind: "accepted" }
})
const clock = { now: NOON }
const { ask, send, service } = asked(
  {
    Hello: helloOf(answering, ["Post"]),
    Post: postTo({
      accounts: parts.accounts,
      receivers: new Map([
        [
          "MessageContact",
          async (one: Posted) => {
            posted.push(one)
            return result
          },
        ],
      ]),
      seen: parts.seen,
    }),
  },
  clock,
)

const message = signObject("MessageContact", { MessageId: "N" }, [signerOf(peer)], { created: CREATED })
const members = { EnvelopedProfileService: peer.profile.envelope, Account: carol.profile.address, Message: message }
const inOrder = { members, signers: [signerOf(peer)] }

test("Hello says who this is and what it does", async () => {
  const octets = writeRequest("Hello", {}, terms(), [])
  const answer = await service(octets)
  const hello = readHello(answer?.octets ?? new Uint8Array(), requestDigest(octets), home.profile.udf)
  expect(hello.service.udf).toBe(home.profile.udf)
  expect(plain(hello.answer.members)).toMatchObject({
    Version: { Major: 1, Minor: 0 },
    Operations: ["Hello", "Post"],
    MaximumMessage: 32_768,
    RequestLife: 300,
  })
})

describe("a posted message", () => {
  test("is handed to the receiver of its type, with the account and the service that posts it", async () => {
    expect(await ask("Post", inOrder)).toMatchObject({ outcome: "Success" })
    expect(posted).toMatchObject([
      { account: { address: carol.profile.address }, peer: { udf: peer.profile.udf }, admission: null },
    ])
    expect(posted[0]?.message).toEqual(message)
  })

  const results: [PostResult, string, object][] = [
    [{ kind: "refused", reason: "not a contact" }, "Refused", { Reason: "not a contact" }],
    [{ kind: "later" }, "Later", {}],
    [{ kind: "admission", challenge: Uint8Array.of(1, 2) }, "Admission", { Challenge: new Uint8Array([1, 2]) }],
  ]
  test.each(results)("%j is told", async (what, outcome, told) => {
    result = what
    const answer = await ask("Post", { ...inOrder, members: { ...members, Admission: Uint8Array.of(9) } })
    expect(answer.outcome).toBe(outcome)
    expect(plain(answer.members)).toMatchObject(told)
    expect(posted[0]?.admission).toEqual(Uint8Array.of(9))
  })

  const later = (ms: number) => new Date(NOON.getTime() + ms)
  const long = signObject(
    "MessageContact",
    { Text: new Uint8Array(33_000) },
    [signerOf(peer)],
    { created: CREATED },
    "json-b",
  )
  const other = signObject("MessageUnheardOf", {}, [signerOf(peer)], { created: CREATED })
  const refusals: [string, Parameters<typeof ask>[1], string][] = [
    ["unsigned", { ...inOrder, signers: [] }, "Unsigned"],
    ["forged: signed by another service", { ...inOrder, signers: [signerOf(stranger)] }, "Forged"],
    [
      "without the service's profile",
      { ...inOrder, members: { ...members, EnvelopedProfileService: undefined } },
      "Forged",
    ],
    ["for another target", { ...inOrder, terms: { target: stranger.profile.udf } }, "OtherTarget"],
    ["old", { ...inOrder, terms: { time: later(-REQUEST_LIFE_MS - 1000) } }, "Old"],
    ["of the future", { ...inOrder, terms: { time: later(61_000) } }, "Future"],
    ["over 32 KB", { ...inOrder, members: { ...members, Message: long } }, "TooLarge"],
    ["of another type", { ...inOrder, members: { ...members, Message: other } }, "Unsupported"],
    ["no message", { ...inOrder, members: { ...members, Message: Uint8Array.of(1) } }, "Malformed"],
    ["to nobody here", { ...inOrder, members: { ...members, Account: "nobody@two.example" } }, "AccountUnknown"],
    ["without an account", { ...inOrder, members: { ...members, Account: undefined } }, "Malformed"],
  ]
  test.each(refusals)("%s: refused, and no receiver sees it", async (_, asking, outcome) => {
    expect((await ask("Post", asking)).outcome).toBe(outcome)
    expect(posted).toEqual([])
  })

  test("replayed: refused, also written in another way, and as long as it is not old", async () => {
    const made = terms()
    const octets = writeRequest("Post", members, made, [signerOf(peer)])
    const again = writeRequest("Post", members, made, [signerOf(peer), signerOf(stranger)])
    expect((await send("Post", octets)).outcome).toBe("Success")
    expect((await send("Post", octets)).outcome).toBe("Replayed")
    expect((await send("Post", again)).outcome).toBe("Replayed")
    clock.now = later(REQUEST_LIFE_MS)
    expect((await send("Post", octets)).outcome).toBe("Replayed")
    clock.now = NOON
    expect(posted.length).toBe(1)
  })

  test("whose request was not signed is not remembered: nobody can make it a replay", async () => {
    const made = terms()
    expect((await send("Post", writeRequest("Post", members, made, [signerOf(stranger)]))).outcome).toBe("Forged")
    expect((await send("Post", writeRequest("Post", members, made, [signerOf(peer)]))).outcome).toBe("Success")
  })
})

test("an operation that is not done here is unsupported", async () => {
  expect((await ask("Operate")).outcome).toBe("Unsupported")
})

test("what is no request gets no answer", async () => {
  expect(await service(Buffer.from('[{},"",{}]'))).toBeNull()
})
