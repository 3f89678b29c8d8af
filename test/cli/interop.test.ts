import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { readCertificate } from "../../src/crypto/cms/certificate.ts"
import { pemDecode } from "../../src/crypto/cms/pem.ts"
import { dearmor } from "../../src/crypto/openpgp/armor.ts"
import { cmsRecryptor } from "../../src/crypto/recryption/cms.ts"
import { openPgpRecryptor } from "../../src/crypto/recryption/openpgp.ts"
import { Keyring } from "../../src/identity/keyring.ts"
import { type Device, People } from "../../src/store/people.ts"
import { RecryptionKeys } from "../../src/store/recryption-keys.ts"
import { openEmbeddedState } from "../../src/store/state.ts"
import { mustRun, peer, run } from "../harness/peers.ts"
import { makeInstance, mustPostern, type TestInstance } from "./postern.ts"

const TEXT = "Dear device,\r\nthis was written to the account.\r\n"

let instance: TestInstance
beforeAll(async () => {
  instance = await makeInstance()
  await here("account", "add", "alice@example.test", "--name", "Alice Example", "--format", "smime,openpgp")
  await here("device", "add", "alice@example.test", "laptop", "--out", devices())
  await here("device", "add", "alice@example.test", "phone", "--out", devices(), "--protect-openpgp")
  await publish("first")
})
afterAll(() => instance[Symbol.dispose]())

const here = (...args: string[]) => mustPostern([...args, ...instance.config])
const devices = (...names: string[]) => instance.file("devices", ...names)
const file = (name: string) => instance.file(name)
const settings = (name: string) => JSON.parse(readFileSync(devices(`${name}.json`), "utf8"))

/** The account's public certificates and what of them is current, as files. */
async function publish(name: string): Promise<void> {
  const shown = JSON.parse(await here("account", "show", "alice@example.test", "--json"))
  writeFileSync(file(`${name}.pem`), shown.certificates.smime)
  writeFileSync(file(`${name}.asc`), shown.certificates.openpgp)
  writeFileSync(file("intermediate.pem"), shown.intermediate)
}

function atServer<T>(look: (people: People) => T): T {
  const database = openEmbeddedState(file("data"))
  const recryptionKeys = new RecryptionKeys(database, file("secrets/recryption"))
  const people = new People(database, { domains: ["example.test"], postmaster: null, recryptionKeys })
  try {
    return look(people)
  } finally {
    database.close()
  }
}

/** What the server knows of a device: its certificate, and the scalar for an account key. */
function atProxy(name: string, format: "smime" | "openpgp", current = true) {
  return atServer((people) => {
    const device = people.device("alice@example.test", name) as Device
    const found = people.recryptionScalars(device).find(({ key }) => key.format === format && key.current === current)
    if (!found) throw new Error(`${name} has no recryption key`)
    return { ...found, certificate: device.certificates[0] }
  })
}

