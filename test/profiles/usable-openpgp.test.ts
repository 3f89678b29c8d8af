import { readFileSync } from "node:fs"
import { mkdir, readFile } from "node:fs/promises"
import { generateKey, type PublicKey, revokeKey } from "openpgp"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { MAX_OWN_SIGNATURES } from "../../src/crypto/openpgp/appraise.ts"
import { dearmor } from "../../src/crypto/openpgp/armor.ts"
import { readCertificate } from "../../src/crypto/openpgp/certificate.ts"
import { MAX_PACKETS, readPackets, writePacket } from "../../src/crypto/openpgp/packet.ts"
import { MAX_CERTIFICATE_OCTETS } from "../../src/crypto/openpgp/transferable.ts"
import type { KeyRules } from "../../src/profiles/usable/rules.ts"
import { mustRun, peer, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { CertificateMaker, type Says } from "./certificate-maker.ts"
import { candidate, judged, rules, told } from "./judging.ts"

const BOB = "bob@example.test"
const MADE = new Date("2026-01-01T00:00:00Z")
const NOW = new Date("2026-07-01T00:00:00Z")
const DAY = 86_400
const later = (days: number, from = MADE): Date => new Date(from.getTime() + days * DAY * 1000)
const hex = (octets: Uint8Array): string => Buffer.from(octets).toString("hex")

// Subpackets (RFC 9580 §5.2.3).
const flags = (octet: number) => [27, octet] as const
const keyExpires = (days: number) => [9, ...seconds(days)] as const
const expires = (days: number) => [3, ...seconds(days)] as const
const eightOctets = (type: number) => [type, ...Array<number>(8).fill(255)] as const
const reason = (code: number) => [29, code] as const
const notation = (critical: boolean) => [critical ? 0x94 : 20, 0x80, 0, 0, 0, 0, 1, 0, 1, 0x61, 0x62] as const
const seconds = (days: number) => [24, 16, 8, 0].map((shift) => ((days * DAY) >>> shift) & 255)

const certifies = (more: Partial<Says> = {}): Says => ({ type: 0x13, at: MADE, ...more })
const binds = (more: Partial<Says> = {}): Says => ({ type: 0x18, at: MADE, more: [flags(0x0c)], ...more })
const maker = new CertificateMaker(7, MADE)
const uid = (...signatures: Says[]) =>
  maker.userId(`Bob <${BOB}>`, ...(signatures.length > 0 ? signatures : [certifies()]))
const sub = (...signatures: Says[]) =>
  maker.subkey({ scalar: 1, createdAt: MADE }, ...(signatures.length > 0 ? signatures : [binds()]))

async function verdict(octets: Uint8Array, by: Partial<KeyRules> = {}, address = BOB): Promise<string> {
  return told(await judged(candidate("openpgp", octets), address, rules({ at: NOW, ...by })))
}

describe("an OpenPGP certificate", () => {
  const rows: [name: string, parts: readonly Uint8Array[], want: string | RegExp][] = [
    ["with a user id and a subkey is usable", [maker.key(), uid(), sub()], "usable: Its own signatures are right."],
    [
      "without any signature",
      [maker.key(), maker.userId(`<${BOB}>`), sub()],
      "rejected: No signature of its own makes it valid.",
    ],
    [
      "signed by somebody else alone",
      [maker.key(), new CertificateMaker(8, MADE).userId(`<${BOB}>`, certifies()), sub()],
      "rejected: No signature of its own makes it valid.",
    ],
    [
      "for somebody else",
      [maker.key(), maker.userId("Alice <alice@example.test>", certifies()), sub()],
      "rejected: It is for alice@example.test.",
    ],
    ["without a user id", [maker.key({ type: 0x1f, at: MADE }), sub()], "rejected: It names no mail address."],
    ["with a user id that is the address alone", [maker.key(), maker.userId(BOB, certifies()), sub()], /^usable/],
    ["with a comment", [maker.key(), maker.userId(`Bob (work) <${BOB}>`, certifies()), sub()], /^usable/],
    [
      "with two addresses in a user id: the last counts",
      [maker.key(), maker.userId(`<${BOB}> <eve@evil.test>`, certifies()), sub()],
      "rejected: It is for eve@evil.test.",
    ],
    [
      "with white space in its address",
      [maker.key(), maker.userId(`Bob < ${BOB}>`, certifies()), sub()],
      "rejected: It is for “bob@example.test” (which is no address).",
    ],
    [
      "with a name that is no UTF-8",
      [maker.key(), maker.userId(Buffer.from(`J\xfcrgen <${BOB}>`, "latin1"), certifies()), sub()],
      /^usable/,
    ],
    [
      "with many user ids, one of them his",
      [maker.key(), maker.userId("a@x.test", certifies()), maker.userId("b@x.test", certifies()), uid(), sub()],
      /^usable/,
    ],
    [
      "with a user id that is not signed",
      [maker.key(), maker.userId("a@x.test", certifies()), maker.userId(BOB), sub()],
      "rejected: It is for a@x.test.",
    ],
    [
      "with the same user id twice, one of them revoked",
      [maker.key(), uid(certifies(), { type: 0x30, at: later(9) }), maker.userId(BOB, certifies()), sub()],
      /^usable/,
    ],
    [
      "with its user id revoked",
      [
        maker.key(),
        maker.userId("a@x.test", certifies()),
        uid(certifies(), { type: 0x30, at: later(9), more: [reason(32)] }),
        sub(),
      ],
      "rejected: It is for a@x.test.",
    ],
    [
      "with its user id revoked and certified again",
      [maker.key(), uid(certifies(), { type: 0x30, at: later(9) }, certifies({ at: later(20) })), sub()],
      /^usable/,
    ],

    [
      "revoked, without a reason",
      [maker.key({ type: 0x20, at: later(9) }), uid(), sub()],
      "rejected: It was revoked on 2026-01-10.",
    ],
    [
      "revoked as compromised",
      [maker.key({ type: 0x20, at: later(9), more: [reason(2)] }), uid(), sub()],
      "rejected: It was revoked on 2026-01-10 (compromised).",
    ],
    [
      "with a time of eight octets: the end of its key",
      [
        maker.key(),
        uid(certifies({ more: [keyExpires(30)] }), certifies({ more: [eightOctets(9)], at: later(1) })),
        sub(),
      ],
      "rejected: It expired on 2026-01-31.",
    ],
    [
      "with a time of eight octets: the end of a signature",
      [maker.key(), uid(certifies({ more: [eightOctets(3)] })), sub()],
      "rejected: No signature of its own makes it valid.",
    ],
    [
      "with a time of eight octets: when it was revoked",
      [maker.key({ type: 0x20, at: later(9), more: [eightOctets(2)] }), uid(), sub()],
      /^usable/,
    ],
    [
      "revoked as superseded",
      [maker.key({ type: 0x20, at: later(9), more: [reason(1)] }), uid(), sub()],
      "rejected: It was revoked on 2026-01-10 (superseded).",
    ],
    [
      "revoked as retired, from next year on",
      [maker.key({ type: 0x20, at: later(366), more: [reason(3)] }), uid(), sub()],
      /^usable/,
    ],
    [
      "revoked as compromised, dated next year",
      [maker.key({ type: 0x20, at: later(366), more: [reason(2)] }), uid(), sub()],
      /^rejected/,
    ],
    [
      "revoked, and renewed later",
      [maker.key({ type: 0x20, at: later(9) }), uid(certifies({ at: later(20) })), sub()],
      /^rejected/,
    ],
    [
      "revoked with SHA-1 and a critical notation",
      [maker.key({ type: 0x20, at: later(9), hash: "sha1", more: [notation(true)] }), uid(), sub()],
      /^rejected: It was revoked/,
    ],
    [
      "with a revocation that somebody else signed",
      [maker.key(), new CertificateMaker(8, MADE).key({ type: 0x20, at: later(9) }).subarray(53), uid(), sub()],
      /^usable/,
    ],

    [
      "expired",
      [maker.key(), uid(certifies({ more: [keyExpires(30)] })), sub()],
      "rejected: It expired on 2026-01-31.",
    ],
    [
      "expired by its direct-key signature",
      [maker.key({ type: 0x1f, at: MADE, more: [keyExpires(30)] }), uid(), sub()],
      "rejected: It expired on 2026-01-31.",
    ],
    [
      "expired and prolonged",
      [
        maker.key(),
        uid(certifies({ more: [keyExpires(30)] }), certifies({ at: later(20), more: [keyExpires(900)] })),
        sub(),
      ],
      /^usable/,
    ],
    [
      "with a self-signature that has expired",
      [maker.key(), uid(certifies({ more: [expires(30)] })), sub()],
      /^rejected: No signature of its own/,
    ],
    ["from the future", [maker.key(), uid(certifies({ at: later(300) })), sub()], /^rejected: No signature of its own/],
    [
      "with its only encryption key expired",
      [maker.key(), uid(), sub(binds({ more: [flags(12), keyExpires(30)] }))],
      "rejected: Its key for encryption expired on 2026-01-31.",
    ],
    [
      "with its only encryption key revoked",
      [maker.key(), uid(), sub(binds(), { type: 0x28, at: later(9), more: [reason(1)] })],
      "rejected: Its key for encryption was revoked on 2026-01-10 (superseded).",
    ],
    [
      "with its encryption key revoked and bound again",
      [maker.key(), uid(), sub(binds(), { type: 0x28, at: later(9) }, binds({ at: later(20) }))],
      /^rejected/,
    ],
    ["without a key for encryption", [maker.key(), uid()], "rejected: It has no key for encryption."],
    [
      "with a subkey that may only sign",
      [maker.key(), uid(), sub(binds({ more: [flags(2)] }))],
      "rejected: It has no key for encryption.",
    ],
    [
      "with a subkey without flags",
      [maker.key(), uid(), sub(binds({ more: [] }))],
      "rejected: It has no key for encryption.",
    ],
    [
      "with a subkey that somebody else bound",
      [maker.key(), uid(), new CertificateMaker(8, MADE).subkey({ scalar: 1, createdAt: MADE }, binds())],
      "rejected: It has no key for encryption.",
    ],

    [
      "with an unknown critical notation",
      [maker.key(), uid(certifies({ more: [notation(true)] })), sub()],
      /^rejected: No signature of its own/,
    ],
    [
      "with a notation that is not critical",
      [maker.key(), uid(certifies({ more: [notation(false)] })), sub()],
      /^usable/,
    ],
    [
      "with an unknown critical subpacket",
      [maker.key(), uid(certifies({ more: [[0x80 | 101, 1]] })), sub()],
      /^rejected: No signature of its own/,
    ],
    ["with an unknown subpacket", [maker.key(), uid(certifies({ more: [[101, 1]] })), sub()], /^usable/],
    [
      "signed with SHA-1 since February 2023",
      [maker.key(), uid(certifies({ hash: "sha1" })), sub()],
      "rejected: No signature of its own makes it valid (those with SHA-1 or MD5 are not believed).",
    ],
    [
      "with a binding signed with SHA-1 since February 2023",
      [maker.key(), uid(), sub(binds({ hash: "sha1" }))],
      "rejected: It has no key for encryption.",
    ],

    [
      "with an ElGamal subkey",
      [maker.key(), uid(), maker.subkey(keyBody(16, [0x0f, 0x02, 0x03]), binds())],
      "rejected: Its key for encryption: its key is ElGamal, which nobody makes any more (RFC 9580 §12.6).",
    ],
    [
      "with an RSA-1024 subkey",
      [maker.key(), uid(), maker.subkey(keyBody(1, [128, 3]), binds())],
      "rejected: Its key for encryption: its RSA key of 1024 bits is too weak.",
    ],
    [
      "with a post-quantum subkey alone",
      [maker.key(), uid(), maker.subkey(Buffer.concat([keyBody(35, []), new Uint8Array(1216)]), binds())],
      "rejected: Its key for encryption is of a kind that Postern does not know: unknown (35).",
    ],
    [
      "with a post-quantum subkey beside one that is known",
      [maker.key(), uid(), sub(), maker.subkey(Buffer.concat([keyBody(35, []), new Uint8Array(1216)]), binds())],
      /^usable/,
    ],
    [
      "of DSA",
      [keyPacket(keyBody(17, [128, 20, 128, 128])), maker.userId(BOB)],
      "rejected: Its key is DSA, which nobody makes any more (RFC 9580 §12.5).",
    ],
    [
      "of a primary key that nobody knows",
      [keyPacket(Buffer.concat([keyBody(99, []), new Uint8Array(64)])), maker.userId(BOB)],
      "rejected: Its primary key is of a kind that Postern does not know: unknown (99).",
    ],
    [
      "of version 3",
      [keyPacket(Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 1, 0, 8, 255, 0, 2, 3)), maker.userId(BOB)],
      "rejected: It cannot be read (key: version is neither 4 nor 6).",
    ],
    [
      "of two certificates in one",
      [maker.key(), uid(), sub(), maker.key(), uid()],
      /^rejected: It cannot be read \(certificate: more than one certificate\)/,
    ],
    ["that is a web page", [Buffer.from("<!DOCTYPE html><html></html>")], /^rejected: It cannot be read/],
    ["of nothing", [], /^rejected: It cannot be read/],
  ]
  for (const [name, parts, want] of rows)
    test(name, async () => {
      const line = await verdict(Buffer.concat(parts))
      if (typeof want === "string") expect(line).toBe(want)
      else expect(line).toMatch(want)
    })

  test("a revocation is told with the fingerprints of what it revokes, and of who signed it", async () => {
    const revokes = { type: 0x28, at: later(9) }
    const [certificate, key, oneOfTwo, none] = await Promise.all(
      [
        [maker.key({ type: 0x20, at: later(9) }), uid(), sub()],
        [maker.key(), uid(), sub(revokes, binds())],
        [maker.key(), uid(), sub(revokes, binds()), maker.subkey({ scalar: 77, createdAt: later(5) }, binds())],
        [maker.key(), uid(), sub()],
      ].map((parts) => judged(candidate("openpgp", Buffer.concat(parts)), BOB, rules({ at: NOW }))),
    )
    const of = hex(maker.primary.fingerprint)
    const subkeys = none?.kind === "usable" ? none.key.subkeys : []
    expect(subkeys).toHaveLength(1)
    expect(none).toMatchObject({ kind: "usable", revoked: { of, keys: [] } })
    expect(certificate).toMatchObject({ kind: "rejected", revoked: { of, keys: [of] } })
    expect(key).toMatchObject({ kind: "rejected", revoked: { of, keys: subkeys } })
    expect(oneOfTwo).toMatchObject({ kind: "usable", revoked: { of, keys: subkeys } })
  })

  test("signed with SHA-1 before February 2023 is believed, as Sequoia does", async () => {
    const old = new Date("2019-01-01T00:00:00Z")
    const aged = new CertificateMaker(9, old)
    const octets = Buffer.concat([
      aged.key(),
      aged.userId(BOB, certifies({ at: old, hash: "sha1" })),
      aged.subkey({ scalar: 1, createdAt: old }, binds({ at: old, hash: "sha1" })),
    ])
    expect(await verdict(octets)).toMatch(/^usable/)
  })

  test("an older key for encryption serves when the newest is revoked, expired or unknown", async () => {
    const old = maker.subkey({ scalar: 1, createdAt: MADE }, binds())
    const fresh = (...signatures: Says[]) => maker.subkey({ scalar: 2, createdAt: later(50) }, ...signatures)
    const bind = binds({ at: later(50) })
    for (const [newer, chosen] of [
      [fresh(bind), 2],
      [fresh(bind, { type: 0x28, at: later(60) }), 1],
      [fresh({ ...bind, more: [flags(12), keyExpires(10)] }), 1],
      [fresh({ ...bind, more: [flags(12), [0x80 | 101, 1]] }), 1],
    ] as const) {
      const found = await judged(
        candidate("openpgp", Buffer.concat([maker.key(), uid(), old, newer])),
        BOB,
        rules({ at: NOW }),
      )
      if (found.kind !== "usable") throw new Error(found.because)
      const [wanted] = readCertificate(
        Buffer.concat([maker.key(), uid(), chosen === 1 ? old : fresh(bind)]),
      ).encryptionKeys
      const [first] = readCertificate(found.key.octets).encryptionKeys
      expect(hex(first?.key.fingerprint ?? Uint8Array.of(0))).toBe(hex(wanted?.key.fingerprint ?? new Uint8Array()))
    }
  })

  test("what is kept is what counts: other user ids, subkeys and signatures are gone", async () => {
    const octets = Buffer.concat([
      maker.key({ type: 0x1f, at: MADE }),
      uid(certifies(), certifies({ at: later(5) })),
      maker.userId("forged@example.test"),
      sub(),
      maker.subkey({ scalar: 3, createdAt: later(9) }),
    ])
    const found = await judged(candidate("openpgp", octets), BOB, rules({ at: NOW }))
    const kept = Buffer.concat([maker.key({ type: 0x1f, at: MADE }), uid(certifies({ at: later(5) })), sub()])
    expect(hex(found.kind === "usable" ? found.key.octets : new Uint8Array())).toBe(hex(kept))
  })

  test("features tell who reads SEIPD version 2", async () => {
    for (const [features, seipdV2] of [
      [1, false],
      [9, true],
    ] as const) {
      const octets = Buffer.concat([maker.key(), uid(certifies({ more: [[30, features]] })), sub()])
      expect(await judged(candidate("openpgp", octets), BOB, rules({ at: NOW }))).toMatchObject({
        key: { reads: { aesGcm: false, seipdV2 }, algorithm: "X25519", expiresAt: null },
      })
    }
  })

  test("a tag: good for the plain user id only where the rule says so", async () => {
    const octets = Buffer.concat([maker.key(), uid(), sub()])
    expect(await verdict(octets, {}, "bob+list@example.test")).toMatch(/^rejected/)
    expect(await verdict(octets, { tags: true }, "bob+list@example.test")).toMatch(/^usable/)
  })
})

