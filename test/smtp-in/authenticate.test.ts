import { describe, expect, test } from "vitest"
import { authenticate, Examining } from "../../src/smtp-in/authenticate.ts"
import { KnownKeys } from "../../src/smtp-in/known-keys.ts"
import type { Zone } from "../harness/zone.ts"
import { BODY, CLIENT, FROM, type Given, KEYS, meansOf, pieces, signed, verdictOf } from "./verdict-of.ts"

const spf = (record: string): Zone => ({ "author.test TXT": [record] })
const policy = (record: string): Zone => ({ "_dmarc.author.test TXT": [`v=DMARC1; ${record}`] })
const PASSING = { ...spf("v=spf1 ip4:192.0.2.0/24 -all"), ...policy("p=reject") }

describe("SPF (RFC 7208)", () => {
  const rows: [name: string, given: Given, want: string][] = [
    ["pass", { zone: spf("v=spf1 ip4:192.0.2.1 -all") }, "pass"],
    ["fail", { zone: spf("v=spf1 -all") }, "fail"],
    ["softfail", { zone: spf("v=spf1 ~all") }, "softfail"],
    ["neutral", { zone: spf("v=spf1 ?all") }, "neutral"],
    ["no record", { zone: spf("something else") }, "none"],
    ["no domain", {}, "none"],
    ["no answer", { zone: { "author.test TXT": "SERVFAIL" } }, "temperror"],
    [
      "no answer within an include",
      { zone: { ...spf("v=spf1 include:x.test -all"), "x.test TXT": "SERVFAIL" } },
      "temperror",
    ],
    ["syntax", { zone: spf("v=spf1 ip4:192.0.2 -all") }, "permerror"],
    ["two records", { zone: { "author.test TXT": ["v=spf1 +all", "v=spf1 -all"] } }, "permerror"],
    ["a record that includes itself: ten look-ups", { zone: spf("v=spf1 include:author.test -all") }, "permerror"],
    ["null reverse-path: HELO", { sender: null, helo: "author.test", zone: spf("v=spf1 ip4:192.0.2.1 -all") }, "pass"],
    ["null reverse-path, HELO an address", { sender: null, helo: "[192.0.2.1]" }, "none"],
    ["IPv6", { remote: "2001:db8::1", zone: spf("v=spf1 ip6:2001:db8::/32 -all") }, "pass"],
    ["IPv4 on an IPv6 socket", { remote: "::ffff:192.0.2.1", zone: spf("v=spf1 ip4:192.0.2.1 -all") }, "pass"],
  ]
  for (const [name, given, want] of rows)
    test(name, async () => {
      const { results, field } = await verdictOf(given)
      expect(results.spf).toBe(want)
      expect(field).toContain(`spf=${want} `)
    })

  // RFC 7208 §2.3, §2.4; RFC 8601 §2.7.2
  const identities: [name: string, given: Given, want: RegExp][] = [
    ["MAIL FROM", { zone: spf("v=spf1 +all") }, /spf=pass smtp\.mailfrom=author\.test;/],
    [
      "HELO, where the reverse-path is null",
      { sender: null, helo: "author.test", zone: spf("v=spf1 +all") },
      /spf=pass smtp\.helo=author\.test;/,
    ],
    [
      "MAIL FROM alone, where there is one",
      { sender: "a@other.test", helo: "author.test", zone: spf("v=spf1 +all") },
      /spf=none smtp\.mailfrom=other\.test;/,
    ],
  ]
  for (const [name, given, want] of identities)
    test(`the identity that is told: ${name}`, async () => expect((await verdictOf(given)).field).toMatch(want))
})

