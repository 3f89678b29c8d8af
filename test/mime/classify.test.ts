import { readdirSync, readFileSync } from "node:fs"
import { deflateRawSync } from "node:zlib"
import { describe, expect, test } from "vitest"
import {
  elementSize,
  explicit,
  implicit,
  integer,
  nil,
  octetString,
  oid,
  sequence,
  setOf,
  tagged,
} from "../../src/crypto/cms/der.ts"
import { armor } from "../../src/crypto/openpgp/armor.ts"
import { writePacket } from "../../src/crypto/openpgp/packet.ts"
import { EncryptionClassifier, type Kind } from "../../src/mime/classify.ts"
import { MAX_ARMOR_HEADER_OCTETS } from "../../src/mime/classify-armor.ts"
import { MAX_BER_DEPTH, MAX_SHORT_SEGMENTS } from "../../src/mime/classify-cms.ts"
import {
  MAX_ATTRIBUTES_OCTETS,
  MAX_RECIPIENT_OCTETS,
  MAX_RECIPIENTS_OCTETS,
} from "../../src/mime/classify-cms-shape.ts"
import { MAX_CLASSIFIED_PARTS, MAX_LOOSE_OCTETS, MAX_PART_HEADERS_OCTETS } from "../../src/mime/classify-multipart.ts"
import { MAX_PADDING_OCTETS, MAX_SESSION_KEY_OCTETS, MAX_SESSION_KEYS_OCTETS } from "../../src/mime/classify-openpgp.ts"
import { MAX_FOOTERS_OCTETS } from "../../src/mime/classify-parts.ts"
import { MAX_HEADER_OCTETS } from "../../src/mime/header.ts"

// Made with OpenSSL 3.0 (cms), GnuPG 2.2, Sequoia sq, RNP 0.16 and OpenPGP.js 6; the MIME around OpenPGP is written as their mail programs do.
const CORPUS = "test/corpus/encrypted"
const corpus = readdirSync(CORPUS).map((file) => ({ file, octets: new Uint8Array(readFileSync(`${CORPUS}/${file}`)) }))

function classify(pieces: Iterable<Uint8Array>): Kind {
  const classifier = new EncryptionClassifier()
  for (const piece of pieces) classifier.push(piece)
  return classifier.end()
}

const classifyText = (...parts: (string | Uint8Array)[]): Kind => classify([concat(...parts)])

function concat(...parts: (string | Uint8Array)[]): Uint8Array {
  return Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part, "latin1") : part)))
}

/** Pieces of 1 to `most` octets, the sizes always the same for the same seed. */
function* pieces(octets: Uint8Array, most: number, seed: number): Generator<Uint8Array> {
  for (let at = 0, state = seed; at < octets.length; ) {
    state = (state * 48_271 + 11) % 2_147_483_647
    const size = 1 + (state % most)
    // A copy that is spoiled behind: what was pushed belongs to its owner.
    const piece = octets.slice(at, at + size)
    yield piece
    piece.fill(0x41)
    at += size
  }
}

/** What stands in for ciphertext: octets as good as random, always the same. */
function noise(octets: number): Uint8Array {
  let state = 1
  return Uint8Array.from({ length: octets }, () => (state = (state * 48_271) % 2_147_483_647) >> 8)
}