describe("row 40: flooded certificates", () => {
  const forged = maker.userId(BOB, certifies()).subarray(2 + BOB.length)

  test("200,000 signatures, or 50 MB, are refused before anything is parsed", async () => {
    const flood = Buffer.concat([maker.key(), uid(), ...Array<Uint8Array>(200_000).fill(forged)])
    const large = new Uint8Array(50_000_000).fill(0xc2)
    expect(await verdict(flood)).toBe("rejected: It cannot be read (certificate: too large).")
    expect(await verdict(large)).toBe("rejected: It cannot be read (certificate: too large).")
  })

  test(`as large as may be (${MAX_CERTIFICATE_OCTETS} octets), with more packets than may be (${MAX_PACKETS})`, async () => {
    const signature = forged.subarray(0, 100)
    const count = Math.floor(MAX_CERTIFICATE_OCTETS / 110)
    const packets = Array<Uint8Array>(count).fill(writePacket(2, signature.subarray(2)))
    expect(await verdict(Buffer.concat([maker.key(), uid(), sub(), ...packets]))).toMatch(/^usable|too many packets/)
    expect(
      await verdict(
        Buffer.concat([maker.key(), ...Array<Uint8Array>(MAX_PACKETS).fill(writePacket(13, new Uint8Array(1)))]),
      ),
    ).toMatch(/too many packets/)
  })

  test("thousands of certifications by others are passed over", async () => {
    const other = new CertificateMaker(8, MADE).userId(BOB, certifies()).subarray(2 + BOB.length)
    expect(await verdict(Buffer.concat([maker.key(), uid(), ...Array<Uint8Array>(5000).fill(other), sub()]))).toMatch(
      /^usable/,
    )
  })

  test(`of ${MAX_OWN_SIGNATURES} signatures in its own name none may be right`, async () => {
    const wrong = Uint8Array.from(forged)
    wrong[wrong.length - 1] = (wrong.at(-1) ?? 0) ^ 1
    const spoilt = (count: number) => Array<Uint8Array>(count).fill(wrong)
    const flood = (count: number) => Buffer.concat([maker.key(), maker.userId(BOB), ...spoilt(count), uid(), sub()])
    expect(await verdict(flood(MAX_OWN_SIGNATURES - 10))).toMatch(/^usable/)
    expect(await verdict(flood(MAX_OWN_SIGNATURES))).toMatch(/too many signatures of its own/)
  })
})

