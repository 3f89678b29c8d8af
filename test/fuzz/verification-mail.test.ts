import fc from "fast-check"
import { expect, test } from "vitest"
import { readVerificationMail } from "../../src/profiles/verification-mail.ts"
import { verificationMail } from "../harness/hagrid.ts"

const numRuns = Number(process.env["FUZZ_RUNS"] ?? 300)
const FINGERPRINT = "0123456789abcdef0123456789abcdef01234567"
const TOKEN = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hI6kL9nO2q"
const asked = { host: "keys.example", fingerprint: FINGERPRINT }
const text = verificationMail("keys.example", "a@b.example", FINGERPRINT, TOKEN).replace(/=\r\n/g, "")

const piece = fc.oneof(
  fc.constantFrom("https://keys.example/verify/", FINGERPRINT, FINGERPRINT.toUpperCase(), TOKEN, " ", '"', "/", "\r\n"),
  fc.string({ maxLength: 50 }),
)

test("what is read of a keyserver's mail is one token of letters, digits, hyphens and underlines, or nothing", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.array(piece).map((pieces) => pieces.join("")),
        { maxLength: 4 },
      ),
      (texts) => {
        const read = readVerificationMail(texts, asked)
        if (read.kind === "link") expect(read.token).toMatch(/^[\w-]{16,256}$/)
      },
    ),
    { numRuns },
  )
})

test("another token or key in the mail is never answered", () => {
  const other = fc.string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: 40, maxLength: 40 })
  fc.assert(
    fc.property(other, fc.nat(text.length), (hex, at) => {
      fc.pre(hex !== FINGERPRINT)
      for (const more of [` ${hex} `, ` https://keys.example/verify/${hex} `]) {
        const read = readVerificationMail([text.slice(0, at) + more + text.slice(at)], asked)
        expect(read.kind).toBe("other")
      }
    }),
    { numRuns },
  )
})

test("a mail that says the same thing a thousand times says it", () => {
  const many = `${FINGERPRINT} https://keys.example/verify/${TOKEN} `.repeat(1000)
  expect(readVerificationMail([many], asked)).toEqual({ kind: "link", token: TOKEN })
})
