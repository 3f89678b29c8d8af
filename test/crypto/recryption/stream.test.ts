import { describe, expect, test } from "vitest"
import { explicit, octetString, readWhole, sequence, tagged } from "../../../src/crypto/cms/der.ts"
import { armor, dearmor } from "../../../src/crypto/openpgp/armor.ts"
import { berChildren } from "../../../src/crypto/recryption/ber.ts"
import { cmsRecryptor } from "../../../src/crypto/recryption/cms.ts"
import { openPgpRecryptor } from "../../../src/crypto/recryption/openpgp.ts"
import { applyPatches } from "../../../src/crypto/recryption/patch.ts"
import type { Recryptor } from "../../../src/crypto/recryption/recryptor.ts"
import { RecryptionStream } from "../../../src/crypto/recryption/stream.ts"
import { ascii, CHUNKINGS, feed, lines, text } from "./feeding.ts"
import { base64, cms, cmsRecryption, dev1, OPENPGP_KEY_ID, openpgp, openpgpScalar } from "./vectors.ts"

const pgp = openPgpRecryptor({ keyId: OPENPGP_KEY_ID, scalar: openpgpScalar })
const both: readonly Recryptor[] = [dev1, pgp]

/** A block for the account, and what it is for the device. */
interface Block {
  readonly original: Uint8Array
  readonly recrypted: Uint8Array
}

const [sha1, der, skid, ber, gcm] = cms.messages.map(
  ({ original, recrypted }): Block => ({ original: base64(original), recrypted: base64(recrypted["dev1"] ?? "") }),
)
if (!sha1 || !der || !skid || !ber || !gcm) throw new Error("vectors are missing")
const pkesk: Block = { original: base64(openpgp.original), recrypted: base64(openpgp.recrypted) }
const large: Block = { original: grown(pkesk.original), recrypted: grown(pkesk.recrypted) }

const HEADER = "Received: from a by b;\r\n\twith folding\r\nFrom: Bob <bob@example.org>\r\nSubject: =?utf-8?q?Hi?=\r\n"
const SMIME = `${HEADER}MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\r\nContent-Transfer-Encoding: base64\r\n\r\n`
const PGP_MIME = `${HEADER}Content-Type: multipart/encrypted; boundary=b\r\n\r\nThis is an OpenPGP/MIME encrypted message\r\n--b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n--b\r\nContent-Type: application/octet-stream\r\n\r\n`
const LIST = `${HEADER}List-Id: <l.example.org>\r\nContent-Type: multipart/mixed; boundary="=_x"\r\n\r\n--=_x\r\nContent-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\n`
const FOOTER = "\r\n--=_x\r\nContent-Type: text/plain\r\n\r\n-- \r\nMIT list, https://lists.example.org\r\n--=_x--\r\n"

type Form = readonly [name: string, write: (octets: Uint8Array) => Uint8Array, block: Block]

const smime = (write: (octets: Uint8Array) => string) => (octets: Uint8Array) => ascii(write(octets))
const binary = (before: string, after: string) => (octets: Uint8Array) =>
  new Uint8Array(Buffer.concat([ascii(before), octets, ascii(after)]))
const armored = (octets: Uint8Array): string => text(armor(octets, "MESSAGE")).replaceAll(/\r?\n/g, "\r\n")
const withHeaders = (octets: Uint8Array): string =>
  armored(octets).replace("\r\n\r\n", "\r\nVersion: X 1.0\r\nComment: https://example.org/:\r\n\r\n")
const withoutCrc = (octets: Uint8Array): string => armored(octets).replace(/=[A-Za-z0-9+/]{4}\r\n/, "")

