import { describe, expect, test } from "vitest"
import { readCertificate } from "../../src/crypto/cms/certificate.ts"
import { openEnveloped } from "../../src/crypto/cms/open.ts"
import { cmsRecipient } from "../../src/crypto/cms/recipient.ts"
import { makeAccountKey } from "../../src/crypto/openpgp/account-key.ts"
import { openPgpRecipient } from "../../src/crypto/openpgp/encrypt.ts"
import { randomOctets } from "../../src/crypto/primitives/random.ts"
import { cmsRecogniser, cmsRecryptor, cmsRestorer } from "../../src/crypto/recryption/cms.ts"
import { openPgpRecryptor, openPgpRestorer } from "../../src/crypto/recryption/openpgp.ts"
import type { Recryptor } from "../../src/crypto/recryption/recryptor.ts"
import { splitX25519 } from "../../src/crypto/recryption/split.ts"
import { RecryptionStream } from "../../src/crypto/recryption/stream.ts"
import { makeAccount } from "../../src/identity/account.ts"
import { headerEnd } from "../../src/mime/header.ts"
import { planUpload, type StoredUpload } from "../../src/pipeline/append.ts"
import { HeldOctets } from "../../src/pipeline/held-octets.ts"
import { MarkerCheck } from "../../src/pipeline/marker.ts"
import { collect, type Prepared, preparedOf } from "../../src/pipeline/prepared.ts"
import { type AtRest, protectAtRest } from "../../src/pipeline/protect.ts"
import { NO_RESTORERS } from "../../src/pipeline/restore.ts"
import { cms, cmsRecryption, identity } from "../crypto/recryption/vectors.ts"
import { MESSAGES } from "../imap-proxy/messages.ts"

const now = new Date("2026-11-21T10:00:00Z")
const markerKey = randomOctets(32)
const seed = new Uint8Array(32).fill(7)
const room = new HeldOctets(100_000_000)

const { person } = await makeAccount(
  { address: "alice@example.test", name: "Alice", formats: ["smime"] },
  { now, random: randomOctets },
)
const [key] = person.smime
if (!key) throw new Error("no key")
const certificate = readCertificate(key.certificate)
const smime: AtRest = {
  account: "alice@example.test",
  target: { format: "smime", recipients: [cmsRecipient(certificate)], cipher: "aes-256-cbc" },
  subject: "clear",
  markerKey,
  restorers: NO_RESTORERS,
}

const bob = await makeAccountKey({ name: "Bob", address: "bob@example.test", createdAt: now })
const keyId = bob.encryption.keyId
const splits = [1, 2, 3].map(() => splitX25519(bob.scalar, () => randomOctets(32)).recryption)
const devices = splits.map((scalar) => openPgpRecryptor({ keyId, scalar }))
const restorersFor = (scalars: readonly Uint8Array[]): AtRest["restorers"] => ({
  ...NO_RESTORERS,
  openpgp: scalars.map((scalar) => [openPgpRestorer({ keyId, scalar })]),
  keyIds: [keyId],
})
const openpgp: AtRest = {
  ...smime,
  account: "bob@example.test",
  target: { format: "openpgp", recipients: [openPgpRecipient(bob.certificate)] },
  restorers: restorersFor(splits.slice(0, 2)),
}

const text = (octets: Uint8Array): string => Buffer.from(octets).toString("latin1")

/** The message in pieces of `size` octets. */
function pieces(octets: Uint8Array, size: number): Prepared {
  return {
    sizeOctets: octets.length,
    async *content() {
      for (let at = 0; at < octets.length; at += size) yield octets.subarray(at, at + size)
    },
  }
}

async function planOf(octets: Uint8Array, rest: AtRest, { step = 10_000, memory = room } = {}) {
  return planUpload({ sizeOctets: octets.length, content: pieces(octets, step).content() }, seed, rest, memory)
}

/** The plan must store it; gives what is stored. */
async function stored(octets: Uint8Array, rest: AtRest, options = {}): Promise<StoredUpload & { octets: Uint8Array }> {
  const plan = await planOf(octets, rest, options)
  if (plan.kind === "refuse") throw new Error(plan.text)
  const made = await collect(plan.content)
  plan.release()
  expect(made.length).toBe(plan.sizeOctets)
  return { ...plan, octets: made }
}

