import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { readCertificate } from "../../../src/crypto/cms/certificate.ts"
import { openEnveloped } from "../../../src/crypto/cms/open.ts"
import { p256Pkcs8, p256PublicPoint, randomP256Scalar } from "../../../src/crypto/primitives/p256.ts"
import { hasCode } from "../../../src/errors.ts"
import { peer, run, temporaryFolder } from "../../harness/peers.ts"

const pem = (label: string, der: Uint8Array): string =>
  `-----BEGIN ${label}-----\n${Buffer.from(der)
    .toString("base64")
    .replace(/(.{64})/g, "$1\n")}\n-----END ${label}-----\n`

describe.skipIf(!peer("openssl"))("opening what OpenSSL encrypted", () => {
  const rows: [name: string, options: string[]][] = [
    ["DER, AES-256-CBC, SHA-256", ["-aes-256-cbc", "-keyopt", "ecdh_kdf_md:sha256"]],
    ["BER stream, AES-256-CBC", ["-aes-256-cbc", "-stream"]],
    ["AES-128-CBC, SHA-1", ["-aes-128-cbc"]],
    ["AES-256-GCM, key identifier", ["-aes-256-gcm", "-keyid"]],
  ]
  for (const [name, options] of rows)
    test(name, async () => {
      await using folder = await temporaryFolder()
      const scalar = randomP256Scalar()
      expect(p256PublicPoint(scalar)).toHaveLength(65)
      const at = (file: string) => join(folder.path, file)
      await writeFile(at("key.pem"), pem("PRIVATE KEY", p256Pkcs8(scalar)))
      await run("openssl", [
        "req",
        "-x509",
        "-key",
        at("key.pem"),
        "-subj",
        "/CN=reader",
        "-days",
        "2",
        "-out",
        at("cert.pem"),
      ])
      const message = Buffer.from("a message of several blocks, so that padding and order show\r\n".repeat(40))
      const recipient = options.includes("-keyopt")
        ? ["-recip", at("cert.pem"), ...options.slice(-2)]
        : [at("cert.pem")]
      const flags = options.filter((option) => option !== "-keyopt" && !option.startsWith("ecdh_"))
      const sealed = await run("openssl", ["cms", "-encrypt", "-binary", "-outform", "DER", ...flags, ...recipient], {
        input: message,
      })
      expect(sealed.stderr).toBe("")
      const der = await run("openssl", ["x509", "-in", at("cert.pem"), "-outform", "DER"])
      const { identity } = readCertificate(der.stdout)
      expect(Buffer.from(openEnveloped(sealed.stdout, { identity, scalar }) ?? [])).toEqual(message)
      const somebody = { ...identity, serial: Uint8Array.of(1), subjectKeyIdentifier: new Uint8Array(20) }
      expect(openEnveloped(sealed.stdout, { identity: somebody, scalar })).toBeNull()
      expect(() => openEnveloped(sealed.stdout, { identity, scalar: randomP256Scalar() })).toThrow(
        expect.toSatisfy((error) => hasCode(error, "DECRYPTION_FAILED")),
      )
    })
})
