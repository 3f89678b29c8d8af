import { describe, expect, test } from "vitest"
import { readCertificate } from "../../src/crypto/cms/certificate.ts"
import { openEnveloped } from "../../src/crypto/cms/open.ts"
import { cmsRecipient } from "../../src/crypto/cms/recipient.ts"
import { makeAccountKey } from "../../src/crypto/openpgp/account-key.ts"
import { dearmor } from "../../src/crypto/openpgp/armor.ts"
import { openPgpRecipient } from "../../src/crypto/openpgp/encrypt.ts"
import { openOpenPgp } from "../../src/crypto/openpgp/open.ts"
import { randomOctets } from "../../src/crypto/primitives/random.ts"
import { RecryptionStream } from "../../src/crypto/recryption/stream.ts"
import { makeAccount } from "../../src/identity/account.ts"
import { headerEnd } from "../../src/mime/header.ts"
import { MarkerCheck } from "../../src/pipeline/marker.ts"
import { collect, type Prepared, preparedOf } from "../../src/pipeline/prepared.ts"
import { type AtRest, classified, protectAtRest } from "../../src/pipeline/protect.ts"
import { NO_RESTORERS } from "../../src/pipeline/restore.ts"

const now = new Date("2026-11-21T10:00:00Z")
const markerKey = randomOctets(32)
const seed = new Uint8Array(32).fill(7)

const { person } = await makeAccount(
  { address: "alice@example.test", name: "Alice", formats: ["smime"] },
  { now, random: randomOctets },
)
const [key] = person.smime
if (!key) throw new Error("no key")
const certificate = readCertificate(key.certificate)
const pgp = await makeAccountKey({ name: "Bob", address: "bob@example.test", createdAt: now })

const smime: AtRest = {
  account: "alice@example.test",
  target: { format: "smime", recipients: [cmsRecipient(certificate)], cipher: "aes-256-cbc" },
  subject: "clear",
  markerKey,
  restorers: NO_RESTORERS,
}
const openpgp: AtRest = {
  ...smime,
  account: "bob@example.test",
  target: { format: "openpgp", recipients: [openPgpRecipient(pgp.certificate)] },
}

const trace = [Buffer.from("Return-Path: <c@x.test>\r\nReceived: from x\r\n by y; now\r\n")]
const text = (octets: Uint8Array): string => Buffer.from(octets).toString("latin1")

async function open(stored: Uint8Array): Promise<string> {
  const armored = dearmor(stored)
  if (armored)
    return text(
      (await openOpenPgp(armored.binary, { encryption: pgp.encryption, scalar: pgp.scalar })) ?? new Uint8Array(0),
    )
  const body = Buffer.from(text(stored.subarray(headerEnd(stored) ?? 0)), "base64")
  return text(
    openEnveloped(body, { identity: certificate.identity, scalar: key?.scalar ?? new Uint8Array(32) }) ??
      new Uint8Array(0),
  )
}

/** Whether the marker in a stored message fits its octets. */
function vouched(stored: Uint8Array, account: string): boolean {
  const check = new MarkerCheck({ markerKey, account })
  const stream = new RecryptionStream([], { onStable: (octets) => check.push(octets) })
  stream.push(stored)
  stream.end()
  return check.end() === "holds"
}

/** The message in pieces of `size` octets. */
function pieces(octets: Uint8Array, size: number): Prepared {
  return {
    sizeOctets: octets.length,
    async *content() {
      for (let at = 0; at < octets.length; at += size) yield octets.subarray(at, at + size)
    },
  }
}

const small = Buffer.from(
  "From: c@x.test\r\nSubject: public\r\nX-Odd: 1\r\nContent-Type: text/plain\r\nDKIM-Signature: v=1\r\nPostern-Encrypted: by this gateway; v=1; n=1;\r\n mac=AAAAAAAAAAAAAAAAAAAAAA\r\n\r\nsecret body\r\n",
)
const large = Buffer.concat([small, Buffer.from(`${"0123456789abcdef".repeat(4)}\r\n`.repeat(40_000))])

test("a key that was made tomorrow, by a clock that has gone back, is encrypted to all the same", async () => {
  const tomorrow = new Date(Date.now() + 86_400_000)
  const made = await makeAccountKey({ name: "Bob", address: "bob@example.test", createdAt: tomorrow })
  const target = { format: "openpgp", recipients: [openPgpRecipient(made.certificate, new Date())] } as const
  const stored = await collect((await protectAtRest(preparedOf(small), trace, seed, { ...openpgp, target })).content())
  const { binary } = dearmor(stored) ?? { binary: new Uint8Array(0) }
  expect(text((await openOpenPgp(binary, made)) ?? new Uint8Array(0))).toContain("secret body")
})

test("a large message is read no further than it takes to tell that it is in clear", async () => {
  let given = 0
  const message: Prepared = {
    sizeOctets: large.length,
    async *content() {
      for await (const part of pieces(large, 65_536).content()) {
        given++
        yield part
      }
    },
  }
  const found = await classified(message)
  expect([found.kind, text(found.header)]).toEqual(["clear", text(small.subarray(0, headerEnd(small) ?? 0))])
  // Once for its header, once to tell.
  expect(given).toBe(2)
})