async function refused(octets: Uint8Array, rest: AtRest, options = {}): Promise<string> {
  const plan = await planOf(octets, rest, options)
  return plan.kind === "refuse" ? plan.text : plan.kind
}

function patched(octets: Uint8Array, ...recryptors: Recryptor[]): Uint8Array {
  const stream = new RecryptionStream(recryptors)
  return Buffer.concat([...stream.push(octets), ...stream.end()])
}

function check(octets: Uint8Array, { account }: AtRest): string {
  const check = new MarkerCheck({ markerKey, account })
  const stream = new RecryptionStream([], { onStable: (part) => check.push(part) })
  stream.push(octets)
  stream.end()
  return check.end()
}

const atRest = async (octets: Uint8Array, rest: AtRest): Promise<Uint8Array> =>
  collect((await protectAtRest(preparedOf(octets), [], seed, rest)).content())
/** As a client that encrypts to the account uploads it. */
const unmarked = (octets: Uint8Array): Uint8Array =>
  Buffer.from(text(octets).replace(/Postern-Encrypted:[^\r]*\r\n(?: [^\r]*\r\n)*/, ""), "latin1")
const body = (octets: Uint8Array): string => text(octets.subarray(headerEnd(octets) ?? 0))
const header = (octets: Uint8Array): string => text(octets.subarray(0, headerEnd(octets) ?? 0))

const small = Buffer.from("From: c@x.test\r\nSubject: public\r\nContent-Type: text/plain\r\n\r\nsecret body\r\n")
const large = Buffer.concat([small, Buffer.from(`${"0123456789abcdef".repeat(4)}\r\n`.repeat(40_000))])

function open(octets: Uint8Array): string {
  const der = Buffer.from(body(octets), "base64")
  const opened = openEnveloped(der, {
    identity: certificate.identity,
    scalar: key?.scalar ?? new Uint8Array(32),
  })
  return text(opened ?? new Uint8Array(0))
}

describe("a clear message", () => {
  test.each([
    ["small", small, 10_000],
    ["small, octet by octet", small, 1],
    ["large", large, 10_000],
    ["with NUL", Buffer.concat([small, Uint8Array.of(0, 255, 0)]), 10_000],
    ["without an empty line", Buffer.from("Subject: x\r\n"), 3],
  ] as const)("%s: the announced size is the real one, and it opens", async (_name, message, step) => {
    const { kind, octets } = await stored(message, smime, { step })
    expect(kind).toBe("encrypt")
    expect(open(octets)).toBe(text(message))
    expect(check(octets, smime)).toBe("holds")
  })

  test("is stored the same whatever pieces it comes in", async () => {
    const whole = await stored(large, smime, { step: large.length })
    expect(Buffer.compare((await stored(large, smime, { step: 777 })).octets, whole.octets)).toBe(0)
    expect(header(whole.octets)).toContain("; n=32768+;")
  })

  // What clients look for in their own uploads, or show without opening (clients.md, traps.md 52).
  test.each([
    "Message-ID: <1@x.test>",
    "X-TUID: abcdefghijkl",
    "X-OfflineIMAP: 1-2-3",
    "X-K9mail-Identity: !l=1&s=2",
    "X-Mozilla-Draft-Info: internal/draft; vcard=0",
    "X-Mozilla-Keys: ",
    "X-Universally-Unique-Identifier: 0F1E",
    "X-Uniform-Type-Identifier: com.apple.mail-draft",
    "X-Apple-Auto-Saved: 1",
    "Date: Mon, 1 Jan 2024 00:00:00 +0000",
    "In-Reply-To: <0@x.test>",
    "References: <0@x.test>\r\n <00@x.test>",
    "Reply-To: d@x.test",
    "To: e@x.test",
    "List-Id: <l.x.test>",
  ])("%s stands outside", async (field) => {
    const { octets } = await stored(Buffer.from(`${field}\r\nContent-Type: text/plain\r\n\r\nsecret\r\n`), smime)
    expect(header(octets)).toContain(`${field}\r\n`)
    expect(header(octets)).not.toContain("text/plain")
  })
})

