import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { type OpeningKey, openingKey } from "../../../src/crypto/dare/agreement.ts"
import { readAnnotation } from "../../../src/crypto/dare/annotation.ts"
import { readEnvelope, verifySignatures } from "../../../src/crypto/dare/envelope.ts"
import { contentKeys, unwrapBaseSeed } from "../../../src/crypto/dare/key-schedule.ts"
import { isWitnessed, openEnvelope, openPayload, seedOf } from "../../../src/crypto/dare/open.ts"
import { ReceivedEnvelope } from "../../../src/crypto/dare/receive.ts"
import { manifestOf } from "../../../src/crypto/dare/signature.ts"
import { fingerprintGeneration } from "../../../src/crypto/mesh-keys/fingerprint.ts"
import { publicKeyOf } from "../../../src/crypto/mesh-keys/use.ts"
import { wrapKey } from "../../../src/crypto/primitives/keywrap.ts"
import { parseUdf } from "../../../src/crypto/udf/udf.ts"
import { inPieces, joined, PIECE_SIZES } from "../../harness/pieces.ts"
import { fromHex, type MeshVector, meshVector, meshVectors, toHex } from "../mesh-vectors.ts"

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const base64Url = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "base64url"))

const cannotOpen = expect.objectContaining({ code: "DECRYPTION_FAILED", message: "dare: cannot open" })
const octetsOf = (vector: MeshVector): Uint8Array =>
  utf8(JSON.stringify(vector.inputs.envelope ?? vector.expected.envelope))
const text = (octets: Uint8Array): string => Buffer.from(octets).toString()

/** The content, read in all the ways. */
async function contents(octets: Uint8Array, keys: readonly OpeningKey[]): Promise<string[]> {
  const streamed = PIECE_SIZES.map(async ([, size]) => {
    const envelope = await ReceivedEnvelope.open(inPieces(octets, size))
    return text(await joined(openPayload(envelope, seedOf(envelope.header, keys), () => {})))
  })
  return [text(openEnvelope(readEnvelope(octets), keys).content), ...(await Promise.all(streamed))]
}

const fourTimes = (content: string): string[] => [content, content, content, content]

