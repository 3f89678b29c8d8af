import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { MAX_CERTIFICATE_OCTETS, readCertificate, sameIdentity } from "../../../src/crypto/cms/certificate.ts"
import { pemDecode, pemEncode } from "../../../src/crypto/cms/pem.ts"
import { p256Spki } from "../../../src/crypto/primitives/p256.ts"
import { makeHolder, makePerson } from "./alice.ts"

const stored = (name: string): Uint8Array => {
  const [der] = pemDecode("CERTIFICATE", readFileSync(`test/vectors/cms/${name}.pem`, "latin1"))
  if (!der) throw new Error(`${name}: no certificate in it`)
  return der
}
const invalid = expect.objectContaining({ code: "CERTIFICATE_INVALID" })

describe("reading certificates", () => {
  test("RSA, the address in the subject only", () => {
    const certificate = readCertificate(stored("rsa-2048-email-in-subject"))
    expect(certificate.emailAddresses).toEqual(["rita@example.net"])
    expect(certificate.point).toBeNull()
    expect(certificate.mayEncrypt).toBe(true)
  })

  test("P-384 is no P-256, and no usage is every usage", () => {
    const certificate = readCertificate(stored("p384"))
    expect(certificate.point).toBeNull()
    expect(certificate.mayEncrypt).toBe(true)
    expect(certificate.emailAddresses).toEqual(["p384@example.net"])
  })

  test("compressed point, several addresses, one of them UTF-8, signing only", () => {
    const certificate = readCertificate(stored("p256-compressed-sign-only"))
    expect(certificate.point).toHaveLength(65)
    // openssl req reads the name as latin1 and writes it as UTF-8 once more.
    expect(certificate.emailAddresses.slice(0, 2)).toEqual(["a@example.net", "b@example.net"])
    expect(certificate.emailAddresses[2]).toMatch(/^j.+rg@example\.net$/)
    expect(certificate.mayEncrypt).toBe(false)
  })

  test("ours: all fields", () => {
    const alice = makePerson("alice@example.com", "Alice")
    const { certificate } = makeHolder(alice)
    expect(certificate.identity.issuer).toEqual(alice.intermediate.subject)
    expect(certificate.identity.serial).toHaveLength(16)
    expect(certificate.identity.subjectKeyIdentifier).toHaveLength(20)
    expect(certificate.subjectPublicKeyInfo).toEqual(p256Spki(certificate.point ?? new Uint8Array(65)))
    expect(certificate.notAfter.getTime() - certificate.notBefore.getTime()).toBe((730 * 24 + 1) * 3_600_000)
    expect(sameIdentity(certificate.identity, certificate.identity)).toBe(true)
    expect(sameIdentity(certificate.identity, makeHolder(alice).certificate.identity)).toBe(false)
  })

  test("PEM goes there and back, text around it is passed over", () => {
    const der = stored("p384")
    const pem = `subject=x\n${pemEncode("CERTIFICATE", der)}\n${pemEncode("CERTIFICATE", der)}`
    expect(pemDecode("CERTIFICATE", pem)).toEqual([der, der])
    expect(pemDecode("PRIVATE KEY", pem)).toEqual([])
  })

  test("a P-256 point off the curve is refused", () => {
    const { certificate } = makeHolder(makePerson("alice@example.com", "Alice"))
    const der = Buffer.from(certificate.der)
    const at = der.indexOf(certificate.point ?? "") + 64
    der[at] = (der[at] ?? 0) ^ 1
    expect(() => readCertificate(der)).toThrow(invalid)
  })

  test("cut off anywhere, longer, or too long: an error of ours", () => {
    const der = stored("p384")
    for (let cut = 0; cut < der.length; cut++)
      expect(() => readCertificate(der.subarray(0, cut))).toThrow(expect.objectContaining({ name: "GatewayError" }))
    expect(() => readCertificate(Buffer.concat([der, Uint8Array.of(0)]))).toThrow(invalid)
    expect(() => readCertificate(new Uint8Array(MAX_CERTIFICATE_OCTETS + 1))).toThrow(invalid)
  })
})
