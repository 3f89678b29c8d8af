import { readFileSync } from "node:fs"
import { readKey } from "openpgp"
import { describe, expect, test } from "vitest"
import {
  addEncryptionSubkey,
  addSigningSubkey,
  makeAccountKey,
  renewAccountKey,
  revokeSubkey,
  VALIDITY_SECONDS,
} from "../../../src/crypto/openpgp/account-key.ts"
import { armor } from "../../../src/crypto/openpgp/armor.ts"
import { minimalCertificate, readCertificate } from "../../../src/crypto/openpgp/certificate.ts"
import { openPgpRecipient } from "../../../src/crypto/openpgp/encrypt.ts"
import { verifiedCertificate } from "../../../src/crypto/openpgp/recipient.ts"
import { MAX_CERTIFICATE_OCTETS, readTransferable, writeComponents } from "../../../src/crypto/openpgp/transferable.ts"
import { x25519PublicKey } from "../../../src/crypto/primitives/x25519.ts"

const NOW = new Date("2026-11-21T12:00:00Z")
const DAY = 86_400_000
const later = (days: number): Date => new Date(NOW.getTime() + days * DAY)
const hex = (octets: Uint8Array): string => Buffer.from(octets).toString("hex")
const bob = () => makeAccountKey({ name: "Bob Süß", address: "bob@example.test", createdAt: NOW })
const vectors = JSON.parse(readFileSync("test/vectors/recryption/openpgp-device-keys.json", "utf8"))

/** Key ids of the subkeys, revoked ones in brackets. */
async function subkeys(certificate: Uint8Array, at: Date): Promise<string[]> {
  const key = await readKey({ binaryKey: certificate })
  return Promise.all(
    key.subkeys.map(async (subkey) => {
      const id = subkey.getKeyID().toHex()
      return subkey.verify(at).then(
        () => id,
        () => `[${id}]`,
      )
    }),
  )
}

test("a new key: version 4, both legacy curves, KDF with SHA-256 and AES-256, good for two years", async () => {
  const { certificate, encryption, scalar } = await bob()
  const { primary, subkeys: all } = readTransferable(certificate)
  expect([primary.key.version, primary.key.algorithm, all[0]?.key.algorithm]).toEqual([4, 22, 18])
  expect([encryption.kdfHash, encryption.kdfCipher]).toEqual([8, 9])
  expect(hex(encryption.point)).toBe(hex(x25519PublicKey(scalar)))
  const read = readCertificate(certificate)
  expect(read.userIds).toEqual(["Bob Süß <bob@example.test>"])
  expect(read.expiresAt).toEqual(new Date(NOW.getTime() + VALIDITY_SECONDS * 1000))
  expect(hex(read.encryption?.fingerprint ?? primary.key.fingerprint)).toBe(hex(encryption.fingerprint))
  expect(openPgpRecipient(certificate)).toEqual({ kind: "curve25519", key: encryption })
})

test("the certificate holds nothing secret", async () => {
  const made = await addSigningSubkey((await bob()).secretKey, NOW)
  expect(readTransferable(made.certificate).subkeys.map(({ packet }) => packet.tag)).toEqual([14, 14])
  expect(readTransferable(made.secretKey).subkeys.map(({ packet }) => packet.tag)).toEqual([7, 7])
})

test("an address alone is a user id; what is no address is refused", async () => {
  const made = await makeAccountKey({ name: "", address: "bob@example.test", createdAt: NOW })
  expect(readCertificate(made.certificate).userIds).toEqual(["<bob@example.test>"])
  for (const [name, address] of [
    ["Bob", "nobody"],
    ["Bob\r\n", "bob@example.test"],
    ["Bob", "bob@example.test> <x@evil.test"],
  ] as const)
    await expect(makeAccountKey({ name, address, createdAt: NOW })).rejects.toMatchObject({
      code: "OPENPGP_UNSUPPORTED",
    })
})

test("a name with marks of its own comes through renewal unchanged", async () => {
  for (const name of ["Bob (work)", 'Bob "Bobby" O\'Neil, Jr.', "山田 太郎", "Bob <x> y"]) {
    const made = await makeAccountKey({ name, address: "bob@example.test", createdAt: NOW })
    const renewed = await renewAccountKey(made.secretKey, later(300))
    expect(readCertificate(renewed.certificate).userIds).toEqual([`${name} <bob@example.test>`])
  }
})

test("devices' signing subkeys come and go; the encryption key stays", async () => {
  const made = await bob()
  const laptop = await addSigningSubkey(made.secretKey, NOW)
  const phone = await addSigningSubkey(laptop.secretKey, later(1))
  const revoked = await revokeSubkey(phone.secretKey, laptop.subkey.keyId, "retired", later(2))
  const encryption = hex(made.encryption.keyId)
  expect(await subkeys(phone.certificate, later(1))).toEqual([encryption, laptop.subkey.keyId, phone.subkey.keyId])
  expect(await subkeys(revoked.certificate, later(3))).toEqual([
    encryption,
    `[${laptop.subkey.keyId}]`,
    phone.subkey.keyId,
  ])
  expect(openPgpRecipient(revoked.certificate)).toEqual(openPgpRecipient(made.certificate))
  const again = await revokeSubkey(revoked.secretKey, laptop.subkey.keyId, "retired", later(4))
  expect(hex(again.certificate)).toBe(hex(revoked.certificate))
  await expect(revokeSubkey(made.secretKey, "0123456789abcdef", "retired", NOW)).rejects.toMatchObject({
    code: "OPENPGP_MALFORMED",
  })
})