describe("row 48: messages other programs made", () => {
  const wanted = (file: string): Kind => {
    if (file.startsWith("clear-")) return "clear"
    return file.includes("smime") ? "smime" : "openpgp"
  }

  for (const { file, octets } of corpus)
    test(`${file} is ${wanted(file)}, in whatever pieces it comes`, () => {
      expect(classify([octets])).toBe(wanted(file))
      for (const most of [1, 2, 7, 100, 3000])
        expect(classify(pieces(octets, most, most)), `pieces of 1 to ${most}`).toBe(wanted(file))
    })

  test("bare line feeds make no difference", () => {
    for (const { file, octets } of corpus.filter((sample) => !sample.file.includes("binary"))) {
      const bare = Buffer.from(Buffer.from(octets).toString("latin1").replaceAll("\r\n", "\n"), "latin1")
      expect(classify([bare]), file).toBe(wanted(file))
    }
  })

  test("base64 in lines of any length, with blanks behind them, is the same", () => {
    const der = envelope()
    for (const width of [4, 19, 63, 76, 998, 1_000_000]) {
      const lines =
        Buffer.from(der)
          .toString("base64")
          .match(new RegExp(`.{1,${width}}`, "g")) ?? []
      expect(classifyText(SMIME, lines.join(" \t\r\n"), "\r\n\r\n  \r\n"), `${width}`).toBe("smime")
    }
    expect(classifyText(SMIME, Buffer.from(der).toString("base64").replace(/=+$/, "")), "no padding").toBe("smime")
  })

  test("quoted-printable with soft line breaks around armor is the same", () => {
    const text = Buffer.from(armored()).toString("latin1").replaceAll("=", "=3d")
    const soft = text.replace(/^([A-Za-z0-9+/]{20})/gm, "$1= \r\n")
    expect(classifyText("Content-Transfer-Encoding: Quoted-Printable\r\n\r\n", soft)).toBe("openpgp")
    expect(classifyText("Content-Transfer-Encoding: quoted-printable\r\n\r\n", soft, "=\r\n=4C=75nch")).toBe("clear")
  })
})

describe("what the octets so far would be", () => {
  test("clear, until ciphertext is seen; then what it is, until something in clear is", () => {
    const classifier = new EncryptionClassifier()
    const steps: [string | Uint8Array, Kind][] = [
      [PGP_MIME, "clear"],
      [Buffer.from(armored()).subarray(0, 40), "clear"],
      [Buffer.from(armored()).subarray(40), "openpgp"],
      ["\r\n--b--\r\n", "openpgp"],
      ["x".repeat(MAX_LOOSE_OCTETS + 1), "clear"],
      ["\r\n", "clear"],
    ]
    for (const [piece, want] of steps) {
      classifier.push(concat(piece))
      expect(classifier.soFar()).toBe(want)
    }
    expect(classifier.end()).toBe("clear")
  })

  test("a cut-off message is encrypted so far, and clear at its end", () => {
    for (const { file, octets } of corpus.filter((sample) => !sample.file.startsWith("clear-"))) {
      const classifier = new EncryptionClassifier()
      classifier.push(octets.subarray(0, octets.length - 60))
      expect(classifier.soFar(), file).not.toBe("clear")
      expect(classifier.end(), file).toBe("clear")
    }
  })

  test("nothing at all, or no body, is clear", () => {
    for (const text of ["", "\r\n", "Subject: x\r\n", "Subject: x\r\n\r\n", PGP_MIME]) {
      expect(classifyText(text)).toBe("clear")
    }
  })
})

