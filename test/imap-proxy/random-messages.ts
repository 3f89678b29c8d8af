import fc from "fast-check"
import { readElement, TAG, tagged } from "../../src/crypto/cms/der.ts"
import { armor } from "../../src/crypto/openpgp/armor.ts"
import { lines, text } from "../crypto/recryption/feeding.ts"
import { base64, cms, openpgp } from "../crypto/recryption/vectors.ts"

/** A message with one block for the account of the vectors: as stored, and as the laptop is to see it. */
export interface RandomMessage {
  readonly stored: string
  readonly expected: string
  /** What each section (RFC 9051 §6.4.5) covers, in both forms alike: "", `HEADER`, `TEXT`, `1`, `2.1.MIME`. */
  readonly sections: ReadonlyMap<string, Span>
}

type Span = readonly [start: number, end: number]

/** S/MIME or PGP/MIME in any of its forms, behind headers of up to 70 KB, in up to three wrappers as mailing lists make them. */
export const randomMessage: fc.Arbitrary<RandomMessage> = fc
  .record({
    block: fc.oneof({ weight: 2, arbitrary: smime() }, pgp()),
    wrappers: fc.array(
      fc.record({ before: fc.boolean(), after: fc.boolean(), headerOctets: headerOctets(5000), width: fc.nat(60) }),
      { maxLength: 3 },
    ),
    headerOctets: headerOctets(70_000),
  })
  .map(({ block, wrappers, headerOctets: octets }) => {
    const [stored, expected] = block.map((entity) => {
      const wrapped = wrappers.reduce<Entity>((inner, wrapper, depth) => inWrapper(inner, wrapper, depth), entity)
      return rendered({ ...wrapped, header: field("X-Hop", octets) + wrapped.header })
    })
    if (!stored || !expected) throw new Error("no block")
    return { stored: stored.text, expected: expected.text, sections: namedAsMessage(stored) }
  })

/** An entity of RFC 2045 §2.4: what it says and its body, or the entities in it. */
interface Entity {
  readonly header: string
  readonly body: string | readonly Entity[]
  readonly boundary?: string
}

/** With the original block, and with the recrypted one. */
type Forms = readonly [original: Entity, recrypted: Entity]

const IN_BASE64 =
  "Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\nContent-Transfer-Encoding: base64\r\n"

function smime(): fc.Arbitrary<Forms> {
  return fc
    .record({
      form: fc.nat(2),
      recipients: fc.oneof(fc.integer({ min: 1, max: 5 }), fc.constantFrom(30, 100)),
      ours: fc.nat(),
      indefinite: fc.boolean(),
      contentOctets: fc.oneof(fc.nat(200), fc.nat(20_000)),
      width: fc.constantFrom(60, 64, 76, 998, 1_000_000),
    })
    .map(({ width, ...shape }) => {
      const vector = cms.messages[shape.form]
      const original = vector?.original ?? ""
      const [stored, seen] = [original, vector?.recrypted["dev1"] ?? ""].map(
        (block): Entity => ({
          header: IN_BASE64,
          body: lines(enveloped(base64(block), base64(original), shape), width),
        }),
      )
      if (!stored || !seen) throw new Error("vectors are missing")
      return [stored, seen]
    })
}

interface Shape {
  readonly recipients: number
  readonly ours: number
  readonly indefinite: boolean
  readonly contentOctets: number
}

/**
 * RFC 5652 §6.1: the recipient of `block` at any place among `shape.recipients`; the others are `other`'s, with identifiers of nobody.
 * Only who can decrypt would see that the content is none.
 */
function enveloped(block: Uint8Array, other: Uint8Array, { recipients, ours, indefinite, contentOctets }: Shape) {
  const element = indefinite ? indefiniteLength : tagged
  const place = ours % recipients
  const infos = Array.from({ length: recipients }, (_, at) =>
    at === place ? recipientOf(block) : withoutOwner(recipientOf(other), at),
  )
  const algorithm = Buffer.from("301d060960864801650304012a0410389c321586f85a70f10b516b0b95e852", "hex")
  const content = Uint8Array.from({ length: contentOctets }, (_, at) => (at * 40503) >>> 5)
  const encrypted = indefinite ? indefiniteLength(0xa0, tagged(TAG.octetString, content)) : tagged(0x80, content)
  const contentInfo = element(TAG.sequence, Buffer.from("06092a864886f70d010701", "hex"), algorithm, encrypted)
  const version = Buffer.from("020102", "hex")
  const data = element(TAG.sequence, version, element(TAG.set, ...infos), contentInfo)
  return element(TAG.sequence, Buffer.from("06092a864886f70d010703", "hex"), element(0xa0, data))
}

/** X.690 §8.1.3.6. */
function indefiniteLength(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat([Uint8Array.of(tag, 0x80), ...contents, Uint8Array.of(0, 0)])
}