describe("row 43: kinds of keys", () => {
  test("the sample certificate of version 6 (RFC 9580 A.3) counts, and names nobody", async () => {
    const octets = readFileSync("test/vectors/openpgp/rfc9580-a3.asc")
    expect(await verdict(octets)).toBe("rejected: It names no mail address.")
    const pinned = await judged(candidate("openpgp", octets, { trust: "pinned" }), BOB, rules({ at: NOW }))
    expect(pinned).toMatchObject({
      kind: "usable",
      key: {
        fingerprint: "cb186c4f0609a697e4d52dfa6c722b0c1f1e27c18a56708f6525ec27bad9acc9",
        algorithm: "X25519",
        reads: { seipdV2: true },
      },
    })
  })

  const userIDs = [{ name: "Bob", email: BOB }]
  test.for([
    ["RSA 2048", { type: "rsa", rsaBits: 2048 }],
    ["P-256", { type: "ecc", curve: "nistP256" }],
    ["P-384", { type: "ecc", curve: "nistP384" }],
    ["P-521", { type: "ecc", curve: "nistP521" }],
    ["X25519", { type: "ecc", curve: "curve25519Legacy" }],
    ["X25519", { type: "curve25519", config: { v6Keys: true } }],
    ["X448", { type: "curve448", config: { v6Keys: true } }],
  ] as const)("%s %j", async ([algorithm, options]) => {
    const made = (await generateKey({ ...options, userIDs, format: "object", date: MADE } as never)) as unknown as {
      publicKey: PublicKey
      privateKey: never
    }
    expect(await judged(candidate("openpgp", made.publicKey.write()), BOB, rules({ at: NOW }))).toMatchObject({
      kind: "usable",
      key: { algorithm },
    })
    const revoked = (await revokeKey({
      key: made.privateKey,
      date: later(9),
      format: "object",
    } as never)) as unknown as { publicKey: PublicKey }
    expect(await verdict(revoked.publicKey.write())).toMatch(/^rejected: It was revoked on 2026-01-10/)
  })
})

