import { describe, expect, test } from "vitest"
import type { OpeningKey } from "../../../src/crypto/dare/agreement.ts"
import { readEnvelope, verifySignatures } from "../../../src/crypto/dare/envelope.ts"
import { contentEncryptor, witnessOf } from "../../../src/crypto/dare/key-schedule.ts"
import { isWitnessed, openEnvelope, openPayload, seedOf } from "../../../src/crypto/dare/open.ts"
import { ReceivedEnvelope } from "../../../src/crypto/dare/receive.ts"
import {
  deriveEnvelopeSecrets,
  type EnvelopeForm,
  type SealOptions,
  sealEnvelope,
  sealWhole,
} from "../../../src/crypto/dare/seal.ts"
import { manifestOf } from "../../../src/crypto/dare/signature.ts"
import { hkdfSha512, sha512 } from "../../../src/crypto/primitives/hash.ts"
import { wrapKey } from "../../../src/crypto/primitives/keywrap.ts"
import { inPieces, joined } from "../../harness/pieces.ts"
import { encryptionTo, reader, writer } from "./people.ts"

const failed = (code: string) => expect.objectContaining({ code })
const cannotOpen = expect.objectContaining({ code: "DECRYPTION_FAILED", message: "dare: cannot open" })
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const octets = (size: number): Uint8Array => Uint8Array.from({ length: size }, (_, index) => (index * 31) & 255)
const FORMS: readonly EnvelopeForm[] = ["json", "json-b"]
const x448 = reader("X448")
const x25519 = reader("X25519")
const symmetric = reader("symmetric")
const ed448 = writer("Ed448")
const ed25519 = writer("Ed25519")

async function opened(envelope: Uint8Array, keys: readonly OpeningKey[], pieceOctets: number): Promise<Uint8Array> {
  const received = await ReceivedEnvelope.open(inPieces(envelope, pieceOctets))
  return await joined(openPayload(received, seedOf(received.header, keys), () => {}))
}

/** The parts of an envelope in JSON, for who changes one. */
// biome-ignore lint/suspicious/noExplicitAny: parts of JSON.
function parts(envelope: Uint8Array): any[] {
  return JSON.parse(Buffer.from(envelope).toString())
}

describe("what is written is read", () => {
  const sizes = [0, 15, 16, 1000]
  const options: [name: string, options: SealOptions, keys: readonly OpeningKey[]][] = [
    ["in clear", { encryption: null }, []],
    ["to X448", { encryption: encryptionTo(x448) }, [x448.key]],
    ["to X25519", { encryption: encryptionTo(x25519) }, [x25519.key]],
    ["to a symmetric key", { encryption: encryptionTo(symmetric) }, [symmetric.key]],
    ["to three, for the last", { encryption: encryptionTo(x25519, symmetric, x448) }, [x448.key]],
    ["signed", { encryption: null, signers: [ed448.signer, ed25519.signer] }, []],
    ["signed and encrypted", { encryption: encryptionTo(x448), signers: [ed25519.signer] }, [x448.key]],
  ]

  test.each(options)("%s", async (_, how, keys) => {
    for (const size of sizes)
      for (const form of FORMS) {
        const whole = sealWhole(octets(size), how, form)
        const streamed = await joined(sealEnvelope(inPieces(octets(size), 7), how, form))
        for (const envelope of [whole, streamed]) {
          const contents = [openEnvelope(readEnvelope(envelope), keys).content, await opened(envelope, keys, 64)]
          for (const content of contents) expect(Buffer.from(content).equals(octets(size))).toBe(true)
        }
        if (form === "json") expect(Buffer.from(whole).equals(streamed)).toBe(true)
      }
  })

  test("the same secrets and content give the same octets, another context others", () => {
    const again = () => sealWhole(octets(100), { encryption: encryptionTo(x448), signers: [ed448.signer] }, "json")
    const other = deriveEnvelopeSecrets(new Uint8Array(32).fill(3), "other")
    const encryption = { recipients: [x448.recipient], secrets: other }
    expect(again()).toEqual(again())
    expect(parts(sealWhole(octets(100), { encryption }, "json"))[0].Salt).not.toBe(parts(again())[0].Salt)
  })

  test("annotations, content metadata and further members", () => {
    const annotations = ["Subject: secret", "Date: today"].map(utf8)
    const how = {
      encryption: encryptionTo(x448),
      annotations,
      contentMeta: { cty: "text/plain" },
      header: { EnvelopeId: "MAAA" },
    }
    const envelope = readEnvelope(sealWhole(octets(5), how, "json"))
    expect(openEnvelope(envelope, [x448.key]).annotations).toEqual(annotations)
    expect(Buffer.from(envelope.header.octets).includes("secret")).toBe(false)
    expect(envelope.header.contentMeta).toEqual(utf8('{"cty":"text/plain"}'))
    expect(envelope.header.envelopeId).toBe("MAAA")
    const clear = readEnvelope(sealWhole(octets(5), { encryption: null, annotations }, "json"))
    expect(openEnvelope(clear, []).annotations).toEqual(annotations)
  })

  test("an X448 ephemeral key has its sign, so that shares of a key can be used with it", () => {
    const [header] = parts(sealWhole(octets(5), { encryption: encryptionTo(x448) }, "json"))
    const point = Buffer.from(header.recipients[0].epk.PublicKeyECDH.Public, "base64url")
    expect(point).toHaveLength(57)
  })
})

