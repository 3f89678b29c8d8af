import { writeFile } from "node:fs/promises"
import { describe, expect, test } from "vitest"
import { pemDecode, pemEncode } from "../../../src/crypto/cms/pem.ts"
import { makePkcs12, PKCS12_ITERATIONS, type Pkcs12Profile } from "../../../src/crypto/cms/pkcs12.ts"
import { p256Pkcs8, randomP256Scalar } from "../../../src/crypto/primitives/p256.ts"
import { mustRun, peer, run, type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import { makeHolder, makePerson } from "./alice.ts"

const alice = makePerson("alice@example.com", "Alice Müller")
const device = makeHolder(alice, "both")
const password = "pä ss 😀"
const options = {
  scalar: device.scalar,
  certificate: device.certificate.der,
  chain: [alice.intermediate.der, alice.root.der],
  friendlyName: "Alice (laptop)",
  password,
  iterations: 2048,
}
const hex = (octets: Uint8Array): string => Buffer.from(octets).toString("hex")
const PROFILES: readonly Pkcs12Profile[] = ["modern", "legacy"]
/** Folders of NSS libraries: the system's own, and Thunderbird's, which alone can do ECDH in CMS. */
const THUNDERBIRD = "/usr/lib/thunderbird"

async function imported(folder: TemporaryFolder, libraries: string, profile: Pkcs12Profile): Promise<string> {
  const env = { LD_LIBRARY_PATH: libraries }
  const database = `sql:${folder.path}`
  await writeFile(folder.file("device.p12"), makePkcs12({ ...options, profile }))
  await mustRun("certutil", ["-N", "-d", database, "--empty-password"], { env })
  await mustRun("pk12util", ["-i", folder.file("device.p12"), "-d", database, "-W", password, "-K", ""], { env })
  return database
}

describe("PKCS#12", () => {
  for (const profile of PROFILES)
    test.skipIf(!peer("openssl"))(`${profile}: OpenSSL finds key, certificate and chain`, async () => {
      await using folder = await temporaryFolder()
      await writeFile(folder.file("device.p12"), makePkcs12({ ...options, profile }))
      const args = ["pkcs12", "-in", folder.file("device.p12"), "-noenc", "-passin", `pass:${password}`]
      const text = Buffer.from(await mustRun("openssl", profile === "legacy" ? [...args, "-legacy"] : args)).toString()
      expect(pemDecode("CERTIFICATE", text).map(hex)).toEqual([options.certificate, ...options.chain].map(hex))
      expect(pemDecode("PRIVATE KEY", text).map(hex)).toEqual([hex(p256Pkcs8(device.scalar))])
      expect(text.match(/friendlyName: Alice \(laptop\)/g)).toHaveLength(2)
      const ids = [...text.matchAll(/localKeyID: (.*)/g)].map((found) => found[1])
      expect(ids).toHaveLength(2)
      expect(ids[0]).toBe(ids[1])
      const wrong = await run("openssl", [...args.slice(0, 4), "-legacy", "-passin", "pass:wrong"])
      expect(wrong.stderr).toContain("invalid password")
    })

  for (const libraries of ["", THUNDERBIRD])
    for (const profile of PROFILES)
      test.skipIf(
        !peer("pk12util") || !peer("certutil") || (libraries !== "" && !peer(`${libraries}/thunderbird-bin`)),
      )(
        `${profile}: NSS${libraries === "" ? "" : " of Thunderbird"} imports it and finds the certificate good for mail`,
        async () => {
          await using folder = await temporaryFolder()
          const env = { LD_LIBRARY_PATH: libraries }
          const database = await imported(folder, libraries, profile)
          await mustRun("certutil", ["-M", "-d", database, "-n", "Alice Müller Personal Root", "-t", ",C,"], { env })
          for (const usage of ["R", "S"]) {
            const args = ["-V", "-d", database, "-n", "Alice (laptop)", "-u", usage, "-e"]
            expect(Buffer.from(await mustRun("certutil", args, { env })).toString()).toContain("certificate is valid")
          }
        },
      )

  test.skipIf(!peer("pk12util") || !peer("openssl") || !peer("cmsutil") || !peer(`${THUNDERBIRD}/thunderbird-bin`))(
    "NSS of Thunderbird opens with it what OpenSSL encrypted to the certificate",
    async () => {
      await using folder = await temporaryFolder()
      const database = await imported(folder, THUNDERBIRD, "modern")
      await writeFile(folder.file("certificate.pem"), pemEncode("CERTIFICATE", device.certificate.der))
      const args = ["cms", "-encrypt", "-aes256", "-binary", "-outform", "DER", "-out", folder.file("message")]
      await mustRun("openssl", [...args, folder.file("certificate.pem")], { input: "hello\r\n" })
      const env = { LD_LIBRARY_PATH: THUNDERBIRD }
      const clear = await mustRun("cmsutil", ["-D", "-d", database, "-i", folder.file("message")], { env })
      expect(Buffer.from(clear).toString()).toBe("hello\r\n")
    },
  )

  const bad: [name: string, change: object][] = [
    ["another key", { scalar: randomP256Scalar() }],
    ["an empty password", { password: "" }],
    ["an empty name", { friendlyName: "" }],
    ["a name of 256 characters", { friendlyName: "x".repeat(256) }],
  ]
  for (const [name, change] of bad)
    test(`refuses: ${name}`, () => {
      expect(() => makePkcs12({ ...options, ...change })).toThrow(
        expect.objectContaining({ code: "CERTIFICATE_INVALID" }),
      )
    })

  test("two files of the same key share no salt, and the default cost is the stated one", () => {
    const files = [makePkcs12(options), makePkcs12(options)]
    expect(files[0]).not.toEqual(files[1])
    expect(PKCS12_ITERATIONS.modern).toBe(2_048)
  })
})
