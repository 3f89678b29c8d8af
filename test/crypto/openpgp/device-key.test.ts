import { readFileSync } from "node:fs"
import { writeFile } from "node:fs/promises"
import { decryptKey, readPrivateKey } from "openpgp"
import { beforeAll, describe, expect, test } from "vitest"
import { armor, dearmor } from "../../../src/crypto/openpgp/armor.ts"
import { makeDeviceKey } from "../../../src/crypto/openpgp/device-key.ts"
import { readPackets } from "../../../src/crypto/openpgp/packet.ts"
import { temporaryFolder } from "../../harness/peers.ts"
import { type Alice, littleEndian, makeAlice, READERS, text } from "./alice.ts"

let alice: Alice
beforeAll(async () => {
  alice = await makeAlice()
})

const hex = (octets: Uint8Array): string => Buffer.from(octets).toString("hex")
const deviceVectors = JSON.parse(readFileSync("test/vectors/recryption/openpgp-device-keys.json", "utf8")).cases[0]
const firstVectors = JSON.parse(readFileSync("test/vectors/recryption/openpgp-curve25519.json", "utf8"))

function made(change: { password?: string | null; signingSubkey?: string | null; scalars?: Map<string, Uint8Array> }) {
  const { certificate, secretKey, subkey } = alice.account
  const { password = null, signingSubkey = subkey.keyId } = change
  const deviceScalars = change.scalars ?? new Map([[alice.keyId, alice.deviceScalar]])
  return makeDeviceKey({ secretKey, certificate, deviceScalars, signingSubkey, password })
}

test("packet by packet: dummy primary, user id, encryption subkey, signing subkey", () => {
  const packets = readPackets(made({}))
  expect(packets.map(({ tag }) => tag)).toEqual([5, 13, 2, 7, 2, 7, 2])
  const account = readPackets(alice.account.certificate)
  const [primary, userId, selfSignature, encryption, binding] = packets
  expect(hex(primary?.body ?? new Uint8Array(0))).toBe(`${hex(account[0]?.body ?? new Uint8Array(0))}fe096500474e5501`)
  expect([userId, selfSignature, binding].map((packet) => hex(packet?.body ?? new Uint8Array(0)))).toEqual(
    [account[1], account[2], account[4]].map((packet) => hex(packet?.body ?? new Uint8Array(0))),
  )
  const scalar = hex(alice.deviceScalar.toReversed())
  expect(hex(encryption?.body ?? new Uint8Array(0))).toContain(
    `${hex(account[3]?.body ?? new Uint8Array(0))}0000ff${scalar}`,
  )
})

test("no secret of the account is in it", () => {
  const key = hex(made({}))
  const [primary, , , encryption] = readPackets(alice.account.secretKey)
  for (const packet of [primary, encryption]) {
    const secret = hex(packet?.body.subarray(-34, -2) ?? new Uint8Array(0))
    expect(secret).toHaveLength(64)
    expect(key).not.toContain(secret)
  }
})

test("protected: usage 254, S2K 3, and the password opens it", async () => {
  const password = "Ünlikely pass"
  const key = made({ password })
  const [, , , encryption] = readPackets(key)
  expect(hex(encryption?.body.subarray(56, 60) ?? new Uint8Array(0))).toBe("fe090308")
  expect(hex(key)).not.toContain(hex(alice.deviceScalar.toReversed()))
  const read = await readPrivateKey({ binaryKey: key })
  const opened = await decryptKey({ privateKey: read, passphrase: password })
  expect(opened.subkeys.map((subkey) => subkey.isDecrypted())).toEqual([true, true])
  await expect(
    decryptKey({ privateKey: await readPrivateKey({ binaryKey: key }), passphrase: "wrong" }),
  ).rejects.toThrow()
  expect(hex(made({ password }))).not.toBe(hex(key))
})

test("a device without signing subkey, and what cannot be made", () => {
  expect(readPackets(made({ signingSubkey: null })).map(({ tag }) => tag)).toEqual([5, 13, 2, 7, 2])
  const malformed = expect.objectContaining({ code: "OPENPGP_MALFORMED" })
  expect(() => made({ scalars: new Map() })).toThrow(malformed)
  expect(() => made({ signingSubkey: "0123456789abcdef" })).toThrow(malformed)
  expect(() => made({ signingSubkey: alice.keyId })).toThrow(malformed)
})

describe("device keys made of the vectors' accounts open the vectors' recrypted messages", () => {
  const secretOf = (armored: string) => dearmor(Buffer.from(armored))?.binary ?? new Uint8Array(0)
  const certificateOf = (armored: string) => dearmor(Buffer.from(armored))?.binary ?? new Uint8Array(0)
  const rows = [
    {
      name: "openpgp-curve25519",
      vectors: firstVectors,
      scalar: littleEndian("69c579eb4d5fd687c215975ca05e7322833b8b37a4ffd7b2d6ad171d158535c0"),
    },
    {
      name: "openpgp-device-keys",
      vectors: deviceVectors,
      scalar: Uint8Array.from(Buffer.from(deviceVectors.deviceScalar, "hex")),
    },
  ]
  for (const { name, vectors, scalar } of rows)
    for (const reader of READERS)
      test.skipIf(!reader.there)(`${name}: ${reader.name}`, async () => {
        await using folder = await temporaryFolder()
        const key = makeDeviceKey({
          secretKey: secretOf(vectors.accountSecretKey),
          certificate: certificateOf(vectors.accountCertificate),
          deviceScalars: new Map([[Buffer.from(vectors.original, "base64").subarray(3, 11).toString("hex"), scalar]]),
          signingSubkey: null,
          password: null,
        })
        await writeFile(folder.file("key.asc"), armor(key, "PRIVATE KEY BLOCK"))
        for (const which of ["recrypted", "original"]) {
          await writeFile(folder.file(which), armor(Buffer.from(vectors[which], "base64"), "MESSAGE"))
          const opened = await reader.open(folder, folder.file("key.asc"), "", folder.file(which))
          // One of them is a text literal: its line ends are CRLF on the wire, whatever was signed or written (RFC 9580 §5.9).
          const lines = text(opened.stdout).replaceAll("\r\n", "\n")
          expect(lines, opened.stderr).toBe(which === "recrypted" ? vectors.plaintext.replaceAll("\r\n", "\n") : "")
        }
      })
})