test("rekey: the new encryption subkey is used, the old one is superseded and kept", async () => {
  const made = await bob()
  const rekeyed = await addEncryptionSubkey(made.secretKey, later(100))
  const [old, fresh] = [hex(made.encryption.keyId), hex(rekeyed.encryption.keyId)]
  expect(await subkeys(rekeyed.certificate, later(101))).toEqual([`[${old}]`, fresh])
  expect(openPgpRecipient(rekeyed.certificate)).toMatchObject({ key: { keyId: rekeyed.encryption.keyId } })
  expect(hex(x25519PublicKey(rekeyed.scalar))).toBe(hex(rekeyed.encryption.point))
  expect(await subkeys(minimalCertificate(rekeyed.certificate), later(101))).toEqual([`[${old}]`, fresh])
})

test("renewal: the same keys, two years from then; what was revoked stays revoked", async () => {
  const made = await addSigningSubkey((await bob()).secretKey, NOW)
  const revoked = await revokeSubkey(made.secretKey, made.subkey.keyId, "retired", later(1))
  const renewed = await renewAccountKey(revoked.secretKey, later(700))
  expect(hex(readCertificate(renewed.certificate).fingerprint)).toBe(hex(readCertificate(made.certificate).fingerprint))
  expect(readCertificate(renewed.certificate).expiresAt).toEqual(later(700 + 730))
  const [encryption = ""] = await subkeys(made.certificate, later(1))
  expect(await subkeys(renewed.certificate, later(1400))).toEqual([encryption, `[${made.subkey.keyId}]`])
  expect(await subkeys(made.certificate, later(1400))).not.toContain(encryption)
})

test("the minimal certificate: no signing subkeys, nobody else's certifications, still valid", async () => {
  const laptop = await addSigningSubkey((await bob()).secretKey, NOW)
  const minimal = minimalCertificate(laptop.certificate)
  expect(readTransferable(minimal).subkeys.map(({ key }) => key.algorithm)).toEqual([18])
  expect(hex(minimalCertificate(laptop.secretKey))).toBe(hex(minimal))
  expect(hex(await verifiedCertificate(armor(minimal, "PUBLIC KEY BLOCK"), later(1)))).toBe(hex(minimal))
})

describe("somebody else's certificate", () => {
  test("a subkey that is not bound by a good signature does not count", async () => {
    const [good, mallory] = [
      await bob(),
      await makeAccountKey({ name: "", address: "m@evil.test", createdAt: later(1) }),
    ]
    const foreign = readTransferable(mallory.certificate).subkeys[0]
    const own = readTransferable(good.certificate).subkeys[0]
    if (!foreign || !own) throw new Error("no subkey")
    // Mallory's key under Bob's own binding signature: named right, signed wrong.
    const forged = writeComponents({ packet: foreign.packet, signatures: own.signatures })
    const spoilt = Buffer.concat([good.certificate, forged])
    expect(readCertificate(spoilt).encryptionKeys).toHaveLength(2)
    const verified = await verifiedCertificate(spoilt, later(2))
    expect(openPgpRecipient(verified)).toMatchObject({ key: { keyId: good.encryption.keyId } })
  })

  test("a user id that is not signed does not count", async () => {
    const [{ certificate }, mallory] = [
      await bob(),
      await makeAccountKey({ name: "", address: "m@evil.test", createdAt: NOW }),
    ]
    const own = readTransferable(certificate).users
    const foreign = readTransferable(mallory.certificate).users.map(({ packet }) => packet)
    const forged = foreign.map((packet) => ({ packet, signatures: own[0]?.signatures ?? [] }))
    const { primary, subkeys: all } = readTransferable(certificate)
    const verified = await verifiedCertificate(writeComponents(primary, ...forged, ...own, ...all), later(1))
    expect(readCertificate(verified).userIds).toEqual(["Bob Süß <bob@example.test>"])
  })

  test("reads the vectors' certificates", () => {
    const [c25519, p256] = vectors.cases.map((row: { accountCertificate: string }) =>
      Buffer.from(row.accountCertificate),
    )
    expect(openPgpRecipient(c25519)).toMatchObject({ kind: "curve25519", key: { kdfHash: 8, kdfCipher: 7 } })
    expect(readCertificate(p256).encryption).toBeNull()
    expect(openPgpRecipient(p256)).toMatchObject({ kind: "other" })
    expect(readCertificate(p256).userIds).toEqual(["Alice <alice@example.com>"])
  })

  const rows: [name: string, octets: () => Promise<Uint8Array>, code: string][] = [
    ["nothing", async () => new Uint8Array(0), "OPENPGP_MALFORMED"],
    ["text", async () => Buffer.from("hello"), "OPENPGP_MALFORMED"],
    ["a message", async () => Uint8Array.of(0xcb, 0), "OPENPGP_MALFORMED"],
    ["version 3", async () => Uint8Array.of(0xc6, 1, 3), "OPENPGP_UNSUPPORTED"],
    [
      "two certificates",
      async () => Buffer.concat([(await bob()).certificate, (await bob()).certificate]),
      "OPENPGP_MALFORMED",
    ],
    ["too large", async () => new Uint8Array(MAX_CERTIFICATE_OCTETS + 1).fill(0xc6), "OPENPGP_MALFORMED"],
    ["cut off", async () => (await bob()).certificate.subarray(0, 200), "OPENPGP_MALFORMED"],
  ]
  for (const [name, octets, code] of rows)
    test(`refuses ${name}`, async () => {
      const wrong = await octets()
      expect(() => readCertificate(wrong)).toThrow(expect.objectContaining({ code }))
    })
})
