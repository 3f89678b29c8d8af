import { createPublicKey, generateKeyPairSync, verify } from "node:crypto"
import { sealMessage } from "mailauth/lib/arc/index.js"
import { describe, expect, test } from "vitest"
import { makeDkimKey, readDkimKey } from "../../src/crypto/primitives/dkim-key.ts"
import { digestOf } from "../../src/crypto/primitives/hash.ts"
import { type ArcSetOptions, arcSet, type ChainStatus } from "../../src/mime/arc-set.ts"
import { RelaxedBody, relaxedField } from "../../src/mime/dkim-relaxed.ts"
import { headerEnd, parseFields } from "../../src/mime/header.ts"
import { ARC_VERIFIERS } from "../harness/arc-verifiers.ts"
import type { Zone } from "../harness/zone.ts"

const AT = new Date("2026-11-27T10:00:00Z")
const RSA = readDkimKey(makeDkimKey("rsa-sha256"))
const ED25519 = readDkimKey(makeDkimKey("ed25519-sha256"))
const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2_048 })
const other = publicKey.export({ type: "spki", format: "der" }).toString("base64")
const record = (key: string, type = "rsa") => [`v=DKIM1; k=${type}; p=${key}`.match(/.{1,255}/g) ?? []]
const ZONE: Zone = {
  "rsa._domainkey.us.test TXT": record(Buffer.from(RSA.publicKey).toString("base64")),
  "ed._domainkey.us.test TXT": record(Buffer.from(ED25519.publicKey).toString("base64"), "ed25519"),
  "o._domainkey.other.test TXT": record(other),
}
const RESULTS = Buffer.from(
  "Authentication-Results: mx.us.test;\r\n\tdkim=pass header.d=author.test;\r\n\tdmarc=pass header.from=author.test\r\n",
)
const MESSAGE = Buffer.from(
  "Received: by x\r\nDKIM-Signature: v=1; d=author.test;\r\n\tb=AAAA\r\nFrom: a@author.test\r\nTo:  b@us.test\r\nSubject: Gr\xfc\xdfe\r\n" +
    "Authentication-Results: x; none\r\n\r\nsome  text \r\n\r\n",
  "latin1",
)

function made(message: Uint8Array, chain: ChainStatus, options: Partial<ArcSetOptions> = {}) {
  const end = headerEnd(message) ?? 0
  const body = new RelaxedBody(digestOf("sha256"))
  body.push(message.subarray(end))
  const signing = { domain: "us.test", selector: "rsa", signer: RSA, ...options }
  return arcSet(message.subarray(0, end), { ...signing, bodyHash: body.end(), chain, results: RESULTS, at: AT })
}

function sealed(message: Uint8Array, chain: ChainStatus, options: Partial<ArcSetOptions> = {}): Buffer {
  const set = made(message, chain, options)
  if (set.kind === "none") throw new Error(set.because)
  return Buffer.concat([...set.fields, message])
}

async function byOther(message: Uint8Array, i: number, cv: ChainStatus): Promise<Buffer> {
  const set = await sealMessage(Buffer.from(message), {
    signingDomain: "other.test",
    selector: "o",
    privateKey: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    authResults: "other.test; dkim=pass",
    i,
    cv,
  })
  return Buffer.concat([set, message])
}

async function verdicts(message: Uint8Array): Promise<string[]> {
  return await Promise.all(ARC_VERIFIERS.filter(({ there }) => there).map(({ verify }) => verify(message, ZONE)))
}

const all = (word: string) => ARC_VERIFIERS.filter(({ there }) => there).map(() => word)

