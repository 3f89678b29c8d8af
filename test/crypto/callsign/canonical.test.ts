import { readFileSync } from "node:fs"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { canonicalCallsign } from "../../../src/crypto/callsign/canonical.ts"
import { meshVectors } from "../mesh-vectors.ts"

describe("canonical callsigns", () => {
  for (const { name, inputs, expected } of meshVectors("callsign"))
    test(name, () => expect(canonicalCallsign(inputs.presentation)).toBe(expected.canonical))

  test("every character of the published page", () => {
    const { pages } = JSON.parse(readFileSync("test/vectors/mesh/callsign.json", "utf8"))
    const spans: { MapString?: { First: number; Target: string } }[] = [
      ...pages.CharacterPageLatin.CharacterSpans,
      ...pages.CharacterPageDigits.CharacterSpans,
    ]
    for (const { First, Target } of spans.flatMap(({ MapString }) => MapString ?? [])) {
      // A hyphen is no canonical character, though the page maps U+00F7 to one.
      const wanted = Target === "-" ? null : `x${Target}`
      expect([First, canonicalCallsign(`x${String.fromCodePoint(First)}`)]).toEqual([First, wanted])
    }
  })

  const rows: [name: string, presentation: string, canonical: string | null][] = [
    ["decomposed", "@Alice\u0301", "alice"],
    ["digits only", "@12345", null],
    ["nothing", "@", null],
    ["blanks only", "@ _ ", null],
    ["an at sign inside", "@alice@corporation", null],
    ["letters of another script that look alike", "@\u0430lice", null],
    ["31 characters", "a".repeat(31), "a".repeat(31)],
    ["32 characters", "a".repeat(32), null],
    ["a million characters", "a ".repeat(500_000), null],
  ]
  for (const [name, presentation, canonical] of rows)
    test(name, () => expect(canonicalCallsign(presentation)).toBe(canonical))

  test("any text: the canonical form is its own", () => {
    const texts = fc.oneof(fc.string({ unit: "binary" }), fc.string({ unit: fc.constantFrom(..."aZ9 _-@äöüÅß×÷") }))
    fc.assert(
      fc.property(texts, (text) => {
        const canonical = canonicalCallsign(text)
        if (canonical !== null) expect(canonicalCallsign(canonical)).toBe(canonical)
      }),
    )
  })
})
