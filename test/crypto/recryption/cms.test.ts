import { describe, expect, test } from "vitest"
import { type Certificate, readCertificate } from "../../../src/crypto/cms/certificate.ts"
import { explicit, integer, octetString, sequence, TAG, tagged, utf8String } from "../../../src/crypto/cms/der.ts"
import { deriveEnvelopeSecrets, encryptEnveloped } from "../../../src/crypto/cms/enveloped.ts"
import { openEnveloped } from "../../../src/crypto/cms/open.ts"
import { cmsRecipient } from "../../../src/crypto/cms/recipient.ts"
import { p256Compress } from "../../../src/crypto/primitives/p256.ts"
import { MAX_BER_CHILDREN, MAX_BER_DEPTH } from "../../../src/crypto/recryption/ber.ts"
import { cmsRecryptor, cmsRestorer } from "../../../src/crypto/recryption/cms.ts"
import { MAX_HEAD_OCTETS, readCmsHead } from "../../../src/crypto/recryption/cms-head.ts"
import { hasCode } from "../../../src/errors.ts"
import { base64, cms, cmsRecryption, dev1, hex, identity } from "./vectors.ts"

const b64 = (octets: Uint8Array | null): string | null => octets && Buffer.from(octets).toString("base64")
const code = (wanted: "CMS_MALFORMED" | "POINT_INVALID" | "DER_SYNTAX") =>
  expect.toSatisfy((error) => hasCode(error, wanted))
const IDENTIFIER_REWRITTEN = 5
const original = base64(cms.messages[1]?.original ?? "")

/** A certificate of the vectors, as openssl's recipient. */
function certificate(party: { readonly certificate: string }): Certificate {
  return readCertificate(base64(party.certificate.replace(/-----[A-Z ]+-----|\s/g, "")))
}

async function sealed(
  certificates: readonly Certificate[],
  cipher: "aes-256-cbc" | "aes-256-gcm",
): Promise<Uint8Array> {
  const content = new TextEncoder().encode(cms.plaintext)
  const parts: Uint8Array[] = []
  const secrets = deriveEnvelopeSecrets(new Uint8Array(32).fill(7), "test")
  async function* source(): AsyncGenerator<Uint8Array> {
    yield content
  }
  const recipients = certificates.map((one) => cmsRecipient(one))
  const options = { contentOctets: content.length, recipients, secrets, cipher }
  for await (const part of encryptEnveloped(source(), options)) parts.push(part)
  return new Uint8Array(Buffer.concat(parts))
}

describe("vectors", () => {
  const rows = cms.messages.flatMap(({ form, original, recrypted }, index) =>
    Object.entries(recrypted).map(([device, wanted]) => ({ form, device, original, wanted, index })),
  )
  test.each(rows)("$form, for $device", ({ device, original, wanted, index }) => {
    const recryption = cmsRecryption(device)
    const other = index === IDENTIFIER_REWRITTEN ? { ...recryption.to, issuer: sequence() } : recryption.to
    expect(b64(cmsRecryptor({ ...recryption, to: other }).recrypt(base64(original)))).toBe(wanted)
  })

  test.each(rows.slice(0, -1))("and back: $form, from $device", ({ device, original, wanted }) => {
    const restored = cmsRestorer(cmsRecryption(device)).recrypt(base64(wanted))
    if (restored === null) throw new Error("not recognised")
    // Of two points with the same x the even one is given; the account opens either.
    const [span] = headOf(restored).windows
    const withoutY = (octets: Uint8Array) =>
      octets.map((octet, at) => (at >= (span?.start ?? 0) + 33 && at < (span?.end ?? 0) ? 0 : octet))
    expect(b64(withoutY(restored))).toBe(b64(withoutY(base64(original))))
    const account = { identity: identity(cms.account), scalar: hex(cms.account.scalar) }
    expect(Buffer.from(openEnveloped(restored, account) ?? []).toString()).toBe(cms.plaintext)
  })

  test("a block for somebody else is not ours", () => {
    expect(cmsRecryptor(cmsRecryption("dev2")).recrypt(base64(cms.messages[1]?.recrypted["dev1"] ?? ""))).toBeNull()
    expect(cmsRestorer(cmsRecryption("dev2")).recrypt(original)).toBeNull()
  })
})

