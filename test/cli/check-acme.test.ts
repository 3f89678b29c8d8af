import { appendFileSync, readFileSync, writeFileSync } from "node:fs"
import { expect, test } from "vitest"
import { readCertificate } from "../../src/crypto/cms/certificate.ts"
import { pemDecode } from "../../src/crypto/cms/pem.ts"
import { randomOctets } from "../../src/crypto/primitives/random.ts"
import { makeServerTls } from "../../src/identity/server.ts"
import { makeInstance, postern } from "./postern.ts"

const DAY_MS = 86_400_000
const ACME = '\n[tls.acme]\ndirectory = "https://ca.example/dir"\nagreeToTerms = true\n'

/** PEM of a server certificate that ends in so many days. */
function ending(days: number): string {
  const made = (now: Date) => makeServerTls(["example.test"], { now, random: randomOctets }).certificate
  const now = Date.now()
  const own = pemDecode("CERTIFICATE", made(new Date(now)))[0] ?? new Uint8Array()
  const lastsMs = readCertificate(own).notAfter.getTime() - now
  return made(new Date(now - lastsMs + (days + 0.5) * DAY_MS))
}

test("a certificate that renews itself is named when it is late, two weeks before its end; others a month before", async () => {
  using instance = await makeInstance("--port", "21000")
  const found = async (days: number): Promise<string> => {
    writeFileSync(instance.file("tls/server.pem"), ending(days))
    const { stdout } = await postern(["check", "--no-dns", "--json", ...instance.config])
    const findings: { about: string; state: string }[] = JSON.parse(Buffer.from(stdout).toString())
    return findings.find(({ about }) => about === "tls.certificate")?.state ?? "none"
  }
  expect([await found(31), await found(20)]).toEqual(["ok", "wrong"])
  const toml = instance.file("postern.toml")
  writeFileSync(toml, readFileSync(toml, "utf8").replace("[listen]\n", '[listen]\nhttp = "127.0.0.1:0"\n'))
  appendFileSync(toml, ACME)
  expect([await found(20), await found(14), await found(13)]).toEqual(["ok", "ok", "wrong"])
})
