import { expect, test } from "vitest"
import { certificationRequest } from "../../../src/crypto/cms/request.ts"
import { randomP256Scalar } from "../../../src/crypto/primitives/p256.ts"
import { peer, run } from "../../harness/peers.ts"

test.skipIf(!peer("openssl"))("OpenSSL reads a certification request, its names, and its signature", async () => {
  const input = certificationRequest(["example.test", "mail.example.test"], randomP256Scalar())
  const { code, stdout, stderr } = await run("openssl", ["req", "-inform", "DER", "-verify", "-noout", "-text"], {
    input,
  })
  const text = `${Buffer.from(stdout)}${stderr}`
  expect(code).toBe(0)
  expect(text).toMatch(/verify OK/i)
  expect(text).toContain("DNS:example.test, DNS:mail.example.test")
  expect(text).toContain("prime256v1")
})
