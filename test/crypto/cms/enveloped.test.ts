import { readFileSync } from "node:fs"
import { writeFile } from "node:fs/promises"
import { describe, expect, test } from "vitest"
import { readCertificate } from "../../../src/crypto/cms/certificate.ts"
import {
  deriveEnvelopeSecrets,
  type EnvelopeCipher,
  encryptEnveloped,
  envelopedSize,
} from "../../../src/crypto/cms/enveloped.ts"
import { pemDecode, pemEncode } from "../../../src/crypto/cms/pem.ts"
import { type CmsRecipient, cmsRecipient } from "../../../src/crypto/cms/recipient.ts"
import { p256Pkcs8 } from "../../../src/crypto/primitives/p256.ts"
import { mustRun, peer, run, temporaryFolder } from "../../harness/peers.ts"
import { type Holder, makeHolder, makePerson } from "./alice.ts"

const alice = makePerson("alice@example.com", "Alice")
const account = makeHolder(alice)
const other = makeHolder(alice)
const ours = cmsRecipient(account.certificate)
const theirs = cmsRecipient(other.certificate)
const CIPHERS: readonly EnvelopeCipher[] = ["aes-256-cbc", "aes-256-gcm", "aes-128-cbc", "aes-128-gcm"]
const secrets = deriveEnvelopeSecrets(new Uint8Array(32).fill(7), "alice@example.com smime")

const message = (count: number): Uint8Array => {
  const head = Buffer.from("Content-Type: text/plain\r\n\r\n", "latin1")
  return Uint8Array.from({ length: count }, (_, at) => head[at] ?? 32 + (at % 90))
}

async function* pieces(content: Uint8Array, step = content.length): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.length; at += step) yield content.subarray(at, at + step)
}

async function whole(parts: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = []
  for await (const part of parts) all.push(part)
  return new Uint8Array(Buffer.concat(all))
}

function encrypt(content: Uint8Array, recipients: readonly CmsRecipient[], cipher: EnvelopeCipher, step?: number) {
  const options = { contentOctets: content.length, recipients, secrets, cipher }
  return whole(encryptEnveloped(pieces(content, step), options))
}

/** Opens an envelope with OpenSSL, or gives its exit code. */
async function opened(envelope: Uint8Array, holder: Holder): Promise<Uint8Array | number> {
  await using folder = await temporaryFolder()
  await writeFile(folder.file("key.pem"), pemEncode("PRIVATE KEY", p256Pkcs8(holder.scalar)))
  await writeFile(folder.file("certificate.pem"), pemEncode("CERTIFICATE", holder.certificate.der))
  const keys = ["-inkey", folder.file("key.pem"), "-recip", folder.file("certificate.pem")]
  const finished = await run("openssl", ["cms", "-decrypt", "-inform", "DER", "-binary", ...keys], { input: envelope })
  return finished.code === 0 ? new Uint8Array(finished.stdout) : finished.code
}