describe("what our own encryption writes", () => {
  const account = certificate(cms.account)
  const device = cms.devices[0]
  if (!device) throw new Error("no device")
  const key = { identity: identity(device), scalar: hex(device.scalar) }

  test.each(["aes-256-cbc", "aes-256-gcm"] as const)("%s, opened by the device", async (cipher) => {
    const block = await sealed([account], cipher)
    expect(openEnveloped(block, key)).toBeNull()
    const recrypted = dev1.recrypt(block)
    expect(recrypted).toHaveLength(block.length)
    expect(Buffer.from(openEnveloped(recrypted ?? block, key) ?? []).toString()).toBe(cms.plaintext)
  })

  test("one recipient among 100", async () => {
    const others = Array.from({ length: 99 }, (_, index): Certificate => {
      const serial = Uint8Array.from([1, ...new Array<number>(14).fill(0), index])
      return { ...account, identity: { ...account.identity, serial } }
    })
    const block = await sealed([...others.slice(0, 60), account, ...others.slice(60)], "aes-256-cbc")
    expect(block.length).toBeGreaterThan(19_000)
    const recrypted = dev1.recrypt(block)
    if (recrypted === null) throw new Error("not recognised")
    expect(Buffer.from(openEnveloped(recrypted, key) ?? []).toString()).toBe(cms.plaintext)
    const changed = block.reduce((count, octet, at) => count + (octet === recrypted[at] ? 0 : 1), 0)
    expect(changed).toBeLessThanOrEqual(64 + 16)
  })
})

describe("identifiers", () => {
  const recryption = cmsRecryption("dev1")
  const account = recryption.from

  test.each(Array.from({ length: 300 }, (_, index) => index + 25))(
    "an issuer of %i octets more is made up by filler",
    (length) => {
      const issuer = sequence(utf8String("x".repeat(length)))
      const block = replaced(original, account.issuer, issuer)
      const recrypted = cmsRecryptor({ ...recryption, from: { ...account, issuer } }).recrypt(block)
      if (recrypted === null) throw new Error("not recognised")
      expect(recrypted).toHaveLength(block.length)
      const exchange = headOf(recrypted).exchanges[0]
      const [span] = exchange?.identifiers ?? []
      if (!span) throw new Error("no identifier")
      expect(recrypted[span.start]).toBe(0xa0)
      const restorable = { ...recryption, from: { ...account, issuer } }
      expect(cmsRestorer(restorable).patches(recrypted, exchange ?? { point: null, identifiers: [] })).not.toBeNull()
    },
  )

  test("an identifier too short for a key identifier is left, and counts as malformed", () => {
    const issuer = sequence()
    const serial = Uint8Array.of(5)
    const block = replaced(original, sequenceOf(account.issuer, account.serial), sequenceOf(issuer, serial))
    expect(() => cmsRecryptor({ ...recryption, from: { ...account, issuer, serial } }).recrypt(block)).toThrow(
      code("CMS_MALFORMED"),
    )
  })

  test("without a key identifier of the device nothing can be rewritten", () => {
    const to = { ...recryption.to, issuer: sequence(), subjectKeyIdentifier: null }
    expect(() => cmsRecryptor({ ...recryption, to }).recrypt(original)).toThrow(code("CMS_MALFORMED"))
  })

  test("a serial number of another length is rewritten as key identifier", () => {
    const to = { ...recryption.to, serial: Uint8Array.of(1, 2, 3) }
    const recrypted = cmsRecryptor({ ...recryption, to }).recrypt(original)
    expect(recrypted).toHaveLength(original.length)
    expect(Buffer.from(recrypted ?? []).includes(Buffer.from(to.subjectKeyIdentifier ?? []))).toBe(true)
  })

  test("several recipients under one ephemeral key: ours is rewritten, the others stay", () => {
    const [exchange] = headOf(original).exchanges
    const span = exchange?.identifiers[0]
    if (!span) throw new Error("no identifier")
    const ours = original.subarray(span.start, span.end)
    const key = sequence(ours, octetString(original.subarray(span.end + 2, span.end + 42)))
    const other = sequence(sequenceOf(account.issuer, new Uint8Array(16).fill(9)), octetString(new Uint8Array(40)))
    const block = replaced(original, sequence(key), sequence(other, key, other))
    const recrypted = dev1.recrypt(block)
    if (recrypted === null) throw new Error("not recognised")
    expect(headOf(block).exchanges[0]?.identifiers).toHaveLength(3)
    expect(Buffer.from(recrypted).includes(Buffer.from(recryption.to.serial))).toBe(true)
    expect(Buffer.from(recrypted).includes(Buffer.from(other))).toBe(true)
  })
})

