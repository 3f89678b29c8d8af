import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { dearmor } from "../../src/crypto/openpgp/armor.ts"
import { readPackets } from "../../src/crypto/openpgp/packet.ts"
import { headerEnd, parseFields } from "../../src/mime/header.ts"
import type { HeaderPolicy } from "../../src/mime/header-protection.ts"
import { preparedOf } from "../../src/pipeline/prepared.ts"
import { classified } from "../../src/pipeline/protect.ts"
import {
  ENCRYPTED_ONLY,
  type OutgoingOptions,
  protectOutgoing,
  signOutgoing,
} from "../../src/pipeline/protect-outgoing.ts"
import { makeHolder } from "../crypto/cms/alice.ts"
import {
  bodyOf,
  headerOf,
  octetsOf,
  openPgpReader,
  person,
  pieces,
  type Reader,
  readers,
  SEED,
  smimeReader,
  TRACE,
  text,
} from "./leaving.ts"

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 60)
const HEADER =
  "From: alice@example.test\r\nTo: bob@elsewhere.test\r\nBcc: eve@elsewhere.test,\r\n mallory@elsewhere.test\r\n" +
  "Subject: the merger\r\nKeywords: secret\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-2022-jp\r\n"
const BODY = "\x1b$B$3$s\x1b(B\r\nFrom here trailing \r\n\r\n"
const MESSAGE = Buffer.from(`${HEADER}\r\n${BODY}`, "latin1")
const MARK = '\r\n hp="cipher"; protected-headers="v1"'
const HIDDEN: OutgoingOptions = { ...ENCRYPTED_ONLY, headers: "hidden" }

async function protectedBy(
  reader: Reader,
  message: Uint8Array,
  options = HIDDEN,
  context = "bob",
): Promise<Uint8Array> {
  return octetsOf(
    await protectOutgoing(await classified(pieces(message)), TRACE, SEED, context, reader.target, options),
  )
}