describe.skipIf(!peer("openssl"))("OpenSSL", () => {
  test("NAME.p12 holds one key, its certificate and a chain that verifies strictly", async () => {
    for (const [p12, purpose] of [
      ["laptop.p12", "keyAgreement"],
      ["laptop-sign.p12", "digitalSignature"],
    ] as const) {
      const password = `pass:${settings("laptop").pkcs12Password}`
      const text = Buffer.from(
        await mustRun("openssl", ["pkcs12", "-in", devices(p12), "-passin", password, "-nodes"]),
      ).toString()
      expect(text.match(/BEGIN PRIVATE KEY/g)?.length).toBe(1)
      expect(text.match(/BEGIN CERTIFICATE/g)?.length).toBe(3)
      expect(text.match(/friendlyName/g)?.length).toBe(2)
      writeFileSync(
        file("own.pem"),
        await mustRun("openssl", ["pkcs12", "-in", devices(p12), "-passin", password, "-nokeys", "-clcerts"]),
      )
      expect((await verify("own.pem")).stderr).toBe("")
      const shown = Buffer.from(
        await mustRun("openssl", [
          "x509",
          "-in",
          file("own.pem"),
          "-noout",
          "-ext",
          "keyUsage,extendedKeyUsage,subjectAltName",
        ]),
      ).toString()
      expect(shown).toMatch(purpose === "keyAgreement" ? /Key Agreement/ : /Digital Signature/)
      expect(shown).toMatch(/E-mail Protection[\s\S]*email:alice@example.test/)
    }
  })

  test("the account's certificate verifies, and another address's under this root would not", async () => {
    expect((await verify("first.pem")).code).toBe(0)
    const root = Buffer.from(
      await mustRun("openssl", ["x509", "-in", devices("root.pem"), "-noout", "-text"]),
    ).toString()
    expect(root).toMatch(/Permitted:\s+email:alice@example.test/)
  })

  const verify = (name: string) =>
    run("openssl", [
      "verify",
      "-x509_strict",
      "-CAfile",
      devices("root.pem"),
      "-untrusted",
      file("intermediate.pem"),
      file(name),
    ])

  test("mail to the account opens on each device after recryption, and not before or on the other", async () => {
    for (const name of ["laptop", "phone"]) await extractKey(name)
    const message = await encryptTo("first.pem")
    expect((await decrypt(message, "laptop")).code).not.toBe(0)
    for (const [name, other] of [
      ["laptop", "phone"],
      ["phone", "laptop"],
    ] as const) {
      const patched = recryptFor(message, name, "first.pem")
      expect(patched.length).toBe(message.length)
      expect(Buffer.from((await decrypt(patched, name)).stdout).toString()).toBe(TEXT)
      expect((await decrypt(patched, other)).code).not.toBe(0)
    }
  })

  test("after rekey the same device file opens new mail, and old mail still", async () => {
    const old = await encryptTo("first.pem")
    await here("account", "rekey", "alice@example.test", "--out", devices())
    await publish("second")
    const fresh = await encryptTo("second.pem")
    expect(
      Buffer.from((await decrypt(recryptFor(old, "laptop", "first.pem", false), "laptop")).stdout).toString(),
    ).toBe(TEXT)
    expect(Buffer.from((await decrypt(recryptFor(fresh, "laptop", "second.pem"), "laptop")).stdout).toString()).toBe(
      TEXT,
    )
    expect((await verify("second.pem")).code).toBe(0)
  })

  test("renewed certificates keep working with the files that are out", async () => {
    await here("account", "renew", "alice@example.test")
    await publish("renewed")
    const message = await encryptTo("renewed.pem")
    expect(Buffer.from((await decrypt(recryptFor(message, "laptop", "renewed.pem"), "laptop")).stdout).toString()).toBe(
      TEXT,
    )
    await here("device", "renew", "alice@example.test", "laptop", "--out", devices())
    expect(settings("laptop").password).toMatch(/^[A-Za-z0-9]{24}$/)
    await extractKey("laptop")
    expect(Buffer.from((await decrypt(recryptFor(message, "laptop", "renewed.pem"), "laptop")).stdout).toString()).toBe(
      TEXT,
    )
  })

  test("the instance's TLS certificate verifies for its names and for no other", async () => {
    const check = (...args: string[]) =>
      run("openssl", [
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-CAfile",
        file("tls/ca.pem"),
        ...args,
        file("tls/server.pem"),
      ])
    for (const name of ["example.test", "localhost"]) expect((await check("-verify_hostname", name)).code).toBe(0)
    for (const address of ["127.0.0.1", "::1"]) expect((await check("-verify_ip", address)).code).toBe(0)
    expect((await check("-verify_hostname", "other.test")).code).not.toBe(0)
  })

  async function encryptTo(certificate: string): Promise<Uint8Array> {
    const args = ["cms", "-encrypt", "-binary", "-aes-256-cbc", "-outform", "DER", "-recip", file(certificate)]
    return mustRun("openssl", args, { input: TEXT })
  }

  function recryptFor(message: Uint8Array, name: string, certificate: string, current = true): Uint8Array {
    const known = atProxy(name, "smime", current)
    const [account] = pemDecode("CERTIFICATE", readFileSync(file(certificate), "utf8"))
    if (!account || !known.certificate) throw new Error("unreachable")
    const [from, to] = [readCertificate(account).identity, readCertificate(known.certificate).identity]
    return cmsRecryptor({ from, to, scalar: known.scalar }).recrypt(message) ?? new Uint8Array()
  }

  async function extractKey(name: string): Promise<void> {
    const args = [
      "pkcs12",
      "-in",
      devices(`${name}.p12`),
      "-passin",
      `pass:${settings(name).pkcs12Password}`,
      "-nodes",
      "-clcerts",
    ]
    writeFileSync(file(`${name}.key`), await mustRun("openssl", args))
  }

  function decrypt(message: Uint8Array, name: string) {
    const key = file(`${name}.key`)
    return run("openssl", ["cms", "-decrypt", "-binary", "-inform", "DER", "-recip", key, "-inkey", key], {
      input: message,
    })
  }
})

