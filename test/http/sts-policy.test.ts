import { get } from "node:https"
import { parsePolicy, validateMx } from "mailauth/lib/mta-sts.js"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/load.ts"
import { startPublicHttp } from "../../src/http/public.ts"
import { silentLog } from "../../src/log/log.ts"
import { stsPolicyText, stsRecordText } from "../../src/message/published-sts.ts"
import { parseStsPolicy, stsIdOf } from "../../src/smtp-out/sts-policy.ts"
import { testCertificate } from "../harness/certificate.ts"
import { nobodysKeys } from "./published.ts"

const ENFORCED = { mode: "enforce", mx: "mail.example.test" } as const

let server: Awaited<ReturnType<typeof startPublicHttp>>
beforeAll(async () => {
  const config = parseConfig('domains = ["example.test", "other.test"]\n', "/nowhere/postern.toml")
  server = await startPublicHttp({
    host: "127.0.0.1",
    port: 0,
    tls: await testCertificate(),
    ...nobodysKeys(config.domains),
    clients: { domains: config.domains, services: config.clients },
    stsPolicy: stsPolicyText(ENFORCED),
    mesh: null,
    shelf: null,
    log: silentLog(),
  })
})
afterAll(() => server?.close())

interface Answer {
  readonly status: number | undefined
  readonly type: string | undefined
  readonly body: string
}

function policyAt(host: string): Promise<Answer> {
  const port = Number(new URL(server.listeningOrigin).port)
  const where = {
    host: "127.0.0.1",
    port,
    path: "/.well-known/mta-sts.txt",
    headers: { host },
    rejectUnauthorized: false,
  }
  return new Promise((resolve, reject) => {
    get(where, (response) => {
      let body = ""
      response.on("data", (octets: Buffer) => {
        body += octets.toString()
      })
      response.on("end", () => resolve({ status: response.statusCode, type: response.headers["content-type"], body }))
    }).on("error", reject)
  })
}

test("each of our domains has its policy at its policy host, as text/plain, and nobody else has one", async () => {
  for (const host of ["mta-sts.example.test", "MTA-STS.other.test", "mta-sts.example.test:443"]) {
    const { status, type, body } = await policyAt(host)
    expect([host, status, type, body]).toEqual([host, 200, "text/plain", stsPolicyText(ENFORCED)])
  }
  for (const host of ["example.test", "mta-sts.elsewhere.test", "a.mta-sts.example.test", "localhost"])
    expect([host, (await policyAt(host)).status]).toEqual([host, 404])
})

test("what is published is read as it is meant, by mailauth and by ourselves", () => {
  const text = stsPolicyText(ENFORCED)
  expect(parseStsPolicy(text)).toEqual({
    kind: "policy",
    policy: { mode: "enforce", mx: ["mail.example.test"], maxAgeSeconds: 2_419_200 },
  })
  const read = parsePolicy(text)
  expect(read).toMatchObject({ mode: "enforce", maxAge: 2_419_200 })
  const id = stsIdOf([stsRecordText(ENFORCED)])
  expect(id).toMatch(/^[0-9a-f]{24}$/)
  expect(validateMx("mail.example.test", { ...read, id: id ?? "" })).toMatchObject({ valid: true })
  expect(validateMx("other.example.test", { ...read, id: id ?? "" })).toMatchObject({ valid: false })
})

test("another policy has another id", () => {
  const ids = [ENFORCED, { ...ENFORCED, mode: "testing" as const }, { ...ENFORCED, mx: "mx.example.test" }].map(
    stsRecordText,
  )
  expect(new Set(ids).size).toBe(3)
})