describe("points", () => {
  const point = headOf(original).exchanges[0]?.point
  if (!point) throw new Error("no point")
  const octets = original.subarray(point.start, point.end)

  test("compressed ones stay compressed", () => {
    const block = replaced(
      original,
      tagged(TAG.bitString, Uint8Array.of(0), octets),
      tagged(TAG.bitString, Uint8Array.of(0), p256Compress(octets)),
    )
    const recrypted = dev1.recrypt(block)
    const whole = dev1.recrypt(original)
    expect(recrypted).toHaveLength(original.length - 32)
    expect(b64(recrypted?.subarray(point.start + 1, point.start + 33) ?? null)).toBe(
      b64(whole?.subarray(point.start + 1, point.start + 33) ?? null),
    )
  })

  test.each([
    ["off the curve", Uint8Array.from(octets).fill(1, 64)],
    ["infinity", new Uint8Array(65)],
    ["hybrid", Uint8Array.from([6, ...octets.subarray(1)])],
  ])("%s: refused", (_, wrong) => {
    expect(() => dev1.recrypt(replaced(original, octets, wrong))).toThrow(code("POINT_INVALID"))
  })

  test.each([
    [
      "of another length",
      replaced(
        original,
        tagged(TAG.bitString, Uint8Array.of(0), octets),
        tagged(TAG.bitString, Uint8Array.of(0), octets.subarray(1)),
      ),
    ],
    [
      "with unused bits",
      replaced(
        original,
        tagged(TAG.bitString, Uint8Array.of(0), octets),
        tagged(TAG.bitString, Uint8Array.of(1), octets),
      ),
    ],
    [
      "of another curve",
      replaced(original, hex("300906072a8648ce3d0201"), hex("301006072a8648ce3d020106052b81040022")),
    ],
    ["of another algorithm", replaced(original, hex("06072a8648ce3d0201"), hex("06072a8648ce3d0209"))],
  ])("%s: ours, but malformed", (_, block) => {
    expect(() => dev1.recrypt(block)).toThrow(code("CMS_MALFORMED"))
  })

  test.each([
    ["NULL", hex("300b06072a8648ce3d02010500")],
    ["the curve's name", hex("301306072a8648ce3d020106082a8648ce3d030107")],
  ])("parameters may be %s", (_, algorithm) => {
    expect(dev1.recrypt(replaced(original, hex("300906072a8648ce3d0201"), algorithm))).not.toBeNull()
  })
})

describe("reading a head", () => {
  test("every shorter piece asks for more, and never for less than it has", () => {
    for (const message of cms.messages) {
      const block = base64(message.original)
      const { endOctets } = headOf(block)
      for (let length = 0; length < endOctets; length++) {
        const reading = readCmsHead(block.subarray(0, length))
        if (reading.kind !== "more") throw new Error(`${reading.kind} at ${length}`)
        expect(reading.octets).toBeGreaterThan(length)
        expect(reading.octets).toBeLessThanOrEqual(endOctets)
      }
    }
  })

  test("originatorInfo is passed over", () => {
    const version = integer(2)
    const info = explicit(0, explicit(0, sequence(octetString(new Uint8Array(3000)))))
    const recipients = Buffer.from(original).indexOf(0x31)
    const block = replaced(
      original,
      Buffer.concat([version, original.subarray(recipients, recipients + 3)]),
      Buffer.concat([version, info, original.subarray(recipients, recipients + 3)]),
    )
    expect(dev1.recrypt(block)).toHaveLength(block.length)
  })

  test("indefinite lengths everywhere", () => {
    const block = Buffer.from(indefinite(original))
    const recrypted = dev1.recrypt(block)
    expect(recrypted).toHaveLength(block.length)
    expect(Buffer.from(recrypted ?? []).includes(Buffer.from(cmsRecryption("dev1").to.serial))).toBe(true)
  })

  const enveloped = (...parts: Uint8Array[]) =>
    sequence(hex("06092a864886f70d010703"), explicit(0, sequence(integer(2), ...parts)))
  const rows: [name: string, block: Uint8Array, wanted: "CMS_MALFORMED" | "DER_SYNTAX"][] = [
    ["recipients over the limit", enveloped(tagged(TAG.set, new Uint8Array(MAX_HEAD_OCTETS))), "CMS_MALFORMED"],
    [
      "too many elements",
      enveloped(
        tagged(
          TAG.set,
          new Uint8Array(2 * MAX_BER_CHILDREN + 2).fill(0).map((_, at) => (at % 2 === 0 ? 4 : 0)),
        ),
      ),
      "DER_SYNTAX",
    ],
    [
      "too deep",
      enveloped(
        Buffer.concat([
          Uint8Array.of(TAG.set, 0x80),
          ...Array.from({ length: MAX_BER_DEPTH + 2 }, () => Uint8Array.of(0x30, 0x80)),
          new Uint8Array(200),
        ]),
      ),
      "DER_SYNTAX",
    ],
    ["no set of recipients", enveloped(sequence(new Uint8Array(200))), "CMS_MALFORMED"],
    ["recipients that overrun", replaced(original, hex("3181d2"), hex("3181d4")), "DER_SYNTAX"],
  ]
  test.each(rows)("%s: refused", (_, block, wanted) => {
    expect(() => readCmsHead(block)).toThrow(code(wanted))
  })

  test.each([
    ["signed data", sequence(hex("06092a864886f70d010702"), explicit(0, sequence(new Uint8Array(200))))],
    ["text", new TextEncoder().encode("0123456789")],
    ["zeros", new Uint8Array(100)],
  ])("%s is no block", (_, octets) => {
    expect(readCmsHead(octets)).toEqual({ kind: "none" })
  })
})

