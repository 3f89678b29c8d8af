import { beforeEach, describe, expect, test } from "vitest"
import { type GuessLimits, LoginLimits, loginSource } from "../../src/wire/login-limits.ts"
import { eventually } from "../harness/instance.ts"

const ALICE = "alice@example.test"
const BOB = "bob@example.test"
const HOME = "192.0.2.1"
const OFFICE = "198.51.100.1"
const RULES: GuessLimits = { perNetwork: 3, perAccount: 5, windowMs: 60_000 }

let now: Date
let limits: LoginLimits

beforeEach(() => {
  now = new Date("2026-05-04T10:20:30Z")
  limits = new LoginLimits(RULES, () => now)
})

const guess = (remote: string, password: string, username = ALICE) =>
  limits.failed(loginSource(username, remote), password)
const admits = (remote: string, username = ALICE) => limits.admits(loginSource(username, remote))

async function guesses(remote: string, count: number, username = ALICE): Promise<void> {
  for (let n = 0; n < count; n++) await guess(remote, `guess ${n}`, username)
}

describe("a network", () => {
  test("that guessed too much is not heard any more, for any account; others are", async () => {
    await guesses(OFFICE, 2)
    expect(await admits(OFFICE)).toBe(true)
    await guesses(OFFICE, 3)
    expect([await admits(OFFICE), await admits(OFFICE, BOB)]).toEqual([false, false])
    expect(await admits(HOME)).toBe(true)
  })

  test("makes one guess with one password, however often: a revoked phone does not shut out its office", async () => {
    for (let n = 0; n < 50; n++) await guess(OFFICE, "the password it had")
    expect(await admits(OFFICE, BOB)).toBe(true)
  })

  test("is the same under every address of its /64, and another beyond", async () => {
    for (let n = 0; n < 3; n++) await guess(`2001:db8::${n}`, `guess ${n}`)
    expect([await admits("2001:db8::ffff"), await admits("2001:db8:0:1::1")]).toEqual([false, true])
  })

  test("is still heard for accounts that have logged in from it", async () => {
    limits.succeeded(loginSource("Alice@Example.Test", OFFICE))
    await guesses(OFFICE, 3, BOB)
    expect([await admits(OFFICE), await admits(OFFICE, BOB)]).toEqual([true, false])
    now = new Date(now.getTime() + 31 * 86_400_000)
    expect(await admits(OFFICE)).toBe(false)
  })
})

describe("an account under attack from everywhere", () => {
  beforeEach(async () => {
    for (let n = 0; n < 5; n++) await guess(`203.0.113.${n}`, "guess")
  })

  test("is closed to networks that guessed, at whomever", async () => {
    expect(await admits("203.0.113.1")).toBe(false)
    await guess(HOME, "bob's", BOB)
    expect(await admits(HOME)).toBe(false)
    expect(await admits(HOME, BOB)).toBe(true)
  })

  test("is open to its owner, from where nobody guessed and from where he was before", async () => {
    expect(await admits(HOME)).toBe(true)
    limits.succeeded(loginSource(ALICE, HOME))
    await guesses(HOME, 3)
    expect(await admits(HOME)).toBe(true)
  })
})

test("a limit ends with its window, and refused logins do not lengthen it", async () => {
  limits = new LoginLimits({ ...RULES, windowMs: 40 }, () => now)
  await guesses(OFFICE, 3)
  await eventually("the window ends", () => admits(OFFICE))
})

test("0 is no limit", async () => {
  limits = new LoginLimits({ ...RULES, perNetwork: 0, perAccount: 0 }, () => now)
  await guesses(OFFICE, 20)
  expect(await admits(OFFICE)).toBe(true)
})

test("names of any length and form are counted", async () => {
  const long = "x".repeat(60_000)
  await guesses(OFFICE, 3, long)
  expect(await admits(OFFICE, long)).toBe(false)
})
