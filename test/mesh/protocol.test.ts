import { describe, expect, test } from "vitest"
import { ROLE_MESSAGE } from "../../src/mesh/mail/check.ts"
import { type Reply, readAnswer, readHello, writeAnswer } from "../../src/mesh/protocol/answer.ts"
import {
  CLOCK_AHEAD_MS,
  callingAccount,
  callingService,
  REQUEST_LIFE_MS,
  replayKey,
  staleness,
} from "../../src/mesh/protocol/check.ts"
import { OPERATIONS, OUTCOMES, outcomeOf } from "../../src/mesh/protocol/operation.ts"
import { MAX_REQUEST_OCTETS, readRequest, requestDigest, writeRequest } from "../../src/mesh/protocol/request.ts"
import { readAnySigned, signObject } from "../../src/mesh/signed.ts"
import { account, CREATED, connectedDevice } from "./people.ts"
import {
  administratorSigner,
  answering,
  carol,
  home,
  NOON,
  peer,
  phone,
  phoneSigner,
  signerOf,
  stranger,
  terms,
} from "./protocol-world.ts"

const later = (ms: number) => new Date(NOON.getTime() + ms)
const profileOf = (of: typeof peer) => ({ EnvelopedProfileService: of.profile.envelope })

describe("requests", () => {
  test.each(OPERATIONS.flatMap((operation) => (["json", "json-b"] as const).map((form) => ({ operation, form }))))(
    "$operation in $form is read as it was written",
    ({ operation, form }) => {
      const made = terms()
      const octets = writeRequest(operation, { Account: "carol@two.example" }, made, [signerOf(peer)], form)
      const read = readRequest(octets)
      expect(read).toMatchObject({ operation, form, ...made, version: 1 })
      expect(read.digest).toEqual(requestDigest(octets))
    },
  )

  test("the longest message fits, also in JSON with its sender's profile", () => {
    const members = { ...profileOf(peer), Message: new Uint8Array(32_768) }
    const octets = writeRequest("Post", members, terms(), [signerOf(peer)], "json")
    expect(octets.length).toBeLessThanOrEqual(MAX_REQUEST_OCTETS)
    expect(readRequest(octets).operation).toBe("Post")
  })

  const refused: [string, Uint8Array, string][] = [
    ["too long", new Uint8Array(MAX_REQUEST_OCTETS + 1), "MESH_OBJECT_INVALID"],
    ["no envelope", Buffer.from("{}"), "JSONB_TYPE"],
    ["another object", signObject("ProfileUser", {}, [signerOf(peer)], { created: CREATED }), "MESH_OBJECT_INVALID"],
    ["a nonce too short", writeRequest("Hello", {}, terms({ nonce: new Uint8Array(15) }), []), "MESH_OBJECT_INVALID"],
    ["no time", writeRequest("Hello", { Time: undefined }, terms(), []), "MESH_OBJECT_INVALID"],
  ]
  test.each(refused)("is refused: %s", (_, octets, code) => {
    expect(() => readRequest(octets)).toThrow(expect.objectContaining({ code }))
  })
})

describe("whether a request is meant for us, now", () => {
  const rows: [string, Parameters<typeof terms>[0], Date, string | null][] = [
    ["at once", {}, NOON, null],
    ["as old as it may be", {}, later(REQUEST_LIFE_MS), null],
    ["older than five minutes", {}, later(REQUEST_LIFE_MS + 1_000), "Old"],
    ["of a clock that is a minute ahead", {}, later(-CLOCK_AHEAD_MS), null],
    ["of the future", {}, later(-CLOCK_AHEAD_MS - 1_000), "Future"],
    ["for another target", { target: stranger.profile.udf }, NOON, "OtherTarget"],
    ["for what is no name", { target: "us" }, NOON, "OtherTarget"],
    ["for our name, cut", { target: home.profile.udf.slice(0, 14) }, NOON, "OtherTarget"],
  ]
  test.each(rows)("%s", (_, changes, now, want) => {
    const request = readRequest(writeRequest("Status", {}, terms(changes), [phoneSigner]))
    expect(staleness(request, home.profile, now)).toBe(want)
  })

  test("Hello may be to whoever is there, and nothing else", () => {
    const to = (operation: "Hello" | "PublicRead") =>
      staleness(readRequest(writeRequest(operation, {}, terms({ target: "" }), [])), home.profile, NOON)
    expect([to("Hello"), to("PublicRead")]).toEqual([null, "OtherTarget"])
  })

  test("another version", () => {
    const request = readRequest(writeRequest("Status", { Version: 2 }, terms(), [phoneSigner]))
    expect(staleness(request, home.profile, NOON)).toBe("Unsupported")
  })

  test("what is written in another way is the same request again", () => {
    const made = terms()
    const once = readRequest(writeRequest("Status", {}, made, [phoneSigner]))
    const twice = readRequest(writeRequest("Status", {}, made, [phoneSigner, signerOf(peer)]))
    const next = readRequest(writeRequest("Status", {}, terms(), [phoneSigner]))
    expect(replayKey(twice)).toEqual(replayKey(once))
    expect(replayKey(next)).not.toEqual(replayKey(once))
  })
})

