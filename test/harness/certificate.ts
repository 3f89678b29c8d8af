import { readFile } from "node:fs/promises"
import { mustRun, temporaryFolder } from "./peers.ts"

export interface TestCertificate {
  /** PEM */
  readonly key: string
  /** PEM, self-signed: it is its own authority. */
  readonly certificate: string
}

/** A self-signed P-256 certificate for localhost, 127.0.0.1 and `names`, made by OpenSSL. */
export async function testCertificate(...names: string[]): Promise<TestCertificate> {
  await using folder = await temporaryFolder()
  const alternatives = ["DNS:localhost", "IP:127.0.0.1", ...names.map((name) => `DNS:${name}`)]
  await mustRun("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
    ...["-keyout", folder.file("key.pem"), "-out", folder.file("certificate.pem"), "-subj", "/CN=localhost"],
    ...["-addext", `subjectAltName=${alternatives.join(",")}`],
  ])
  return {
    key: await readFile(folder.file("key.pem"), "utf8"),
    certificate: await readFile(folder.file("certificate.pem"), "utf8"),
  }
}