describe("DKIM (RFC 6376, RFC 8463)", () => {
  const rsaSigned: Given = { sign: [["author.test", "rsa", "rsa"]] }
  const rows: [name: string, given: Given, want: string][] = [
    ["not signed", {}, "none"],
    ["rsa-sha256", rsaSigned, "pass"],
    ["ed25519-sha256", { sign: [["author.test", "ed", "ed25519"]] }, "pass"],
    [
      "both",
      {
        sign: [
          ["author.test", "rsa", "rsa"],
          ["author.test", "ed", "ed25519"],
        ],
      },
      "pass",
    ],
    ["octet by octet", { ...rsaSigned, pieces: 1 }, "pass"],
    ["a blank line ends a piece", { ...rsaSigned, pieces: 7 }, "pass"],
    ["altered body", { ...rsaSigned, alter: (m) => m.replace("the text", "the test") }, "fail"],
    ["altered subject", { ...rsaSigned, alter: (m) => m.replace("hello", "hallo") }, "fail"],
    ["a second From, not signed: DMARC refuses it", { ...rsaSigned, alter: (m) => `From: x@y.test\r\n${m}` }, "pass"],
    ["key of somebody else", { sign: [["author.test", "rsa", "short"]], alter: (m) => m }, "fail"],
    ["no such key", { sign: [["author.test", "absent", "rsa"]] }, "neutral"],
    ["revoked key", { sign: [["author.test", "revoked", "rsa"]] }, "neutral"],
    ["key of 512 bits", { sign: [["author.test", "short", "short"]] }, "policy"],
    ["RSA key over 4,096 bits", { sign: [["author.test", "long", "rsa"]] }, "neutral"],
    ["RSA exponent over 32 bits", { sign: [["author.test", "exponent", "rsa"]] }, "neutral"],
    ["a name that is too long to be one", { sign: [["author.test", `${"a.".repeat(130)}a`, "rsa"]] }, "neutral"],
    ["DNS down", { sign: [["author.test", "down", "rsa"]] }, "temperror"],
    ["DNS silent", { sign: [["author.test", "slow", "rsa"]], budgetMs: 30 }, "temperror"],
    [
      "one key down, one signature good",
      {
        sign: [
          ["author.test", "down", "rsa"],
          ["author.test", "rsa", "rsa"],
        ],
      },
      "pass",
    ],
  ]
  for (const [name, given, want] of rows)
    test(name, async () => expect((await verdictOf(given)).results.dkim).toBe(want))
})

