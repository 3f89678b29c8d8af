import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { mustRun, peer, run } from "../harness/peers.ts"
import { makeInstance, mustPostern, postern, type TestInstance } from "./postern.ts"

const ALICE = "alice@example.test"

let instance: TestInstance
beforeAll(async () => {
  instance = await makeInstance("--port", "25000")
  await mustPostern(["account", "add", ALICE, ...instance.config])
})
afterAll(() => instance[Symbol.dispose]())

const out = () => instance.file("devices")
const device = (...args: readonly string[]) => postern(["device", ...args, "--out", out(), ...instance.config])
const settings = (name: string) => JSON.parse(readFileSync(join(out(), `${name}.json`), "utf8"))

/** How OpenSSL says that a PKCS#12 file is protected; it checks the MAC first. */
async function protection(name: string, password: string): Promise<string> {
  const args = ["pkcs12", "-legacy", "-info", "-noout", "-in", join(out(), name), "-passin", `pass:${password}`]
  const { code, stderr } = await run("openssl", args)
  expect([name, code]).toEqual([name, 0])
  return stderr
}

/** The property list in a signed profile; whether the signature leads to the personal root is asked of OpenSSL. */
async function profile(name: string, root = join(out(), "root.pem")): Promise<string> {
  const args = ["cms", "-verify", "-inform", "DER", "-binary", "-in", join(out(), name), "-CAfile", root]
  return Buffer.from(await mustRun("openssl", args)).toString()
}

const identifierOf = (text: string): string | undefined =>
  /<key>PayloadIdentifier<\/key>\n +<string>(.*)</.exec(text)?.[1]
const hasAuthority = (text: string): boolean => text.includes("server-authority")

describe.skipIf(!peer("openssl"))("forms of a device's files", () => {
  test("--p12 compatible is 3DES and SHA-1 for both PKCS#12 files", async () => {
    expect((await device("add", ALICE, "phone", "--p12", "compatible", "--mobileconfig")).code).toBe(0)
    for (const file of ["phone.p12", "phone-sign.p12"]) {
      const seen = await protection(file, settings("phone").pkcs12Password)
      expect(seen).toContain("MAC: sha1")
      expect(seen.match(/pbeWithSHA1And3-KeyTripleDES-CBC/g)).toHaveLength(2)
    }
  })

  test("--mobileconfig is signed, for its owner only, with this instance's addresses and authority", async () => {
    expect(settings("phone").files).toMatchObject({ mobileconfig: "phone.mobileconfig" })
    expect(statSync(join(out(), "phone.mobileconfig")).mode & 0o777).toBe(0o600)
    const text = await profile("phone.mobileconfig")
    expect(text).toContain("<integer>25004</integer>")
    expect(text).toContain(`<string>${settings("phone").password}</string>`)
    expect(hasAuthority(text)).toBe(true)
  })

  test("renewed, it replaces itself; AES-256 unless asked; no authority that the server's certificate is not of", async () => {
    const [certificate = "", key = ""] = ["tls/server.pem", "tls/server.key"].map((name) => instance.file(name))
    const request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    await mustRun("openssl", [...request, "-keyout", key, "-out", certificate, "-subj", "/CN=somebody else"])
    const before = identifierOf(await profile("phone.mobileconfig"))
    expect((await device("renew", ALICE, "phone", "--mobileconfig")).code).toBe(0)
    const text = await profile("phone.mobileconfig")
    expect([identifierOf(text), hasAuthority(text)]).toEqual([before, false])
    expect(await protection("phone.p12", settings("phone").pkcs12Password)).toMatch(/MAC: sha256[\s\S]*AES-256-CBC/)
  })

  test("check says which names the server's certificate lacks", async () => {
    const checked = await postern(["check", "--no-dns", "--json", ...instance.config])
    const found = JSON.parse(Buffer.from(checked.stdout).toString()) as { state: string; text: string }[]
    const about = found.filter(({ text }) => text.startsWith("does not name")).map(({ state, text }) => [state, text])
    expect([checked.code, about]).toEqual([
      1,
      [
        ["wrong", "does not name localhost: mail clients will refuse it"],
        ["note", "does not name autoconfig.example.test: clients cannot set themselves up by it"],
        ["note", "does not name autodiscover.example.test: clients cannot set themselves up by it"],
      ],
    ])
  })

  test("nothing is made when the authority cannot be read, or would go nowhere", async () => {
    const rows: [options: string[], code: number, message: RegExp][] = [
      [["--mobileconfig"], 1, /postern\.toml: has no certificate in PEM/],
      [[], 2, /--server-ca: is for --mobileconfig/],
    ]
    for (const [options, code, message] of rows) {
      const failed = await device("add", ALICE, "tablet", "--server-ca", instance.file("postern.toml"), ...options)
      expect([failed.code, failed.stderr]).toEqual([code, expect.stringMatching(message)])
    }
    const listed = JSON.parse(await mustPostern(["device", "list", ALICE, "--json", ...instance.config]))
    expect(listed.map(({ name }: { name: string }) => name)).toEqual(["phone"])
  })

  test("made where there is no instance, with the authority as a file, and a warning where Apple cannot read", async () => {
    const desk = mkdtempSync(join(tmpdir(), "postern-desk-"))
    try {
      const at = (name: string) => join(desk, name)
      const options = ["--keyring", at("keyring"), "--offline", at("request")]
      const made = (...args: readonly string[]) => postern([...args, ...options], {}, desk)
      expect((await made("account", "add", ALICE, "--format", "openpgp,smime")).code).toBe(0)
      copyFileSync(instance.file("tls/ca.pem"), at("ca.pem"))
      chmodSync(at("ca.pem"), 0o400)
      const added = await made("device", "add", ALICE, "phone", "--mobileconfig", "--server-ca", at("ca.pem"))
      // Its mail arrives encrypted with OpenPGP: said aloud, and done all the same.
      expect([added.code, added.stderr]).toEqual([0, expect.stringContaining("open S/MIME only")])
      copyFileSync(at("phone.mobileconfig"), join(out(), "offline.mobileconfig"))
      const text = await profile("offline.mobileconfig", at("root.pem"))
      expect([hasAuthority(text), text.includes("<integer>993</integer>")]).toEqual([true, true])
    } finally {
      rmSync(desk, { recursive: true })
    }
  })
})