const forms: readonly Form[] = [
  ["S/MIME, DER", smime((octets) => SMIME + lines(octets)), der],
  ["S/MIME, KDF with SHA-1", smime((octets) => SMIME + lines(octets)), sha1],
  ["S/MIME, subjectKeyIdentifier", smime((octets) => SMIME + lines(octets)), skid],
  ["S/MIME, BER", smime((octets) => SMIME + lines(octets)), ber],
  ["S/MIME, AuthEnvelopedData", smime((octets) => SMIME + lines(octets)), gcm],
  ["one body, no header", smime((octets) => lines(octets)), der],
  ["one body behind an empty line", smime((octets) => `\r\n${lines(octets)}`), der],
  ["lines of 64", smime((octets) => SMIME + lines(octets, 64)), der],
  ["lines of 61, not of whole quanta", smime((octets) => SMIME + lines(octets, 61)), der],
  ["lines of five characters", smime((octets) => SMIME + lines(octets, 5)), der],
  ["one line", smime((octets) => SMIME + lines(octets, 1_000_000)), der],
  ["no line end at all", smime((octets) => lines(octets, 1_000_000, "")), der],
  ["LF only", smime((octets) => (SMIME + lines(octets)).replaceAll("\r\n", "\n")), der],
  ["trailing blanks", smime((octets) => SMIME + lines(octets, 76, " \t \r\n")), der],
  [
    "60 KB of header before",
    smime((octets) => `${"X-Trace: 0123456789 MIAGCSqGSIb3DQEHA6CA\r\n".repeat(1500)}${SMIME}${lines(octets)}`),
    der,
  ],
  ["in a mailing list's wrapper", smime((octets) => LIST + lines(octets) + FOOTER), der],
  ["in a wrapper, LF only", smime((octets) => (LIST + lines(octets) + FOOTER).replaceAll("\r\n", "\n")), der],
  ["binary DER", binary(SMIME, "\r\n"), der],
  ["binary BER", binary(SMIME, ""), ber],
  ["binary, one body", binary("", ""), der],
  ["binary in a wrapper", binary(LIST, FOOTER), der],
  ["PGP/MIME", smime((octets) => `${PGP_MIME}${armored(octets)}\r\n--b--\r\n`), pkesk],
  ["PGP/MIME, large", smime((octets) => `${PGP_MIME}${armored(octets)}\r\n--b--\r\n`), large],
  [
    "PGP/MIME, LF only",
    smime((octets) => `${PGP_MIME}${armored(octets)}\r\n--b--\r\n`.replaceAll("\r\n", "\n")),
    large,
  ],
  ["armor with header fields", smime((octets) => PGP_MIME + withHeaders(octets)), large],
  ["armor without CRC", smime((octets) => PGP_MIME + withoutCrc(octets)), large],
  ["armor with trailing blanks", smime((octets) => PGP_MIME + armored(octets).replaceAll("\r\n", " \r\n")), large],
  ["armor that begins the feed", smime((octets) => armored(octets)), large],
  [
    "armor in the middle of a text",
    smime((octets) => `${HEADER}\r\nHello,\r\nread this:\r\n${armored(octets)}Bye\r\n`),
    large,
  ],
  ["armor in quoted-printable", smime((octets) => `${HEADER}\r\n${armored(octets).replaceAll("=", "=3D")}`), large],
  ["armor in base64", smime((octets) => SMIME + lines(ascii(armored(octets)))), large],
  ["armor in base64 in a wrapper", smime((octets) => LIST + lines(ascii(armored(octets)), 60) + FOOTER), large],
  ["armor in base64, small", smime((octets) => SMIME + lines(ascii(armored(octets)))), pkesk],
  ["armor, quoted line by line but for its text", smime((octets) => `${HEADER}\r\n> ${armored(octets)}`), large],
  [
    "armor with text where fields belong",
    smime((octets) => armored(octets).replace("\r\n\r\n", "\r\nno field\r\n\r\n")),
    large,
  ],
  [
    "armor header over its limit",
    smime((octets) => armored(octets).replace("\r\n", `\r\n${"Comment: x\r\n".repeat(1000)}`)),
    large,
  ],
  ["binary OpenPGP", binary(PGP_MIME, "\r\n--b--\r\n"), large],
  ["base64 of binary OpenPGP", smime((octets) => LIST + lines(octets) + FOOTER), large],
  ["two blocks", (octets) => binary(`${LIST}${lines(der.recrypted)}--=_x\r\n\r\n`, FOOTER)(octets), der],
]