describe("an encrypted message", () => {
  test.each([
    ["small", small],
    ["large", large],
  ])("%s, that this gateway has marked, is kept as it is", async (_name, message) => {
    for (const rest of [smime, openpgp]) {
      const marked = await atRest(message, rest)
      const { kind, octets } = await stored(marked, rest)
      expect(kind).toBe("asIs")
      expect(Buffer.compare(octets, marked)).toBe(0)
    }
  })

  test.each([
    ["small", small],
    ["large", large],
  ])("%s, that nobody has marked, gets a marker and is kept", async (_name, message) => {
    for (const rest of [smime, openpgp]) {
      const marked = await atRest(message, rest)
      const bare = unmarked(marked)
      const { kind, octets } = await stored(bare, rest)
      expect(kind).toBe("asIs")
      expect(header(octets)).toMatch(/^Postern-Encrypted: arrived encrypted; v=2;/)
      expect(text(octets).endsWith(text(bare))).toBe(true)
      expect(check(octets, rest)).toBe("holds")
      // Once marked it stays.
      expect(Buffer.compare((await stored(octets, rest)).octets, octets)).toBe(0)
    }
  })

  test("with another account's marker or a forged one gets its own", async () => {
    const marked = await atRest(small, { ...smime, account: "carol@example.test" })
    const { octets } = await stored(marked, smime)
    expect(text(octets).match(/^Postern-Encrypted:/gm)).toHaveLength(1)
    expect(check(octets, smime)).toBe("holds")
  })

  test("with a marker of version 1 keeps it", async () => {
    const marked = await atRest(small, smime)
    const old = text(marked).replace(/v=2; n=(\d+);\r\n (mac=[\w-]+);\r\n seal=[\w-]+/, "v=1; n=$1;\r\n $2")
    expect(text((await stored(Buffer.from(old, "latin1"), smime)).octets)).toBe(old)
  })

  test("that holds NUL is refused: it would not go through an ordinary literal", async () => {
    const der = Buffer.from(body(await atRest(small, smime)), "base64")
    const binary = Buffer.concat([
      Buffer.from("Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: binary\r\n\r\n"),
      der,
    ])
    expect(binary.includes(0)).toBe(true)
    expect(await refused(binary, smime)).toMatch(/^\[UNKNOWN-CTE\]/)
  })

  test("large, that goes on in clear, is broken off before its end", async () => {
    const marked = await atRest(large, smime)
    const octets = Buffer.concat([marked, Buffer.from("\r\nand this in clear\r\n")])
    await expect(stored(octets, smime, { step: 50_000 })).rejects.toMatchObject({ code: "CLEAR_CONTENT" })
  })
})

