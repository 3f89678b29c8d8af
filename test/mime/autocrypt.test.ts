import { createMessage, readKey } from "openpgp"
import { describe, expect, test } from "vitest"
import { makeAccountKey } from "../../src/crypto/openpgp/account-key.ts"
import { minimalCertificate } from "../../src/crypto/openpgp/certificate.ts"
import { autocryptField, MAX_AUTOCRYPT_OCTETS } from "../../src/mime/autocrypt.ts"

const NOW = new Date("2026-11-21T10:00:00Z")
const text = (field: Uint8Array | null): string => Buffer.from(field ?? []).toString("latin1")

describe("the Autocrypt field", () => {
  test("has the address, the wish and a certificate that OpenPGP.js encrypts to, in lines of 78", async () => {
    const { certificate } = await makeAccountKey({ name: "Alice", address: "alice@example.test", createdAt: NOW })
    const field = text(autocryptField("alice@example.test", "mutual", minimalCertificate(certificate)))
    expect(field).toMatch(
      /^Autocrypt: addr=alice@example\.test; prefer-encrypt=mutual; keydata=\r\n (?:[^\r\n]+\r\n )*[^\r\n]+\r\n$/,
    )
    for (const line of field.split("\r\n")) expect(line.length).toBeLessThanOrEqual(78)
    const binaryKey = Buffer.from(field.slice(field.indexOf("keydata=") + 8).replaceAll(/\s/g, ""), "base64")
    const key = await readKey({ binaryKey })
    expect(key.getUserIDs()).toEqual(["Alice <alice@example.test>"])
    expect(await key.getEncryptionKey(undefined, NOW)).toBeDefined()
    expect(await createMessage({ text: "x" })).toBeDefined()
  })

  test("without a wish says nothing of it", () => {
    expect(text(autocryptField("a@b.test", null, Uint8Array.of(1, 2, 3)))).toBe(
      "Autocrypt: addr=a@b.test; keydata=\r\n AQID\r\n",
    )
  })

  const rows: readonly (readonly [name: string, address: string, octets: number])[] = [
    ["an address with a semicolon", '"a;b"@c.test', 10],
    ["an address with a blank", '"a b"@c.test', 10],
    ["an address of another script", "ü@c.test", 10],
    ["a certificate that is too large", "a@b.test", MAX_AUTOCRYPT_OCTETS],
  ]
  for (const [name, address, octets] of rows)
    test(`${name}: none`, () => expect(autocryptField(address, null, new Uint8Array(octets))).toBeNull())
})
