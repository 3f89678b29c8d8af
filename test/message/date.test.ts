import { describe, expect, test } from "vitest"
import { formatDateTime, parseDateTime } from "../../src/message/date.ts"

describe("date-time (RFC 5322 §3.3)", () => {
  const rows: [text: string, want: string | null][] = [
    ["Fri, 02 Jan 2026 03:04:05 +0000", "2026-01-02T03:04:05.000Z"],
    ["2 Jan 2026 03:04 +0100", "2026-01-02T02:04:00.000Z"],
    ["Fri, 02 Jan 2026 03:04:05 -0730 (a zone)", "2026-01-02T10:34:05.000Z"],
    ["Fri,  2 jan 2026 03:04:05 GMT", "2026-01-02T03:04:05.000Z"],
    ["Fri, 32 Jan 2026 03:04:05 +0000", null],
    ["Fri, 02 Foo 2026 03:04:05 +0000", null],
    ["Fri, 02 Jan 26 03:04:05 +0000", null],
    ["Fri, 02 Jan 2026 03:04:05 EST", null],
    ["2026-01-02T03:04:05Z", null],
    ["", null],
    [`Fri, 02 Jan 2026 03:04:05 +0000${"(".repeat(10_000)}`, null],
  ]
  for (const [text, want] of rows)
    test(`"${text.slice(0, 50)}"`, () => expect(parseDateTime(text)?.toISOString() ?? null).toBe(want))

  test("reads what it writes", () => {
    const date = new Date("2026-11-26T19:24:25Z")
    expect(parseDateTime(formatDateTime(date))).toEqual(date)
  })
})
