import { readdirSync, readFileSync } from "node:fs"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { membersOf, readNode } from "../../src/crypto/cms/ber.ts"
import { contentDecryptor } from "../../src/crypto/cms/content-decryptor.ts"
import { addressees, contentKeyFor } from "../../src/crypto/cms/recipient-infos.ts"
import { GatewayError } from "../../src/errors.ts"
import { EncryptionClassifier } from "../../src/mime/classify.ts"
import { type EnvelopeHead, EnvelopeMessage } from "../../src/mime/envelope-message.ts"
import { makeHolder, makePerson } from "../crypto/cms/alice.ts"

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 500)
const CORPUS = "test/corpus/encrypted"
/** S/MIME, each one part. */
const samples = readdirSync(CORPUS)
  .filter((file) => file.startsWith("smime-"))
  .map((file) => readFileSync(`${CORPUS}/${file}`))
const holder = makeHolder(makePerson("a@b.test", "A"))
const key = { identity: holder.certificate.identity, scalar: holder.scalar }

/** What came of it: the head and the ciphertext, or that it is none. */
function read(...parts: readonly Uint8Array[]): { head: EnvelopeHead; ciphertext: string } | null {
  const ciphertext: Uint8Array[] = []
  const message = new EnvelopeMessage((octets) => ciphertext.push(Uint8Array.from(octets)))
  return calm(() => {
    for (const part of parts) message.push(part)
    return { head: message.end(), ciphertext: Buffer.concat(ciphertext).toString("hex") }
  })
}

/** @returns null for an error of ours; any other is a mistake */
function calm<T>(act: () => T): T | null {
  try {
    return act()
  } catch (error) {
    if (error instanceof GatewayError) return null
    throw error
  }
}

function cut(octets: Uint8Array, size: number): Uint8Array[] {
  return Array.from({ length: Math.ceil(octets.length / size) }, (_, at) => octets.subarray(at * size, (at + 1) * size))
}

const mutated = fc
  .tuple(
    fc.constantFrom(...samples),
    fc.array(fc.tuple(fc.nat(1_000), fc.uint8Array({ maxLength: 6 }), fc.nat(8)), { maxLength: 4 }),
  )
  .map(([sample, changes]) =>
    changes.reduce<Uint8Array>((octets, [perMille, fresh, skip]) => {
      const at = Math.floor((octets.length * perMille) / 1_000)
      return Buffer.concat([octets.subarray(0, at), fresh, octets.subarray(at + skip)])
    }, sample),
  )

describe("a message that may be an envelope", () => {
  test("the samples are", () => expect(samples.map((sample) => read(sample) !== null)).not.toContain(false))

  test("is taken apart calmly, and the same in any pieces; what is one, classifies as one", () => {
    fc.assert(
      fc.property(mutated, fc.integer({ min: 1, max: 90 }), (octets, size) => {
        const found = read(octets)
        expect(read(...cut(octets, size))).toEqual(found)
        if (found === null) return
        const classifier = new EncryptionClassifier()
        classifier.push(octets)
        // The classifier also wants ciphertext to look like it.
        expect(["smime", "clear"]).toContain(classifier.end())
      }),
      { numRuns: RUNS },
    )
  })
})

describe("octets of others", () => {
  const infos = samples.map((sample) => read(sample)?.head.recipientInfos ?? new Uint8Array())
  const hostile = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.tuple(fc.constantFrom(...infos), fc.nat(), fc.nat(255)).map(([octets, at, value]) => {
      const changed = Uint8Array.from(octets)
      changed[at % Math.max(1, octets.length)] = value
      return changed
    }),
  )
  test("are RecipientInfos or refused, and never more than they are", () => {
    fc.assert(
      fc.property(hostile, (octets) => {
        const found = calm(() => addressees(octets)) ?? []
        expect(found.length).toBeLessThanOrEqual(octets.length)
        expect(calm(() => contentKeyFor(octets, key))).toBeNull()
      }),
      { numRuns: RUNS },
    )
  })

  test("are BER or refused; members are those of the whole", () => {
    fc.assert(
      fc.property(hostile, (octets) => {
        const node = calm(() => readNode(octets))
        if (node === null || (node.tag & 0x20) === 0) return
        expect(calm(() => [...membersOf(octets)])).toEqual(node.children)
      }),
      { numRuns: RUNS },
    )
  })

  test("are an algorithm or refused", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.uint8Array({ maxLength: 40 }), (algorithm, contentKey) => {
        calm(() => contentDecryptor({ algorithm, authenticated: null }, contentKey))
        calm(() =>
          contentDecryptor({ algorithm, authenticated: { tag: algorithm, attributes: algorithm } }, contentKey),
        )
      }),
      { numRuns: RUNS },
    )
  })
})
