import { describe, expect, test } from "vitest"
import { hmacKey } from "../../src/crypto/primitives/hash.ts"
import { type Address, formatAddress, parseAddress } from "../../src/message/address.ts"
import { readSrs, srsAddress, srsToken } from "../../src/message/srs.ts"

const KEY = hmacKey(new Uint8Array(32).fill(5))
const NOW = new Date("2026-11-27T10:00:00Z")
const MEANS = { key: KEY, now: NOW }
const DAY_MS = 86_400_000

const later = (days: number) => ({ key: KEY, now: new Date(NOW.getTime() + days * DAY_MS) })

function made(sender: string, cameFor: string | null = null): Address {
  const address = srsAddress(parseAddress(sender), "example.test", cameFor, MEANS)
  if (address === null) throw new Error(`${sender}: no room`)
  return address
}

function read(text: string | Address, means = MEANS): string | null {
  const meaning = readSrs(typeof text === "string" ? parseAddress(text) : text, means)
  if (meaning === null) return null
  return meaning.kind === "token" ? `token ${meaning.token}` : formatAddress(meaning.sender)
}

describe("an address of another domain", () => {
  const rows: readonly (readonly [sender: string, form: RegExp])[] = [
    ["carol@else.test", /^SRS0=[A-Z2-7]{8}=[A-Z2-7]{2}=else\.test=carol@example\.test$/],
    ["Carol.Two+news=x@else.test", /=else\.test=Carol\.Two\+news=x@/],
    ['"carol two"@else.test', /^"SRS0=.*=carol two"@/],
    ["carol@[192.0.2.1]", /=\[192\.0\.2\.1\]=carol"@/],
    ["grüße@else.test", /=grüße@/],
    ["SRS0=abcd=T7=first.test=carol@second.test", /^SRS1=[A-Z2-7]{8}=second\.test==abcd=T7=first\.test=carol@/],
    ["srs0+abcd=T7=first.test=carol@second.test", /^SRS1=[A-Z2-7]{8}=second\.test=\+abcd=T7=first\.test=carol@/],
    ["SRS1=xyz=first.test==abcd=T7=a.test=carol@second.test", /^SRS1=[A-Z2-7]{8}=first\.test==abcd=T7=a\.test=carol@/],
    ["SRS1=xyz=no_host==abcd@second.test", /^SRS0=[A-Z2-7]{8}=[A-Z2-7]{2}=second\.test=SRS1=xyz=no_host==abcd@/],
  ]
  for (const [sender, form] of rows)
    test(sender, () => {
      expect(formatAddress(made(sender))).toMatch(form)
    })

  test.each([
    ["carol@else.test", "carol@else.test"],
    ['"carol two"@else.test', '"carol two"@else.test'],
    ["carol@[192.0.2.1]", "carol@[192.0.2.1]"],
    ["SRS0=abcd=T7=first.test=carol@second.test", "SRS0=abcd=T7=first.test=carol@second.test"],
    ["SRS1=xyz=first.test==abcd=T7=a.test=carol@second.test", "SRS0=abcd=T7=a.test=carol@first.test"],
  ])("%s is found again as %s", (sender, original) => {
    expect(read(made(sender))).toBe(original)
  })

  test("that is too long to stand within one has none", () => {
    expect(srsAddress(parseAddress(`${"x".repeat(60)}@else.test`), "example.test", null, MEANS)).toBeNull()
    const token = srsToken("abcdef", "example.test", null, MEANS)
    expect(read(token)).toBe("token abcdef")
    expect(read(formatAddress(token).toUpperCase())).toBe("token abcdef")
  })
})

describe("what it had come for", () => {
  test("stands in it by its name, with the day; none does in one of before, and none is taken from one for another", () => {
    const named = made("Carol@else.test", "abcdef")
    expect(formatAddress(named)).toMatch(/^SRS0=[A-Z2-7]{8}=[A-Z2-7]{2}ABCDEF=else\.test=Carol@example\.test$/)
    const day = new Date("2026-11-27T00:00:00Z")
    for (const address of [named, parseAddress(formatAddress(named).toLowerCase())])
      expect(readSrs(address, later(21))).toMatchObject({ kind: "sender", cameFor: "abcdef", day })
    expect(readSrs(srsToken("kept", "example.test", "abcdef", MEANS), MEANS)).toMatchObject({ cameFor: "abcdef" })
    expect(readSrs(made("Carol@else.test"), MEANS)).toMatchObject({ cameFor: null, day })
    const text = formatAddress(named)
    for (const altered of [
      text.replace("ABCDEF", ""),
      text.replace("ABCDEF", "ABCDEG"),
      text.replace("ABCDEF", "=ABCDEF"),
    ])
      expect(read(altered), altered).toBeNull()
  })

  test("takes no room of 64 octets from an address without it", () => {
    const fits = `${"x".repeat(64 - "SRS0=HHHHHHHH=TT=else.test=".length)}@else.test`
    expect(made(fits).localPart).toHaveLength(64)
    expect(srsAddress(parseAddress(fits), "example.test", "abcdef", MEANS)).toBeNull()
    expect(srsToken("a".repeat(40), "example.test", "abcdef", MEANS).localPart).toHaveLength(64)
  })

  // Made by the version before there were names.
  test.each([
    ["SRS0=QDSCZBBV=JQ=else.test=carol@example.test", "carol@else.test"],
    ["SRS0=JL5SRFLI=JQ==abcdef@example.test", "token abcdef"],
    ["SRS1=C47RE44G=second.test==abcd=T7=first.test=carol@example.test", "SRS0=abcd=T7=first.test=carol@second.test"],
  ])("is not known of %s, which is known all the same", (address, whose) => {
    expect(read(address)).toBe(whose)
    expect(readSrs(parseAddress(address), MEANS)).not.toHaveProperty("cameFor", expect.any(String))
  })
})

describe("an address of ours is known", () => {
  const zero = formatAddress(made("Carol@else.test"))
  const one = formatAddress(made("SRS0=abcd=T7=first.test=carol@second.test"))

  test("for 21 days", () => {
    for (const address of [zero, one]) {
      for (const days of [0, 1, 21]) expect(read(address, later(days)), `${days} days`).not.toBeNull()
      for (const days of [-1, 22, 23, 100, 1_000, 1_023, 1_024])
        expect(read(address, later(days)), `${days} days`).toBeNull()
    }
  })

  test("in upper and in lower case", () => {
    expect(read(zero.toLowerCase())).toBe("carol@else.test")
    expect(read(zero.toUpperCase())).toBe("CAROL@else.test")
    expect(read(one.toLowerCase())).toMatch(/^srs0=abcd=t7=first\.test=carol@second\.test$/i)
  })

  test("and not when anything of it is another", () => {
    for (const address of [zero, one])
      for (let at = 0; at < address.length; at++) {
        const letter = address[at] === "a" || address[at] === "A" ? "b" : "a"
        if (address[at] === "@" || address[at]?.toLowerCase() === letter) continue
        const altered = `${address.slice(0, at)}${letter}${address.slice(at + 1)}`
        expect(read(altered), altered).toBeNull()
      }
    expect(read(zero.replace("else.test", "evil.test"))).toBeNull()
    expect(read(zero.replace("@example.test", "@other.test"))).toBeNull()
    expect(readSrs(parseAddress(zero), { ...MEANS, key: hmacKey(new Uint8Array(32).fill(6)) })).toBeNull()
  })
})