describe("which service asks", () => {
  const ask = (members: Parameters<typeof writeRequest>[1], signers: Parameters<typeof writeRequest>[3]) =>
    callingService(readRequest(writeRequest("Post", members, terms(), signers)), NOON)

  test("the one whose profile is there and has signed", () => {
    expect(ask(profileOf(peer), [signerOf(peer)])).toMatchObject({ kind: "known", who: { udf: peer.profile.udf } })
  })
  test.each([
    ["unsigned", profileOf(peer), [], "Unsigned"],
    ["signed by another service", profileOf(peer), [signerOf(stranger)], "Forged"],
    ["without a profile", {}, [signerOf(peer)], "Forged"],
    ["with a profile of another kind", { EnvelopedProfileService: carol.profile.envelope }, [signerOf(peer)], "Forged"],
  ] as const)("%s: refused", (_, members, signers, outcome) => {
    expect(ask(members, signers)).toEqual({ kind: "refused", outcome })
  })
})

describe("who of an account asks", () => {
  const shown = (connection: Uint8Array) => ({ EnvelopedConnectionDevice: connection })
  const ask = (
    members: Parameters<typeof writeRequest>[1],
    signers: Parameters<typeof writeRequest>[3],
    now: Date = NOON,
  ) => callingAccount(readRequest(writeRequest("Status", members, terms(), signers)), carol.profile, now)
  const mallory = account("mallory@two.example", 5)
  const foreign = connectedDevice(mallory, 100, [ROLE_MESSAGE])
  const expired = connectedDevice(carol, 110, [ROLE_MESSAGE], NOON)

  test("a connected device", () => {
    expect(ask(shown(phone.connection), [phoneSigner])).toMatchObject({
      kind: "known",
      who: { kind: "device", connection: { subject: phone.profile.udf } },
    })
  })
  test("the administrator", () => {
    expect(ask({}, [administratorSigner])).toEqual({ kind: "known", who: { kind: "administrator" } })
  })
  test.each([
    ["unsigned", shown(phone.connection), [], "Unsigned"],
    ["by another device of the account", shown(phone.connection), [administratorSigner], "Forged"],
    ["by another account's device", shown(foreign.connection), [phoneSigner], "DeviceUnknown"],
    ["by a device whose time is over", shown(expired.connection), [phoneSigner], "DeviceUnknown"],
    ["by a device that does not say which", {}, [phoneSigner], "Forged"],
    ["with a connection that is none", { EnvelopedConnectionDevice: 7 }, [phoneSigner], "Malformed"],
  ] as const)("%s: refused", (_, members, signers, outcome) => {
    expect(ask(members, signers)).toEqual({ kind: "refused", outcome })
  })
})

describe("answers", () => {
  const octets = writeRequest("Status", {}, terms(), [phoneSigner])
  const asked = { operation: "Status", digest: requestDigest(octets) } as const
  const reply: Reply = { outcome: "Success", reason: "", members: { Bitmask: new Uint8Array(2) } }

  test.each(["json", "json-b"] as const)("in %s, to this request and by this service", (form) => {
    const answer = writeAnswer({ ...asked, form }, reply, answering, NOON)
    expect(readAnswer(answer, asked, home.profile)).toMatchObject({ outcome: "Success", reason: "", time: NOON })
  })

  const answer = writeAnswer(readRequest(octets), reply, answering, NOON)
  const other = requestDigest(writeRequest("Status", {}, terms(), [phoneSigner]))
  const byStranger = { profile: home.profile, signer: signerOf(stranger) }
  const inAnothersName = { profile: stranger.profile, signer: signerOf(home) }
  const lies: [string, () => unknown, string][] = [
    [
      "to another request: a replay",
      () => readAnswer(answer, { ...asked, digest: other }, home.profile),
      "MESH_UNTRUSTED",
    ],
    [
      "to another operation",
      () => readAnswer(answer, { ...asked, operation: "Post" }, home.profile),
      "MESH_OBJECT_INVALID",
    ],
    ["by another service", () => readAnswer(answer, asked, stranger.profile), "MESH_UNTRUSTED"],
    [
      "signed by another",
      () => readAnswer(writeAnswer(readRequest(octets), reply, byStranger, NOON), asked, home.profile),
      "MESH_UNTRUSTED",
    ],
    [
      "in another's name",
      () => readAnswer(writeAnswer(readRequest(octets), reply, inAnothersName, NOON), asked, home.profile),
      "MESH_UNTRUSTED",
    ],
  ]
  test.each(lies)("%s: no answer", (_, read, code) => {
    expect(read).toThrow(expect.objectContaining({ code }))
  })

  test("words and their numbers are told apart; a word that is not known is what its number is", () => {
    for (const [word, status] of Object.entries(OUTCOMES)) expect(outcomeOf(word, status)).toBe(word)
    expect(outcomeOf("Success", 403)).toBe("Refused")
    expect(outcomeOf("Teapot", 418)).toBe("Refused")
    expect(outcomeOf("Busy", 507)).toBe("Later")
  })

  test("Hello brings the profile that it is checked with, which has to be the one expected", () => {
    const hello = writeRequest("Hello", {}, terms(), [])
    const said: Reply = { ...reply, members: { EnvelopedProfileService: home.profile.envelope } }
    const told = writeAnswer(readRequest(hello), said, answering, NOON)
    expect(readHello(told, requestDigest(hello), home.profile.udf).service.udf).toBe(home.profile.udf)
    expect(readHello(told, requestDigest(hello), null).service.udf).toBe(home.profile.udf)
    expect(() => readHello(told, requestDigest(hello), stranger.profile.udf)).toThrow(
      expect.objectContaining({ code: "MESH_UNTRUSTED" }),
    )
  })
})

test("a message is of the type of the object in it, whatever its header says", () => {
  const message = signObject("MessageContact", { MessageId: "N" }, [signerOf(peer)], { created: CREATED })
  expect(readAnySigned(message).type).toBe("MessageContact")
})