describe("enveloping", () => {
  const stored = JSON.parse(readFileSync("test/vectors/cms/enveloped-p256-cbc.json", "utf8")) as {
    cases: Record<string, string>[]
  }
  for (const [index, row] of stored.cases.entries())
    test(`writes a known envelope octet for octet: ${index}`, async () => {
      const hex = (name: string) => new Uint8Array(Buffer.from(row[name] ?? "", "hex"))
      const recipients = pemDecode("CERTIFICATE", row["certificate"] ?? "").map((der) =>
        cmsRecipient(readCertificate(der)),
      )
      const fixed = { contentKey: hex("contentKey"), iv: hex("iv"), ephemeral: hex("ephemeral") }
      const content = hex("content")
      const options = { contentOctets: content.length, recipients, secrets: fixed, cipher: "aes-256-cbc" as const }
      expect(await whole(encryptEnveloped(pieces(content), options))).toEqual(hex("enveloped"))
    })

  for (const cipher of CIPHERS)
    for (const count of [0, 1, 15, 16, 17, 100, 127, 128, 5000, 65_520, 65_536, 200_000])
      test(`${cipher}, ${count} octets: size foretold, the same in every chunking`, async () => {
        const recipients = [ours, theirs]
        const envelope = await encrypt(message(count), recipients, cipher)
        expect(envelope).toHaveLength(envelopedSize(count, recipients, cipher))
        for (const step of count > 5000 ? [1000, 65_536] : [1, 16, 61])
          expect(Buffer.compare(await encrypt(message(count), recipients, cipher, step), envelope)).toBe(0)
      })

  for (const cipher of CIPHERS)
    test.skipIf(!peer("openssl"))(`${cipher}: OpenSSL opens it for each recipient and nobody else`, async () => {
      for (const count of [28, 5000, 70_000]) {
        const content = message(count)
        const envelope = await encrypt(content, [ours, theirs], cipher, 1000)
        expect(await opened(envelope, account)).toEqual(content)
        expect(await opened(envelope, other)).toEqual(content)
        expect(await opened(envelope, makeHolder(alice))).toBeTypeOf("number")
      }
    })

  test.skipIf(!peer("openssl"))("RSA and P-256 together, and RSA alone (version 0)", async () => {
    await using folder = await temporaryFolder()
    const [key, certificate] = [folder.file("key.pem"), folder.file("certificate.pem")]
    const made = [
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      "-subj",
      "/CN=RSA",
      "-keyout",
      key,
      "-out",
      certificate,
    ]
    await mustRun("openssl", made)
    const rsa = pemDecode("CERTIFICATE", readFileSync(certificate, "latin1")).map((der) =>
      cmsRecipient(readCertificate(der)),
    )
    for (const cipher of CIPHERS)
      for (const recipients of [rsa, [...rsa, ours]]) {
        const envelope = await encrypt(message(300), recipients, cipher)
        expect(envelope).toHaveLength(envelopedSize(300, recipients, cipher))
        const keys = ["-inkey", key, "-recip", certificate]
        const args = ["cms", "-decrypt", "-inform", "DER", "-binary", ...keys]
        expect(new Uint8Array(await mustRun("openssl", args, { input: envelope }))).toEqual(message(300))
        const version = await mustRun("openssl", ["cms", "-cmsout", "-print", "-inform", "DER"], { input: envelope })
        const want = cipher.endsWith("cbc") && recipients.length > 1 ? "version: 2" : "version: 0"
        expect(
          Buffer.from(version)
            .toString("latin1")
            .match(/version: \d/)?.[0],
        ).toBe(want)
      }
  })

  test("a message in one piece comes out in one piece", async () => {
    const options = {
      contentOctets: 10_240,
      recipients: [ours],
      secrets,
      cipher: "aes-256-cbc" as const,
    }
    let count = 0
    for await (const _ of encryptEnveloped(pieces(message(10_240)), options)) count++
    expect(count).toBe(1)
  })

  for (const [name, stated] of [
    ["shorter than stated", 101],
    ["longer than stated", 99],
    ["there though none was stated", 0],
  ] as const)
    test(`content ${name}: an error before the envelope looks complete`, async () => {
      for (const step of [100, 99, 1]) {
        const options = {
          contentOctets: stated,
          recipients: [ours],
          secrets,
          cipher: CIPHERS[0] ?? "aes-256-cbc",
        }
        let given = 0
        const reading = async () => {
          for await (const part of encryptEnveloped(pieces(message(100), step), options)) given += part.length
        }
        await expect(reading()).rejects.toMatchObject({ code: "LENGTH_MISMATCH" })
        expect(given).toBeLessThan(envelopedSize(stated, options.recipients, options.cipher))
      }
    })

  test("nobody to encrypt to, or a key of another kind: refused", async () => {
    // id-X25519: OpenSSL 3.0 has no CMS for it.
    const subjectPublicKeyInfo = Buffer.from(`302a300506032b656e032100${"09".padEnd(64, "0")}`, "hex")
    const x25519 = { ...account.certificate, point: null, subjectPublicKeyInfo }
    const unsupported = { code: "CERTIFICATE_UNSUPPORTED" }
    expect(() => cmsRecipient(x25519)).toThrow(expect.objectContaining(unsupported))
    await expect(encrypt(message(10), [], "aes-256-cbc")).rejects.toMatchObject(unsupported)
    expect(() => envelopedSize(10, [], "aes-256-cbc")).toThrow(expect.objectContaining(unsupported))
  })

  test("secrets: equal for equal seed and context, unlike for any other", () => {
    const seed = new Uint8Array(32).fill(7)
    expect(deriveEnvelopeSecrets(seed, "alice@example.com smime")).toEqual(secrets)
    const others = [
      deriveEnvelopeSecrets(seed, "bob"),
      deriveEnvelopeSecrets(new Uint8Array(32), "alice@example.com smime"),
    ]
    for (const one of others) {
      expect(one.contentKey).not.toEqual(secrets.contentKey)
      expect(one.iv).not.toEqual(secrets.iv)
      expect(one.ephemeral).not.toEqual(secrets.ephemeral)
    }
  })

  test("each recipient has an ephemeral key of its own, and each cipher another content key", async () => {
    const points = new Set<string>()
    for (const recipients of [
      [ours, theirs],
      [theirs, ours],
    ]) {
      const text = Buffer.from(await encrypt(message(10), recipients, "aes-256-cbc")).toString("hex")
      for (const found of text.matchAll(/a14f300906072a8648ce3d0201034200(04[0-9a-f]{128})/g))
        points.add(found[1] ?? "")
    }
    expect(points.size).toBe(3)
    const content = new Uint8Array(64)
    const cbc = Buffer.from(await encrypt(content, [ours], "aes-256-cbc")).toString("hex")
    const gcm = Buffer.from(await encrypt(content, [ours], "aes-256-gcm")).toString("hex")
    const wrapped = (text: string) => /0428([0-9a-f]{80})/.exec(text)?.[1]
    expect(wrapped(cbc)).toBeDefined()
    expect(wrapped(gcm)).not.toBe(wrapped(cbc))
  })
})
