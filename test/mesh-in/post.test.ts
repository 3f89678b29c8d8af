import { afterAll, beforeEach, describe, expect, test } from "vitest"
import type { Writable } from "../../src/crypto/jsonb/write.ts"
import { GatewayError } from "../../src/errors.ts"
import { silentLog } from "../../src/log/log.ts"
import { readHello } from "../../src/mesh/protocol/answer.ts"
import { REQUEST_LIFE_MS } from "../../src/mesh/protocol/check.ts"
import { MAX_POSTS, resultsIn } from "../../src/mesh/protocol/post.ts"
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
/** What the receiver makes of a message. */
let receive: (one: Posted) => PostResult | Promise<PostResult> = () => ({ kind: "accepted" })
beforeEach(() => {
  posted = []
  receive = () => ({ kind: "accepted" })
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
            return receive(one)
          },
        ],
      ]),
      seen: parts.seen,
      log: silentLog(),
    }),
  },
  clock,
)

const message = signObject("MessageContact", { MessageId: "N" }, [signerOf(peer)], { created: CREATED })
const post = { Account: carol.profile.address, Message: message }
const posting = (...Messages: readonly Writable[]) => ({ EnvelopedProfileService: peer.profile.envelope, Messages })
const members = posting(post)
const inOrder = { members, signers: [signerOf(peer)] }
/** What becomes of messages of one request. */
async function results(...posts: readonly Writable[]) {
  const answer = await ask("Post", { ...inOrder, members: posting(...posts) })
  return resultsIn(answer, posts.length)
}

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

  const told: [PostResult, string, object][] = [
    [{ kind: "accepted" }, "Success", {}],
    [{ kind: "refused", reason: "not a contact" }, "Refused", { Reason: "not a contact" }],
    [{ kind: "later" }, "Later", {}],
    [{ kind: "admission", challenge: Uint8Array.of(1, 2) }, "Admission", { Challenge: new Uint8Array([1, 2]) }],
  ]
  test.each(told)("%j is told", async (what, outcome, said) => {
    receive = () => what
    const [result] = await results({ ...post, Admission: Uint8Array.of(9) })
    expect(result?.outcome).toBe(outcome)
    expect(plain(result?.members)).toMatchObject(said)
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
    ["with no messages", { ...inOrder, members: posting() }, "Malformed"],
    [
      "with too many",
      { ...inOrder, members: posting(...Array.from({ length: MAX_POSTS + 1 }, () => post)) },
      "Malformed",
    ],
    ["in the form of one message", { ...inOrder, members: { ...members, ...post, Messages: undefined } }, "Malformed"],
  ]
  test.each(refusals)("%s: refused, and no receiver sees it", async (_, asking, outcome) => {
    expect((await ask("Post", asking)).outcome).toBe(outcome)
    expect(posted).toEqual([])
  })

  const bad: [string, Writable, string][] = [
    ["over 32 KB", { ...post, Message: long }, "TooLarge"],
    ["of another type", { ...post, Message: other }, "Unsupported"],
    ["no message", { ...post, Message: Uint8Array.of(1) }, "Malformed"],
    ["to nobody here", { ...post, Account: "nobody@two.example" }, "AccountUnknown"],
    ["to what is no address", { ...post, Account: "@" }, "AccountUnknown"],
    ["without an account", { ...post, Account: undefined }, "Malformed"],
    ["nothing at all", "", "Malformed"],
  ]
  test.each(bad)("%s among others: refused by itself, and no receiver sees it", async (_, one, outcome) => {
    const all = await results(post, one, post)
    expect(all.map((result) => result.outcome)).toEqual(["Success", outcome, "Success"])
    expect(posted).toHaveLength(2)
  })

  test("each has a result of its own, in their order, whichever is settled first", async () => {
    let release = (): void => undefined
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const kinds: PostResult[] = [{ kind: "accepted" }, { kind: "refused", reason: "why" }, { kind: "later" }]
    receive = async ({ admission }) => {
      const at = admission?.[0] ?? 0
      // The first is settled when the last has come.
      if (at === 0) await held
      else if (at === 2) release()
      return kinds[at] ?? { kind: "later" }
    }
    const all = await results(...kinds.map((_kind, at) => ({ ...post, Admission: Uint8Array.of(at) })))
    expect(all.map(({ outcome, reason }) => [outcome, reason])).toEqual([
      ["Success", ""],
      ["Refused", "why"],
      ["Later", ""],
    ])
  })

  test.each<[string, () => Error]>([
    ["the state is away", () => new GatewayError("STATE_AWAY", "away")],
    ["the spool is full", () => new GatewayError("SPOOL_FULL", "full")],
    ["a fault of ours", () => new TypeError("fault")],
  ])("%s at one message: that one comes again, the others do not", async (_, fault) => {
    receive = ({ admission }) => {
      if (admission !== null) throw fault()
      return { kind: "accepted" }
    }
    const all = await results(post, { ...post, Admission: Uint8Array.of(1) }, post)
    expect(all.map(({ outcome }) => outcome)).toEqual(["Success", "Later", "Success"])
  })

  test("what is to be remembered of them is begun in one turn, when all are settled, and before the answer", async () => {
    const begun: number[] = []
    const remembered = Promise.withResolvers<void>()
    receive = async ({ admission }) => {
      const at = admission?.[0] ?? 0
      if (at === 1) return { kind: "refused", reason: "why" }
      if (at === 2) await new Promise(setImmediate)
      const remember = () => {
        begun.push(at)
        // Whoever is there in the same turn is not waited for.
        if (begun.length === 2) remembered.resolve()
        return remembered.promise
      }
      return { kind: "accepted", remember }
    }
    const all = await results(...[0, 1, 2].map((at) => ({ ...post, Admission: Uint8Array.of(at) })))
    expect(all.map(({ outcome }) => outcome)).toEqual(["Success", "Refused", "Success"])
    expect(begun).toEqual([0, 2])
  })

  test.each<[string, () => Error]>([
    ["the state is away", () => new GatewayError("STATE_AWAY", "away")],
    ["a fault of ours", () => new TypeError("fault")],
  ])("%s when one is to be remembered: that one comes again, the others do not", async (_, fault) => {
    receive = ({ admission }) => ({
      kind: "accepted",
      remember: admission === null ? async () => undefined : () => Promise.reject(fault()),
    })
    const all = await results(post, { ...post, Admission: Uint8Array.of(1) }, post)
    expect(all.map(({ outcome }) => outcome)).toEqual(["Success", "Later", "Success"])
  })

  test("who counts hears of each", async () => {
    const octets = writeRequest("Post", posting(post, { ...post, Account: "nobody@two.example" }), terms(), [
      signerOf(peer),
    ])
    expect((await service(octets))?.outcomes).toEqual(["Success", "AccountUnknown"])
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