describe("signatures", () => {
  const signed = (signers = [ed448.signer, ed25519.signer]) =>
    parts(sealWhole(octets(50), { encryption: null, signers }, "json"))

  function verdicts(envelope: unknown[], keyOf = (kid: string | null) => (kid === ed448.signer.kid ? ed448 : ed25519)) {
    const read = readEnvelope(utf8(JSON.stringify(envelope)))
    const end = { ...read, payloadDigest: sha512(read.payload) }
    return verifySignatures(end, ({ kid }) => keyOf(kid).publicKey).map(({ status }) => status)
  }

  test("of both curves", () => {
    expect(verdicts(signed())).toEqual(["valid", "valid"])
  })

  test("may stand in the header, but not in both places", () => {
    const [header, payload, trailer] = signed()
    expect(verdicts([{ ...header, ...trailer }, payload])).toEqual(["valid", "valid"])
    expect(() => verdicts([{ ...header, ...trailer }, payload, trailer])).toThrow(failed("DARE_MALFORMED"))
  })

  test("of another key, another algorithm, another generation", () => {
    expect(verdicts(signed([ed448.signer]), () => writer("Ed448", 9))).toEqual(["invalid"])
    expect(verdicts(signed([ed448.signer]), () => ed25519)).toEqual(["invalid"])
    for (const alg of ["S512", "ED25519", "none", undefined]) {
      const [header, payload, trailer] = signed([ed448.signer])
      trailer.signatures[0].alg = alg
      expect(verdicts([header, payload, trailer])).toEqual(["invalid"])
    }
  })

  test("the enclosed key is what a profile has", () => {
    const signer = { ...ed448.signer, publicKey: ed448.publicKey.octets }
    const read = readEnvelope(sealWhole(octets(5), { encryption: null, signers: [signer] }, "json"))
    expect(read.trailer?.signatures[0]?.key).toEqual(ed448.publicKey)
  })

  test("too many are not verified", () => {
    const [header, payload, trailer] = signed([ed25519.signer])
    trailer.signatures = Array.from({ length: 17 }, () => trailer.signatures[0])
    expect(() => verdicts([header, payload, trailer])).toThrow(failed("DARE_TOO_LARGE"))
  })
})

