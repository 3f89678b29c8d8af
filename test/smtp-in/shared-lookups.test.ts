import { expect, test } from "vitest"
import type { Lookup } from "../../src/smtp-in/lookups.ts"
import { sharedLookups } from "../../src/smtp-in/shared-lookups.ts"

function asking(answer: (name: string) => ReturnType<Lookup>) {
  const asked: string[] = []
  const clock = { now: 0 }
  const lookup = sharedLookups(
    (name, type) => {
      asked.push(`${name} ${type}`)
      return answer(name)
    },
    () => clock.now,
  )
  return { asked, clock, lookup }
}

const failing = (code: string) => () => Promise.reject(Object.assign(new Error(code), { code }))

test("a question is asked once a second, whatever its case", async () => {
  const { asked, clock, lookup } = asking(async (name) => [[name]])
  await Promise.all([lookup("a.test", "TXT"), lookup("A.test", "TXT"), lookup("a.test", "A")])
  clock.now = 999
  expect(await lookup("a.test", "TXT")).toEqual([["a.test"]])
  expect(asked).toEqual(["a.test TXT", "a.test A"])
  clock.now = 1_000
  await lookup("a.test", "TXT")
  expect(asked).toEqual(["a.test TXT", "a.test A", "a.test TXT"])
})

test("that there is nothing is an answer; no answer is asked for again at once", async () => {
  for (const [code, want] of [
    ["ENOTFOUND", 1],
    ["ENODATA", 1],
    ["ESERVFAIL", 2],
    ["ETIMEOUT", 2],
  ] as const) {
    const { asked, lookup } = asking(failing(code))
    for (let n = 0; n < 2; n++) await expect(lookup("a.test", "TXT")).rejects.toMatchObject({ code })
    expect(asked, code).toHaveLength(want)
  }
})

test("what is held is bounded", async () => {
  const { asked, lookup } = asking(async () => [["x"]])
  for (let n = 0; n <= 2_000; n++) await lookup(`${n}.test`, "TXT")
  await lookup("2000.test", "TXT")
  expect(asked).toHaveLength(2_001)
  await lookup("0.test", "TXT")
  expect(asked).toHaveLength(2_002)
})