describe("DMARC (RFC 9989): the decision", () => {
  const news = "From: News <list@news.author.test>\r\n"
  const foreign = { sender: "bounce@other.test" }
  const ed: Given = { ...foreign, sign: [["author.test", "ed", "ed25519"]] }
  const rows: [name: string, given: Given, dmarc: string, decision: string][] = [
    ["SPF aligned", { zone: PASSING }, "pass", "accept"],
    ["DKIM aligned", { ...ed, zone: policy("p=reject") }, "pass", "accept"],
    ["nothing: reject", { ...foreign, zone: policy("p=reject") }, "fail", "reject"],
    ["nothing: quarantine", { ...foreign, zone: policy("p=quarantine") }, "fail", "quarantine"],
    ["nothing: none", { ...foreign, zone: policy("p=none") }, "fail", "accept"],
    ["no policy", foreign, "none", "accept"],
    ["testing (t=y): one weaker", { ...foreign, zone: policy("p=reject; t=y") }, "fail", "quarantine"],
    [
      "SPF passes for somebody else",
      { ...foreign, zone: { ...policy("p=reject"), "other.test TXT": ["v=spf1 +all"] } },
      "fail",
      "reject",
    ],
    [
      "DKIM passes for somebody else",
      { ...foreign, sign: [["other.test", "ed", "ed25519"]], zone: policy("p=reject") },
      "fail",
      "reject",
    ],
    ["relaxed: signed above the author", { ...ed, from: news, zone: policy("p=reject") }, "pass", "accept"],
    [
      "relaxed: signed below the author",
      { ...foreign, sign: [["news.author.test", "ed", "ed25519"]], zone: policy("p=reject") },
      "pass",
      "accept",
    ],
    ["strict: signed above the author", { ...ed, from: news, zone: policy("p=reject; adkim=s") }, "fail", "reject"],
    ["strict: signed by the author", { ...ed, zone: policy("p=reject; adkim=s") }, "pass", "accept"],
    [
      "strict SPF: reverse-path below the author",
      {
        sender: "b@news.author.test",
        zone: { ...policy("p=reject; aspf=s"), "news.author.test TXT": ["v=spf1 +all"] },
      },
      "fail",
      "reject",
    ],
    [
      "relaxed SPF: the same",
      { sender: "b@news.author.test", zone: { ...policy("p=reject"), "news.author.test TXT": ["v=spf1 +all"] } },
      "pass",
      "accept",
    ],
    ["sp= for a subdomain", { ...foreign, from: news, zone: policy("p=reject; sp=none") }, "fail", "accept"],
    ["p= for a subdomain without sp=", { ...foreign, from: news, zone: policy("p=reject") }, "fail", "reject"],
    [
      "np= for one that is not there",
      { ...foreign, from: "From: a@nowhere.author.test\r\n", zone: policy("p=none; np=reject") },
      "fail",
      "reject",
    ],
    ["pct: in the sample", { ...foreign, sample: 24, zone: policy("p=reject; pct=25") }, "fail", "reject"],
    ["pct: not in the sample", { ...foreign, sample: 25, zone: policy("p=reject; pct=25") }, "fail", "quarantine"],
    ["pct=0 of quarantine", { ...foreign, zone: policy("p=quarantine; pct=0") }, "fail", "accept"],
    [
      "null reverse-path, HELO aligned",
      { sender: null, zone: { ...policy("p=reject"), "mx.author.test TXT": ["v=spf1 +all"] } },
      "pass",
      "accept",
    ],
    [
      "null reverse-path, HELO of somebody else",
      { sender: null, helo: "mx.other.test", zone: policy("p=reject") },
      "fail",
      "reject",
    ],
    [
      "two From fields",
      { from: "From: a@author.test\r\nFrom: b@other.test\r\n", zone: PASSING },
      "permerror",
      "reject",
    ],
    [
      "a second From above one that is signed",
      { ...ed, alter: (m) => `From: x@y.test\r\n${m}`, zone: PASSING },
      "permerror",
      "reject",
    ],
    [
      "a From folded before its colon beside a From",
      { from: "From\r\n : a@author.test\r\nFrom: b@other.test\r\n", zone: PASSING },
      "permerror",
      "reject",
    ],
    ["two authors of one domain", { from: "From: a@author.test, b@author.test\r\n", zone: PASSING }, "pass", "accept"],
    [
      "two authors of two domains",
      { from: "From: a@author.test, b@other.test\r\n", zone: PASSING },
      "permerror",
      "quarantine",
    ],
    [
      "two addresses in angle brackets, of which mailauth takes the first",
      { from: "From: <me@author.test> <ceo@other.test>\r\n", zone: PASSING },
      "permerror",
      "quarantine",
    ],
    [
      "two addresses in angle brackets behind a line end",
      { from: "From\r\n : <me@author.test> <ceo@other.test>\r\n", zone: PASSING },
      "permerror",
      "quarantine",
    ],
    [
      "a second From of an odd form, in a header that is too long",
      { head: "A: b\r\n".repeat(1_001), from: "From: a@author.test\r\nFrom\r\n : b@other.test\r\n", zone: PASSING },
      "permerror",
      "quarantine",
    ],
    ["no From", { from: "", zone: PASSING }, "permerror", "quarantine"],
    ["empty group in From", { from: "From: undisclosed:;\r\n", zone: PASSING }, "permerror", "quarantine"],
    [
      "U-label in From, A-label in DNS",
      {
        ...foreign,
        from: "From: a@b\xc3\xbccher.test\r\n",
        zone: { "_dmarc.xn--bcher-kva.test TXT": ["v=DMARC1; p=reject"] },
      },
      "fail",
      "reject",
    ],
    // DNS trouble is never a pass, and never a refusal for ever.
    ["policy: no answer", { ...foreign, zone: { "_dmarc.author.test TXT": "SERVFAIL" } }, "temperror", "defer"],
    [
      "policy: silence",
      { ...foreign, zone: { "_dmarc.author.test TXT": "silence" }, budgetMs: 30 },
      "temperror",
      "defer",
    ],
    [
      "reject, key of the author: no answer",
      { ...foreign, sign: [["author.test", "down", "rsa"]], zone: policy("p=reject") },
      "fail",
      "defer",
    ],
    [
      "reject, key of somebody else: no answer",
      { ...foreign, sign: [["other.test", "down", "rsa"]], zone: policy("p=reject") },
      "fail",
      "reject",
    ],
    ["reject, SPF: no answer", { zone: { ...policy("p=reject"), "author.test TXT": "SERVFAIL" } }, "fail", "defer"],
    [
      "none, key of the author: no answer",
      { ...foreign, sign: [["author.test", "down", "rsa"]], zone: policy("p=none") },
      "fail",
      "accept",
    ],
    [
      "SPF: no answer, DKIM good",
      { sign: [["author.test", "ed", "ed25519"]], zone: { ...policy("p=reject"), "author.test TXT": "SERVFAIL" } },
      "pass",
      "accept",
    ],
  ]
  for (const [name, given, dmarc, decision] of rows)
    test(name, async () => {
      const { results, decision: made, field } = await verdictOf(given)
      expect([results.dmarc, made.kind]).toEqual([dmarc, decision])
      expect(field).toContain(`dmarc=${dmarc} `)
    })
})