describe("a block for the account becomes the device's", () => {
  for (const [name, write, block] of forms)
    test(name, () => {
      const stored = write(block.original)
      const wanted = text(write(block.recrypted))
      const whole = feed(both, stored, [stored.length])
      for (const sizes of CHUNKINGS) {
        const outcome = feed(both, stored, sizes)
        expect(text(outcome.octets)).toBe(wanted)
        expect(outcome.patches).toEqual(whole.patches)
        expect(outcome.counts.patched).toBe(1)
        expect(outcome.counts.malformed).toBe(0)
        expect(text(outcome.stable)).toBe(text(whole.stable))
      }
      expect(text(applyPatches(whole.patches, 0, stored))).toBe(wanted)
    })
})

describe("the stable octets", () => {
  for (const [name, write, block] of forms)
    test(`are the same before and after, whoever looks: ${name}`, () => {
      const stored = feed(both, write(block.original), [1000])
      const seen = feed([], write(block.recrypted), [77])
      expect(text(seen.stable)).toBe(text(stored.stable))
      expect(stored.stable).toHaveLength(stored.octets.length)
      const covered = stored.stable.filter((octet, at) => octet !== stored.octets[at]).length
      expect(covered).toBeLessThan(300)
    })

  test("show a change anywhere else", () => {
    const stored = ascii(SMIME + lines(der.original))
    const flipped = new Uint8Array(stored)
    flipped[stored.length - 60] = (flipped[stored.length - 60] ?? 0) ^ 1
    expect(text(feed([dev1], flipped, [500]).stable)).not.toBe(text(feed([dev1], stored, [500]).stable))
  })
})

describe("the stable octets of a hostile message are the same for the store and for every device", () => {
  const serial = Uint8Array.from(cmsRecryption("dev1").to.serial).fill(10, -2)
  const toLineEnds = cmsRecryptor({ ...cmsRecryption("dev1"), to: { ...cmsRecryption("dev1").to, serial } })
  const rows: [name: string, octets: Uint8Array, counts: { patched: number; malformed: number }, device?: Recryptor][] =
    [
      ["a point off the curve", ascii(lines(replacedAt(der.original, 90, 0xff))), { patched: 0, malformed: 1 }],
      ["a point of small order", ascii(armored(smallOrder(pkesk.original))), { patched: 0, malformed: 1 }],
      ["an identifier that is no DER", ascii(lines(identifierBroken(der.original))), { patched: 0, malformed: 1 }],
      ["a block that breaks off within the point of the next", runningInto(der), { patched: 0, malformed: 0 }],
      [
        "a head that ends in line ends, a block behind it",
        binary("", `MI${lines(der.original).slice(2)}`)(endingInIdentifier(der.original, 0).subarray(0, -400)),
        { patched: 1, malformed: 0 },
        toLineEnds,
      ],
    ]
  test.each(rows)("%s", (_, octets, counts, device = dev1) => {
    for (const sizes of CHUNKINGS) {
      const stored = feed([], octets, sizes)
      const shown = feed([device, pgp], octets, sizes)
      expect(shown.counts).toMatchObject(counts)
      expect(text(shown.stable)).toBe(text(stored.stable))
      expect(text(feed([], shown.octets, sizes).stable)).toBe(text(stored.stable))
    }
  })

  test("a binary block that breaks off hides what stands in it, and no more", () => {
    const message = (block: Uint8Array) => binary("", `${"-".repeat(300)}\r\n\r\n${lines(block)}`)(runningInto(der))
    expect(text(feed(both, message(der.original), [77]).octets)).toBe(text(message(der.recrypted)))
  })
})

