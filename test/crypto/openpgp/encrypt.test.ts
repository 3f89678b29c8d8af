import { decrypt, generateKey, readMessage, readPrivateKey } from "openpgp"
import { beforeAll, describe, expect, test } from "vitest"
import { makeAccountKey } from "../../../src/crypto/openpgp/account-key.ts"
import { dearmor } from "../../../src/crypto/openpgp/armor.ts"
import {
  deriveOpenPgpSecrets,
  encryptOpenPgp,
  openPgpArmoredSize,
  openPgpRecipient,
} from "../../../src/crypto/openpgp/encrypt.ts"
import { readPackets } from "../../../src/crypto/openpgp/packet.ts"
import { type OpenPgpRecipient, verifiedCertificate } from "../../../src/crypto/openpgp/recipient.ts"
import { encrypted, inPieces, NOW, text } from "./alice.ts"

const CONTENT = Buffer.from("Subject: hello\r\n\r\nfirst line\r\nsecond line\r\n".repeat(30))
let own: { readonly certificate: Uint8Array; readonly secretKey: Uint8Array }
beforeAll(async () => {
  own = await makeAccountKey({ name: "Alice", address: "alice@example.test", createdAt: NOW })
})

async function opened(message: Uint8Array, secretKey: Uint8Array): Promise<string> {
  const { data } = await decrypt({
    message: await readMessage({ binaryMessage: dearmor(message)?.binary ?? new Uint8Array(0) }),
    decryptionKeys: await readPrivateKey({ binaryKey: secretKey }),
    format: "binary",
  })
  return text(data as Uint8Array)
}

async function write(content: AsyncIterable<Uint8Array>, recipients: OpenPgpRecipient[], contentOctets: number) {
  const secrets = deriveOpenPgpSecrets(new Uint8Array(32), "test")
  const parts: Uint8Array[] = []
  try {
    for await (const part of encryptOpenPgp(content, { contentOctets, recipients, secrets })) parts.push(part)
    return { parts, error: null }
  } catch (error) {
    return { parts, error }
  }
}

test("the size is known before, at every length of a header and of a line", async () => {
  const recipients = [openPgpRecipient(own.certificate)]
  for (const octets of [0, 1, 2, 3, 47, 48, 142, 143, 144, 185, 186, 191, 192, 8331, 8332, 8377, 8378, 8384, 20_000]) {
    const message = await encrypted(Buffer.alloc(octets, 65), [own.certificate])
    expect(message.length, `${octets} octets`).toBe(openPgpArmoredSize(octets, recipients))
    expect(await opened(message, own.secretKey)).toBe("A".repeat(octets))
  }
})

test("the same seed and context give the same octets, however the content comes in pieces", async () => {
  const whole = text(await encrypted(CONTENT, [own.certificate]))
  for (const pieces of [1, 7, 48, 1000])
    expect(text(await encrypted(CONTENT, [own.certificate], new Uint8Array(32), pieces))).toBe(whole)
  expect(text(await encrypted(CONTENT, [own.certificate], new Uint8Array(32).fill(1)))).not.toBe(whole)
  const one = deriveOpenPgpSecrets(new Uint8Array(32), "one")
  const other = deriveOpenPgpSecrets(new Uint8Array(32), "other")
  expect(Buffer.compare(one.sessionKey, other.sessionKey)).not.toBe(0)
})

test("every recipient has an ephemeral key of its own", async () => {
  const bob = await makeAccountKey({ name: "", address: "bob@example.test", createdAt: NOW })
  const message = await encrypted(CONTENT, [own.certificate, bob.certificate])
  const [first, second] = readPackets(dearmor(message)?.binary ?? new Uint8Array(0))
  expect(first?.body).toHaveLength(94)
  const ephemeral = (packet: typeof first) => Buffer.from(packet?.body.subarray(13, 45) ?? []).toString("hex")
  expect(ephemeral(first)).not.toBe(ephemeral(second))
  expect(await opened(message, own.secretKey)).toBe(text(CONTENT))
  expect(await opened(message, bob.secretKey)).toBe(text(CONTENT))
})