describe("CMS", () => {
  const rows: [string, Kind, Uint8Array][] = [
    ["authEnveloped data", "smime", envelope({ type: AUTH_ENVELOPED, behind: [octetString(noise(16))] })],
    ["authEnveloped data without its tag", "clear", envelope({ type: AUTH_ENVELOPED })],
    ["enveloped data with a tag", "clear", envelope({ behind: [octetString(noise(16))] })],
    ["encrypted data, of which nobody's certificate is asked", "clear", envelope({ type: "1.2.840.113549.1.7.6" })],
    ["no recipients", "clear", envelope({ recipients: [] })],
    ["no ciphertext inside", "clear", envelope({ ciphertext: new Uint8Array(0) })],
    ["ciphertext in segments", "smime", envelope({ ciphertext: explicit(0, octetString(noise(200))) })],
    [
      "ciphertext that is a string of another kind",
      "clear",
      envelope({ ciphertext: explicit(0, tagged(12, noise(9))) }),
    ],
    ["text in place of the ciphertext", "clear", envelope({ ciphertext: implicit(0, concat("Lunch? ".repeat(40))) })],
    [
      "little text in its place",
      "clear",
      envelope({ ciphertext: implicit(0, concat("Lunch at noon, under the old oak?")) }),
    ],
    ["octets behind it", "clear", concat(envelope(), envelope())],
    ["white space behind it", "smime", concat(envelope(), "\r\n\r\n")],
    ["attributes as long as they may be", "smime", envelope({ behind: [attributes(MAX_ATTRIBUTES_OCTETS)] })],
    ["attributes too long", "clear", envelope({ behind: [attributes(MAX_ATTRIBUTES_OCTETS + 1)] })],
    ["originatorInfo as long as it may be", "smime", envelope({ before: [originator(MAX_ATTRIBUTES_OCTETS)] })],
    ["originatorInfo too long", "clear", envelope({ before: [originator(MAX_ATTRIBUTES_OCTETS + 1)] })],
    ["originatorInfo of open length, too long", "clear", envelope({ before: [openOriginator(MAX_ATTRIBUTES_OCTETS)] })],
    ["a recipient as long as it may be", "smime", envelope({ recipients: [recipient(MAX_RECIPIENT_OCTETS)] })],
    ["a recipient too long", "clear", envelope({ recipients: [recipient(MAX_RECIPIENT_OCTETS + 1)] })],
    ["64 recipients", "smime", envelope({ recipients: Array(64).fill(recipient(MAX_RECIPIENTS_OCTETS / 64 - 4)) })],
    [
      "recipients too long",
      "clear",
      envelope({ recipients: Array(64).fill(recipient(MAX_RECIPIENTS_OCTETS / 64 - 3)) }),
    ],
    ["names nested as deep as they may be", "smime", envelope({ recipients: [nested(MAX_BER_DEPTH - 4)] })],
    ["names nested too deep", "clear", envelope({ recipients: [nested(MAX_BER_DEPTH - 3)] })],
    ["as many short segments as there may be", "smime", envelope({ ciphertext: segments(MAX_SHORT_SEGMENTS) })],
    ["too many short segments", "clear", envelope({ ciphertext: segments(MAX_SHORT_SEGMENTS + 1) })],
  ]
  for (const [name, want, octets] of rows)
    test(`${name}: ${want}`, () => {
      expect(classifyText("Content-Transfer-Encoding: binary\r\n\r\n", octets)).toBe(want)
      expect(classifyText(SMIME, Buffer.from(octets).toString("base64"))).toBe(want)
    })
})

describe("OpenPGP packets", () => {
  const rows: [string, Kind, Uint8Array][] = [
    ["no session key packet", "openpgp", SEIPD],
    ["a second encrypted packet", "clear", concat(PKESK, SEIPD, SEIPD)],
    ["a session key packet behind", "clear", concat(SEIPD, PKESK)],
    ["session key packets only", "clear", PKESK],
    ["a version nobody knows", "clear", writePacket(18, Uint8Array.of(3), noise(100))],
    ["a literal packet", "clear", concat(PKESK, writePacket(11, noise(100)))],
    ["a literal packet behind", "clear", concat(SEIPD, writePacket(11, noise(100)))],
    ["a compressed packet", "clear", writePacket(8, noise(100))],
    ["text in place of the ciphertext", "clear", writePacket(18, Uint8Array.of(1), concat("Lunch? ".repeat(40)))],
    ["marker and padding around", "openpgp", concat(writePacket(10, concat("PGP")), SEIPD, writePacket(21, noise(20)))],
    ["as much padding as there may be", "openpgp", concat(writePacket(21, noise(MAX_PADDING_OCTETS - 3)), SEIPD)],
    ["too much padding", "clear", concat(writePacket(21, noise(MAX_PADDING_OCTETS - 2)), SEIPD)],
    ["a session key as long as it may be", "openpgp", concat(pkesk(MAX_SESSION_KEY_OCTETS), SEIPD)],
    ["a session key too long", "clear", concat(pkesk(MAX_SESSION_KEY_OCTETS + 1), SEIPD)],
    [
      "as many session keys as there may be",
      "openpgp",
      concat(...Array(MAX_SESSION_KEYS_OCTETS / 8192).fill(pkesk(8189)), SEIPD),
    ],
    ["too many session keys", "clear", concat(...Array(MAX_SESSION_KEYS_OCTETS / 8192).fill(pkesk(8190)), SEIPD)],
    ["partial lengths", "openpgp", concat(Uint8Array.of(0xd2, 0xe9, 1), noise(511), Uint8Array.of(5), noise(5))],
    [
      "partial lengths too short",
      "clear",
      concat(Uint8Array.of(0xd2, 0xe8, 1), noise(255), Uint8Array.of(5), noise(5)),
    ],
    ["partial lengths cut off", "clear", concat(Uint8Array.of(0xd2, 0xe9, 1), noise(511))],
    ["indeterminate length, without integrity", "openpgp", concat(Uint8Array.of(0xa7), noise(100))],
  ]
  for (const [name, want, octets] of rows)
    test(`${name}: ${want}`, () => {
      expect(classifyText("Subject: ...\r\n\r\n", armor(octets, "MESSAGE"))).toBe(want)
      expect(classifyText(PGP_MIME, armor(octets, "MESSAGE"), "\r\n--b--")).toBe(want)
      const binary = PGP_MIME.replace("octet-stream\r\n", "octet-stream\r\nContent-Transfer-Encoding: binary\r\n")
      expect(classifyText(binary, octets, "\r\n--b--")).toBe(want)
    })

  test("row 44: what is compressed, a hundred times within itself or to ten thousand times its size, is clear: nothing is inflated", () => {
    const deflated = (octets: Uint8Array): Uint8Array =>
      writePacket(8, concat(Uint8Array.of(1), new Uint8Array(deflateRawSync(octets))))
    let nested: Uint8Array = concat(PKESK, SEIPD)
    for (let level = 0; level < 100; level += 1) nested = deflated(nested)
    for (const octets of [nested, deflated(deflated(writePacket(11, new Uint8Array(50_000_000))))]) {
      expect(octets.length).toBeLessThan(100_000)
      expect(classifyText("Subject: ...\r\n\r\n", armor(octets, "MESSAGE"))).toBe("clear")
    }
  })

  test("packets without armor are encrypted mail within PGP/MIME only", () => {
    expect(classifyText("Content-Transfer-Encoding: binary\r\n\r\n", PKESK, SEIPD)).toBe("clear")
  })
})