describe("what is not ours stays octet for octet", () => {
  const random = Uint8Array.from({ length: 3000 }, (_, at) => (at * 2654435761) >>> 13)
  const rows: [name: string, octets: Uint8Array, counts: { foreign?: number; malformed?: number }][] = [
    ["nothing", new Uint8Array(0), {}],
    ["a text", ascii(`${HEADER}\r\nMI5 and MI6\r\n\r\nMIIB is not a block\r\n\r\nhello\r\n\r\nwhatever\r\n`), {}],
    ["paragraphs of long words", ascii(`${HEADER}\r\n${"hypersensitivenessandjurisprudence\r\n\r\n".repeat(50)}`), {}],
    ["binary noise", random, {}],
    ["empty lines", ascii("\r\n\n\r\n\n".repeat(500)), {}],
    ["already the device's", ascii(SMIME + lines(der.recrypted)), { foreign: 1 }],
    ["signed data", ascii(SMIME + lines(der.original).replace("KoZIhvcNAQcD", "KoZIhvcNAQcC")), {}],
    ["a literal packet in armor", ascii(armored(Uint8Array.of(0xcb, 5, 98, 0, 0, 0, 0))), {}],
    ["block cut off in its head", ascii(SMIME + lines(der.original.subarray(0, 200))), { malformed: 1 }],
    [
      "base64 that goes wrong in its head",
      ascii(SMIME + lines(der.original).replace(/^(.{150})./s, "$1!")),
      { malformed: 1 },
    ],
    ["an empty line in its head", ascii(SMIME + lines(der.original).replace("\r\n", "\r\n\r\n")), { malformed: 1 }],
    ["point off the curve", ascii(SMIME + lines(replacedAt(der.original, 90, 0xff))), { malformed: 1 }],
    ["a length that overruns", ascii(SMIME + lines(replacedAt(der.original, 31, 0xff))), { malformed: 1 }],
    ["armor cut off in its head", ascii(`${PGP_MIME}${armored(pkesk.original.subarray(0, 60))}`), { malformed: 1 }],
    ["armor with a point of small order", ascii(armored(smallOrder(pkesk.original))), { malformed: 1 }],
    ["recipients over the limit", overlong(), { malformed: 1 }],
    ["the last line is an armor header line", ascii(`${HEADER}\r\n-----BEGIN PGP MESSAGE-----`), {}],
  ]
  for (const [name, octets, counts] of rows)
    test(name, () => {
      for (const sizes of octets.length > 100_000 ? [[10_000]] : CHUNKINGS) {
        const outcome = feed(both, octets, sizes)
        expect(text(outcome.octets)).toBe(text(octets))
        expect(outcome.patches).toEqual([])
        expect(outcome.counts).toEqual({ patched: 0, foreign: 0, malformed: 0, ...counts })
      }
    })

  test("and a block behind it is still found", () => {
    for (const [, octets] of rows) {
      const message = (block: Uint8Array) => new Uint8Array(Buffer.concat([octets, ascii(`\r\n\r\n${lines(block)}`)]))
      expect(text(feed(both, message(der.original), [5000]).octets)).toBe(text(message(der.recrypted)))
    }
  })
})

describe("partial spans", () => {
  const [, write, block] = forms.find(([name]) => name === "PGP/MIME, large") ?? []
  if (!write || !block) throw new Error("form is missing")
  const stored = write(block.original)
  const wanted = write(block.recrypted)
  const { patches } = feed(both, stored, [stored.length])

  test("are patched by intersection, wherever they begin and end", () => {
    for (const size of [1, 2, 5, 50, 700, 65_536])
      for (let at = 0; at < stored.length; at += size * (size < 50 ? 13 : 1))
        expect(text(applyPatches(patches, at, stored.subarray(at, at + size)))).toBe(
          text(wanted.subarray(at, at + size)),
        )
  })

  test("do not change what they are made from, nor copy without need", () => {
    const before = text(stored)
    applyPatches(patches, 0, stored)
    applyPatches(patches, 0, Buffer.from(stored.buffer, stored.byteOffset, stored.length))
    expect(text(stored)).toBe(before)
    const far = stored.subarray(0, 10)
    expect(applyPatches(patches, 0, far)).toBe(far)
  })
})

describe("settled", () => {
  const rest = "A".repeat(76).concat("\r\n").repeat(2000)
  const rows: [name: string, head: string, wanted: boolean][] = [
    ["the one body of a message, its head known", SMIME + lines(der.original, 76, "\r\n") + rest, true],
    ["one body, its head known", lines(der.original) + rest, true],
    ["somebody else's block", SMIME + lines(der.recrypted) + rest, true],
    ["within the head", SMIME + lines(der.original).slice(0, 200), false],
    ["within the header", HEADER, false],
    ["a text that goes on", `${HEADER}\r\n${"text\r\n".repeat(20_000)}`, false],
    ["the first part of several: there may be more", LIST + lines(der.original) + rest, false],
    [
      "the same as BODY[TEXT], with a preamble",
      `This is a preamble: so\r\n${LIST.slice(LIST.indexOf("--"))}${lines(der.original)}`,
      false,
    ],
    [
      "a preamble of one word",
      `Preamble\n${(LIST.slice(LIST.indexOf("--")) + lines(der.original)).replaceAll("\r\n", "\n")}`,
      false,
    ],
    ["armor, its CRC to come", armored(large.original).slice(0, 5000), false],
  ]
  test.each(rows)("%s", (_, head, wanted) => {
    const stream = new RecryptionStream(both)
    for (let at = 0; at < head.length; at += 1000) stream.push(ascii(head.slice(at, at + 1000)))
    expect(stream.settled).toBe(wanted)
    stream.end()
    expect(stream.settled).toBe(true)
  })
})