/** The one KeyAgreeRecipientInfo of a vector in DER. */
function recipientOf(block: Uint8Array): Uint8Array {
  const into = (at: number): number => readElement(block, at)?.contentStart ?? 0
  const behind = (at: number): number => readElement(block, at)?.end ?? 0
  const data = into(into(behind(into(0))))
  const set = behind(data)
  return block.subarray(into(set), behind(set))
}

/** With another identifier: it ends in front of the wrapped key, an OCTET STRING of 40 octets. */
function withoutOwner(recipient: Uint8Array, serial: number): Uint8Array {
  const copy = new Uint8Array(recipient)
  copy.fill(0x20 + serial, recipient.length - 42 - 16, recipient.length - 42)
  return copy
}

function pgp(): fc.Arbitrary<Forms> {
  return fc
    .record({ contentOctets: fc.oneof(fc.constant(null), fc.nat(20_000)), checked: fc.boolean() })
    .map(({ contentOctets, checked }) => [
      encryptedByPgp(grown(openpgp.original, contentOctets), checked),
      encryptedByPgp(grown(openpgp.recrypted, contentOctets), checked),
    ])
}

/** RFC 3156 §4, with or without the armor's CRC-24. */
function encryptedByPgp(block: Uint8Array, checked: boolean): Entity {
  const armored = text(armor(block, "MESSAGE"))
  return {
    header: "Content-Type: multipart/encrypted; boundary=pgp; protocol=application/pgp-encrypted\r\n",
    boundary: "pgp",
    body: [
      { header: "Content-Type: application/pgp-encrypted\r\n", body: "Version: 1\r\n" },
      {
        header: "Content-Type: application/octet-stream\r\n",
        body: checked ? armored : armored.replace(/=[A-Za-z0-9+/]{4}\r\n/, ""),
      },
    ],
  }
}

/** One more packet of encrypted data behind those of the vector (RFC 9580 §4.2.1, a length of five octets). */
function grown(block: string, octets: number | null): Uint8Array {
  if (octets === null) return base64(block)
  const head = Buffer.from("d2ff00000000", "hex")
  head.writeUInt32BE(octets, 2)
  return Buffer.concat([base64(block), head, Uint8Array.from({ length: octets }, (_, at) => (at * 40503) >>> 5)])
}

interface Wrapper {
  readonly before: boolean
  readonly after: boolean
  readonly headerOctets: number
  readonly width: number
}

function inWrapper(inner: Entity, { before, after, headerOctets: octets, width }: Wrapper, depth: number): Entity {
  const note = { header: "Content-Type: text/plain\r\n", body: `${"note ".repeat(width)}\r\nhttps://lists.test\r\n` }
  const parts = [...(before ? [note] : []), { ...inner, header: inner.header + field("X-Part", octets) }]
  const boundary = `=_${depth}_${"b".repeat(width)}`
  return {
    header: `Content-Type: multipart/mixed; boundary="${boundary}"\r\n`,
    boundary,
    body: after ? [...parts, note] : parts,
  }
}

interface Rendered {
  readonly text: string
  /** Relative to this entity: `MIME` is its header, "" its body. */
  readonly sections: ReadonlyMap<string, Span>
  readonly multipart: boolean
}

function rendered({ header, body, boundary }: Entity): Rendered {
  const sections = new Map<string, Span>()
  let whole = `${header}\r\n`
  const bodyStart = whole.length
  sections.set("MIME", [0, bodyStart])
  if (typeof body === "string") whole += body
  else {
    for (const [index, part] of body.map(rendered).entries()) {
      whole += `--${boundary}\r\n`
      for (const [name, [start, end]] of part.sections)
        sections.set([index + 1, name].filter((word) => word !== "").join("."), [
          whole.length + start,
          whole.length + end,
        ])
      whole += `${part.text}\r\n`
    }
    whole += `--${boundary}--\r\n`
  }
  sections.set("", [bodyStart, whole.length])
  return { text: whole, sections, multipart: typeof body !== "string" }
}

/** The outermost entity is the message: it has no number, and its body is TEXT, or part 1 when it is the only one. */
function namedAsMessage({ text: whole, sections, multipart }: Rendered): RandomMessage["sections"] {
  const named = new Map(sections)
  const body = sections.get("") ?? [0, 0]
  named.delete("MIME")
  named
    .set("HEADER", sections.get("MIME") ?? [0, 0])
    .set("TEXT", body)
    .set("", [0, whole.length])
  return multipart ? named : named.set("1", body)
}

/** Mostly short. */
function headerOctets(max: number): fc.Arbitrary<number> {
  return fc.oneof({ weight: 3, arbitrary: fc.nat(300) }, fc.nat(max))
}

/** Fields of about so many octets together; a line of them begins as base64 of a block does. */
function field(name: string, octets: number): string {
  const line = `${name}: MIAGCSqGSIb3DQEHA6CA by some host\r\n`
  return line.repeat(Math.floor(octets / line.length))
}