describe.skipIf(!peer("sq"))("certificates of Sequoia", () => {
  let folder: TemporaryFolder
  beforeAll(async () => {
    folder = await temporaryFolder()
    await mustRun("sq", [
      "key",
      "generate",
      "--userid",
      `Bob <${BOB}>`,
      "--export",
      folder.file("key"),
      "--rev-cert",
      folder.file("revocation"),
    ])
    await mustRun("sq", ["key", "extract-cert", "-o", folder.file("cert"), folder.file("key")])
  })
  afterAll(() => folder[Symbol.asyncDispose]())
  const at = (days: number) => ({ at: later(days, new Date()) })

  test("in force, then expired", async () => {
    const octets = await readFile(folder.file("cert"))
    expect(await verdict(octets, at(1))).toMatch(/^usable/)
    expect(await verdict(octets, at(3650))).toMatch(/^rejected: It expired on/)
  })

  test("revoked: the certificate, its user id", async () => {
    const revoke = (...args: string[]) => {
      const keys = ["--certificate", folder.file("cert"), "--revocation-key", folder.file("key")]
      return mustRun("sq", ["revoke", ...args.slice(0, 1), ...keys, "--binary", ...args.slice(1), "gone"])
    }
    const cert = dearmored(await readFile(folder.file("cert")))
    const signature = await revoke("certificate", "compromised")
    expect(await verdict(withOwn(cert, signature, 6), at(1))).toMatch(/\(compromised\)/)
    const unnamed = await revoke("userid", `Bob <${BOB}>`, "retired")
    expect(await verdict(withOwn(cert, unnamed, 13), at(1))).toBe("rejected: It names no mail address.")
  })
})