describe("of mail that fails, the policy that was applied is told (RFC 9989 §9.1)", () => {
  const foreign = { sender: "bounce@other.test" }
  const rows: [name: string, given: Given, want: RegExp][] = [
    ["as wished", { zone: policy("p=reject") }, /dmarc=fail policy\.dmarc=reject /],
    [
      "no author",
      { from: "", zone: policy("p=none") },
      /dmarc=permerror reason="no-author-domain" policy\.dmarc=quarantine\r\n/,
    ],
    ["none", { zone: policy("p=none") }, /dmarc=fail policy\.dmarc=none /],
    [
      "not in the sample",
      { zone: policy("p=reject; pct=25"), sample: 25 },
      /dmarc=fail reason="policy reject not for all mail" policy\.dmarc=quarantine /,
    ],
    [
      "nothing, out of the sample",
      { zone: policy("p=quarantine; pct=25"), sample: 25 },
      /dmarc=fail reason="policy quarantine not for all mail" policy\.dmarc=none /,
    ],
  ]
  for (const [name, given, want] of rows)
    test(name, async () =>
      expect((await verdictOf({ ...foreign, ...given })).field.replace(/\r\n[ \t]/g, " ")).toMatch(want),
    )
})

test("a key that is known is asked for all the same: withdrawn, it counts no more; nor does that of another name", async () => {
  const message = Buffer.from(await signed({ sign: [["author.test", "ed", "ed25519"]] }))
  const facts = { sender: null, remote: CLIENT, helo: "x.test" }
  const keys = new KnownKeys()
  const resultWith = async (zone: Zone) =>
    (await authenticate(facts, pieces(message, 1_000), { ...meansOf(zone, {}), keys })).results.dkim
  expect(await resultWith(KEYS)).toBe("pass")
  expect(await resultWith(KEYS)).toBe("pass")
  expect(await resultWith({ ...KEYS, "ed._domainkey.author.test TXT": ["v=DKIM1; k=ed25519; p="] })).toBe("neutral")
  expect(await resultWith({ ...KEYS, "ed._domainkey.author.test TXT": "SERVFAIL" })).toBe("temperror")
  expect(await resultWith({})).toBe("neutral")
  expect(await resultWith(KEYS)).toBe("pass")
})

