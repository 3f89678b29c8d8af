import { writeFile } from "node:fs/promises"
import { describe, expect, test } from "vitest"
import { type Certificate, readCertificate } from "../../../src/crypto/cms/certificate.ts"
import { serialNumber } from "../../../src/crypto/cms/certificate-writer.ts"
import {
  issueEndEntity,
  issueLogin,
  issueRoot,
  issueServer,
  issueServerAuthority,
} from "../../../src/crypto/cms/issue.ts"
import { pemEncode } from "../../../src/crypto/cms/pem.ts"
import { p256PublicPoint, randomP256Scalar } from "../../../src/crypto/primitives/p256.ts"
import { peer, run, type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import { makeHolder, makePerson, terms } from "./alice.ts"

const alice = makePerson("alice@example.com", "Alice Müller")

/** Files of certificates for OpenSSL, and its verdict on the last one. */
async function verify(folder: TemporaryFolder, chain: readonly Certificate[], ...options: string[]) {
  const files: string[] = []
  for (const [index, certificate] of chain.entries()) {
    files.push(folder.file(`${index}.pem`))
    await writeFile(folder.file(`${index}.pem`), pemEncode("CERTIFICATE", certificate.der))
  }
  const [root = "", ...rest] = files
  const untrusted = rest.slice(0, -1).flatMap((file) => ["-untrusted", file])
  return run("openssl", ["verify", "-x509_strict", "-CAfile", root, ...untrusted, ...options, rest.at(-1) ?? ""])
}

describe("a person's certificates", () => {
  test.skipIf(!peer("openssl"))("stand OpenSSL's strict check", async () => {
    await using folder = await temporaryFolder()
    for (const usage of ["encrypt", "sign", "both"] as const) {
      const chain = [alice.root, alice.intermediate, makeHolder(alice, usage).certificate]
      // OpenSSL's smimeencrypt asks for keyEncipherment, which RFC 5480 §3 forbids for EC keys.
      const purpose = usage === "encrypt" ? [] : ["-purpose", "smimesign"]
      const verdict = await verify(folder, chain, ...purpose, "-verify_email", "alice@example.com")
      expect(verdict).toMatchObject({ code: 0, stderr: "" })
    }
  })

  test.skipIf(!peer("openssl"))("a name that looks like a host is no host", async () => {
    await using folder = await temporaryFolder()
    for (const name of ["john.doe", "example.com", "", "a.".repeat(60), "John"]) {
      const john = makePerson("john.doe@example.com", name)
      const chain = [john.root, john.intermediate, makeHolder(john, "both").certificate]
      expect(await verify(folder, chain)).toMatchObject({ code: 0, stderr: "" })
    }
  })

  test.skipIf(!peer("openssl"))("the root vouches for its own address only, and for no server", async () => {
    await using folder = await temporaryFolder()
    const bob = makeHolder(alice, "both", "bob@example.com").certificate
    const mallory = await verify(folder, [alice.root, alice.intermediate, bob])
    expect(mallory.stderr).toContain("permitted subtree violation")
    const authority = { certificate: alice.root, scalar: alice.rootScalar }
    const point = p256PublicPoint(randomP256Scalar())
    for (const [names, addresses] of [
      [["bank.example"], []],
      [[], ["192.0.2.1"]],
      [[], ["2001:db8::1"]],
    ] as const) {
      const server = readCertificate(issueServer({ ...terms(), authority, names, addresses, point }))
      expect((await verify(folder, [alice.root, server])).stderr).toContain("excluded subtree violation")
    }
  })

  test.skipIf(!peer("openssl"))("a login certificate is for TLS clients, never for mail or servers", async () => {
    await using folder = await temporaryFolder()
    const issuer = { certificate: alice.root, scalar: alice.rootScalar }
    const rows: [device: string, purpose: string, want: number][] = [
      ["phone", "sslclient", 0],
      ["mail.example.com", "sslclient", 0],
      ["x.".repeat(32), "sslclient", 0],
      ["phone", "smimesign", 2],
      ["phone", "smimeencrypt", 2],
      ["phone", "sslserver", 2],
    ]
    for (const [device, purpose, want] of rows) {
      const point = p256PublicPoint(randomP256Scalar())
      const login = readCertificate(issueLogin({ ...terms(), issuer, address: "alice@example.com", device, point }))
      const verdict = await verify(folder, [alice.root, login], "-purpose", purpose)
      expect([device, purpose, verdict.code, verdict.stderr]).toEqual([device, purpose, want, expect.anything()])
      expect([login.mayEncrypt, login.emailAddresses]).toEqual([false, ["alice@example.com"]])
    }
  })

  test("account and device differ in key, serial and key identifier only, so that recryption can patch one for the other", () => {
    const account = makeHolder(alice).certificate
    const device = makeHolder(alice).certificate
    expect(device.identity.issuer).toEqual(account.identity.issuer)
    expect(device.subject).toEqual(account.subject)
    expect(device.identity.serial).toHaveLength(account.identity.serial.length)
    expect(device.identity.subjectKeyIdentifier).toHaveLength(20)
  })

  test("serial numbers always have sixteen octets of DER", () => {
    for (const fill of [0, 0x80, 0xff]) {
      const serial = serialNumber(new Uint8Array(16).fill(fill))
      expect(serial[0]).toBeGreaterThan(0)
      expect(serial[0]).toBeLessThan(0x80)
    }
    expect(() => serialNumber(new Uint8Array(15))).toThrow(expect.objectContaining({ code: "CERTIFICATE_INVALID" }))
  })

  const bad: [name: string, change: object, code: string][] = [
    ["serial with its top bit set", { serial: new Uint8Array(16).fill(0x80) }, "CERTIFICATE_INVALID"],
    ["serial that begins with zero", { serial: new Uint8Array(16) }, "CERTIFICATE_INVALID"],
    ["serial of 20 octets", { serial: new Uint8Array(20).fill(1) }, "CERTIFICATE_INVALID"],
    ["validity backwards", { notAfter: new Date(0) }, "CERTIFICATE_INVALID"],
    ["address with umlauts", { address: "jörg@example.com" }, "CERTIFICATE_UNSUPPORTED"],
    ["no address", { address: "alice" }, "CERTIFICATE_UNSUPPORTED"],
    ["scalar zero", { scalar: new Uint8Array(32) }, "SCALAR_INVALID"],
  ]
  for (const [name, change, code] of bad)
    test(`refuses: ${name}`, () => {
      const good = { ...terms(), address: "alice@example.com", name: "Alice", scalar: randomP256Scalar() }
      expect(() => issueRoot({ ...good, ...change })).toThrow(expect.objectContaining({ code }))
    })

  test("a long name is cut between characters to what a common name holds", () => {
    const person = makePerson("alice@example.com", "😀".repeat(100))
    const text = Buffer.from(person.intermediate.subject).toString("utf8")
    expect(text).toContain(`${"😀".repeat(42)} Personal Intermediate`)
    expect(text).not.toContain("😀".repeat(43))
  })

  test("an empty name gives way to the address", () => {
    const { subject } = readCertificate(
      issueEndEntity({
        ...terms(),
        issuer: { certificate: alice.intermediate, scalar: alice.intermediateScalar },
        address: alice.address,
        name: "",
        point: p256PublicPoint(randomP256Scalar()),
        usage: "both",
      }),
    )
    expect(Buffer.from(subject).toString("latin1")).toContain("alice@example.com")
  })
})

describe("this gateway's TLS certificates", () => {
  const scalar = randomP256Scalar()
  const root = readCertificate(
    issueServerAuthority({ ...terms(3650), name: "Postern", domains: ["example.com"], scalar }),
  )
  const authority = { certificate: root, scalar }
  const point = p256PublicPoint(randomP256Scalar())

  const hosts: [name: string, names: string[], addresses: string[], verdict: string][] = [
    ["host below the domain", ["mail.example.com", "localhost"], ["127.0.0.1", "::1"], "OK"],
    ["the domain itself", ["example.com"], [], "OK"],
    ["loopback alone", [], ["127.0.0.1"], "OK"],
    ["another domain", ["mail.example.org"], [], "permitted subtree violation"],
    ["one other name among good ones", ["mail.example.com", "badexample.com"], [], "permitted subtree violation"],
    ["another address", ["mail.example.com"], ["192.0.2.1"], "permitted subtree violation"],
    ["another IPv6 address", ["mail.example.com"], ["2001:db8::1"], "permitted subtree violation"],
  ]
  for (const [name, names, addresses, want] of hosts)
    test.skipIf(!peer("openssl"))(name, async () => {
      await using folder = await temporaryFolder()
      const server = readCertificate(issueServer({ ...terms(), authority, names, addresses, point }))
      const verdict = await verify(folder, [root, server], "-purpose", "sslserver")
      expect(`${Buffer.from(verdict.stdout)}${verdict.stderr}`).toContain(want)
    })

  test.skipIf(!peer("openssl"))("addresses are written as they are", async () => {
    await using folder = await temporaryFolder()
    const addresses = ["127.0.0.1", "::1", "2001:db8::1:0:2", "::ffff:192.0.2.1", "fe80::"]
    await writeFile(
      folder.file("server.pem"),
      pemEncode("CERTIFICATE", issueServer({ ...terms(), authority, names: [], addresses, point })),
    )
    const shown = await run("openssl", ["x509", "-in", folder.file("server.pem"), "-noout", "-ext", "subjectAltName"])
    expect(Buffer.from(shown.stdout).toString("latin1")).toContain(
      "IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, IP Address:2001:DB8:0:0:0:1:0:2, " +
        "IP Address:0:0:0:0:0:FFFF:C000:201, IP Address:FE80:0:0:0:0:0:0:0",
    )
  })

  for (const address of ["300.1.2.3", "1.2.3", "example.com", "1::2::3", ":", "::1%eth0"])
    test(`no address: ${address}`, () => {
      expect(() => issueServer({ ...terms(), authority, names: [], addresses: [address], point })).toThrow(
        expect.objectContaining({ code: "CERTIFICATE_INVALID" }),
      )
    })
})