describe("large messages", () => {
  test("100 recipients: the one that is ours", () => {
    const message = (block: Uint8Array) => ascii(SMIME + lines(manyRecipients(block)))
    for (const sizes of [[1], [1000], [1_000_000]])
      expect(text(feed(both, message(der.original), sizes).octets)).toBe(text(message(der.recrypted)))
  })

  test("50 MB go through with flat memory, and nothing is held behind the head", () => {
    const stream = new RecryptionStream(both)
    stream.push(ascii(SMIME + lines(der.original)))
    const chunk = ascii(`${"Q".repeat(76)}\r\n`.repeat(840))
    const before = process.memoryUsage().arrayBuffers
    let most = 0
    for (let sent = 0; sent < 50_000_000; sent += chunk.length) {
      expect(stream.push(chunk)[0]).toBe(chunk)
      most = Math.max(most, process.memoryUsage().arrayBuffers - before)
    }
    expect(most).toBeLessThan(4_000_000)
  })

  test("a large armor: what is not the CRC goes out at once", () => {
    const stream = new RecryptionStream(both)
    const octets = ascii(armored(large.original))
    stream.push(octets.subarray(0, 1000))
    expect(stream.push(octets.subarray(1000, 9000)).reduce((sum, { length }) => sum + length, 0)).toBe(8000)
  })

  test("a first line without an end costs no square of its length", () => {
    const octets = new Uint8Array(150_000).fill(65)
    const start = process.cpuUsage()
    const outcome = feed(both, octets, [65_536])
    expect(Buffer.from(outcome.octets).equals(octets)).toBe(true)
    const { user, system } = process.cpuUsage(start)
    expect(user + system).toBeLessThan(1_000_000)
  })

  test("a message made of beginnings of blocks costs no square of its size", () => {
    const decoy = Buffer.concat([ascii("\n\n"), overlong().subarray(0, 40)])
    const octets = new Uint8Array(Buffer.concat(new Array<Uint8Array>(20_000).fill(decoy)))
    const start = process.cpuUsage().user
    const outcome = feed(both, octets, [65_536])
    expect(Buffer.from(outcome.octets).equals(octets)).toBe(true)
    expect(process.cpuUsage(undefined).user - start).toBeLessThan(4_000_000)
  })
})

test("the armor of a recrypted message has the CRC that its content demands", () => {
  const out = feed(both, ascii(armored(large.original)), [333]).octets
  expect(text(armor(dearmor(out)?.binary ?? new Uint8Array(0), "MESSAGE"))).toBe(
    text(out).replaceAll("\r\n", text(armor(new Uint8Array(1), "MESSAGE")).includes("\r\n") ? "\r\n" : "\n"),
  )
})

test("a head that ends in a recipient identifier: the same in any pieces, and of each patch what it overwrites", () => {
  for (const fillerOctets of [0, 1, 2]) {
    const message = ascii(lines(endingInIdentifier(der.original, fillerOctets)))
    const whole = feed(both, message, [message.length])
    expect(whole.counts.patched).toBe(1)
    for (const { octets, original } of whole.patches) expect(octets).toHaveLength(original.length)
    for (const sizes of CHUNKINGS) {
      const outcome = feed(both, message, sizes)
      expect(text(outcome.stable)).toBe(text(whole.stable))
      expect(outcome.patches).toEqual(whole.patches)
    }
  }
})