describe("a chain that verifiers let pass", () => {
  test("begins with us, or goes on with us and with others behind us", async () => {
    const first = sealed(MESSAGE, "none")
    expect(first.toString("latin1")).toMatch(
      /^ARC-Seal: i=1; a=rsa-sha256; cv=none; d=us\.test;\r\n\ts=rsa; t=1795773600;\r\n\tb=[^:]*\r\nARC-Message-Signature: i=1; [\s\S]*\r\nARC-Authentication-Results: i=1; mx\.us\.test;\r\n\tdkim=pass/,
    )
    expect(await verdicts(first)).toEqual(all("pass"))
    const second = sealed(await byOther(MESSAGE, 1, "none"), "pass")
    expect(second.toString("latin1")).toMatch(/^ARC-Seal: i=2; a=rsa-sha256; cv=pass;/)
    expect(await verdicts(second)).toEqual(all("pass"))
    const third = await byOther(second, 3, "pass")
    const fourth = sealed(third, "pass")
    expect(fourth.toString("latin1")).toMatch(/^ARC-Seal: i=4;/)
    expect(await verdicts(fourth)).toEqual(all("pass"))
  })

  test("holds when the body was another one for the sealer before: what we sent is what we signed", async () => {
    const before = await byOther(MESSAGE, 1, "none")
    const encrypted = Buffer.concat([before.subarray(0, headerEnd(before) ?? 0), Buffer.from("ciphertext\r\n")])
    expect(await verdicts(encrypted)).toEqual(all("fail"))
    expect(await verdicts(sealed(encrypted, "pass"))).toEqual(all("pass"))
  })

  test("in Ed25519, too, for those who know it", async () => {
    const [mailauth] = await verdicts(sealed(MESSAGE, "none", { selector: "ed", signer: ED25519 }))
    expect(mailauth).toBe("pass")
  })

  test("is broken by a change of a signed field, of the body, or of the author's signature", async () => {
    const good = sealed(MESSAGE, "none").toString("latin1")
    for (const [from, to] of [
      ["Subject: Gr", "Subject: gr"],
      ["some  text", "same  text"],
      ["b=AAAA", "b=BAAA"],
      ["From:", "Reply-To: z@z.test\r\nFrom:"],
      ["dmarc=pass header", "dmarc=fail header"],
    ] as const)
      expect(await verdicts(Buffer.from(good.replace(from, to), "latin1")), from).toEqual(all("fail"))
  })
})

describe("a chain that failed", () => {
  test("is sealed as failed, once; behind that nobody seals", async () => {
    const failed = sealed(await byOther(MESSAGE, 1, "none"), "fail")
    expect(failed.toString("latin1")).toMatch(/^ARC-Seal: i=2; a=rsa-sha256; cv=fail;/)
    expect(await verdicts(failed)).toEqual(all("fail"))
    // RFC 8617 §5.1.2: over its own set alone.
    const [seal, signature, results] = parseFields(failed).map(({ octets }) => octets)
    if (!seal || !signature || !results) throw new Error("three fields")
    const unsigned = Buffer.from(
      Buffer.from(seal)
        .toString()
        .replace(/\tb=[\s\S]*$/, "\tb="),
    )
    const hashed = Buffer.concat([
      relaxedField(results, "\r\n"),
      relaxedField(signature, "\r\n"),
      relaxedField(unsigned, ""),
    ])
    const key = createPublicKey({ key: Buffer.from(RSA.publicKey), format: "der", type: "spki" })
    const [, given = ""] = /\tb=([\s\S]*)$/.exec(Buffer.from(seal).toString()) ?? []
    expect(verify("sha256", hashed, key, Buffer.from(given.replace(/\s/g, ""), "base64"))).toBe(true)
    expect(made(failed, "fail")).toEqual({ kind: "none", because: "its chain has failed already" })
  })

  const set = (i: string, cv = "pass") =>
    `ARC-Seal: i=${i}; cv=${cv}; b=A\r\nARC-Message-Signature: i=${i}; b=A\r\nARC-Authentication-Results: i=${i}; x; none\r\n`
  const broken: readonly (readonly [what: string, header: string, i: number])[] = [
    ["that nobody looked at", set("1", "none"), 2],
    ["with a gap", `${set("3")}${set("1", "none")}`, 4],
    ["twice the same", `${set("1", "none")}${set("1", "none")}`, 2],
    ["without a seal", set("1", "none").replace(/^ARC-Seal.*\r\n/, ""), 2],
    ["with a field of no instance", `${set("1", "none")}ARC-Seal: b=A\r\n`, 2],
  ]
  for (const [what, header, i] of broken)
    test(`so is one ${what}`, () => {
      for (const status of what === "that nobody looked at" ? (["none", "fail"] as const) : (["none", "pass"] as const))
        expect(sealed(Buffer.from(`${header}${MESSAGE}`), status).toString()).toMatch(
          new RegExp(`^ARC-Seal: i=${i}; a=rsa-sha256; cv=fail;`),
        )
    })

  test("ends at 50 sets", () => {
    for (const i of ["50", "99", "123456789"])
      expect(made(Buffer.from(`${set(i)}${MESSAGE}`), "pass")).toMatchObject({ kind: "none" })
  })
})