describe.skipIf(!peer("gpg"))("certificates of GnuPG", () => {
  let folder: TemporaryFolder
  const gpg = (...args: string[]) =>
    mustRun("gpg", ["--homedir", folder.file("home"), "--batch", "--yes", "--passphrase", "", ...args])
  beforeAll(async () => {
    folder = await temporaryFolder()
    await mkdir(folder.file("home"), { mode: 0o700 })
  })
  afterAll(async () => {
    await mustRun("gpgconf", ["--homedir", folder.file("home"), "--kill", "all"])
    await folder[Symbol.asyncDispose]()
  })

  test("on a curve that nobody here knows", async () => {
    await gpg("--quick-generate-key", "<k1@example.test>", "secp256k1", "sign", "1y")
    const octets = await gpg("--export", "k1@example.test")
    expect(await verdict(octets, { at: later(1, new Date()) }, "k1@example.test")).toBe(
      "rejected: Its key is on a curve that Postern does not know.",
    )
  })

  test("several subkeys, one of the future: the newest that is in force; then revoked", async () => {
    await gpg("--quick-generate-key", `Bob <${BOB}>`, "rsa2048", "sign", "1y")
    const text = Buffer.from(await gpg("--with-colons", "--list-keys", BOB)).toString()
    const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(text)?.[1] ?? ""
    await gpg("--quick-add-key", fingerprint, "rsa2048", "encr", "1y")
    await gpg("--faked-system-time", "20990101T000000!", "--quick-add-key", fingerprint, "nistp384", "encr", "1y")
    // Not in the second of the first one.
    const hourHence = new Date(Date.now() + 3_600e3).toISOString().replace(/[-:]|\.\d+Z/g, "")
    await gpg("--faked-system-time", `${hourHence}!`, "--quick-add-key", fingerprint, "cv25519", "encr", "1y")
    const octets = await gpg("--export", fingerprint)
    expect(await judged(candidate("openpgp", octets), BOB, rules({ at: later(1, new Date()) }))).toMatchObject({
      kind: "usable",
      key: { algorithm: "X25519", fingerprint: fingerprint.toLowerCase() },
    })
    expect(await verdict(octets, { at: later(400, new Date()) })).toMatch(/^rejected: It expired/)
    const revocation = await readFile(folder.file(`home/openpgp-revocs.d/${fingerprint}.rev`), "latin1")
    await mustRun("gpg", ["--homedir", folder.file("home"), "--batch", "--import"], {
      input: revocation.replace(/^:---/m, "---"),
    })
    expect(await verdict(await gpg("--export", fingerprint), { at: later(1, new Date()) })).toMatch(
      /^rejected: It was revoked/,
    )
  })
})

