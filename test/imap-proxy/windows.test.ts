import { expect, test } from "vitest"
import { MailboxState } from "../../src/imap-proxy/mailbox-state.ts"
import { applyWindow, WindowCache, type WindowRecord } from "../../src/imap-proxy/windows.ts"

const record: WindowRecord = {
  patches: [{ offset: 10, octets: Buffer.from("ABCDE"), original: Buffer.from("abcde") }],
  integrity: "unchecked",
}

test("a span is overwritten exactly where it meets the window", () => {
  const stored = Buffer.from("0123456789abcde56789")
  const whole = "0123456789ABCDE56789"
  for (let from = 0; from < stored.length; from += 1) {
    for (let to = from; to <= stored.length; to += 1) {
      const span = stored.subarray(from, to)
      expect(Buffer.from(applyWindow(span, from, record.patches) ?? []).toString()).toBe(whole.slice(from, to))
      const own = Buffer.from(span)
      expect(applyWindow(own, from, record.patches, true)).toBe(own)
      expect(own.toString()).toBe(whole.slice(from, to))
    }
  }
  expect(stored.toString()).toBe("0123456789abcde56789")
})

test("a message that is another one now is not overwritten", () => {
  for (const overwrite of [false, true]) {
    const other = Buffer.from("0123456789abXde56789")
    expect(applyWindow(other, 0, record.patches, overwrite)).toBeNull()
    expect(applyWindow(other.subarray(0, 12), 0, record.patches)).not.toBeNull()
    expect(other.toString()).toBe("0123456789abXde56789")
    const second = { offset: 0, octets: Buffer.from("zz"), original: Buffer.from("01") }
    expect(applyWindow(other, 0, [second, ...record.patches], overwrite)).toBeNull()
    expect(other.toString()).toBe("0123456789abXde56789")
  }
})

test("the cache is bounded in octets, and keeps what was used last", () => {
  const cache = new WindowCache(3000)
  for (let n = 0; n < 100; n += 1) {
    cache.add(`k${n}`, record)
    cache.find("k0")
  }
  expect(cache.octets).toBeLessThanOrEqual(3000)
  expect(cache.find("k0")).toEqual(record)
  expect(cache.find("k1")).toBeNull()
})

test("a place is a number that scope and mailbox have for themselves, and goes with its records when a device is revoked", () => {
  const cache = new WindowCache(100_000)
  const phone = cache.place("phone", "INBOX\n1")
  expect(cache.place("phone", "INBOX\n1")).toBe(phone)
  const others = [cache.place("phone", "INBOX\n2"), cache.place("laptop", "INBOX\n1")]
  expect(new Set([phone, ...others]).size).toBe(3)
  for (const place of [phone, ...others]) cache.add(`${place} 7 `, record)
  cache.dropScope("phone")
  expect([phone, ...others].map((place) => cache.find(`${place} 7 `) !== null)).toEqual([false, false, true])
  expect(cache.place("phone", "INBOX\n1")).not.toBe(phone)
  expect(cache.place("laptop", "INBOX\n1")).toBe(others[1])
})

test("places are bounded: of too many all are forgotten, and none gets the number of another", () => {
  const cache = new WindowCache(100_000)
  const first = cache.place("phone", "0")
  cache.add(`${first} 7 `, record)
  let last = first
  for (let mailbox = 1; mailbox < 100_001; mailbox += 1) last = cache.place("phone", `${mailbox}`)
  expect(last).toBe(first + 100_000)
  expect(cache.place("phone", "0")).toBe(last + 1)
})

test("a record comes out as it went in, whatever its octets are", () => {
  const cache = new WindowCache(100_000)
  const every = Buffer.from(Array.from({ length: 256 }, (_, octet) => octet))
  const records: WindowRecord[] = [
    { patches: [], integrity: "none" },
    { patches: [{ offset: 0, octets: every, original: Buffer.from(every).reverse() }], integrity: "altered" },
    {
      patches: [1, 22, 333].map((offset) => ({ offset, octets: Buffer.from(" 1 "), original: Buffer.from("2 3") })),
      integrity: "holds",
    },
  ]
  for (const one of records) {
    cache.add("k", one)
    expect(cache.find("k")).toEqual(one)
  }
})

test("message numbers follow EXPUNGE, and are forgotten when they cannot", () => {
  const state = new MailboxState(1, "")
  state.select("INBOX")
  state.validity("1")
  for (const number of [1, 2, 3]) state.learn(number, number * 10)
  state.expunge(2)
  expect([1, 2, 3].map((number) => state.uidOf(number))).toEqual([10, 30, null])
  state.vanished()
  expect(state.uidOf(1)).toBeNull()
})

test("another UIDVALIDITY, and a mailbox that tells none, are other keys", () => {
  const state = new MailboxState(1, "")
  expect(state.key).toBeNull()
  const keys = ["1", "2", null, null].map((validity) => {
    state.deselect()
    if (validity !== null) state.validity(validity)
    state.select("INBOX")
    return state.key
  })
  expect(new Set(keys).size).toBe(4)
})

test("another one's mailbox of the same name, validity and numbers is another mailbox", () => {
  const keys = ["alice.before", "alice.after", "alice.before"].map((store) => {
    const state = new MailboxState(1, store)
    state.select("INBOX")
    state.validity("1795778298")
    return state.key
  })
  expect(new Set(keys).size).toBe(2)
  expect(keys[2]).toBe(keys[0])
})