describe("a content of another length than promised", () => {
  for (const wrong of [CONTENT.length - 1, CONTENT.length + 1])
    for (const pieces of [7, CONTENT.length])
      test(`${wrong - CONTENT.length} octets, in pieces of ${pieces}: fails before the armor ends`, async () => {
        const { parts, error } = await write(inPieces(CONTENT, pieces), [openPgpRecipient(own.certificate)], wrong)
        expect(error).toMatchObject({ code: "LENGTH_MISMATCH" })
        expect(text(Buffer.concat(parts))).not.toContain("END PGP")
      })
})

test("a message needs a recipient", async () => {
  expect(() => openPgpArmoredSize(1, [])).toThrow(expect.objectContaining({ code: "OPENPGP_UNSUPPORTED" }))
  const { error } = await write(inPieces(CONTENT, 10), [], CONTENT.length)
  expect(error).toMatchObject({ code: "OPENPGP_UNSUPPORTED" })
})

describe("keys of other kinds than accounts have", () => {
  const userIDs = [{ name: "Carol", email: "carol@elsewhere.test" }]
  const common = { userIDs, date: NOW, format: "binary" } as const
  const rows: [name: string, make: () => Promise<{ privateKey: Uint8Array; publicKey: Uint8Array }>][] = [
    ["RSA", () => generateKey({ ...common, type: "rsa", rsaBits: 2048 })],
    ["NIST P-256", () => generateKey({ ...common, type: "ecc", curve: "nistP256" })],
    ["NIST P-384", () => generateKey({ ...common, type: "ecc", curve: "nistP384" })],
    ["X25519, version 4", () => generateKey({ ...common, type: "curve25519" })],
    ["X25519, version 6", () => generateKey({ ...common, type: "curve25519", config: { v6Keys: true } })],
    ["X448, version 6", () => generateKey({ ...common, type: "curve448", config: { v6Keys: true } })],
  ]
  for (const [name, make] of rows)
    test(`${name}: together with an account`, async () => {
      const { privateKey, publicKey } = await make()
      const verified = await verifiedCertificate(publicKey, NOW)
      const recipients = [openPgpRecipient(verified, NOW), openPgpRecipient(own.certificate)]
      expect(recipients[0]?.kind).toBe(name.startsWith("X25519") ? "x25519" : "other")
      const message = await encrypted(CONTENT, [verified, own.certificate])
      expect(message).toHaveLength(openPgpArmoredSize(CONTENT.length, recipients))
      expect(await opened(message, privateKey)).toBe(text(CONTENT))
      expect(await opened(message, own.secretKey)).toBe(text(CONTENT))
    })

  test("RSA results are padded by trying again: the size always holds", async () => {
    const { publicKey } = await generateKey({ ...common, type: "rsa", rsaBits: 2048 })
    const size = openPgpArmoredSize(1, [openPgpRecipient(publicKey)])
    for (let run = 0; run < 40; run++) expect(await encrypted(Uint8Array.of(65), [publicKey])).toHaveLength(size)
  })
})

test("a key that is no longer good is refused when a date is given", async () => {
  const expired = new Date(NOW.getTime() + 3 * 365 * 86_400_000)
  expect(() => openPgpRecipient(own.certificate, expired)).toThrow(
    expect.objectContaining({ code: "OPENPGP_UNSUPPORTED" }),
  )
  expect(openPgpRecipient(own.certificate, NOW).kind).toBe("curve25519")
  await expect(verifiedCertificate(own.certificate, expired)).rejects.toMatchObject({ code: "OPENPGP_UNSUPPORTED" })
  const { publicKey } = await generateKey({
    userIDs: [{ email: "d@e.test" }],
    type: "ecc",
    curve: "nistP256",
    date: NOW,
    keyExpirationTime: 60,
    format: "binary",
  })
  expect(() => openPgpRecipient(publicKey, expired)).toThrow(expect.objectContaining({ code: "OPENPGP_UNSUPPORTED" }))
})