function dearmored(octets: Uint8Array): Uint8Array {
  return dearmor(octets)?.binary ?? octets
}

/** The certificate with signatures behind those of its first component of this kind. `signatures` may have the certificate's own packets before them. */
function withOwn(certificate: Uint8Array, signatures: Uint8Array, tag: number): Uint8Array {
  const packets = readPackets(certificate)
  const at = packets.findIndex((packet) => packet.tag === tag) + 1
  const all = [
    ...packets.slice(0, at),
    ...readPackets(dearmored(signatures)).filter((packet) => packet.tag === 2),
    ...packets.slice(at),
  ]
  return Buffer.concat(all.map(({ tag: kind, body }) => writePacket(kind, body)))
}

/** Body of a public key packet of version 4 with numbers of these lengths, each with its top bit set. */
function keyBody(algorithm: number, octets: readonly number[]): Uint8Array {
  const numbers = octets.map((count) =>
    Buffer.concat([Uint8Array.of((count * 8) >> 8, (count * 8) & 255), new Uint8Array(count).fill(255)]),
  )
  const time = Buffer.alloc(4)
  time.writeUInt32BE(MADE.getTime() / 1000)
  return Buffer.concat([Uint8Array.of(4), time, Uint8Array.of(algorithm), ...numbers])
}

function keyPacket(body: Uint8Array): Uint8Array {
  return writePacket(6, body)
}