describe("armor", () => {
  const text = Buffer.from(armored()).toString("latin1")
  const comment = (octets: number): string => text.replace("\r\n", `\r\nComment: ${"x".repeat(octets - 11)}\r\n`)
  const rows: [string, Kind, string][] = [
    ["headers as long as they may be", "openpgp", comment(MAX_ARMOR_HEADER_OCTETS)],
    ["headers too long", "clear", comment(MAX_ARMOR_HEADER_OCTETS + 1)],
    [
      "many short headers",
      "clear",
      text.replace("\r\n", `\r\n${"Comment: x\r\n".repeat(MAX_ARMOR_HEADER_OCTETS / 12 + 1)}`),
    ],
    ["text between the headers", "clear", text.replace("\r\n", "\r\nLunch at noon\r\n")],
    ["text before", "clear", `Lunch at noon\r\n${text}`],
    ["text behind", "clear", `${text}Lunch at noon\r\n`],
    ["text among the base64", "clear", text.replace(/^=/m, "Lunch at noon.\r\n=")],
    ["two of them", "clear", text + text],
    ["white space around", "openpgp", `\r\n \t\r\n${text}\r\n\r\n`],
    ["no checksum", "openpgp", text.replace(/^=.*\r\n/m, "")],
    ["no last line end", "openpgp", text.trimEnd()],
    ["no end", "clear", text.replace(/-----END.*/, "")],
    ["another end", "clear", text.replace("END PGP MESSAGE", "END PGP SIGNATURE")],
    ["a part of several", "clear", text.replace("BEGIN PGP MESSAGE", "BEGIN PGP MESSAGE, PART 1/2")],
  ]
  for (const [name, want, octets] of rows)
    test(`${name}: ${want}`, () => {
      expect(classifyText("Content-Type: text/plain\r\n\r\n", octets)).toBe(want)
    })

  test("is inline PGP in a text/plain part only", () => {
    expect(classifyText("Content-Type: text/html\r\n\r\n", text)).toBe("clear")
    expect(classifyText("Content-Type: message/rfc822\r\n\r\n\r\n", text)).toBe("clear")
  })
})

