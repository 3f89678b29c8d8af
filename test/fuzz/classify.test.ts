import { readdirSync, readFileSync } from "node:fs"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { EncryptionClassifier, type Kind } from "../../src/mime/classify.ts"
import { headerEnd } from "../../src/mime/header.ts"

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 500)
const CORPUS = "test/corpus/encrypted"
const samples = readdirSync(CORPUS).map((file) => ({ file, octets: readFileSync(`${CORPUS}/${file}`) }))
const encrypted = samples.filter(({ file }) => !file.startsWith("clear-"))
const texts = encrypted.filter(({ file }) => !file.includes("binary"))
/** One part only: no place beside the ciphertext where a little text may stand. */
const alone = texts.filter(({ file }) => /^(?:inline|smime)/.test(file))

function classify(...pieces: readonly Uint8Array[]): Kind {
  const classifier = new EncryptionClassifier()
  for (const piece of pieces) classifier.push(piece)
  return classifier.end()
}

function cut(octets: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const pieces: Uint8Array[] = []
  for (let at = 0, turn = 0; at < octets.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1
    pieces.push(octets.slice(at, at + size))
    at += size
  }
  return pieces
}

/** `fresh` at a place of the body in per mille, instead of `skip` octets. */
function put(octets: Uint8Array, perMille: number, fresh: Uint8Array, skip: number): Buffer {
  const start = headerEnd(octets) ?? 0
  const place = start + Math.floor(((octets.length - start) * perMille) / 1000)
  return Buffer.concat([octets.subarray(0, place), fresh, octets.subarray(Math.min(octets.length, place + skip))])
}

const place = fc.integer({ min: 0, max: 1000 })
const change = fc.record({
  place,
  fresh: fc.oneof<fc.Arbitrary<Uint8Array>[]>(
    fc.uint8Array({ maxLength: 9 }),
    fc.stringMatching(/^[A-Za-z0-9+/=:\r\n -]{0,30}$/).map((text) => Buffer.from(text)),
    fc.constantFrom("\r\n\r\n", "--b\r\n", "-----END PGP MESSAGE-----\r\n", "=").map((text) => Buffer.from(text)),
  ),
  skip: fc.nat({ max: 20 }),
})
const mutated = fc
  .tuple(fc.constantFrom(...samples), fc.array(change, { maxLength: 4 }))
  .map(([sample, changes]) =>
    changes.reduce<Uint8Array>((octets, c) => put(octets, c.place, c.fresh, c.skip), sample.octets),
  )
const cuts = fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 12 })

describe("any octets at all", () => {
  test("are judged calmly, and the same in any pieces", () => {
    fc.assert(
      fc.property(fc.oneof(mutated, fc.uint8Array({ maxLength: 400 })), cuts, (octets, sizes) => {
        expect(classify(...cut(octets, sizes))).toBe(classify(octets))
      }),
      { numRuns: RUNS },
    )
  })

  test("what is encrypted so far never becomes clear and then encrypted again", () => {
    fc.assert(
      fc.property(mutated, cuts, (octets, sizes) => {
        const classifier = new EncryptionClassifier()
        const kinds = cut(octets, sizes).map((piece) => {
          classifier.push(piece)
          return classifier.soFar()
        })
        const known = kinds.filter((kind, at) => kind !== kinds[at - 1])
        expect(known.length).toBeLessThanOrEqual(3)
        if (classifier.end() !== "clear") expect(kinds.at(-1)).toBe(classifier.end())
      }),
      { numRuns: RUNS },
    )
  })
})

describe("something in clear", () => {
  const canary = Buffer.from("CANARY, who sings in clear (and may be read by all).\r\n")
  /** More than headers, footers, preambles and comments may have together. */
  const flock = Buffer.concat(Array(200).fill(canary))

  test("between the octets of an encrypted message, at any place, makes it clear", () => {
    fc.assert(
      fc.property(fc.constantFrom(...texts), place, fc.nat({ max: 200 }), (sample, at, skip) => {
        expect(classify(put(sample.octets, at, flock, skip))).toBe("clear")
      }),
      { numRuns: RUNS },
    )
  })

  test("one line of it is enough where nothing but ciphertext may stand", () => {
    fc.assert(
      fc.property(fc.constantFrom(...alone), place, fc.nat({ max: 60 }), fc.boolean(), (sample, at, skip, own) => {
        const line = own ? Buffer.concat([Buffer.from("\r\n"), canary]) : canary
        expect(classify(put(sample.octets, at, line, skip))).toBe("clear")
      }),
      { numRuns: RUNS },
    )
  })

  test("one line in the transfer encoding of the part is enough", () => {
    const inBase64 = alone.filter(({ octets }) => /encoding: base64/i.test(octets.toString("latin1")))
    fc.assert(
      fc.property(fc.constantFrom(...inBase64), place, (sample, at) => {
        const start = headerEnd(sample.octets) ?? 0
        const content = Buffer.from(sample.octets.subarray(start).toString("latin1"), "base64")
        const decoded = Buffer.concat([Buffer.from("\r\n\r\n"), content])
        const forged = put(decoded, at, canary, 0).subarray(4).toString("base64")
        expect(classify(sample.octets.subarray(0, start), Buffer.from(forged))).toBe("clear")
      }),
      { numRuns: RUNS },
    )
  })

  const inner = (file: string): string => {
    const text = readFileSync(`${CORPUS}/${file}.eml`, "latin1")
    return text.slice(text.indexOf("Content-Type:"))
  }
  const parts = {
    version: "Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n",
    armor: inner("inline-sequoia"),
    octets: inner("inline-sequoia").replace(/^[^\r]*/, "Content-Type: application/octet-stream"),
    smime: inner("smime-openssl-gcm"),
    pgpmime: inner("pgpmime-gnupg"),
    blank: "Content-Type: text/plain\r\n\r\n\r\n",
    clear: `Content-Type: text/plain\r\n\r\n${flock.toString()}`,
    html: `Content-Type: text/html\r\n\r\n${flock.toString()}`,
    base64: `Content-Transfer-Encoding: base64\r\n\r\n${flock.toString("base64")}`,
    attached: `Content-Type: application/octet-stream\r\n\r\n${canary.toString()}`,
    forwarded: `Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n${canary.toString()}`,
  }
  const names = Object.keys(parts).filter((name): name is keyof typeof parts => name in parts)
  const canaries: readonly string[] = ["clear", "html", "base64", "attached", "forwarded"]

  test("as a part beside encrypted ones, in any order, makes the message clear", () => {
    const kind = fc.constantFrom("mixed", "encrypted", "signed", "related", "alternative")
    const chosen = fc.array(fc.constantFrom(...names), { minLength: 1, maxLength: 5 })
    fc.assert(
      fc.property(kind, fc.boolean(), chosen, (subtype, list, order) => {
        const head = `${list ? "List-Id: x\r\n" : ""}Content-Type: multipart/${subtype}; boundary=frame\r\n\r\n`
        const body = order.map((name) => `--frame\r\n${parts[name]}\r\n`).join("")
        const found = classify(Buffer.from(`${head}${body}--frame--\r\n`, "latin1"))
        if (order.some((name) => canaries.includes(name))) expect(found).toBe("clear")
        if (subtype === "encrypted" && order.join() === "version,octets") expect(found).toBe("openpgp")
      }),
      { numRuns: RUNS },
    )
  })
})
