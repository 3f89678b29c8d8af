import { writeFile } from "node:fs/promises"
import { decrypt as decryptWithOpenPgpJs, readKey, readMessage, readPrivateKey } from "openpgp"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { addEncryptionSubkey, renewAccountKey, revokeSubkey } from "../../../src/crypto/openpgp/account-key.ts"
import { armor, dearmor } from "../../../src/crypto/openpgp/armor.ts"
import { minimalCertificate } from "../../../src/crypto/openpgp/certificate.ts"
import { makeDeviceKey } from "../../../src/crypto/openpgp/device-key.ts"
import { mustRun, peer, run, temporaryFolder } from "../../harness/peers.ts"
import { type Alice, encrypted, makeAlice, NOW, READERS, recrypted, rnpHome, text } from "./alice.ts"

const TEXT = Buffer.from("Content-Type: text/plain\r\n\r\nGrüße from the gateway\r\n".repeat(40))
const PASSWORD = "Gerät 7 wLq"
let alice: Alice
let message: Uint8Array
let patched: Uint8Array
beforeAll(async () => {
  alice = await makeAlice()
  message = await encrypted(TEXT, [alice.account.certificate])
  patched = recrypted(message, alice.recryptionScalar)
})

function deviceKey(password: string | null, signing: boolean): Uint8Array {
  const { certificate, secretKey, subkey } = alice.account
  const deviceScalars = new Map([[alice.keyId, alice.deviceScalar]])
  const signingSubkey = signing ? subkey.keyId : null
  return makeDeviceKey({ secretKey, certificate, deviceScalars, signingSubkey, password })
}

for (const reader of READERS)
  describe.skipIf(!reader.there)(reader.name, () => {
    test("opens what is encrypted to the account with the account's key", async () => {
      await using folder = await temporaryFolder()
      await writeFile(folder.file("key.asc"), armor(alice.account.secretKey, "PRIVATE KEY BLOCK"))
      await writeFile(folder.file("message.asc"), message)
      const opened = await reader.open(folder, folder.file("key.asc"), "", folder.file("message.asc"))
      expect(text(opened.stdout), opened.stderr).toBe(text(TEXT))
      expect(opened.stderr).not.toMatch(/crc/i)
    })

    // sq 0.27 asks for passwords on a terminal only; RNP's rows do it with protection.
    const rows: [name: string, password: string | null, signing: boolean][] = [
      ["without protection", null, true],
      ["that only reads", null, false],
      ...(reader.name === "sq" ? [] : ([["protected by a password", PASSWORD, true]] as [string, string, boolean][])),
    ]
    for (const [name, password, signing] of rows)
      test(`a device key ${name} opens what is recrypted, and not what is not`, async () => {
        await using folder = await temporaryFolder()
        await writeFile(folder.file("key.asc"), armor(deviceKey(password, signing), "PRIVATE KEY BLOCK"))
        await writeFile(folder.file("patched.asc"), patched)
        await writeFile(folder.file("message.asc"), message)
        const opened = await reader.open(folder, folder.file("key.asc"), password ?? "", folder.file("patched.asc"))
        expect(text(opened.stdout), opened.stderr).toBe(text(TEXT))
        const refused = await reader.open(folder, folder.file("key.asc"), password ?? "", folder.file("message.asc"))
        expect(refused.code).not.toBe(0)
        expect(refused.stdout).toHaveLength(0)
      })

    test("after rekey and renewal both old and new mail opens", async () => {
      await using folder = await temporaryFolder()
      const later = new Date(NOW.getTime() + 60_000)
      const rekeyed = await addEncryptionSubkey(alice.account.secretKey, later)
      const renewed = await renewAccountKey(rekeyed.secretKey, new Date(later.getTime() + 60_000))
      await writeFile(folder.file("key.asc"), armor(renewed.secretKey, "PRIVATE KEY BLOCK"))
      await writeFile(folder.file("old.asc"), message)
      await writeFile(folder.file("new.asc"), await encrypted(TEXT, [renewed.certificate]))
      for (const file of ["old.asc", "new.asc"]) {
        const opened = await reader.open(folder, folder.file("key.asc"), "", folder.file(file))
        expect(text(opened.stdout), opened.stderr).toBe(text(TEXT))
      }
    })
  })

describe.skipIf(!peer("rnp"))("a device's own signing subkey", () => {
  test("signs in rnp, and the account's certificate verifies it until it is revoked", async () => {
    await using folder = await temporaryFolder()
    const { certificate, secretKey, subkey } = alice.account
    await writeFile(folder.file("device.asc"), armor(deviceKey(PASSWORD, true), "PRIVATE KEY BLOCK"))
    await writeFile(folder.file("certificate.asc"), armor(certificate, "PUBLIC KEY BLOCK"))
    await writeFile(folder.file("text"), TEXT)
    const device = ["--homedir", await rnpHome(folder, "device")]
    await mustRun("rnpkeys", [...device, "--import-key", folder.file("device.asc")])
    const sign = ["--sign", "--detach", "-u", subkey.keyId, "--output", folder.file("text.sig"), folder.file("text")]
    await mustRun("rnp", [...device, "--password", PASSWORD, ...sign])
    const somebody = ["--homedir", await rnpHome(folder, "somebody")]
    await mustRun("rnpkeys", [...somebody, "--import-key", folder.file("certificate.asc")])
    await mustRun("rnp", [...somebody, "--verify", folder.file("text.sig"), "--source", folder.file("text")])
    const revoked = await revokeSubkey(secretKey, subkey.keyId, "compromised", new Date(NOW.getTime() + 60_000))
    await writeFile(folder.file("revoked.asc"), armor(revoked.certificate, "PUBLIC KEY BLOCK"))
    await mustRun("rnpkeys", ["--homedir", await rnpHome(folder, "other"), "--import-key", folder.file("revoked.asc")])
    const verify = ["--verify", folder.file("text.sig"), "--source", folder.file("text")]
    expect((await run("rnp", ["--homedir", await rnpHome(folder, "other"), ...verify])).code).not.toBe(0)
  })
})

