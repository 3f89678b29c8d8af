import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { hmacSha256 } from "../../src/crypto/primitives/hash.ts"
import { RecryptionStream } from "../../src/crypto/recryption/stream.ts"
import { LineEnds } from "../../src/pipeline/line-ends.ts"
import { MarkerCheck } from "../../src/pipeline/marker.ts"
import { isGenuine, readMarker } from "../../src/pipeline/marker-field.ts"
import { Marking } from "../../src/pipeline/marking.ts"
import { ascii, CHUNKINGS, lines, text } from "../crypto/recryption/feeding.ts"
import { cms, openpgp } from "../crypto/recryption/vectors.ts"

const maker = { account: "alice@example.test", markerKey: new Uint8Array(32).fill(5) }
const der = Buffer.from(cms.messages[0]?.original ?? "", "base64")
const smime = ascii(lines(der))
const armored = (width: number, end: string): Uint8Array =>
  ascii(
    `--b\n\nVersion: 1\n\n--b\n\n-----BEGIN PGP MESSAGE-----\n\n${lines(Buffer.from(openpgp.original, "base64"), width, "\n")}=abcd\n-----END PGP MESSAGE-----\n\n--b--\n`.replaceAll(
      "\n",
      end,
    ),
  )

function field(body: Uint8Array, limitOctets: number | null = null): string {
  const marking = new Marking("this gateway", maker, limitOctets)
  marking.push(body)
  return text(marking.field())
}

function check(marker: string, body: Uint8Array, account = maker.account, sizes: readonly number[] = [4096]): string {
  const check = new MarkerCheck({ ...maker, account })
  const stream = new RecryptionStream([], { onStable: (octets) => check.push(octets) })
  const message = Buffer.concat([ascii(`From: x\r\n${marker}Subject: y\r\n\r\n`), body])
  for (let at = 0, turn = 0; at < message.length; turn++) {
    const size = sizes[turn % sizes.length] ?? message.length
    const piece = Uint8Array.from(message.subarray(at, at + size))
    stream.push(piece)
    // Callers use the memory again.
    piece.fill(0x21)
    at += size
  }
  stream.end()
  return check.end()
}

describe("a marker holds", () => {
  test.each([
    ["as it stands", smime, smime],
    ["in longer lines", smime, ascii(lines(der, 998))],
    ["in shorter lines", smime, ascii(lines(der, 7))],
    ["with LF", smime, ascii(lines(der, 76, "\n"))],
    ["armored, with LF", armored(76, "\r\n"), armored(76, "\n")],
    ["armored, in other lines", armored(76, "\r\n"), armored(60, "\r\n")],
    ["binary", der, der],
    ["with a line end added at the end", smime, Buffer.concat([smime, ascii("\r\n")])],
    ["empty", ascii(""), ascii("")],
  ])("%s: whole, in pieces and octet by octet", (_name, marked, seen) => {
    for (const sizes of CHUNKINGS) expect(check(field(marked), seen, maker.account, sizes)).toBe("holds")
  })

  test("over the beginning only, whatever follows", () => {
    const long = Buffer.concat([smime, ascii(`${"A".repeat(76)}\r\n`.repeat(100))])
    const marker = field(long, 2_000)
    expect(marker).toContain("; n=2000+;")
    for (const sizes of CHUNKINGS)
      expect(check(marker, Buffer.concat([long, long]), maker.account, sizes)).toBe("holds")
    const altered = Buffer.from(long)
    altered[1_500] = (altered[1_500] ?? 0) ^ 1
    expect(check(marker, altered)).toBe("altered")
  })

  test("of version 1, over the octets as they stood", () => {
    const mac = hmacSha256(maker.markerKey)
      .update(ascii(`postern marker 1\0this gateway\0${encodeURIComponent(maker.account)}\0hello\r\nyou\r\n`))
      .update(ascii("\x0012"))
      .digest()
      .subarray(0, 16)
    const marker = `Postern-Encrypted: by this gateway; v=1; n=12;\r\n mac=${Buffer.from(mac).toString("base64url")}\r\n`
    expect(check(marker, ascii("hello\r\nyou\r\n"))).toBe("holds")
    expect(check(marker, ascii("hello\nyou\n"))).toBe("altered")
  })
})

describe("a marker does not hold", () => {
  const changed = (octets: Uint8Array, at: number, ...put: number[]): Uint8Array =>
    Buffer.concat([octets.subarray(0, at), Uint8Array.from(put), octets.subarray(at)])
  test.each([
    ["with an octet more", smime, changed(smime, smime.length - 100, 65)],
    ["with something behind", smime, Buffer.concat([smime, ascii("--b\r\n")])],
    ["cut short", smime, smime.subarray(0, -10)],
    ["with a line end more in binary content", der, changed(der, 300, 13, 10)],
    ["with a blank more", smime, changed(smime, 1_000, 32)],
    ["empty", smime, ascii("")],
  ])("%s", (_name, marked, seen) => {
    expect(check(field(marked), seen)).toBe("altered")
  })

  test("for another account, or another body's", () => {
    expect(check(field(smime), smime, "bob@example.test")).toBe("altered")
    expect(check(field(armored(76, "\r\n")), smime)).toBe("altered")
  })

  test("with another tag", () => {
    const body = armored(76, "\r\n")
    const other = field(body).replace(/tag=../, (start) => (start === "tag=AA" ? "tag=BB" : "tag=AA"))
    expect(check(other, body)).toBe("altered")
  })

  test.each([
    ["no marker", ""],
    ["an unknown version", "Postern-Encrypted: by this gateway; v=3; n=1;\r\n mac=AAAAAAAAAAAAAAAAAAAAAA\r\n"],
    ["a broken one", "Postern-Encrypted: by this gateway; v=2; n=1\r\n"],
  ])("%s vouches for nothing", (_name, marker) => {
    expect(check(marker, smime)).toBe("none")
  })
})

test("whether a marker is genuine shows without the body", () => {
  const marker = (text: string) => readMarker(ascii(`${text}\r\n`))
  const made = marker(field(armored(76, "\r\n")))
  if (made === null) throw new Error("no marker")
  expect(made).toMatchObject({ version: 2, by: "this gateway", more: false })
  expect(made.tag?.length).toBe(16)
  expect(isGenuine(maker, made)).toBe(true)
  expect(isGenuine({ ...maker, account: "bob@example.test" }, made)).toBe(false)
  expect(isGenuine(maker, { ...made, coveredOctets: made.coveredOctets + 1 })).toBe(false)
  expect(isGenuine(maker, { ...made, tag: null })).toBe(false)
  expect(marker(field(smime))?.tag).toBeNull()
})

test("of any text in any pieces only the line ends are left out", () => {
  const piece = fc.constantFrom("\r\n", "\n", "\r", "a", "QUJD", "QUJD\r\n", "QUJD\n", " ", "abc\0d\r\n")
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), fc.integer({ min: 1, max: 20 }), (pieces, size) => {
      const whole = pieces.join("")
      const lineEnds = new LineEnds()
      let left = ""
      for (let at = 0; at < whole.length; at += size) left += text(lineEnds.removed(ascii(whole.slice(at, at + size))))
      expect(left).toBe(whole.replaceAll(/[\r\n]/g, ""))
    }),
  )
})