describe("examples of the text (ExamplesDAREMessage.md), both generations", () => {
  const vectors = meshVectors("dare_envelopes")
  const named = (part: string) => vectors.filter(({ name }) => name.startsWith(part))

  /** Encrypted to an Ed25519 key. */
  function keyOf({ inputs }: MeshVector): OpeningKey {
    return openingKey(inputs.envelope[0].recipients[0].kid, {
      kind: "seed",
      curve: "Ed25519",
      octets: base64Url(inputs.encryptionPrivate_b64u),
    })
  }

  test.each(named("plain-2"))("$name: in clear", async ({ inputs, expected }) => {
    expect(await contents(utf8(JSON.stringify(expected.envelope)), [])).toEqual(fourTimes(inputs.plaintext))
  })

  test.each([...named("plain-eds"), ...named("mail-plain")])("$name: annotations", (vector) => {
    const { header } = readEnvelope(octetsOf(vector))
    const lines = header.annotations.map((segment) => text(readAnnotation(segment, null)))
    // biome-ignore lint/suspicious/noExplicitAny: two forms in two files.
    expect(lines).toEqual(vector.expected.annotations.map((line: any) => line.text ?? line))
  })

  test.each(named("encrypted"))("$name: the label is master", async (vector) => {
    expect(await contents(octetsOf(vector), [keyOf(vector)])).toEqual(fourTimes(vector.expected.plaintext))
    const seed = seedOf(readEnvelope(octetsOf(vector)).header, [keyOf(vector)])
    const keys = seed && contentKeys(seed.base, seed.salt)
    expect(seed && toHex(seed.base.octets)).toBe(vector.expected.baseSeed)
    expect(keys && [toHex(keys.key), toHex(keys.iv)]).toEqual([vector.expected.encryptKey, vector.expected.iv])
  })

  test.each(named("signed-encrypted"))("$name: no label, and a witness", async (vector) => {
    const { end } = openEnvelope(readEnvelope(octetsOf(vector)), [keyOf(vector)])
    expect(await contents(octetsOf(vector), [keyOf(vector)])).toEqual(fourTimes(vector.expected.plaintext))
    expect(isWitnessed(end)).toBe(true)
    expect(toHex(end.payloadDigest)).toBe(vector.expected.payloadDigest)
    const stated = end.trailer?.witness ?? end.trailer?.signatures[0]?.witness
    expect(stated && toHex(stated)).toBe(vector.expected.witness)
  })

  test.each(named("signed"))("$name: signature of Ed25519", ({ inputs, expected }) => {
    const octets = utf8(JSON.stringify(inputs.envelope))
    const envelope = readEnvelope(octets)
    const end = { header: envelope.header, trailer: envelope.trailer, payloadDigest: fromHex(expected.payloadDigest) }
    const key = { curve: "Ed25519", octets: fromHex(inputs.signPublic) } as const
    expect(verifySignatures(end, () => key).map(({ status }) => status)).toEqual(["valid"])
    const altered = {
      ...end,
      payloadDigest: Uint8Array.from(end.payloadDigest, (octet, at) => (at === 9 ? octet ^ 1 : octet)),
    }
    expect(verifySignatures(altered, () => key).map(({ status }) => status)).toEqual(["invalid"])
  })

  test("all of them have been looked at", () => {
    const kinds = ["plain-2", "plain-eds", "mail-plain", "encrypted", "signed", "mail-encrypted", "kek-steps"]
    expect(kinds.flatMap(named)).toHaveLength(vectors.length)
  })

  test("kek-steps-2024: from the agreement to the key that wraps", () => {
    const { inputs, expected } = meshVector("dare_envelopes", "kek-steps-2024")
    const seed = new Uint8Array(32).fill(9)
    const wrapped = wrapKey(fromHex(expected.kek), seed)
    expect(unwrapBaseSeed(fromHex(inputs.agreement), wrapped)?.octets).toEqual(Buffer.from(seed))
  })

  test("what is signed in generation 2024", () => {
    const { expected } = meshVector("dare_envelopes", "signed-2024")
    expect(toHex(manifestOf(fromHex(expected.payloadDigest)))).toBe(expected.signatureInput)
  })

  test.each(named("mail-encrypted"))(
    "published wrong, $name: the base seed is that of another example, and opens nothing",
    async (vector) => {
      const octets = octetsOf(vector)
      const envelope = readEnvelope(octets)
      const seed = seedOf(envelope.header, [keyOf(vector)])
      expect(seed && toHex(seed.base.octets)).toBe(vector.expected.baseSeed)
      expect(() => openEnvelope(envelope, [keyOf(vector)])).toThrow(cannotOpen)
      const received = await ReceivedEnvelope.open(inPieces(octets, 1))
      await expect(joined(openPayload(received, seed, () => {}))).rejects.toThrow(cannotOpen)
      const [first] = envelope.header.annotations
      expect(() => first && readAnnotation(first, seed)).toThrow(cannotOpen)
    },
  )
})

describe("entries of stores, encrypted to X448", () => {
  const x448 = (kid: string, octets: Uint8Array) => openingKey(kid, { kind: "seed", curve: "X448", octets })
  const envelopes = meshVectors("x448_envelopes").filter(({ inputs }) => inputs.envelope)

  test.each(envelopes)("$name", async (vector) => {
    const { recipientKid, private_b64u } = vector.inputs
    const keys = [x448(recipientKid, base64Url(private_b64u))]
    const octets = octetsOf(vector)
    expect(await contents(octets, keys)).toEqual(fourTimes(vector.expected.plaintext))
    const seed = seedOf(readEnvelope(octets).header, keys)
    expect(seed && toHex(seed.base.octets)).toBe(vector.expected.baseSeed)
  })

  const pairs = meshVectors("x448_envelopes").filter(({ inputs }) => !inputs.envelope)

  test.each(pairs)("$name: the public key of a private one", ({ inputs, expected, note }) => {
    // What is a sum of keys already is a number, and not clamped.
    const kind = note?.includes("as-is") ? "scalar" : "seed"
    const key = publicKeyOf({ kind, curve: "X448", octets: base64Url(inputs.private_b64u) })
    expect(Buffer.from(key.octets).toString("base64url")).toBe(expected.public_b64u)
    expect(fingerprintGeneration(parseUdf(expected.udf), key)).not.toBeNull()
  })

  test("all of them have been looked at", () => {
    expect(pairs.length + envelopes.length).toBe(meshVectors("x448_envelopes").length)
  })

  test("a key that is not named, or is another, opens nothing", () => {
    const vector = meshVector("x448_envelopes", "x448-envelope-26")
    const envelope = readEnvelope(octetsOf(vector))
    const other = x448(vector.inputs.recipientKid, new Uint8Array(56).fill(7))
    const unnamed = x448("MAAA", base64Url(vector.inputs.private_b64u))
    for (const keys of [[other], [unnamed], []]) expect(() => openEnvelope(envelope, keys)).toThrow(cannotOpen)
  })
})