test("two keys of one account: each block goes to its own recryptor", () => {
  const message = ascii(`${LIST + lines(der.original)}--=_x\r\n\r\n${armored(pkesk.original)}${FOOTER}`)
  const outcome = feed([pgp, dev1], message, [100])
  expect(outcome.counts).toEqual({ patched: 2, foreign: 0, malformed: 0 })
  expect(text(outcome.octets)).toBe(`${LIST + lines(der.recrypted)}--=_x\r\n\r\n${armored(pkesk.recrypted)}${FOOTER}`)
})

/** With more ciphertext: 20 KB in a second encrypted packet; nobody opens it. */
function grown(message: Uint8Array): Uint8Array {
  const body = Uint8Array.from({ length: 20_000 }, (_, at) => (at * 40503) >>> 5)
  return new Uint8Array(Buffer.concat([message, Uint8Array.of(0xd2, 0xff, 0, 0, 0x4e, 0x20), body]))
}

function replacedAt(octets: Uint8Array, at: number, octet: number): Uint8Array {
  const copy = new Uint8Array(octets)
  copy[at] = octet
  return copy
}

function smallOrder(message: Uint8Array): Uint8Array {
  return new Uint8Array(message).fill(0, 15, 47)
}

/** The recipient's identifier has the right length and is no element. */
function identifierBroken(block: Uint8Array): Uint8Array {
  const serial = Buffer.from(block).indexOf(cmsRecryption("dev1").from.serial)
  return replacedAt(block, serial - 1, 0xff)
}

/**
 * A session key packet in front of a block, whose end is in the block's point: behind it stands no packet in the account's form,
 * and one in the device's.
 */
function runningInto({ original, recrypted }: Block): Uint8Array {
  const within = original.findIndex((octet, at) => octet < 0x80 && (recrypted[at] ?? 0) >= 0xc4)
  const packet = Uint8Array.of(0xc1, 10 + 2 + within, 3, 1, 2, 3, 4, 5, 6, 7, 8, 1, 10, 10)
  expect(within).toBeGreaterThan(60)
  return new Uint8Array(Buffer.concat([packet, original]))
}

/** Says that its recipients take 1 MB. */
function overlong(): Uint8Array {
  const head = Buffer.from("308310002006092a864886f70d010703a08310000f3083100009020102318310000030820100", "hex")
  return new Uint8Array(Buffer.concat([head, new Uint8Array(700_000)]))
}

/** The block's recipient behind 99 others. */
function manyRecipients(block: Uint8Array): Uint8Array {
  const info = block.subarray(29, 29 + 210)
  const foreign = der?.original.subarray(29, 29 + 210) ?? info
  const serial = info.length - 42 - 16
  const others = Array.from({ length: 99 }, (_, index) => {
    const other = Buffer.from(foreign)
    other.fill(index, serial, serial + 16)
    return other
  })
  const set = Buffer.concat([...others, info])
  const length = Buffer.alloc(3)
  length.writeUIntBE(set.length, 0, 3)
  // Nothing behind the set matters: lengths outside may be indefinite.
  const before = Buffer.from("308006092a864886f70d010703a0803080020102", "hex")
  return new Uint8Array(Buffer.concat([before, Uint8Array.of(0x31, 0x83), length, set, block.subarray(29 + 210)]))
}

/** A block whose one recipient has no encrypted key behind its identifier, which nobody can open; `fillerOctets` move its end. */
function endingInIdentifier(block: Uint8Array, fillerOctets: number): Uint8Array {
  const info = readWhole(block, 29, block.length)
  const [version, originator, algorithm, keys] = berChildren(block, { ...info, contentEnd: info.end })
  const [key] = keys ? berChildren(block, keys) : []
  const [identifier] = key ? berChildren(block, key) : []
  const octets = (found: { start: number; end: number } | undefined) =>
    block.subarray(found?.start ?? 0, found?.end ?? 0)
  const filler = explicit(1, octetString(new Uint8Array(fillerOctets)))
  const recipient = tagged(
    0xa1,
    ...[octets(version), octets(originator), filler, octets(algorithm), sequence(sequence(octets(identifier)))],
  )
  const before = Buffer.from("308006092a864886f70d010703a0803080020102", "hex")
  return new Uint8Array(Buffer.concat([before, tagged(0x31, recipient), new Uint8Array(400).fill(0x55)]))
}
