import { describe, expect, test } from "vitest"
import { type LastFailure, type LastIssued, nextAttempt, planRenewal } from "../../src/acme/renewal.ts"
import { readRetryAfter } from "../../src/net/retry-after.ts"

const WANTED = { directory: "https://ca.example/dir", names: ["example.test", "mail.example.test"] }
const ISSUED: LastIssued = { ...WANTED, notBefore: new Date("2026-01-01"), notAfter: new Date("2026-04-01") }
const FAILED: LastFailure = { ...WANTED, at: new Date("2026-03-02T12:00Z"), failures: 1, retryAt: null }
const ONCE = new Date(0)

describe("when the CA is asked", () => {
  const rows: [
    name: string,
    issued: LastIssued | null,
    failure: LastFailure | null,
    jitter: number,
    at: Date,
    why: string,
  ][] = [
    ["nothing was issued: at once", null, null, 0, ONCE, "none-issued"],
    ["a third of the lifetime is left", ISSUED, null, 0, new Date("2026-03-02"), "renewal"],
    ["earlier by the jitter", ISSUED, null, 0.5, new Date("2026-03-01T18:00Z"), "renewal"],
    [
      "names in another order are the same",
      { ...ISSUED, names: WANTED.names.toReversed() },
      null,
      0,
      new Date("2026-03-02"),
      "renewal",
    ],
    ["other names: at once", { ...ISSUED, names: ["example.test"] }, null, 0, ONCE, "other-names"],
    ["another CA: at once", { ...ISSUED, directory: "https://other.example/" }, null, 0, ONCE, "other-ca"],
    ["it failed: an hour later", ISSUED, FAILED, 0, new Date("2026-03-02T13:00Z"), "renewal"],
    ["it failed at the first time, too", null, FAILED, 0, new Date("2026-03-02T13:00Z"), "none-issued"],
    [
      "what failed for other names does not count",
      null,
      { ...FAILED, names: ["example.test"] },
      0,
      ONCE,
      "none-issued",
    ],
    [
      "what failed at another CA does not count",
      null,
      { ...FAILED, directory: "https://other.example/" },
      0,
      ONCE,
      "none-issued",
    ],
  ]
  for (const [name, issued, failure, jitter, at, why] of rows)
    test(name, () => expect(planRenewal(WANTED, issued, failure, jitter)).toEqual({ at, why }))

  test("a lifetime of six days: the jitter takes a tenth of the third at most", () => {
    const issued = { ...ISSUED, notAfter: new Date("2026-01-07") }
    expect(planRenewal(WANTED, issued, null, 1).at).toEqual(new Date("2026-01-04T19:12Z"))
  })
})

describe("back-off", () => {
  const hours = (failures: number, retryAt: Date | null = null): number =>
    (nextAttempt({ ...FAILED, failures, retryAt }).getTime() - FAILED.at.getTime()) / 3600e3

  test("doubles from an hour to twelve", () => {
    expect([1, 2, 3, 4, 5, 50, 5000].map((failures) => hours(failures))).toEqual([1, 2, 4, 8, 12, 12, 12])
  })

  test("is never shorter than the CA's Retry-After, nor shorter than ours because of it", () => {
    expect(hours(1, new Date("2026-03-03T12:00Z"))).toBe(24)
    expect(hours(1, new Date("2026-03-02T12:01Z"))).toBe(1)
  })
})

describe("Retry-After", () => {
  const now = new Date("2026-03-02T12:00:00Z")
  const rows: [text: string | undefined, want: string | null][] = [
    [undefined, null],
    ["120", "2026-03-02T12:02:00.000Z"],
    ["Mon, 02 Mar 2026 13:00:00 GMT", "2026-03-02T13:00:00.000Z"],
    ["999999999", "2026-03-09T12:00:00.000Z"],
    ["Fri, 31 Dec 9999 23:59:59 GMT", "2026-03-09T12:00:00.000Z"],
    ["soon", null],
    ["-1x", null],
  ]
  for (const [text, want] of rows)
    test(String(text), () => expect(readRetryAfter(text, now)?.toISOString() ?? null).toBe(want))
})