describe.skipIf(!peer("gpg") || !peer("gpgconf"))("gpg", () => {
  const cleanups: (() => Promise<unknown>)[] = []
  afterAll(async () => {
    for (const cleanup of cleanups) await cleanup()
  })
  async function gnupg() {
    const folder = await temporaryFolder()
    cleanups.push(async () => {
      await run("gpgconf", ["--homedir", folder.path, "--kill", "all"])
      await folder[Symbol.asyncDispose]()
    })
    await run("chmod", ["700", folder.path])
    const options = { env: { GNUPGHOME: folder.path } }
    return {
      import: (key: Uint8Array) => run("gpg", ["--batch", "--import"], { ...options, input: key }),
      run: (args: string[], input: Uint8Array = new Uint8Array(0)) =>
        run("gpg", ["--batch", "--status-fd", "2", ...args], { ...options, input }),
    }
  }

  test("opens with the account's key and finds the MDC right", async () => {
    const gpg = await gnupg()
    await gpg.import(alice.account.secretKey)
    const opened = await gpg.run(["--decrypt"], message)
    expect(text(opened.stdout), opened.stderr).toBe(text(TEXT))
    expect(opened.stderr).toContain("[GNUPG:] GOODMDC")
    expect(opened.stderr).toMatch(/\[GNUPG:\] PLAINTEXT 62 0/)
  })

  test("checks the CRC: a wrong one is refused, and ours are right at every length", async () => {
    const gpg = await gnupg()
    await gpg.import(alice.account.secretKey)
    const broken = Buffer.from(message)
    const checksum = broken.lastIndexOf("\r\n=") + 3
    broken[checksum] = broken[checksum] === 0x41 ? 0x42 : 0x41
    expect((await gpg.run(["--decrypt"], broken)).stderr).toMatch(/CRC error/)
    for (const octets of [0, 1, 2, 3, 47, 48, 49, 191, 192, 8383, 8384]) {
      const opened = await gpg.run(
        ["--decrypt"],
        await encrypted(TEXT.subarray(0, octets), [alice.account.certificate]),
      )
      expect(opened.stdout.length, opened.stderr).toBe(Math.min(octets, TEXT.length))
      expect(opened.code).toBe(0)
    }
  })

  test("lists certificate and minimal certificate as they are meant", async () => {
    const gpg = await gnupg()
    const colons = async (octets: Uint8Array) => {
      const listed = await gpg.run(["--show-keys", "--with-colons"], octets)
      const lines = Buffer.from(listed.stdout).toString("utf8").split("\n")
      return lines.map((line) => line.split(":")).filter(([type]) => type === "pub" || type === "sub" || type === "uid")
    }
    const { certificate } = alice.account
    const shape = (rows: string[][]) => rows.map((row) => [row[0], row[3], row[11] || row[9]].join(" "))
    expect(shape(await colons(certificate))).toEqual([
      "pub 22 scESC",
      "uid  Alice Example <alice@example.test>",
      "sub 18 e",
      "sub 22 s",
    ])
    const minimal = await colons(minimalCertificate(certificate))
    expect(shape(minimal)).toEqual(["pub 22 scESC", "uid  Alice Example <alice@example.test>", "sub 18 e"])
    expect(Number(minimal[0]?.[6]) - NOW.getTime() / 1000).toBe(2 * 365 * 86_400)
  })

  test("encrypts to the certificate, and the recrypted message opens in sq with the device's key", async (context) => {
    if (!peer("sq")) context.skip()
    const gpg = await gnupg()
    await using folder = await temporaryFolder()
    await gpg.import(alice.account.certificate)
    const sealed = await gpg.run(["--trust-model", "always", "--encrypt", "-r", "alice@example.test"], TEXT)
    expect(sealed.code, sealed.stderr).toBe(0)
    // A PKESK in legacy format: its header has two octets, as ours has.
    expect(sealed.stdout[0]).toBe(0x84)
    await writeFile(folder.file("message"), recrypted(armor(sealed.stdout, "MESSAGE"), alice.recryptionScalar))
    await writeFile(folder.file("key"), deviceKey(null, true))
    const opened = await run("sq", ["decrypt", "--recipient-key", folder.file("key"), folder.file("message")])
    expect(text(opened.stdout), opened.stderr).toBe(text(TEXT))
  })
})

test("openpgp.js opens with the account's key and accepts the certificate", async () => {
  const key = await readPrivateKey({ binaryKey: alice.account.secretKey })
  const opened = await decryptWithOpenPgpJs({
    message: await readMessage({ armoredMessage: Buffer.from(message).toString("latin1") }),
    decryptionKeys: key,
    format: "binary",
  })
  expect(Buffer.from(opened.data as Uint8Array)).toEqual(TEXT)
  const certificate = await readKey({ binaryKey: minimalCertificate(alice.account.certificate) })
  expect((await certificate.getEncryptionKey()).getKeyID().toHex()).toBe(alice.keyId)
  expect(dearmor(message)?.label).toBe("MESSAGE")
})
