import { readFileSync } from "node:fs"
import { decrypt, generateKey, readKey, readMessage, readPrivateKey } from "openpgp"
import { describe, expect, test } from "vitest"
import { makeAccountKey } from "../../../src/crypto/openpgp/account-key.ts"
import { appraise, MAX_ENCRYPTION_KEYS } from "../../../src/crypto/openpgp/appraise.ts"
import { dearmor } from "../../../src/crypto/openpgp/armor.ts"
import { deriveOpenPgpSecrets, encryptOpenPgp, openPgpArmoredSize } from "../../../src/crypto/openpgp/encrypt.ts"
import { readPackets } from "../../../src/crypto/openpgp/packet.ts"
import type { SeipdVersion } from "../../../src/crypto/openpgp/protected-body.ts"
import { type OpenPgpRecipient, openPgpRecipients, verifiedCertificate } from "../../../src/crypto/openpgp/recipient.ts"
import { collect } from "../../../src/pipeline/prepared.ts"
import { inPieces, NOW, text } from "./alice.ts"

const CHUNK_OCTETS = 65_536
const SAMPLE = dearmor(readFileSync("test/vectors/openpgp/rfc9580-v6-key.asc"))?.binary ?? new Uint8Array(0)

function write(content: Uint8Array, recipients: readonly OpenPgpRecipient[], seipd: SeipdVersion, pieces = 10_000) {
  const secrets = deriveOpenPgpSecrets(new Uint8Array(32).fill(5), "seipd")
  const options = { contentOctets: content.length, recipients, secrets, seipd }
  return collect(encryptOpenPgp(inPieces(content, pieces), options))
}

async function opened(message: Uint8Array, secretKey: Uint8Array): Promise<string> {
  const { data } = await decrypt({
    message: await readMessage({ armoredMessage: text(message) }),
    decryptionKeys: await readPrivateKey({ binaryKey: secretKey }),
    format: "binary",
  })
  return text(data as Uint8Array)
}

const binaryOf = (message: Uint8Array): Uint8Array => dearmor(message)?.binary ?? new Uint8Array(0)

describe("the version 6 key of RFC 9580 A.4", () => {
  for (const seipd of [1, 2] as const)
    test(`opens SEIPD version ${seipd}`, async () => {
      const certificate = (await readPrivateKey({ binaryKey: SAMPLE })).toPublic().write()
      const recipients = openPgpRecipients(await verifiedCertificate(certificate, NOW), NOW)
      expect(recipients.map(({ kind }) => kind)).toEqual(["x25519"])
      const message = await write(Buffer.from("a sample\r\n"), recipients, seipd)
      expect(message).toHaveLength(openPgpArmoredSize(10, recipients, seipd))
      expect(readPackets(binaryOf(message)).map(({ tag, body }) => [tag, body[0]])).toEqual([
        [1, seipd === 1 ? 3 : 6],
        [18, seipd],
      ])
      expect(await opened(message, SAMPLE)).toBe("a sample\r\n")
    })

  test("says what it reads", () => {
    // Its features are 01 and 08 (RFC 9580 A.3).
    expect(appraise(SAMPLE, NOW)).toMatchObject({ readsSeipdV2: true })
  })
})

describe("SEIPD version 2", () => {
  const userIDs = [{ email: "carol@elsewhere.test" }]
  const common = { userIDs, date: NOW, format: "binary" } as const
  const rows: [name: string, make: () => Promise<{ privateKey: Uint8Array; publicKey: Uint8Array }>][] = [
    ["RSA", () => generateKey({ ...common, type: "rsa", rsaBits: 2048 })],
    ["NIST P-256", () => generateKey({ ...common, type: "ecc", curve: "nistP256" })],
    ["X25519, version 4", () => generateKey({ ...common, type: "curve25519" })],
    ["X25519, version 6", () => generateKey({ ...common, type: "curve25519", config: { v6Keys: true } })],
    ["X448, version 6", () => generateKey({ ...common, type: "curve448", config: { v6Keys: true } })],
  ]
  for (const [name, make] of rows)
    test(`to ${name}, together with Curve25519Legacy: both open, sizes hold`, async () => {
      const own = await makeAccountKey({ name: "", address: "alice@example.test", createdAt: NOW })
      const { privateKey, publicKey } = await make()
      const recipients = [publicKey, own.certificate].flatMap((one) => openPgpRecipients(one, NOW))
      const content = Buffer.from("line\r\n".repeat(1000))
      const message = await write(content, recipients, 2)
      expect(message).toHaveLength(openPgpArmoredSize(content.length, recipients, 2))
      expect(await opened(message, privateKey)).toBe(text(content))
      expect(await opened(message, own.secretKey)).toBe(text(content))
    })

  test("every length about the end of a chunk, in pieces of any size: the same octets, and openpgp.js opens them", async () => {
    const recipients = openPgpRecipients(SAMPLE, NOW)
    // Header and head of the literal packet take 12 octets of the first chunk.
    for (const octets of [0, 1, CHUNK_OCTETS - 13, CHUNK_OCTETS - 12, CHUNK_OCTETS - 11, 3 * CHUNK_OCTETS - 12]) {
      const content = Buffer.alloc(octets, "0123456789abcdef")
      const message = await write(content, recipients, 2)
      expect(message, `${octets} octets`).toHaveLength(openPgpArmoredSize(octets, recipients, 2))
      expect(await opened(message, SAMPLE)).toBe(text(content))
      for (const pieces of [CHUNK_OCTETS, 1_000])
        expect(Buffer.compare(await write(content, recipients, 2, pieces), message)).toBe(0)
    }
  })

  test("has no checksum in its armor (RFC 9580 §6.1)", async () => {
    expect(text(await write(Buffer.from("x"), openPgpRecipients(SAMPLE, NOW), 2))).not.toMatch(/^=/m)
    expect(text(await write(Buffer.from("x"), openPgpRecipients(SAMPLE, NOW), 1))).toMatch(/^=/m)
  })
})

describe("a certificate with several encryption subkeys", () => {
  const make = async (count: number, at = NOW) => {
    const subkeys = Array.from({ length: count }, () => ({ sign: false }))
    return generateKey({ userIDs: [{ email: "d@e.test" }], type: "ecc", subkeys, date: at, format: "binary" })
  }

  test("each of them opens", async () => {
    const { privateKey, publicKey } = await make(3)
    const verified = await verifiedCertificate(publicKey, NOW)
    const recipients = openPgpRecipients(verified, NOW)
    const message = await write(Buffer.from("x"), recipients, 1)
    const named = readPackets(binaryOf(message)).slice(0, -1)
    const wanted = (await readPrivateKey({ binaryKey: privateKey })).getSubkeys().map((one) => one.getKeyID().toHex())
    expect(named.map(({ body }) => Buffer.from(body.subarray(1, 9)).toString("hex")).toSorted()).toEqual(
      wanted.toSorted(),
    )
    expect(await opened(message, privateKey)).toBe("x")
  })

  test(`of more than ${MAX_ENCRYPTION_KEYS} the newest are taken`, async () => {
    const { publicKey } = await make(MAX_ENCRYPTION_KEYS + 3)
    const verified = await verifiedCertificate(publicKey, NOW)
    expect(openPgpRecipients(publicKey, NOW)).toHaveLength(MAX_ENCRYPTION_KEYS)
    expect((await readKey({ binaryKey: verified })).getSubkeys().length).toBeLessThanOrEqual(MAX_ENCRYPTION_KEYS + 1)
  })
})