describe("limits", () => {
  const many = (count: number, line: string) => line.repeat(count)

  test("of a thousand signatures eight are looked at", async () => {
    const asked: string[] = []
    const one = (await signed({ sign: [["author.test", "ed", "ed25519"]] })).split("From:")[0] ?? ""
    const { field } = await verdictOf(
      { head: Array.from({ length: 600 }, (_, n) => one.replace("s=ed;", `s=k${n};`)).join("") },
      asked,
    )
    expect(asked.filter((key) => key.includes("_domainkey"))).toHaveLength(8)
    expect(field.match(/dkim=/g)).toHaveLength(8)
  })

  const rows: [name: string, head: string, dkim: string][] = [
    [
      "a thousand signatures with a line end before the colon",
      many(500, "DKIM-Signature\r\n : v=1; a=rsa-sha256; d=other.test; s=down; bh=x; b=x; h=from\r\n"),
      "policy",
    ],
    [
      "one with 100,000 names that begins on the next line",
      `DKIM-Signature\r\n: v=1; a=rsa-sha256; d=other.test; s=down; bh=x; b=x; h=from:${many(100_000, "a:")}\r\n`,
      "policy",
    ],
    ["100,000 fields", many(100_000, "A: b\r\n"), "policy"],
    ["100,000 lines of one field", `A: b\r\n${many(100_000, " c\r\n")}`, "policy"],
    ["a signature with 100,000 names", `DKIM-Signature: v=1; h=${many(100_000, "a:")}\r\n`, "none"],
    [
      "eight signatures with 1,900 names each among 900 fields",
      many(8, `DKIM-Signature: v=1; a=rsa-sha256; d=other.test; s=down; bh=x; b=x; h=from:${many(1_900, "a:")}\r\n`) +
        many(900, "A: b\r\n"),
      "fail",
    ],
    [
      "an ARC signature with 100,000 names among 900 fields",
      many(900, "A: b\r\n") +
        `ARC-Seal: i=1; a=rsa-sha256; cv=none; d=o.test; s=x; b=x\r\nARC-Authentication-Results: i=1; o.test; none\r\n` +
        `ARC-Message-Signature: i=1; a=rsa-sha256; d=o.test; s=x; bh=x; b=x; h=from:${many(100_000, "a:")}\r\n`,
      "none",
    ],
    [
      "fifty ARC sets that are none",
      many(50, `ARC-Seal: i=1; ${many(100, "a=b; ")}\r\nARC-Message-Signature: i=1; a=b\r\n`),
      "none",
    ],
    ["a thousand groups in From", `From: ${many(1_000, "a:b@author.test;")}\r\n`, "none"],
    ["nested comments in From", `From: ${many(8_000, "(")}a@author.test\r\n`, "none"],
    ["a From of 900,000 octets", `From: ${many(60_000, "a@author.test,")}x@y.test\r\n`, "policy"],
  ]
  for (const [name, head, dkim] of rows)
    test(`${name}: within a second of work`, async () => {
      const began = process.cpuUsage()
      const { results, decision } = await verdictOf({
        head,
        from: /^From:/.test(head) ? "" : FROM,
        sender: "x@other.test",
        zone: policy("p=reject"),
      })
      const { user, system } = process.cpuUsage(began)
      expect((user + system) / 1_000).toBeLessThan(1_000)
      expect(results.dkim).toBe(dkim)
      expect(decision.kind).not.toBe("accept")
    })

  test("a line of 30 MB: within a second of work, and nothing of it is verified", async () => {
    const [header = ""] = (await signed({ sign: [["author.test", "ed", "ed25519"]] })).split("\r\n\r\n")
    const signature = header.split("From:")[0] ?? ""
    const signatures = Array.from({ length: 8 }, (_, n) => signature.replace("c=relaxed", `l=${n}; c=relaxed`))
    const examining = new Examining({ sender: null, remote: CLIENT, helo: "x" }, meansOf(KEYS, {}))
    await examining.push(Buffer.from(`${signatures.join("")}${FROM}\r\n`))
    const piece = Buffer.alloc(16_384, "x y ")
    const began = process.cpuUsage()
    for (let n = 0; n < 1_900; n++) await examining.push(piece)
    const { results, field } = await examining.end()
    const { user, system } = process.cpuUsage(began)
    expect((user + system) / 1_000).toBeLessThan(1_000)
    expect(results.dkim).toBe("policy")
    expect(field).toContain('dkim=policy reason="a line is too long to be verified"')
  })

  test("a long line that nobody signed is nothing", async () => {
    expect((await verdictOf({ body: `${"x".repeat(300_000)}\r\n` })).results.dkim).toBe("none")
  })

  test("slow DNS is ended by the time budget, and asked again later", async () => {
    const began = performance.now()
    const { results, decision } = await verdictOf({
      zone: { "author.test TXT": "silence", "_dmarc.author.test TXT": "silence" },
      budgetMs: 50,
    })
    expect(performance.now() - began).toBeLessThan(10_000)
    expect([results.spf, results.dmarc, decision.kind]).toEqual(["temperror", "temperror", "defer"])
  })

  test("what the end will need is asked for when the header is there", async () => {
    const asked: string[] = []
    const message = await signed({ sign: [["author.test", "ed", "ed25519"]] })
    const examining = new Examining({ sender: null, remote: CLIENT, helo: "x.test" }, meansOf(KEYS, {}, asked))
    await examining.push(Buffer.from(message.slice(0, message.indexOf("\r\n\r\n") + 4)))
    expect(asked).toEqual(
      expect.arrayContaining(["x.test TXT", "ed._domainkey.author.test TXT", "_dmarc.author.test TXT"]),
    )
    await examining.push(Buffer.from(BODY))
    expect((await examining.end()).results.dkim).toBe("pass")
    expect(new Set(asked).size).toBe(asked.length)
  })

  test("memory does not grow with the message", async () => {
    const header = (await signed({ sign: [["author.test", "ed", "ed25519"]] })).split("\r\n\r\n")[0] ?? ""
    const examining = new Examining({ sender: null, remote: CLIENT, helo: "x" }, meansOf(KEYS, {}))
    await examining.push(Buffer.from(`${header}\r\n\r\n`))
    const piece = Buffer.from(`${"x".repeat(74)}\r\n`.repeat(862))
    const passed = async (count: number) => {
      for (let n = 0; n < count; n++) await examining.push(piece)
      globalThis.gc?.()
      const { heapUsed, arrayBuffers } = process.memoryUsage()
      return heapUsed + arrayBuffers
    }
    const before = await passed(30)
    expect((await passed(500)) - before).toBeLessThan(16_000_000)
    expect((await examining.end()).results.dkim).toBe("fail")
  })
})

test("the field folds, escapes what the sender chose, and has no line that is not ours", async () => {
  const { field } = await verdictOf({ helo: "x;\r\ndmarc=pass (", sender: null, zone: PASSING })
  expect(field).toMatch(/^Authentication-Results: mx\.example\.test;\r\n\t/)
  expect(field.replace(/\r\n[ \t]/g, "")).toMatch(/^[^\r\n]+\r\n$/)
  expect(field.match(/\tdmarc=/g), field).toHaveLength(1)
  expect(field).not.toContain("dmarc=pass")
  for (const line of field.split("\r\n")) expect(line.length).toBeLessThan(200)
})