describe("what is changed on the way", () => {
  const sealed = (signers = [ed448.signer]) =>
    parts(sealWhole(octets(64), { encryption: encryptionTo(x448), signers }, "json"))

  /** Opened whole and in pieces: both must end alike, and pieces must not show the end of the content. */
  async function outcomes(envelope: unknown[]): Promise<unknown[]> {
    const text = utf8(JSON.stringify(envelope))
    const shown: Uint8Array[] = []
    const streamed = async () => {
      const received = await ReceivedEnvelope.open(inPieces(text, 50))
      for await (const piece of openPayload(received, seedOf(received.header, [x448.key]), () => {})) shown.push(piece)
    }
    const whole = (async () => openEnvelope(readEnvelope(text), [x448.key]))()
    const ends = await Promise.allSettled([whole, streamed()])
    expect(Buffer.concat(shown).length).toBeLessThanOrEqual(48)
    return ends.map((end) => (end.status === "rejected" ? end.reason : "opened"))
  }

  /** The payload with one octet changed, and the digest that then belongs to it. */
  function changed(payload: string, at: number) {
    const octets = Buffer.from(payload, "base64url")
    octets[at] = (octets[at] ?? 0) ^ 1
    return { payload: octets.toString("base64url"), digest: Buffer.from(sha512(octets)).toString("base64url") }
  }

  test("a ciphertext of another digest", async () => {
    const [header, payload, trailer] = sealed()
    const altered = failed("DARE_ALTERED")
    expect(await outcomes([header, changed(payload, 3).payload, trailer])).toEqual([altered, altered])
  })

  test("padding, its digest corrected: as any wrong key", async () => {
    const [header, payload] = sealed([])
    const { payload: other, digest } = changed(payload, 63)
    // The octet changes the last of the padding: 16 becomes 17.
    expect(await outcomes([header, other, { PayloadDigest: digest }])).toEqual([cannotOpen, cannotOpen])
    expect(await outcomes([header, other.slice(0, 40), {}])).toEqual([cannotOpen, cannotOpen])
  })

  test("the witness: somebody signed what he could not read", async () => {
    const [header, payload, trailer] = sealed()
    trailer.WitnessValue = Buffer.alloc(32).toString("base64url")
    expect(await outcomes([header, payload, trailer])).toEqual([cannotOpen, cannotOpen])
  })

  test("no witness at all is for the caller to refuse", () => {
    const [header, payload, trailer] = sealed()
    const without = readEnvelope(utf8(JSON.stringify([header, payload, { ...trailer, WitnessValue: undefined }])))
    const { end } = openEnvelope(without, [x448.key])
    expect(isWitnessed(end)).toBe(false)
    const witness = witnessOf(
      { octets: encryptionTo(x448).secrets.baseSeed, labelPrefix: "" },
      encryptionTo(x448).secrets.salt,
      manifestOf(end.payloadDigest),
    )
    expect(Buffer.from(witness).toString("base64url")).toBe(trailer.WitnessValue)
  })

  // biome-ignore lint/suspicious/noExplicitAny: parts of JSON.
  const entries: [name: string, change: (recipient: any) => void][] = [
    ["wrapped seed", (recipient) => (recipient.wmk = changed(recipient.wmk, 5).payload)],
    ["wrapped seed of another length", (recipient) => (recipient.wmk = recipient.wmk.slice(0, 32))],
    ["key id", (recipient) => (recipient.kid = "MAAA")],
    ["curve", (recipient) => (recipient.epk.PublicKeyECDH.crv = "X25519")],
    ["ephemeral key of a kind we do not know", (recipient) => (recipient.epk = { PublicKeyDH: {} })],
    ["no ephemeral key", (recipient) => delete recipient.epk],
    ["ephemeral key of small order", (recipient) => (recipient.epk.PublicKeyECDH.Public = point(0))],
    ["ephemeral key that is not reduced", (recipient) => (recipient.epk.PublicKeyECDH.Public = point(255))],
    ["ephemeral key of another length", (recipient) => (recipient.epk.PublicKeyECDH.Public = "AAAA")],
  ]
  const point = (fill: number): string => Buffer.alloc(56, fill).toString("base64url")

  test.each(entries)("recipient: %s", async (_, change) => {
    const [header, payload, trailer] = sealed()
    change(header.recipients[0])
    expect(await outcomes([header, payload, trailer])).toEqual([cannotOpen, cannotOpen])
  })

  const headers: [name: string, members: Record<string, unknown>, code: string][] = [
    ["another cipher", { enc: "A256GCM" }, "DARE_UNSUPPORTED"],
    ["another digest", { dig: "SHA1" }, "DARE_UNSUPPORTED"],
    ["no salt", { Salt: undefined }, "DARE_MALFORMED"],
    ["a short salt", { Salt: "AAAA" }, "DARE_MALFORMED"],
    ["another salt", { Salt: Buffer.alloc(16).toString("base64url") }, "DECRYPTION_FAILED"],
  ]
  test.each(headers)("header: %s", async (_, members, code) => {
    const [header, payload, trailer] = sealed()
    expect(await outcomes([{ ...header, ...members }, payload, trailer])).toEqual([failed(code), failed(code)])
  })

  test("the last piece is given out only when the caller has agreed to the signatures", async () => {
    const envelope = sealWhole(octets(64), { encryption: encryptionTo(x448), signers: [ed448.signer] }, "json")
    const received = await ReceivedEnvelope.open(inPieces(envelope, 10_000))
    const shown: Uint8Array[] = []
    const reading = async () => {
      const refuse = () => {
        throw new Error("not signed by whom it should be")
      }
      for await (const piece of openPayload(received, seedOf(received.header, [x448.key]), refuse)) shown.push(piece)
    }
    await expect(reading()).rejects.toThrow("not signed by whom it should be")
    expect(shown).toEqual([])
  })
})

test("who goes by the text of the draft has other labels, and is read", () => {
  const base = { octets: new Uint8Array(32).fill(5), labelPrefix: "dare-" } as const
  const salt = new Uint8Array(16).fill(6)
  const cipher = contentEncryptor(base, salt)
  const payload = Buffer.concat([cipher.update(utf8("hello")), cipher.final()])
  const key = new Uint8Array(32).fill(1)
  const wmk = wrapKey(hkdfSha512(key, new Uint8Array(64), "dare-master", 32), base.octets)
  const encoded = (octets: Uint8Array): string => Buffer.from(octets).toString("base64url")
  const header = { enc: "A256CBC", Salt: encoded(salt), recipients: [{ kid: symmetric.key.kid, wmk: encoded(wmk) }] }
  const envelope = readEnvelope(utf8(JSON.stringify([header, encoded(payload)])))
  expect(openEnvelope(envelope, [symmetric.key]).content).toEqual(utf8("hello"))
})