describe.each(readers.map((reader) => [reader.name, reader] as const))("%s", (_, reader) => {
  const inside = async (message: Uint8Array, options = HIDDEN) =>
    text(await reader.open(await protectedBy(reader, message, options)))

  test("row 55: hidden: subject and keywords stand inside only, with what stands outside (RFC 9788 §3.2.1, §2.2)", async () => {
    const octets = await protectedBy(reader, MESSAGE)
    const outside = headerOf(octets)
    expect(outside).toMatch(
      /^Received: by gateway\.test; now\r\nFrom: alice@example\.test\r\nTo: bob@elsewhere\.test\r\nSubject: \[\.\.\.\]\r\nMIME-Version: /,
    )
    expect(outside).not.toMatch(/merger|Keywords|Bcc|eve@|mallory@/)
    expect(text(await reader.open(octets))).toBe(
      "HP-Outer: From: alice@example.test\r\nHP-Outer: To: bob@elsewhere.test\r\nHP-Outer: Subject: [...]\r\n" +
        "From: alice@example.test\r\nTo: bob@elsewhere.test\r\nSubject: the merger\r\nKeywords: secret\r\nMIME-Version: 1.0\r\n" +
        `Content-Type: text/plain; charset=iso-2022-jp;${MARK}\r\n\r\n${BODY}`,
    )
  })

  test("shown: all of it outside too, and protected inside", async () => {
    const octets = await protectedBy(reader, MESSAGE, { ...HIDDEN, headers: "shown" })
    expect(headerOf(octets)).toContain("\r\nSubject: the merger\r\nKeywords: secret\r\n")
    expect(text(await reader.open(octets))).toContain("HP-Outer: Subject: the merger\r\nHP-Outer: Keywords: secret\r\n")
  })

  test("off: what is inside came that way, but for Bcc", async () => {
    const wanted = text(MESSAGE).replace(/Bcc: .*\r\n .*\r\n/, "")
    expect(await inside(MESSAGE, ENCRYPTED_ONLY)).toBe(wanted)
    expect(headerOf(await protectedBy(reader, MESSAGE, ENCRYPTED_ONLY))).toContain("Subject: the merger")
  })

  test("what its author has signed stays octet for octet, and keeps its subject outside", async () => {
    const signed = Buffer.from(
      'Subject: mine\r\nContent-Type: multipart/signed; protocol="application/pgp-signature"; boundary=b\r\n\r\n--b\r\n\r\nx \r\n--b--\r\n',
    )
    expect(await inside(signed)).toBe(text(signed))
    expect(headerOf(await protectedBy(reader, signed))).toContain("Subject: mine\r\n")
  })

  test("what is encrypted already leaves as it came, behind the trace and without Bcc", async () => {
    const once = await protectedBy(reader, MESSAGE)
    const again = Buffer.concat([Buffer.from("Bcc: eve@elsewhere.test\r\n"), once])
    expect(text(await protectedBy(reader, again))).toBe(text(Buffer.concat([...TRACE, once])))
  })

  test("the same message and options give the same octets; other options have another key", async () => {
    const octets = await protectedBy(reader, MESSAGE)
    expect(
      text(
        await octetsOf(
          await protectOutgoing(await classified(pieces(MESSAGE, 17)), TRACE, SEED, "bob", reader.target, HIDDEN),
        ),
      ),
    ).toBe(text(octets))
    const tail = (message: Uint8Array) => text(bodyOf(message)).slice(-200)
    const others = [ENCRYPTED_ONLY, { ...HIDDEN, headers: "shown" } as const]
    for (const options of others) expect(tail(await protectedBy(reader, MESSAGE, options))).not.toBe(tail(octets))
    expect(tail(await protectedBy(reader, MESSAGE, HIDDEN, "eve"))).not.toBe(tail(octets))
  })

  // Nothing is decoded, so nothing can be changed; what is odd is defined.
  const bodies: readonly (readonly [name: string, message: string])[] = [
    ["empty", ""],
    ["only an empty line", "\r\n"],
    ["header only, with its empty line", "From: a@b.test\r\nSubject: x\r\n\r\n"],
    ["header only, without", "From: a@b.test\r\nSubject: x\r\n"],
    ["no line end at all", "Subject: x"],
    ["body only", "\r\njust text"],
    ["no empty line before the text", "Subject: x\r\nthis is text already\r\nand more\r\n"],
    ["UTF-7, wrongly labelled", "Content-Type: text/plain; charset=utf-8\r\n\r\n+AGE-\r\n"],
    ["GB18030", "Content-Type: text/plain; charset=gb18030\r\n\r\n\x81\x30\x81\x30\xff\r\n"],
    ["8-bit fields", "Subject: gr\xfc\xdfe\r\nTo: \xe4@b.test\r\n\r\nx"],
    ["a calendar", "Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\n"],
    [
      "a disposition notification",
      "Content-Type: multipart/report; report-type=disposition-notification; boundary=b\r\n\r\n--b--",
    ],
    ["a status notification", "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b--"],
    ["two content types", "Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n<p>"],
    ["a content type that does not end", 'Content-Type: text/plain; name="x\r\n\r\ny'],
    ["a content type that ends in a semicolon", "Content-Type: text/plain;\r\n\r\ny"],
    ["an mbox line", "From a@b.test Sat Nov 21\r\nSubject: x\r\n\r\ny"],
    ["a NUL, a bare CR and a bare LF", "Subject: x\r\n\r\na\0b\rc\nd"],
  ]
  for (const [name, message] of bodies)
    test(`rows 46, 58, 59, 60: ${name}: the same octets inside, behind what is added in front`, async () => {
      const octets = Buffer.from(message, "latin1")
      expect(unmarked(await inside(octets))).toContain(message)
      expect(await inside(octets, ENCRYPTED_ONLY)).toBe(message)
    })

  test("any octets: they open to themselves", async () => {
    await fc.assert(
      fc.asyncProperty(anything, fc.constantFrom<HeaderPolicy>("hidden", "shown", "off"), async (octets, headers) => {
        const message = await protectedBy(reader, octets, { ...HIDDEN, headers })
        expect(unmarked(text(await reader.open(message)))).toContain(withoutDropped(octets))
      }),
      { numRuns: RUNS },
    )
  })
})

const piece = fc.oneof(
  fc.constantFrom(
    ...[
      "\r\n",
      "\n",
      "\r\n\r\n",
      ":",
      " ",
      "\0",
      "--b",
      "Subject: x\r\n",
      "Bcc: y\r\n",
      "Content-Type: ",
      "text/plain",
      ";",
    ],
    ...['"', "(", "multipart/signed", "HP-Outer: a: b\r\n", "Keywords: z\r\n", "From x\r\n", "hp=clear"],
  ),
  fc.string({ unit: "binary", maxLength: 12 }),
)
const anything = fc.array(piece, { maxLength: 25 }).map((parts) => Buffer.from(parts.join(""), "latin1"))