describe("OpenPGP programs", () => {
  test.skipIf(!peer("rnp") || !peer("rnpkeys"))(
    "rnp opens recrypted mail with NAME.asc, and nothing else",
    async () => {
      const sender = home("sender")
      await mustRun("rnpkeys", ["--homedir", sender, "--import", file("second.asc")])
      const args = ["--homedir", sender, "--encrypt", "-r", "alice@example.test", "--armor", "--output", "-"]
      const { binary } = dearmor(await mustRun("rnp", args, { input: TEXT })) ?? {}
      if (!binary) throw new Error("unreachable")
      const known = atProxy("laptop", "openpgp")
      const recryptor = openPgpRecryptor({ keyId: Buffer.from(known.key.id, "hex"), scalar: known.scalar })
      const reader = home("reader")
      await mustRun("rnpkeys", ["--homedir", reader, "--import", devices("laptop.asc")])
      const open = (octets: Uint8Array) =>
        run("rnp", ["--homedir", reader, "--decrypt", "--output", "-"], { input: octets })
      expect((await open(binary)).code).not.toBe(0)
      const opened = await open(recryptor.recrypt(binary) ?? new Uint8Array())
      expect(Buffer.from(opened.stdout).toString()).toBe(TEXT)
      // The primary has no secret here: rnp must be told which subkey signs.
      const person = await new Keyring(file("keyring"), null).open("alice@example.test")
      const signer = person.devices.find((device) => device.name === "laptop")?.openpgp?.signingKeyId ?? ""
      const signing = ["--homedir", reader, "--sign", "-u", signer, "--output", file("signed.pgp")]
      const signed = await run("rnp", signing, { input: TEXT })
      expect(signed.code, signed.stderr).toBe(0)
    },
  )

  test.skipIf(!peer("sq"))("sq reads the account's and the devices' files", async () => {
    const account = Buffer.from(await mustRun("sq", ["inspect", file("second.asc")])).toString()
    expect(account.match(/Key flags: signing/g)?.length).toBe(2)
    expect(account).toMatch(/UserID: Alice Example <alice@example.test>/)
    const device = Buffer.from(await mustRun("sq", ["inspect", devices("phone.asc")])).toString()
    expect(device.match(/Key flags: signing/g)?.length).toBe(1)
    expect(device.match(/Key flags: transport encryption/g)?.length).toBe(2)
    expect(settings("phone").openpgpPassword).toMatch(/^[A-Za-z0-9]{24}$/)
  })

  function home(name: string): string {
    const path = join(instance.folder, name)
    mkdirSync(path, { recursive: true, mode: 0o700 })
    return path
  }
})
