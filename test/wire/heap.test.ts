import { expect, test } from "vitest"
import { growthPercent } from "../../src/wire/heap.ts"

const MB = 1024 * 1024

const rows: [name: string, usedOctets: number, want: number][] = [
  ["a small heap", 5 * MB, 400],
  ["what a start leaves", 30 * MB, 400],
  ["that of a server with some mail", 64 * MB, 400],
  ["the largest light one", 96 * MB, 200],
  ["one that holds connections", 97 * MB, 50],
  ["a hundred more", 164 * MB, 50],
  ["a large heap", 300 * MB, 25],
  ["one that V8 judges better", 400 * MB, 0],
]

for (const [name, usedOctets, want] of rows)
  test(`${name} may grow by ${want === 0 ? "what V8 takes" : `${want} %`}`, () => {
    expect(growthPercent(usedOctets)).toBe(want)
  })

test("there are few values, since each is a compile cache of its own", () => {
  const values = new Set(Array.from({ length: 2_000 }, (_, megabytes) => growthPercent((megabytes + 1) * MB)))
  expect([...values]).toEqual([400, 200, 50, 25, 0])
})