function headOf(block: Uint8Array) {
  const reading = readCmsHead(block)
  if (reading.kind !== "head") throw new Error(`no head: ${reading.kind}`)
  return reading.head
}

function sequenceOf(issuer: Uint8Array, serial: Uint8Array): Uint8Array {
  return sequence(issuer, tagged(TAG.integer, serial))
}

/** The block with `old` replaced by `fresh`, and all lengths around it made right where they were definite. */
function replaced(block: Uint8Array, old: Uint8Array, fresh: Uint8Array): Uint8Array {
  const at = Buffer.from(block).indexOf(Buffer.from(old))
  if (at < 0) throw new Error("nothing to replace")
  return rebuilt(block, at, old.length, fresh)
}

function rebuilt(octets: Uint8Array, at: number, length: number, fresh: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = []
  for (let start = 0; start < octets.length; ) {
    const { tag, contentStart, end } = elementAt(octets, start)
    const inside = at >= contentStart && at + length <= end
    const direct = at === start || (at < end && at + length > end) || (at > start && at < contentStart)
    if (direct)
      return new Uint8Array(Buffer.concat([...parts, octets.subarray(start, at), fresh, octets.subarray(at + length)]))
    const content = octets.subarray(contentStart, end)
    const constructed = (tag & 0x20) !== 0
    if (!inside) parts.push(octets.subarray(start, end))
    else if (constructed) parts.push(tagged(tag, rebuilt(content, at - contentStart, length, fresh)))
    else
      parts.push(
        tagged(tag, content.subarray(0, at - contentStart), fresh, content.subarray(at - contentStart + length)),
      )
    start = end
  }
  return new Uint8Array(Buffer.concat(parts))
}

/** Every constructed element with indefinite length. */
function indefinite(octets: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = []
  for (let start = 0; start < octets.length; ) {
    const { tag, contentStart, end } = elementAt(octets, start)
    if ((tag & 0x20) === 0 || isName(octets, start)) parts.push(octets.subarray(start, end))
    else parts.push(Uint8Array.of(tag, 0x80), indefinite(octets.subarray(contentStart, end)), Uint8Array.of(0, 0))
    start = end
  }
  return Buffer.concat(parts)
}

/** The issuer's Name is compared octet for octet. */
function isName(octets: Uint8Array, start: number): boolean {
  const { issuer } = identity(cms.account)
  return Buffer.from(octets.subarray(start, start + issuer.length)).equals(issuer)
}

function elementAt(octets: Uint8Array, start: number): { tag: number; contentStart: number; end: number } {
  const first = octets[start + 1] ?? 0
  const count = first > 0x80 ? first & 0x7f : 0
  let length = count > 0 ? 0 : first
  for (let index = 0; index < count; index++) length = length * 256 + (octets[start + 2 + index] ?? 0)
  const contentStart = start + 2 + count
  return { tag: octets[start] ?? 0, contentStart, end: contentStart + length }
}
