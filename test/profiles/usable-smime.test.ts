import { readFile } from "node:fs/promises"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { MAX_CERTIFICATE_OCTETS } from "../../src/crypto/cms/certificate.ts"
import { explicit, implicit, oid, sequence, utf8String } from "../../src/crypto/cms/der.ts"
import { MAX_BETWEEN } from "../../src/crypto/x509/path.ts"
import type { KeyCandidate } from "../../src/profiles/key.ts"
import { type KeyRules, readRoots } from "../../src/profiles/usable/rules.ts"
import { AUTHORITY, forMail, type Made, make, type Wanted } from "../harness/authority.ts"
import { peer, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { candidate, judged, rules, told } from "./judging.ts"

const BOB = "bob@example.test"
const YEAR = 365 * 86_400_000
const later = (years: number): Date => new Date(Date.now() + years * YEAR)
const without = (lines: readonly string[], start: string): string[] => lines.filter((line) => !line.startsWith(start))
const san = (...lines: readonly string[]): string[] => [...without(forMail(BOB), "subjectAltName"), ...lines]
const der = (octets: Uint8Array): string => `DER:${Buffer.from(octets).toString("hex")}`

let folder: TemporaryFolder
let root: Made
let middle: Made
let trusted: Partial<KeyRules>
let made = 0

beforeAll(async () => {
  folder = await temporaryFolder()
  if (!peer("openssl")) return
  root = await make(folder, { name: "root", extensions: AUTHORITY, key: "RSA 2048", days: 3650 })
  middle = await make(folder, { name: "middle", by: root, extensions: AUTHORITY, days: 1800 })
  trusted = { roots: readRoots(await readFile(root.certificateFile, "latin1")) }
})
afterAll(() => folder[Symbol.asyncDispose]())

/** Of the root is an RSA key of 2048 bits: making another takes longer than all the rest of a test. */
type Ordered = Omit<Wanted, "key"> & { readonly key?: Wanted["key"] | "the root's" }

/** A certificate of a new name; for Bob, by the authority in the middle, unless told otherwise. */
function leaf({ key, ...wanted }: Partial<Ordered> = {}): Promise<Made> {
  const own = key === "the root's" ? { sameKeyAs: root } : key === undefined ? {} : { key }
  return make(folder, { name: `made${made++}`, by: middle, extensions: forMail(BOB), ...own, ...wanted })
}

/** An authority below the root, and one certificate of its making. */
async function below(authority: Partial<Ordered>, end: Partial<Ordered> = {}): Promise<{ end: Made; chain: Made[] }> {
  const issuer = await leaf({ by: root, extensions: AUTHORITY, ...authority })
  return { end: await leaf({ by: issuer, ...end }), chain: [issuer] }
}

interface Asked {
  readonly address?: string
  readonly chain?: readonly Made[]
  readonly rules?: Partial<KeyRules>
  readonly more?: Partial<KeyCandidate>
}

async function verdict(end: Made, { address = BOB, chain = [middle], rules: given = {}, more = {} }: Asked = {}) {
  const key = candidate("smime", end.der, { chain: chain.map((made) => made.der), ...more })
  return told(await judged(key, address, rules({ ...trusted, ...given })))
}

describe.skipIf(!peer("openssl"))("row 39: a harvested certificate", () => {
  const rows: [name: string, wanted: Partial<Ordered>, want: RegExp][] = [
    ["of a good chain is usable", {}, /^usable: Issued under “root”\.$/],
    ["signed by itself", { by: null }, /^rejected: It vouches for itself, and nobody else does\.$/],
    [
      "for TLS servers",
      {
        extensions: san("subjectAltName=email:bob@example.test", "extendedKeyUsage=serverAuth").filter(
          (line) => line !== "extendedKeyUsage=emailProtection",
        ),
      },
      /^rejected: It is not for e-mail/,
    ],
    [
      "for any purpose",
      { extensions: [...without(forMail(BOB), "extendedKeyUsage"), "extendedKeyUsage=anyExtendedKeyUsage"] },
      /^usable/,
    ],
    ["without a purpose", { extensions: without(forMail(BOB), "extendedKeyUsage") }, /^usable/],
    [
      "that may only sign",
      { extensions: forMail(BOB, "digitalSignature") },
      /^rejected: Its key usage allows no encryption/,
    ],
    [
      "of a curve that may only encipher keys",
      { extensions: forMail(BOB, "keyEncipherment") },
      /^rejected: Its key usage/,
    ],
    ["without key usage", { extensions: without(forMail(BOB), "keyUsage") }, /^usable/],
    ["of RSA that may encipher keys", { key: "the root's", extensions: forMail(BOB, "keyEncipherment") }, /^usable/],
    ["of RSA that may only agree on keys", { key: "the root's" }, /^rejected: Its key usage/],
    [
      "of RSA-1024",
      { key: "RSA 1024", extensions: forMail(BOB, "keyEncipherment") },
      /^rejected: Its RSA key of 1024 bits is too weak\.$/,
    ],
    [
      "of a curve that nobody here knows",
      { key: "secp256k1" },
      /^rejected: Its key is of a kind that Postern does not know\.$/,
    ],
    ["whose key can only sign", { key: "Ed25519" }, /^rejected: Postern cannot encrypt to a key of its kind\.$/],
    [
      "with a critical extension of somebody's own",
      { extensions: [...forMail(BOB), "1.2.3.4=critical,DER:0500"] },
      /critical extension that Postern does not know \(1\.2\.3\.4\)/,
    ],
    ["with an extension of somebody's own", { extensions: [...forMail(BOB), "1.2.3.4=DER:0500"] }, /^usable/],
    ["for somebody else", { extensions: forMail("alice@example.test") }, /^rejected: It is for alice@example\.test\.$/],
    [
      "with white space in its name",
      { extensions: san(`subjectAltName=${der(sequence(implicit(1, Buffer.from(" bob@example.test"))))}`) },
      /^rejected: It is for “bob@example\.test” \(which is no address\)\.$/,
    ],
    [
      "with NUL in its name",
      { extensions: san(`subjectAltName=${der(sequence(implicit(1, Buffer.from("bob@example.test\0.evil.test"))))}`) },
      /\(which is no address\)\.$/,
    ],
    [
      "with NUL at the end of its name",
      { extensions: san(`subjectAltName=${der(sequence(implicit(1, Buffer.from("bob@example.test\0"))))}`) },
      /\(which is no address\)\.$/,
    ],
    [
      "with two addresses in one name",
      {
        extensions: san(`subjectAltName=${der(sequence(implicit(1, Buffer.from("bob@example.test,eve@evil.test"))))}`),
      },
      /^rejected/,
    ],
    [
      "of many names, one of them his",
      { extensions: san("subjectAltName=email:a@x.test,email:b@x.test,email:bob@example.test,DNS:x.test") },
      /^usable/,
    ],
    [
      "of many names, none of them his",
      { extensions: san("subjectAltName=email:a@x.test,email:b@x.test,email:c@x.test,email:d@x.test") },
      /^rejected: It is for a@x\.test, b@x\.test, c@x\.test and 1 more\.$/,
    ],
    ["that writes the address in capitals", { extensions: forMail("BOB@Example.TEST") }, /^usable/],
    [
      "with the Kelvin sign for a K",
      { extensions: san(`subjectAltName=${der(smtpUtf8("\u212aate@example.test"))}`) },
      /^rejected/,
    ],
    [
      "named in its subject only",
      { subject: `/CN=Bob/emailAddress=${BOB}`, extensions: without(forMail(BOB), "subjectAltName") },
      /^usable/,
    ],
    [
      "named in its subject, other names beside it",
      { subject: `/CN=Bob/emailAddress=${BOB}`, extensions: forMail("eve@evil.test") },
      /^rejected: It is for eve@evil\.test\.$/,
    ],
    [
      "that names nobody",
      { extensions: without(forMail(BOB), "subjectAltName") },
      /^rejected: It names no mail address\.$/,
    ],
    [
      "with a common name that looks like an address",
      { subject: `/CN=${BOB}`, extensions: without(forMail(BOB), "subjectAltName") },
      /^rejected/,
    ],
  ]
  for (const [name, wanted, want] of rows)
    test(name, async () =>
      expect(
        await verdict(await leaf(wanted), name.includes("Kelvin") ? { address: "kate@example.test" } : {}),
      ).toMatch(want),
    )

  test("signed with SHA-1, at any place but the root", async () => {
    expect(await verdict(await leaf({ by: root, digest: "sha1" }))).toBe("rejected: It is signed with SHA-1.")
    const { end, chain } = await below({ name: "old", digest: "sha1" })
    expect(await verdict(end, { chain })).toBe("rejected: “old” is signed with SHA-1.")
    const oldRoot = await leaf({ by: null, extensions: AUTHORITY, digest: "sha1" })
    const below1 = await leaf({ by: oldRoot })
    const roots = readRoots(await readFile(oldRoot.certificateFile, "latin1"))
    expect(await verdict(below1, { rules: { roots } })).toMatch(/^usable/)
  })

  test("expired, or not valid yet, itself or its authority", async () => {
    const end = await leaf()
    expect(await verdict(end, { rules: { at: later(1.1) } })).toMatch(/^rejected: It expired on 20\d\d-\d\d-\d\d\.$/)
    expect(await verdict(end, { rules: { at: later(-1) } })).toMatch(/^rejected: It is not valid before/)
    const { end: long, chain } = await below({ name: "short", days: 30 })
    expect(await verdict(long, { chain, rules: { at: later(0.5) } })).toMatch(
      /^rejected: Its authority “short”: it expired on/,
    )
  })

  test("with the same extension twice", async () => {
    const end = await leaf({ extensions: [...forMail(BOB), "1.2.3.4=DER:0500", "1.2.3.5=DER:0500"] })
    // OpenSSL writes none twice.
    const text = Buffer.from(end.der).toString("latin1").replace("\x2a\x03\x05", "\x2a\x03\x04")
    expect(await verdict({ ...end, der: Buffer.from(text, "latin1") })).toBe(
      "rejected: It cannot be read (certificate: the same extension twice).",
    )
  })

  test("whose signature is wrong", async () => {
    const end = await leaf()
    const spoilt = Uint8Array.from(end.der)
    spoilt[spoilt.length - 3] = (spoilt.at(-3) ?? 0) ^ 1
    expect(await verdict({ ...end, der: spoilt })).toBe("rejected: The signature of “middle” on it is wrong.")
  })

  test("signed by another key under the authority's name", async () => {
    const other = await leaf({
      by: root,
      subject: "/CN=middle",
      extensions: [...without(AUTHORITY, "subjectKey"), "subjectKeyIdentifier=none"],
    })
    const end = await leaf({
      by: other,
      extensions: [...without(forMail(BOB), "authorityKey"), "authorityKeyIdentifier=none"],
    })
    expect(await verdict(end)).toBe("rejected: The signature of “middle” on it is wrong.")
    expect(await verdict(end, { chain: [middle, other] })).toMatch(/^usable/)
  })

  test("with an authority between that did not come along", async () => {
    expect(await verdict(await leaf(), { chain: [] })).toBe("rejected: “middle”, which issued it, is not known.")
  })

  test("larger than any", async () => {
    const key = candidate("smime", new Uint8Array(MAX_CERTIFICATE_OCTETS + 1).fill(0x30))
    expect(told(await judged(key, BOB, rules(trusted)))).toBe(
      "rejected: It cannot be read (certificate: over 65536 octets).",
    )
  })
})

describe.skipIf(!peer("openssl"))("signatures of all kinds", () => {
  test.for([
    ["RSA", { key: "the root's" }, {}],
    [
      "RSA-PSS, by an RSA key",
      { key: "the root's" },
      { more: ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"] },
    ],
    ["RSA-PSS, by a key for it alone", { key: "RSA-PSS 2048" }, {}],
    ["ECDSA with P-384 and SHA-512", { key: "P-384" }, { digest: "sha512" }],
    ["Ed25519", { key: "Ed25519" }, {}],
  ] satisfies [string, Partial<Ordered>, Partial<Ordered>][])("%s", async ([, authority, end]) => {
    const issued = await below(authority, end)
    expect(await verdict(issued.end, { chain: issued.chain })).toMatch(/^usable/)
  })

  test("RSA-PSS with SHA-1 is refused", async () => {
    const { end, chain } = await below(
      { key: "the root's" },
      { digest: "sha1", more: ["-sigopt", "rsa_padding_mode:pss"] },
    )
    expect(await verdict(end, { chain })).toMatch(/^rejected: It is signed with RSA-PSS with SHA-1/)
  })
})

describe.skipIf(!peer("openssl"))("authorities", () => {
  const rows: [name: string, authority: readonly string[], want: RegExp][] = [
    [
      "an end entity issues nothing",
      forMail("eve@evil.test"),
      /^rejected: Its authority .*: it is no certification authority\.$/,
    ],
    [
      "key usage without keyCertSign",
      ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,cRLSign"],
      /its key usage allows no certificates/,
    ],
    ["for TLS servers only", [...AUTHORITY, "extendedKeyUsage=serverAuth"], /it is not for e-mail/],
    ["without basic constraints", ["keyUsage=critical,keyCertSign"], /it is no certification authority/],
    [
      "with a critical extension of its own",
      [...AUTHORITY, "1.2.3.4=critical,DER:0500"],
      /critical extension that Postern does not know/,
    ],
    ["with policies", [...AUTHORITY, "certificatePolicies=critical,1.2.3.4"], /^usable/],
    [
      "who asks for policies",
      [...AUTHORITY, "policyConstraints=critical,requireExplicitPolicy:0"],
      /critical extension that Postern does not know \(2\.5\.29\.36\)/,
    ],
  ]
  for (const [name, extensions, want] of rows)
    test(name, async () => {
      const { end, chain } = await below({ extensions })
      expect(await verdict(end, { chain })).toMatch(want)
    })

  test("of RSA-1024", async () => {
    const { end, chain } = await below({ key: "RSA 1024" })
    expect(await verdict(end, { chain })).toMatch(/Its authority .*: its RSA key of 1024 bits is too weak/)
  })

  test("more of them than a path length allows", async () => {
    const outer = await leaf({
      by: root,
      extensions: [...without(AUTHORITY, "basic"), "basicConstraints=critical,CA:TRUE,pathlen:0"],
    })
    const inner = await leaf({ by: outer, extensions: AUTHORITY })
    expect(await verdict(await leaf({ by: outer }), { chain: [outer] })).toMatch(/^usable/)
    expect(await verdict(await leaf({ by: inner }), { chain: [outer, inner] })).toMatch(
      /it may not have so many authorities below it/,
    )
  })

  test("that issue one another, with nobody at the top: the search ends", async () => {
    const [a, b] = [
      await leaf({ by: null, subject: "/CN=a", extensions: without(AUTHORITY, "subjectKey") }),
      await leaf({ by: null, subject: "/CN=b", extensions: without(AUTHORITY, "subjectKey") }),
    ]
    const crossed: Made[] = []
    for (let at = 0; at < 12; at++) {
      const [own, other, subject] = at % 2 === 0 ? [a, b, "/CN=a"] : [b, a, "/CN=b"]
      crossed.push(await leaf({ by: other, sameKeyAs: own, subject, extensions: without(AUTHORITY, "subjectKey") }))
    }
    const end = await leaf({ by: a, extensions: without(forMail(BOB), "authorityKey") })
    expect(await verdict(end, { chain: crossed })).toMatch(/^rejected/)
  })

  test(`no more than ${MAX_BETWEEN} certificates from beside are looked at`, async () => {
    const end = await leaf()
    expect(await verdict(end, { chain: [...new Array(MAX_BETWEEN).fill(root), middle] })).toMatch(/^rejected/)
    expect(await verdict(end, { chain: [...new Array(MAX_BETWEEN - 1).fill(root), middle] })).toMatch(/^usable/)
  })
})

describe.skipIf(!peer("openssl"))("name constraints", () => {
  const rows: [name: string, constraint: string, end: Partial<Ordered>, want: RegExp][] = [
    ["a permitted host", "permitted;email:example.test", {}, /^usable/],
    [
      "another host",
      "permitted;email:example.org",
      {},
      /^rejected: Name constraints of its authority .*: bob@example\.test is not among/,
    ],
    ["a host is not the hosts below it", "permitted;email:test", {}, /^rejected/],
    ["a permitted domain", "permitted;email:.test", {}, /^usable/],
    ["a domain does not take in its own name", "permitted;email:.example.test", {}, /^rejected/],
    ["a permitted mailbox", "permitted;email:bob@example.test", {}, /^usable/],
    ["another mailbox", "permitted;email:alice@example.test", {}, /^rejected/],
    ["an excluded host", "excluded;email:example.test", {}, /^rejected: .*bob@example\.test is excluded/],
    ["an excluded mailbox, in capitals", "excluded;email:BOB@EXAMPLE.TEST", {}, /^rejected/],
    ["another excluded host", "excluded;email:example.org", {}, /^usable/],
    [
      "the address in the subject counts too",
      "permitted;email:example.test",
      { subject: "/CN=x/emailAddress=eve@evil.test" },
      /^rejected: .*eve@evil\.test/,
    ],
    [
      "an address that is none is excluded",
      "excluded;email:example.org",
      {
        extensions: san(
          `subjectAltName=${der(sequence(implicit(1, Buffer.from("bob@example.test")), implicit(1, Buffer.from("nobody"))))}`,
        ),
      },
      /^rejected/,
    ],
    [
      "SmtpUTF8Mailbox within",
      "permitted;email:xn--bcher-kva.test",
      { extensions: san(`subjectAltName=${der(smtpUtf8("bob@bücher.test"))}`) },
      /^usable/,
    ],
    [
      "SmtpUTF8Mailbox outside",
      "permitted;email:example.test",
      { extensions: san(`subjectAltName=${der(smtpUtf8("bob@bücher.test"))}`) },
      /^rejected: Name constraints/,
    ],
    [
      "names of a kind that is not compared",
      "permitted;DNS:example.test",
      { extensions: san("subjectAltName=email:bob@example.test,DNS:example.test") },
      /^rejected/,
    ],
    ["constraints on names that it does not have", "permitted;DNS:example.org", {}, /^usable/],
  ]
  for (const [name, constraint, end, want] of rows)
    test(name, async () => {
      const issued = await below({ extensions: [...AUTHORITY, `nameConstraints=critical,${constraint}`] }, end)
      const address = name.startsWith("SmtpUTF8") ? "bob@xn--bcher-kva.test" : BOB
      expect(await verdict(issued.end, { chain: issued.chain, address })).toMatch(want)
    })

  test("directory names, without case and with blanks folded", async () => {
    const constraint = (kind: string) => [
      ...AUTHORITY,
      `nameConstraints=critical,${kind};dirName:dir`,
      "[dir]",
      "O=Example Org",
    ]
    const inside = { subject: "/O=EXAMPLE  org/CN=Bob" }
    for (const [kind, end, want] of [
      ["permitted", inside, /^usable/],
      ["permitted", { subject: "/O=Other/CN=Bob" }, /^rejected/],
      ["excluded", inside, /^rejected/],
      ["excluded", { subject: "/O=Other/CN=Bob" }, /^usable/],
    ] as const) {
      const issued = await below({ extensions: constraint(kind) }, end)
      expect(await verdict(issued.end, { chain: issued.chain })).toMatch(want)
    }
  })

  test("of the root itself count", async () => {
    const strict = await leaf({
      by: undefined as never,
      extensions: [...AUTHORITY, "nameConstraints=critical,permitted;email:example.org"],
    })
    const roots = readRoots(await readFile(strict.certificateFile, "latin1"))
    expect(await verdict(await leaf({ by: strict }), { rules: { roots } })).toMatch(/^rejected: Name constraints/)
  })
})

describe.skipIf(!peer("openssl"))("whom a source vouches for", () => {
  test("its own root, as the mail profile and DANE-TA give it", async () => {
    const own = await leaf({ by: null, name: "own", extensions: AUTHORITY })
    const end = await leaf({ by: own })
    expect(await verdict(end, { chain: [own] })).toMatch(
      /^rejected: Nobody vouches for “own”, under which it is issued\.$/,
    )
    expect(await verdict(end, { chain: [], more: { anchors: [own.der], trust: "domain" } })).toBe(
      "usable: Issued under “own”.",
    )
  })

  test("this very certificate, as DANE-EE gives it: signed by whomever, but still for e-mail, in force and his", async () => {
    const self = await leaf({ by: null })
    const more = { anchors: [self.der], trust: "dnssec" } as const
    expect(await verdict(self, { more })).toBe("usable: Its source vouches for it.")
    expect(await verdict(self, { more, rules: { at: later(2) } })).toMatch(/^rejected: It expired/)
    expect(await verdict(self, { more, address: "alice@example.test" })).toMatch(/^rejected: It is for bob/)
  })

  test("a pinned one needs no path and no name", async () => {
    const self = await leaf({ by: null })
    const more = { trust: "pinned" } as const
    expect(await verdict(self, { more, address: "alice@example.test" })).toMatch(/^usable/)
    expect(await verdict(self, { more, rules: { at: later(2) } })).toMatch(/^rejected: It expired/)
  })

  test("anchors that cannot be read are none", async () => {
    expect(await verdict(await leaf(), { chain: [], more: { anchors: [new Uint8Array(9)] } })).toMatch(/^rejected/)
  })
})

describe.skipIf(!peer("openssl"))("addresses", () => {
  test("a tag: good for the plain certificate only where the rule says so, and never the other way round", async () => {
    const end = await leaf()
    expect(await verdict(end, { address: "bob+list@example.test" })).toBe("rejected: It is for bob@example.test.")
    expect(await verdict(end, { address: "bob+list@example.test", rules: { tags: true } })).toMatch(/^usable/)
    const tagged = await leaf({ extensions: forMail("bob+list@example.test") })
    expect(await verdict(tagged, { rules: { tags: true } })).toMatch(/^rejected/)
  })

  test("a domain in A-labels is the same in SmtpUTF8Mailbox", async () => {
    const end = await leaf({ extensions: san(`subjectAltName=${der(smtpUtf8("jürgen@bücher.test"))}`) })
    expect(await verdict(end, { address: "jürgen@xn--bcher-kva.test" })).toMatch(/^usable/)
    expect(await verdict(end, { address: "jurgen@xn--bcher-kva.test" })).toMatch(/^rejected/)
  })
})

test.skipIf(!peer("openssl"))("S/MIME capabilities tell who reads AES-GCM", async () => {
  const gcm = sequence(sequence(oid("2.16.840.1.101.3.4.1.42")), sequence(oid("2.16.840.1.101.3.4.1.46")))
  const end = await leaf({ extensions: [...forMail(BOB), `1.2.840.113549.1.9.15=${der(gcm)}`] })
  for (const [octets, aesGcm] of [
    [end.der, true],
    [(await leaf()).der, false],
  ] as const)
    expect(await judged(candidate("smime", octets, { chain: [middle.der] }), BOB, rules(trusted))).toMatchObject({
      kind: "usable",
      key: { algorithm: "P-256", reads: { aesGcm, seipdV2: false } },
    })
})

test("roots: what is in the file, or what is wrong with it", () => {
  expect(() => readRoots("nothing")).toThrow("roots: no certificate in PEM")
  expect(() => readRoots("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")).toThrow(
    "roots: certificate 1 cannot be read",
  )
})

/** GeneralNames of one SmtpUTF8Mailbox (RFC 9598 §3). */
function smtpUtf8(address: string): Uint8Array {
  return sequence(explicit(0, oid("1.3.6.1.5.5.7.8.9"), explicit(0, utf8String(address))))
}