/** What was inside before header protection put something in: with or without the semicolon that `hp` may have needed. */
function unmarked(inside: string): string[] {
  const rest = inside.replace(/^(?:HP-Outer:(?:[^\n]*\n[ \t])*[^\n]*\n)*/, "")
  const made = `Content-Type: text/plain;${MARK}\r\n`
  const without = rest.startsWith(made) ? [rest.slice(made.length)] : []
  return inside.includes(MARK) ? [...without, rest.replace(`;${MARK}`, ""), rest.replace(MARK, "")] : [inside]
}

/** The message without the fields that are never taken along. */
function withoutDropped(message: Uint8Array): string {
  const fields = parseFields(message.subarray(0, headerEnd(message) ?? message.length))
  const kept = fields.filter(({ name }) => !["bcc", "hp-outer"].includes(name)).map(({ octets }) => octets)
  const after = fields.reduce((sum, { octets }) => sum + octets.length, 0)
  return text(Buffer.concat([...kept, message.subarray(after)]))
}

describe("row 56: Bcc: three in To, two in Bcc, five messages", () => {
  test("no copy names another's key, and none has the field", async () => {
    const holders = Array.from({ length: 5 }, () => makeHolder(person))
    const serials = holders.map(({ certificate }) => Buffer.from(certificate.identity.serial).toString("hex"))
    for (const [index, holder] of holders.entries()) {
      const octets = await protectedBy(smimeReader(holder), MESSAGE, HIDDEN, `recipient ${index}`)
      const envelope = Buffer.from(text(bodyOf(octets)), "base64").toString("hex")
      expect(serials.map((serial) => envelope.includes(serial))).toEqual(serials.map((_, at) => at === index))
      // In base64 the letters stand by chance now and then.
      expect(text(octets)).not.toMatch(/^bcc|eve@/im)
    }
    const many = await Promise.all(Array.from({ length: 5 }, (_, index) => openPgpReader(`r${index}@elsewhere.test`)))
    for (const reader of many) {
      const octets = await protectedBy(reader, MESSAGE)
      const packets = readPackets(dearmor(octets)?.binary ?? new Uint8Array(0))
      const own = reader.target.format === "openpgp" ? reader.target.recipients[0] : undefined
      expect(packets.map(({ tag }) => tag)).toEqual([1, 18])
      expect(
        own?.kind === "curve25519" && Buffer.compare(packets[0]?.body.subarray(1, 9) ?? MESSAGE, own.key.keyId),
      ).toBe(0)
      expect(text(await reader.open(octets))).not.toMatch(/bcc|eve@/i)
    }
  })

  test("in clear it leaves without the field", async () => {
    const left = await octetsOf(
      await signOutgoing(await classified(preparedOf(MESSAGE)), TRACE, SEED, { headers: "hidden", signing: null }),
    )
    expect(text(left)).toBe(text(TRACE[0] ?? MESSAGE) + text(MESSAGE).replace(/Bcc: .*\r\n .*\r\n/, ""))
  })
})

describe("inline OpenPGP", () => {
  const inline: OutgoingOptions = { ...HIDDEN, form: "inline" }

  test("the text is replaced by the armor, its charset stays, its octets are inside", async () => {
    const reader = await openPgpReader()
    const octets = await protectedBy(reader, MESSAGE, inline)
    expect(headerOf(octets)).toMatch(
      /\r\nContent-Type: text\/plain; charset=iso-2022-jp\r\nContent-Transfer-Encoding: 7bit\r\n\r\n$/,
    )
    expect(text(bodyOf(octets))).toMatch(/^-----BEGIN PGP MESSAGE-----\r\n/)
    expect(text(await reader.open(octets))).toBe(BODY)
    expect(headerOf(octets)).not.toMatch(/bcc/i)
  })

  const rows: readonly (readonly [name: string, message: string])[] = [
    ["has parts", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b--\r\n"],
    ["is HTML", "Content-Type: text/html\r\n\r\n<p>\r\n"],
    ["is encoded", "Content-Transfer-Encoding: base64\r\n\r\neA==\r\n"],
    ["is an attachment", "Content-Disposition: attachment\r\n\r\nx\r\n"],
    ["has no empty line", "Subject: x\r\n"],
    ["has a line that is no field", "Subject: x\r\nno field\r\n\r\nx\r\n"],
  ]
  for (const [name, message] of rows)
    test(`a message that ${name} is PGP/MIME`, async () => {
      const reader = await openPgpReader()
      expect(headerOf(await protectedBy(reader, Buffer.from(message), inline))).toContain("multipart/encrypted")
    })
})
