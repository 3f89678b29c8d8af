import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs"
import { expect, test } from "vitest"
import {
  acmeAccountKey,
  acmeStatus,
  isRenewalRequested,
  issuedCertificate,
  keepAcmeStatus,
  keepIssuedCertificate,
  requestRenewal,
  takeRenewalRequest,
} from "../../src/store/acme.ts"
import { mustRun, peer, temporaryFolder } from "../harness/peers.ts"

const ISSUED = { directory: "https://ca.example/dir", names: ["example.test"], certificate: "a", key: "b" }
const STATUS = {
  directory: ISSUED.directory,
  names: ISSUED.names,
  at: "2026-03-02T12:00:00.000Z",
  outcome: "failed",
  failures: 2,
  reason: "acme: no",
  problem: "urn:x",
  retryAt: null,
  nextAt: "2026-03-02T14:00:00.000Z",
  request: "abc",
} as const

async function makeFolders() {
  const folder = await temporaryFolder()
  const [data, secrets] = [folder.file("data"), folder.file("secrets")]
  return { data, secrets, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() }
}

test("the account's key is made once, for its owner only", async () => {
  await using folders = await makeFolders()
  const key = acmeAccountKey(folders)
  expect(acmeAccountKey(folders)).toEqual(key)
  expect(statSync(`${folders.secrets}/acme/account.pem`).mode & 0o777).toBe(0o600)
  expect(readdirSync(`${folders.secrets}/acme`)).toEqual(["account.pem"])
})

test.skipIf(!peer("openssl"))(
  "OpenSSL's keys are taken; what is no P-256 key is an error, not a new account",
  async () => {
    await using folders = await makeFolders()
    mkdirSync(`${folders.secrets}/acme`, { recursive: true })
    const out = ["-out", `${folders.secrets}/acme/account.pem`]
    await mustRun("openssl", ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", ...out])
    expect(acmeAccountKey(folders)).toHaveLength(32)
    await mustRun("openssl", ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", ...out])
    expect(() => acmeAccountKey(folders)).toThrow(/account\.pem: is no P-256 key/)
    writeFileSync(`${folders.secrets}/acme/account.pem`, "")
    expect(() => acmeAccountKey(folders)).toThrow(/account\.pem: is no P-256 key/)
  },
)

test("certificate and status are read as they were kept; damaged ones are none", async () => {
  await using folders = await makeFolders()
  expect([issuedCertificate(folders), acmeStatus(folders)]).toEqual([null, null])
  keepIssuedCertificate(folders, ISSUED)
  keepAcmeStatus(folders, STATUS)
  expect([issuedCertificate(folders), acmeStatus(folders)]).toEqual([ISSUED, STATUS])
  for (const text of ["", "{", "null", "[]", '{"names":[1]}', JSON.stringify({ ...STATUS, at: "soon", key: 5 })]) {
    writeFileSync(`${folders.secrets}/acme/issued.json`, text)
    writeFileSync(`${folders.data}/acme/status.json`, text)
    expect([issuedCertificate(folders), acmeStatus(folders)]).toEqual([null, null])
  }
})

test("a request to renew is taken once", async () => {
  await using folders = await makeFolders()
  expect(takeRenewalRequest(folders)).toBeNull()
  requestRenewal(folders, "abc")
  expect(isRenewalRequested(folders)).toBe(true)
  expect([takeRenewalRequest(folders), takeRenewalRequest(folders)]).toEqual(["abc", null])
  expect(isRenewalRequested(folders)).toBe(false)
})