describe("an OpenPGP message in the form of a device becomes the account's", () => {
  test.each([
    ["small", small],
    ["large", large],
  ])("%s: from each device, and from its own form", async (_name, message) => {
    const marked = await atRest(message, openpgp)
    for (const [index, device] of devices.slice(0, 2).entries()) {
      const view = patched(marked, device)
      expect(Buffer.compare(view, marked)).not.toBe(0)
      const back = await stored(view, openpgp, { step: index === 0 ? 10_000 : 333 })
      expect(Buffer.compare(back.octets, marked)).toBe(0)
      expect(back.restored).toBe(1)
    }
    expect(Buffer.compare((await stored(marked, openpgp)).octets, marked)).toBe(0)
  })

  test("that was kept from an upload, too: it was marked then", async () => {
    const bare = unmarked(await atRest(small, openpgp))
    const kept = (await stored(bare, openpgp)).octets
    const [laptop] = devices
    if (!laptop) throw new Error("no device")
    expect(Buffer.compare((await stored(patched(kept, laptop), openpgp)).octets, kept)).toBe(0)
  })

  test("also when a client has wrapped its lines anew", async () => {
    const marked = await atRest(small, openpgp)
    const [laptop] = devices
    if (!laptop) throw new Error("no device")
    const rewrapped = (octets: Uint8Array): Buffer =>
      Buffer.from(
        text(octets).replace(/(\r\n\r\n)((?:[\w+/=]{1,76}\r\n)+)(=)/, (_all, before, armor: string, crc) => {
          const lines = armor.replaceAll("\r\n", "").match(/.{1,60}/g) ?? []
          return `${before}${lines.map((line) => `${line}\r\n`).join("")}${crc}`
        }),
        "latin1",
      )
    expect(text(rewrapped(marked))).not.toBe(text(marked))
    expect(text((await stored(rewrapped(patched(marked, laptop)), openpgp)).octets)).toBe(text(rewrapped(marked)))
    expect(check(rewrapped(marked), openpgp)).toBe("holds")
  })

  test.each([
    ["small", small],
    ["large", large],
  ])("%s: not from a device that was revoked", async (_name, message) => {
    const [, , phone] = devices
    if (!phone) throw new Error("no device")
    const view = patched(await atRest(message, openpgp), phone)
    expect(await refused(view, openpgp)).toMatch(/^\[CANNOT\]/)
    // Nor when it was the account's only one.
    expect(await refused(view, { ...openpgp, restorers: restorersFor([]) })).toMatch(/^\[CANNOT\]/)
  })

  test("not when it has no marker: in which form it is cannot be known", async () => {
    const bare = unmarked(await atRest(small, openpgp))
    const [laptop] = devices
    if (!laptop) throw new Error("no device")
    const view = patched(bare, laptop)
    expect(body((await stored(view, openpgp)).octets)).toBe(body(view))
  })

  test("and what is another account's stays so", async () => {
    const carol = {
      ...openpgp,
      account: "carol@example.test",
      restorers: { ...NO_RESTORERS, keyIds: [randomOctets(8)] },
    }
    const [laptop] = devices
    if (!laptop) throw new Error("no device")
    const view = patched(await atRest(small, openpgp), laptop)
    const kept = await stored(view, carol)
    expect(body(kept.octets)).toBe(body(view))
    expect(check(kept.octets, carol)).toBe("holds")
  })

  test("when it is delivered again, too: a device may send on what it reads", async () => {
    const marked = await atRest(small, openpgp)
    const [laptop] = devices
    if (!laptop) throw new Error("no device")
    const again = await atRest(patched(marked, laptop), openpgp)
    expect(body(again)).toBe(body(marked))
  })
})

describe("an S/MIME message", () => {
  const message = Buffer.from(MESSAGES["smime"] ?? "", "latin1")
  const [first, second] = cms.devices
  if (!first || !second) throw new Error("no devices")
  const view = (name: string): Uint8Array => patched(message, cmsRecryptor(cmsRecryption(name)))
  const rest: AtRest = {
    ...smime,
    restorers: {
      ...NO_RESTORERS,
      smime: [cmsRestorer(cmsRecryption("dev1"))],
      revoked: [cmsRecogniser(identity(second))],
    },
  }

  test("for a device's certificate becomes the account's, marked or not", async () => {
    const kept = await stored(view("dev1"), rest)
    expect(kept.restored).toBe(1)
    // Either sign of the point's y may come out; the devices read the same.
    const read = (octets: Uint8Array): string => body(patched(octets, cmsRecryptor(cmsRecryption("dev1"))))
    expect(read(kept.octets)).toBe(read(message))
  })

  test("for a revoked device's certificate is refused", async () => {
    expect(await refused(view("dev2"), rest)).toMatch(/^\[CANNOT\]/)
  })
})

describe("memory", () => {
  test("a header section that does not end is refused", async () => {
    expect(await refused(Buffer.from(`X: ${"y".repeat(1_200_000)}`), smime)).toBe("header section too large")
  })

  test("without room for a whole message its head is held; without room for that it is refused; room comes back", async () => {
    const message = large.subarray(0, 900_000)
    const memory = new HeldOctets(200_000)
    const plan = await planOf(message, smime, { memory })
    if (plan.kind === "refuse") throw new Error(plan.text)
    expect(await collect(plan.content).then(open)).toBe(text(message))
    const other = await planOf(message, smime, { memory })
    expect(await refused(message, smime, { memory })).toMatch(/^\[UNAVAILABLE\]/)
    plan.release()
    expect(await refused(message, smime, { memory })).toBe("encrypt")
    if (other.kind !== "refuse") other.release()
  })

  test("a plan that fails gives its room back", async () => {
    const memory = new HeldOctets(200_000)
    const failing = { ...smime, target: { ...smime.target, recipients: [] } } as AtRest
    for (let turn = 0; turn < 5; turn++) await planOf(large, failing, { memory }).catch(() => undefined)
    expect(await refused(large, smime, { memory })).toBe("encrypt")
  })
})