describe.each([
  ["S/MIME", smime],
  ["OpenPGP", openpgp],
] as const)("%s at rest", (_, rest) => {
  test.each([
    ["small", small],
    ["larger than memory is spent on", large],
  ])("%s: the octets as they came are inside, whole", async (_name, message) => {
    const stored = await protectAtRest(pieces(message, 65_536), trace, seed, rest)
    const octets = await collect(stored.content())
    expect(octets.length).toBe(stored.sizeOctets)
    expect(await open(octets)).toBe(message.toString("latin1"))
    expect(text(octets)).not.toContain("secret body")
    expect(vouched(octets, rest.account)).toBe(true)
    // A delivery that is repeated after a crash writes the same octets again.
    expect(Buffer.compare(await collect(stored.content()), octets)).toBe(0)
    const again = await protectAtRest(pieces(message, 1_000), trace, seed, rest)
    expect(Buffer.compare(await collect(again.content()), octets)).toBe(0)
  })

  test("outside stand trace, fields and one marker; not MIME's, not DKIM's, not the forged one", async () => {
    const octets = await collect((await protectAtRest(preparedOf(small), trace, seed, rest)).content())
    const header = text(octets.subarray(0, headerEnd(octets) ?? 0))
    expect(header.startsWith(text(trace[0] ?? new Uint8Array(0)))).toBe(true)
    expect(header).toContain("\r\nSubject: public\r\n")
    expect(header).toContain("\r\nX-Odd: 1\r\n")
    expect(header).not.toContain("DKIM-Signature")
    expect(header.match(/^Postern-Encrypted:/gm)).toHaveLength(1)
    expect(header).not.toContain("AAAAAAAAAAAAAAAAAAAAAA")
    expect(header.match(/^Content-Type:/gm)).toHaveLength(1)
  })

  test("a subject that is to be hidden stands inside only", async () => {
    const octets = await collect(
      (await protectAtRest(preparedOf(small), trace, seed, { ...rest, subject: "hidden" })).content(),
    )
    expect(text(octets)).toContain("\r\nSubject: [...]\r\n")
    expect(text(octets)).not.toContain("public")
    expect(await open(octets)).toContain("Subject: public")
  })

  test("what is encrypted already stays as it came but for trace, marker, and forged markers", async () => {
    const once = await collect((await protectAtRest(preparedOf(small), [], seed, rest)).content())
    const twice = await collect((await protectAtRest(preparedOf(once), trace, seed, rest)).content())
    expect(text(twice)).toContain("Postern-Encrypted: arrived encrypted;")
    expect(text(twice).match(/^Postern-Encrypted:/gm)).toHaveLength(1)
    const body = (octets: Uint8Array) => text(octets.subarray(headerEnd(octets) ?? 0))
    expect(body(twice)).toBe(body(once))
    expect(vouched(twice, rest.account)).toBe(true)
  })

  test("row 50: one octet of ciphertext changed, or another account, and the marker does not hold", async () => {
    const octets = Buffer.from(await collect((await protectAtRest(preparedOf(small), trace, seed, rest)).content()))
    expect(vouched(octets, "somebody@example.test")).toBe(false)
    const at = octets.length - 200
    octets[at] = octets[at] === 65 ? 66 : 65
    expect(vouched(octets, rest.account)).toBe(false)
  })
})

describe("a large message", () => {
  /** As it is stored by who reads once: what is missing is written over its blanks. */
  async function readOnce(stored: Prepared): Promise<Uint8Array> {
    if (stored.once === undefined) throw new Error("is read twice")
    const once = stored.once()
    const pieces: Buffer[] = []
    // Each is good until the next is asked for.
    for await (const piece of once.content) pieces.push(Buffer.from(piece))
    const octets = Buffer.concat(pieces)
    expect(once.bareLineEnds).toBe(0)
    const { at, octets: missing } = once.missing()
    expect(text(octets.subarray(at, at + missing.length)).trim()).toBe("")
    octets.set(missing, at)
    return octets
  }

  // Around a whole line, a whole group of three, and where the number of covered octets gets another digit.
  test.each([1_600_000, 1_600_001, 1_600_002, 1_600_057, 7_400_000, 7_500_000])(
    "of %d octets is encrypted once, and is the same as when it is read twice",
    async (size) => {
      const message = preparedOf(Buffer.from("Subject: large\r\n\r\n"), new Uint8Array(size).fill(120))
      const stored = await protectAtRest(message, trace, seed, smime)
      const octets = await readOnce(stored)
      expect(octets.length).toBe(stored.sizeOctets)
      expect(Buffer.compare(octets, await collect(stored.content()))).toBe(0)
      expect(Buffer.compare(octets, await readOnce(await protectAtRest(message, trace, seed, smime)))).toBe(0)
    },
  )

  test("in OpenPGP, or that came encrypted, is read twice: how much its marker covers is not known before", async () => {
    const message = preparedOf(Buffer.from("Subject: large\r\n\r\n"), new Uint8Array(3_000_000).fill(120))
    const encrypted = await protectAtRest(message, trace, seed, smime)
    for (const stored of [
      await protectAtRest(message, trace, seed, openpgp),
      await protectAtRest(preparedOf(await collect(encrypted.content())), trace, seed, smime),
    ])
      expect(stored.once).toBeUndefined()
  })
})
