import { expect, test } from "vitest"
import { answerOf, answerText } from "../../src/profiles/answer-text.ts"
import type { KeyCandidate, SourceAnswer } from "../../src/profiles/key.ts"

const CANDIDATE: KeyCandidate = {
  format: "smime",
  octets: Uint8Array.of(0, 1, 255),
  chain: [Uint8Array.of(2)],
  anchors: [Uint8Array.of(3)],
  capabilities: Uint8Array.of(4),
  source: "profile",
  trust: "domain",
  place: "https://mail-profile.else.test/ü",
  wish: "require",
  lineage: "MAAA",
}
const ANSWER: SourceAnswer = { candidates: [CANDIDATE], remarks: ["odd"] }

test("an answer is read back as it was, whatever its octets are held in", () => {
  expect(answerOf(answerText(ANSWER))).toEqual(ANSWER)
  expect(answerOf(answerText({ ...ANSWER, candidates: [{ ...CANDIDATE, octets: Buffer.from([0, 1, 255]) }] }))).toEqual(
    ANSWER,
  )
  const { anchors: _, capabilities: __, ...least } = CANDIDATE
  const small = { candidates: [{ ...least, wish: null, lineage: null }], remarks: [] }
  expect(answerOf(answerText(small))).toEqual(small)
})

const spoilt: readonly (readonly [what: string, text: string])[] = [
  ["nothing", ""],
  ["cut off", answerText(ANSWER).slice(0, -9)],
  ["null", "null"],
  ["a list", "[]"],
  ["no candidates", '{"remarks":[]}'],
  ["no remarks", '{"candidates":[]}'],
  ["remarks that are none", '{"candidates":[],"remarks":[1]}'],
  ["a candidate that is none", '{"candidates":[null],"remarks":[]}'],
  ...(
    [
      ["format", "pem"],
      ["octets", "AAAA"],
      ["chain", null],
      ["anchors", ["AAAA"]],
      ["capabilities", 5],
      ["source", null],
      ["trust", "everybody"],
      ["place", 7],
      ["wish", "maybe"],
      ["lineage", 1],
    ] as const
  ).map(([word, value]) => [`another version's ${word}`, spoiltText(word, value)] as const),
]
function spoiltText(word: keyof KeyCandidate, value: unknown): string {
  return answerText({ ...ANSWER, candidates: [{ ...CANDIDATE, [word]: value }] })
}

test.each(spoilt)("%s is no answer, and no reason to fail", (_what, text) => {
  expect(answerOf(text)).toBeNull()
})