describe("rows 48 and 49: what stands beside the encrypted part", () => {
  const payload = Buffer.from(armored()).toString("latin1")
  const whole = `${PGP_MIME}${payload}\r\n--b--\r\n`
  const list = (...parts: string[]): string =>
    `List-Id: <x.example.org>\r\nContent-Type: multipart/mixed; boundary=l\r\n\r\n${parts.map((part) => `--l\r\n${part}\r\n`).join("")}--l--\r\n`
  const text = (content: string, type = "text/plain"): string => `Content-Type: ${type}\r\n\r\n${content}`
  const padded = (octets: number): string => {
    const headers = PART_HEADERS.join("").length
    return whole.replace("octet-stream\r\n", `octet-stream\r\nX-Pad: ${"x".repeat(octets - headers - 9)}\r\n`)
  }
  const blanks = (count: number): string =>
    `Content-Type: multipart/mixed; boundary=b\r\n\r\n${"--b\r\n\r\n\r\n".repeat(count)}${whole.slice(whole.indexOf("--b"))}`
  const rows: [string, Kind, string][] = [
    ["a preamble as long as it may be", "openpgp", whole.replace("--b", `${"x".repeat(MAX_LOOSE_OCTETS)}\r\n--b`)],
    ["a preamble too long", "clear", whole.replace("--b", `${"x ".repeat(MAX_LOOSE_OCTETS + 1)}\r\n--b`)],
    [
      "white space only before and behind",
      "openpgp",
      whole.replace("--b", `${"\r\n".repeat(999)}--b`) + " ".repeat(999),
    ],
    ["an epilogue too long", "clear", `${whole}${"x".repeat(MAX_LOOSE_OCTETS + 1)}`],
    [
      "preamble and epilogue together too long",
      "clear",
      `${whole.replace("--b", "x\r\n--b")}${"x".repeat(MAX_LOOSE_OCTETS)}`,
    ],
    ["a part behind the last boundary", "clear", `${whole}${`--b\r\n\r\n${"x".repeat(MAX_LOOSE_OCTETS)}`}`],
    ["part headers as long as they may be", "openpgp", padded(MAX_PART_HEADERS_OCTETS)],
    ["part headers too long", "clear", padded(MAX_PART_HEADERS_OCTETS + 1)],
    [
      "a line in a part header that is no field",
      "clear",
      whole.replace("Content-Type: application/oct", "Lunch\r\nContent-Type: application/oct"),
    ],
    ["a line in the header section that is no field", "clear", `Subject: ...\r\nLunch at noon\r\n${whole}`],
    ["a third part", "clear", whole.replace("--b--", "--b\r\n\r\n\r\n--b--")],
    ["as many blank parts as there may be", "openpgp", blanks(MAX_CLASSIFIED_PARTS - 2)],
    ["too many blank parts", "clear", blanks(MAX_CLASSIFIED_PARTS - 1)],
    ["another version part", "clear", whole.replace("Version: 1", "Version: 1, lunch at noon")],
    ["no version part", "clear", whole.replace(/--b\r\n[\s\S]*?(?=--b)/, "")],
    ["no last boundary", "clear", whole.replace("--b--", "")],
    ["a boundary with text behind it", "clear", whole.replace("--b--", "--b--lunch")],
    ["multipart/related", "clear", whole.replace("multipart/encrypted", "multipart/related")],
    ["multipart/signed", "clear", whole.replace("multipart/encrypted", "multipart/signed")],
    ["a multipart in base64", "clear", `Content-Transfer-Encoding: base64\r\n${whole}`],
    [
      "an encoding nobody knows",
      "clear",
      whole.replace("octet-stream\r\n", "octet-stream\r\nContent-Transfer-Encoding: x-uuencode\r\n"),
    ],
    ["footers as long as they may be", "openpgp", list(whole, text(`${"x".repeat(MAX_FOOTERS_OCTETS - 4)}\r\n`))],
    [
      "footers too long",
      "clear",
      list(whole, text(`${"x".repeat(MAX_FOOTERS_OCTETS - 4)}\r\n`), text("x", "text/html")),
    ],
    ["a footer that is no text", "clear", list(whole, text("x", "application/octet-stream"))],
    ["a footer that is a calendar", "clear", list(whole, text("x", "text/calendar"))],
    ["a footer before the encrypted part", "clear", list(text("Lunch"), whole)],
    [
      "an image whose address does not end before it",
      "clear",
      list(text('<img src="http://evil.test/', "text/html"), whole, text('">', "text/html")),
    ],
    ["footers only", "clear", list(text(""), text("Lunch"))],
    ["a list within a list", "clear", list(list(whole))],
    ["a forwarded message in a list", "clear", list(text(whole, "message/rfc822"))],
    ["inline PGP and a footer in a list", "openpgp", list(text(payload), text("x"))],
    ["the form of Exchange in a list", "openpgp", list(whole.replace("encrypted;", "mixed;"), text("x"))],
  ]
  for (const [name, want, octets] of rows)
    test(`${name}: ${want}`, () => {
      expect(classifyText(octets)).toBe(want)
      expect(classify(pieces(concat(octets), 5, 3))).toBe(want)
    })

  test("a header section too long to hold is clear", () => {
    const field = (octets: number): string => `X: ${"x".repeat(octets - 5)}\r\n`
    expect(classifyText(field(MAX_HEADER_OCTETS - 2), "\r\n", payload)).toBe("openpgp")
    expect(classifyText(field(MAX_HEADER_OCTETS - 1), "\r\n", payload)).toBe("clear")
  })
})