describe("signed objects of both generations", () => {
  interface PublishedSigner {
    readonly kid: string
    readonly alg: string
    readonly public_b64u?: string
  }

  /** The envelope as it is published, put together again from its parts. */
  function published({ inputs, expected }: MeshVector) {
    const signatures = inputs.signers.map(({ kid, alg }: PublishedSigner, at: number) => ({
      alg,
      kid,
      signature: expected.signatures[at],
    }))
    const trailer = { signatures, PayloadDigest: expected.PayloadDigest }
    const parts = [inputs.header, inputs.payload_b64u, ...("signatures" in inputs.header ? [] : [trailer])]
    const octets = utf8(JSON.stringify(parts))
    const keys = new Map<string, Uint8Array>(
      inputs.signers.flatMap(({ kid, public_b64u }: PublishedSigner) =>
        public_b64u ? [[kid, base64Url(public_b64u)]] : [],
      ),
    )
    return { octets, keys }
  }

  async function statuses(vector: MeshVector): Promise<string[][]> {
    const { octets, keys } = published(vector)
    return await Promise.all(
      PIECE_SIZES.map(async ([, size]) => {
        const envelope = await ReceivedEnvelope.open(inPieces(octets, size))
        await joined(envelope.payload())
        const verdicts = verifySignatures(envelope.end, ({ kid }) => {
          const octets = keys.get(kid ?? "")
          return octets ? { curve: "Ed448", octets } : null
        })
        return verdicts.map(({ status }) => status)
      }),
    )
  }

  const vectors = meshVectors("signed_envelopes")

  test.each(vectors.filter(({ verified }) => verified))("$name", async (vector) => {
    const verdicts = vector.inputs.signers.map(() => "valid")
    expect(await statuses(vector)).toEqual([verdicts, verdicts, verdicts])
  })

  test.each(vectors.filter(({ verified }) => !verified))(
    "$name: its digest is right, its key is not published",
    async (vector) => {
      const verdicts = vector.inputs.signers.map(() => "key unknown")
      expect(await statuses(vector)).toEqual([verdicts, verdicts, verdicts])
    },
  )

  test("another payload under the same signature is noticed", () => {
    const vector = vectors[0]
    if (!vector) throw new Error("no vector")
    const other = { ...vector, inputs: { ...vector.inputs, payload_b64u: `${vector.inputs.payload_b64u}AAAA` } }
    expect(() => readEnvelope(published(other).octets)).toThrow(expect.objectContaining({ code: "DARE_ALTERED" }))
  })
})

describe("one ciphertext, two envelopes (made for this project)", () => {
  const { cases } = JSON.parse(readFileSync("test/vectors/mesh/one-ciphertext-two-envelopes.json", "utf8"))

  test.each([0, 1])("case %i", async (at) => {
    const { curve, entity, mesh, dare } = cases[at]
    const key = openingKey(dare[0].recipients[0].kid, {
      kind: "seed",
      curve: curve === "x448" ? "X448" : "X25519",
      octets: fromHex(mesh.recipientPrivate),
    })
    const octets = utf8(JSON.stringify(dare))
    expect(await contents(octets, [key])).toEqual(fourTimes(text(fromHex(entity))))
    const seed = seedOf(readEnvelope(octets).header, [key])
    const keys = seed && contentKeys(seed.base, seed.salt)
    expect(keys && [toHex(keys.key), toHex(keys.iv)]).toEqual([mesh.contentKey, mesh.iv])
  })
})
