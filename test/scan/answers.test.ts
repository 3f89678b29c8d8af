import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { hasCode } from "../../src/errors.ts"
import { parseAddress } from "../../src/message/address.ts"
import { readClamdReply } from "../../src/scan/clamd.ts"
import { told } from "../../src/scan/finding.ts"
import { readHookAnswer } from "../../src/scan/hook.ts"
import { headersOf } from "../../src/scan/http.ts"
import { readRspamdAnswer } from "../../src/scan/rspamd.ts"

/** "outcome: because", or "away" for what cannot be read. */
function read<T>(reader: (answer: T) => { outcome: string; because: string }, answer: T): string {
  try {
    const { outcome, because } = reader(answer)
    return `${outcome}: ${because}`
  } catch (error) {
    if (hasCode(error, "SCANNER_AWAY")) return "away"
    throw error
  }
}

describe("clamd's reply", () => {
  const rows: [reply: string, want: string][] = [
    ["stream: OK", "clean: OK"],
    ["stream: Win.Test.EICAR_HDB-1 FOUND", "virus: Win.Test.EICAR_HDB-1"],
    ["stream: Two Words FOUND", "virus: Two Words"],
    ["stream: line\r\nend FOUND", "virus: line end"],
    ["INSTREAM size limit exceeded. ERROR", "tooLarge: over its StreamMaxLength"],
    ["stream: Can't allocate memory ERROR", "away"],
    ["stream: OK FOUND", "virus: OK"],
    ["stream: ok", "away"],
    ["OK", "away"],
    ["stream: FOUND", "away"],
    ["UNKNOWN COMMAND", "away"],
    ["stream: OK\n", "away"],
    ["", "away"],
  ]
  test.each(rows)("%j is %s", (reply, want) => expect(read(readClamdReply, reply)).toBe(want))
})

describe("rspamd's answer", () => {
  const rows: [answer: unknown, want: string][] = [
    [{ action: "no action", score: -0.123 }, "clean: no action, score -0.12"],
    [{ action: "greylist", score: 4 }, "defer: greylist, score 4"],
    [{ action: "soft reject", score: 0 }, "defer: soft reject, score 0"],
    [{ action: "add header", score: 7.5, symbols: {} }, "quarantine: add header, score 7.5"],
    [{ action: "rewrite subject" }, "quarantine: rewrite subject"],
    [{ action: "quarantine" }, "quarantine: quarantine"],
    [{ action: "reject", score: 15 }, "reject: reject, score 15"],
    [{ action: "discard", score: 15 }, "reject: discard, score 15"],
    [{ action: "No action" }, "away"],
    [{ action: "accept" }, "away"],
    [{ action: ["reject"] }, "away"],
    [{ action: "constructor" }, "away"],
    [{ score: 1 }, "away"],
    [{ error: "task failed" }, "away"],
    [null, "away"],
    ["reject", "away"],
    [[], "away"],
  ]
  test.each(rows)("%j is %s", (answer, want) => expect(read(readRspamdAnswer, answer)).toBe(want))
})

describe("a hook's answer", () => {
  const rows: [answer: unknown, want: string][] = [
    [{ verdict: "accept" }, "clean: accept"],
    [{ verdict: "accept", reason: "known list" }, "clean: known list"],
    [{ verdict: "quarantine", reason: "looks odd\r\nX: y" }, "quarantine: looks odd X: y"],
    [{ verdict: "reject", reason: "x".repeat(300) }, `reject: ${"x".repeat(200)}...`],
    [{ verdict: "defer", reason: null }, "defer: defer"],
    [{ verdict: "virus" }, "away"],
    [{ verdict: "accept", reason: 5 }, "away"],
    [{ verdict: true }, "away"],
    [{}, "away"],
    [5, "away"],
  ]
  test.each(rows)("%j is %s", (answer, want) => expect(read(readHookAnswer, answer)).toBe(want))
})

test("what others say is one printable line", () => {
  expect(told("\u001b[31ma\0b\r\nc\u00e9\u2028d ")).toBe("[31ma b c d")
})

describe("what a scanner is told over HTTP", () => {
  const facts = {
    sender: parseAddress("müller@example.test"),
    recipients: [parseAddress("a@example.test"), parseAddress('"b c"@example.test')],
    remote: "2001:db8::1",
    helo: "x\r\nUser: admin\0",
    account: null,
    id: "abc.1",
  }

  test("envelope and session, in rspamd's fields; nothing ends a field", () => {
    expect(headersOf(facts)).toEqual({
      "Content-Type": "message/rfc822",
      From: Buffer.from("müller@example.test").toString("latin1"),
      Rcpt: ["a@example.test", '"b c"@example.test'],
      IP: "2001:db8::1",
      Helo: "x??User: admin?",
      "Queue-Id": "abc.1",
    })
  })

  test("the null sender is empty, a submitter is named, recipients are bounded", () => {
    const recipients = Array.from({ length: 500 }, (_, n) => parseAddress(`r${n}@example.test`))
    const headers = headersOf({ ...facts, sender: null, account: "alice@example.test", recipients })
    expect([headers["From"], headers["User"]]).toEqual(["", "alice@example.test"])
    expect(headers["Rcpt"]).toHaveLength(100)
  })
})

test("whatever is answered, it is a finding or no answer", () => {
  const outcomes = ["clean", "quarantine", "virus", "reject", "defer", "tooLarge", "away"]
  fc.assert(
    fc.property(fc.jsonValue(), fc.string(), (value, text) => {
      const found = [read(readRspamdAnswer, value), read(readHookAnswer, value), read(readClamdReply, text)]
      for (const one of [...found, read(readClamdReply, `stream: ${text} FOUND`)])
        expect(outcomes).toContain(one.split(":")[0])
    }),
  )
})