interface EnvelopeParts {
  readonly type?: string
  readonly before?: readonly Uint8Array[]
  readonly recipients?: readonly Uint8Array[]
  readonly ciphertext?: Uint8Array
  readonly behind?: readonly Uint8Array[]
}

function envelope({ type, before, recipients, ciphertext, behind }: EnvelopeParts = {}): Uint8Array {
  const algorithm = sequence(oid("2.16.840.1.101.3.4.1.42"), octetString(noise(16)))
  const content = sequence(oid("1.2.840.113549.1.7.1"), algorithm, ciphertext ?? implicit(0, noise(600)))
  const set = recipients?.length === 0 ? tagged(0x31) : setOf(...(recipients ?? [recipient(300)]))
  const data = sequence(integer(2), ...(before ?? []), set, content, ...(behind ?? []))
  return sequence(oid(type ?? "1.2.840.113549.1.7.3"), explicit(0, data))
}

function recipient(octets: number): Uint8Array {
  return sequence(filled(octets))
}

/** An element of `octets` octets, header included. */
function filled(octets: number): Uint8Array {
  const header = [2, 3, 4, 5].find((size) => elementSize(octets - size) === octets) ?? 0
  return octetString(noise(octets - header))
}

function nested(depth: number): Uint8Array {
  return depth === 0 ? nil() : sequence(nested(depth - 1))
}

function segments(count: number): Uint8Array {
  const content = noise(100 * count)
  return explicit(
    0,
    ...Array.from({ length: count }, (_, at) => octetString(content.subarray(100 * at, 100 * at + 100))),
  )
}

function attributes(octets: number): Uint8Array {
  return explicit(1, filled(octets))
}

function originator(octets: number): Uint8Array {
  return explicit(0, filled(octets))
}

function openOriginator(octets: number): Uint8Array {
  return concat(Uint8Array.of(0xa0, 0x80), octetString(noise(octets)), Uint8Array.of(0, 0))
}

function pkesk(octets: number): Uint8Array {
  return writePacket(1, Uint8Array.of(3), noise(octets - 1))
}

function armored(): Uint8Array {
  return armor(concat(PKESK, SEIPD), "MESSAGE")
}

const AUTH_ENVELOPED = "1.2.840.113549.1.9.16.1.23"
const PKESK = pkesk(90)
const SEIPD = writePacket(18, Uint8Array.of(1), noise(200))
const SMIME = "Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\n"
const PART_HEADERS = [
  "Content-Type: application/pgp-encrypted\r\n\r\n",
  "Content-Type: application/octet-stream\r\n\r\n",
] as const
const PGP_MIME = `Content-Type: multipart/encrypted; boundary=b\r\n\r\n--b\r\n${PART_HEADERS[0]}Version: 1\r\n--b\r\n${PART_HEADERS[1]}`
