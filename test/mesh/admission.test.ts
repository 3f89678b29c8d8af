import { describe, expect, test } from "vitest"
import { accessOf, relationOf } from "../../src/mesh/access.ts"
import {
  CHALLENGE_LIFE_MS,
  isAdmitted,
  MAX_BITS,
  MIN_BITS,
  solving,
  workOf,
  writeChallenge,
} from "../../src/mesh/admission.ts"

const NOON = new Date("2026-11-26T12:00:00Z")
const KEY = new Uint8Array(32).fill(1)
const REQUEST = { message: Buffer.from("a request"), service: "MAAA", account: "MBBB" }
const BITS = 8

function solved(challenge: Uint8Array): Uint8Array {
  const solution = solving(challenge)?.find((step) => step !== null)
  if (!solution) throw new Error("no challenge")
  return solution
}

describe("proof of work", () => {
  const solution = solved(writeChallenge(REQUEST, BITS, KEY, NOON))

  test("admits the request that it was done for, until the challenge ends", () => {
    expect(isAdmitted(solution, REQUEST, KEY, NOON)).toBe(true)
    expect(isAdmitted(solution, REQUEST, KEY, new Date(NOON.getTime() + CHALLENGE_LIFE_MS))).toBe(false)
  })

  test.each([
    ["of another text", { message: Buffer.from("another request") }],
    ["through another service", { service: "MCCC" }],
    ["to another account", { account: "MCCC" }],
    ["with names cut elsewhere", { service: "MAA", account: "AMBBB" }],
  ])("admits no request %s", (_, changes) => {
    expect(isAdmitted(solution, { ...REQUEST, ...changes }, KEY, NOON)).toBe(false)
  })

  test("is not to be had for a challenge of one's own, with less work, or with more time", () => {
    expect(isAdmitted(solved(writeChallenge(REQUEST, BITS, new Uint8Array(32), NOON)), REQUEST, KEY, NOON)).toBe(false)
    for (const at of [1, 5]) {
      const cheaper = Uint8Array.from(solution)
      cheaper[at] = 0
      expect(isAdmitted(cheaper, REQUEST, KEY, NOON)).toBe(false)
    }
  })

  test("without the work, or of another length, is none", () => {
    const challenge = writeChallenge(REQUEST, MAX_BITS, KEY, NOON)
    for (const octets of [
      Buffer.concat([challenge, new Uint8Array(8)]),
      challenge,
      new Uint8Array(0),
      new Uint8Array(200),
    ])
      expect(isAdmitted(octets, REQUEST, KEY, NOON)).toBe(false)
  })

  test("is not begun for what is no challenge, and for none that asks for more than anybody should", () => {
    const challenge = writeChallenge(REQUEST, MAX_BITS + 1, KEY, NOON)
    expect([solving(challenge), solving(challenge.subarray(1)), solving(new Uint8Array(0))]).toEqual([null, null, null])
  })

  test("gives way to others while it is done", () => {
    const steps = solving(writeChallenge(REQUEST, MAX_BITS, KEY, NOON))
    expect(steps?.next()).toEqual({ done: false, value: null })
  })

  test.each([
    [{ waiting: 0, ofOrigin: 0, lately: 0 }, MIN_BITS],
    [{ waiting: 1, ofOrigin: 1, lately: 9 }, MIN_BITS + 2],
    [{ waiting: 7, ofOrigin: 0, lately: 10 }, MIN_BITS + 4],
    [{ waiting: 50, ofOrigin: 1e6, lately: 1e6 }, MAX_BITS],
  ])("of %o is %i bits", (load, bits) => {
    expect(workOf(load)).toBe(bits)
  })
})

describe("who comes in", () => {
  test.each([
    [{ blocked: true, accepted: true, ours: true }, "blocked"],
    [{ blocked: false, accepted: true, ours: true }, "contact"],
    [{ blocked: false, accepted: false, ours: true }, "organisation"],
    [{ blocked: false, accepted: false, ours: false }, "stranger"],
  ] as const)("%o is %s", (facts, relation) => {
    expect(relationOf(facts)).toBe(relation)
  })

  const both = ["contacts", "organisation"] as const
  const enter = { kind: "enter" }
  const refused = { kind: "refused", reason: "not a contact" }
  test.each([
    ["MessageMail", "contact", both, enter],
    ["MessageMail", "organisation", both, enter],
    ["MessageMail", "organisation", ["contacts"], refused],
    ["MessageMail", "contact", ["organisation"], refused],
    ["MessageMail", "contact", [], refused],
    ["MessageMail", "stranger", ["everybody"], enter],
    ["MessageMail", "blocked", ["everybody"], refused],
    ["MessageMail", "stranger", both, refused],
    ["MessageMail", "blocked", both, refused],
    ["MessageContact", "stranger", [], { kind: "ask" }],
    ["MessageContact", "contact", both, { kind: "ask" }],
    ["MessageContact", "blocked", both, refused],
    ["GroupInvitation", "contact", both, { kind: "refused", reason: "this kind of message is not accepted" }],
    ["", "contact", both, { kind: "refused", reason: "this kind of message is not accepted" }],
  ] as const)("%s of a %s, accepting %o", (type, relation, accept, access) => {
    expect(accessOf(type, relation, accept)).toEqual(access)
  })
})
