import { X509Certificate } from "node:crypto"
import { once } from "node:events"
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { connect, type TLSSocket } from "node:tls"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { pemDecode } from "../../src/crypto/cms/pem.ts"
import { testCertificate } from "../harness/certificate.ts"
import { DnsServer } from "../harness/dns-server.ts"
import { eventually, Instance } from "../harness/instance.ts"
import { makePebble, type Pebble } from "../harness/pebble.ts"
import { peer } from "../harness/peers.ts"
import { freePorts } from "../harness/ports.ts"

const NAMES = ["example.test", "mail.example.test"]
const HERE = { "example.test A": ["127.0.0.1"], "mail.example.test A": ["127.0.0.1"] }

interface Site extends AsyncDisposable {
  readonly gateway: Instance
  readonly pebble: Pebble
  readonly dns: DnsServer
  readonly http: number
}

/** A gateway that is to get its certificate from pebble; neither runs yet. */
async function makeSite(options: {
  readonly validitySeconds?: number
  readonly rejectedNonces?: number
}): Promise<Site> {
  const [http = 0] = await freePorts(1)
  const dns = await DnsServer.start(HERE)
  const pebble = await makePebble({ ...options, httpPort: http, dns: dns.address })
  const gateway = await Instance.create()
  gateway.configure("[listen]\n", `[listen]\nhttp = "127.0.0.1:${http}"\n`)
  gateway.configure(
    "# Where local mail goes",
    `[tls.acme]
directory = "${pebble.directory}"
caFile = "${pebble.caFile}"
email = "postmaster@example.test"
agreeToTerms = true
names = ["mail.example.test"]

# Where local mail goes`,
  )
  return {
    gateway,
    pebble,
    dns,
    http,
    async [Symbol.asyncDispose]() {
      for (const part of [gateway, pebble, dns]) await part[Symbol.asyncDispose]()
    },
  }
}

/** A TLS connection to the listener that many ports above the instance's first. */
async function open(gateway: Instance, offset: number): Promise<TLSSocket> {
  const port = gateway.port + offset
  const socket = connect({ port, host: "127.0.0.1", servername: "example.test", rejectUnauthorized: false })
  await once(socket, "secureConnect")
  return socket
}

async function shown(gateway: Instance, offset: number): Promise<X509Certificate> {
  const socket = await open(gateway, offset)
  const certificate = socket.getPeerX509Certificate()
  socket.destroy()
  if (certificate === undefined) throw new Error("no certificate")
  return certificate
}

const [SUBMISSIONS, IMAPS, HTTPS, ADMIN] = [2, 4, 5, 6]

describe.skipIf(!peer("pebble"))("a certificate from a CA", () => {
  let site: Site
  let before: TLSSocket

  beforeAll(async () => {
    site = await makeSite({ rejectedNonces: 30 })
    site.gateway.configure("[limits]\n", "[limits]\nimapProcesses = 2\n")
    await site.gateway.serve()
    before = await open(site.gateway, IMAPS)
    await once(before, "data")
  })

  afterAll(async () => {
    before?.destroy()
    await site?.[Symbol.asyncDispose]()
  })

  test("the CA is away: the server runs with what init made, and says why", async () => {
    const { gateway, http } = site
    const failed = await eventually("the first attempt", async () => {
      const { tls } = JSON.parse(await gateway.must("status", "--json"))
      return tls.acme.last
    })
    expect(failed).toMatchObject({ outcome: "failed", failures: 1, problem: null })
    expect(failed.reason).toMatch(/^acme: 127\.0\.0\.1:\d+: connect ECONNREFUSED/)
    expect((await shown(gateway, IMAPS)).issuer).toContain("Postern of example.test")
    const checked = await gateway.postern("check", "--no-dns")
    expect(checked.code).toBe(1)
    expect(Buffer.from(checked.stdout).toString()).toMatch(/^wrong +tls\.acme: no certificate of https.*ECONNREFUSED/m)
    const redirect = await fetch(`http://127.0.0.1:${http}/a?b`, { redirect: "manual" })
    expect([redirect.status, redirect.headers.get("location")]).toEqual([
      308,
      `https://example.test:${gateway.port + HTTPS}/a?b`,
    ])
  })

  test("the CA is back: every listener shows its certificate without a restart, and connections stay open", async () => {
    const { gateway, pebble } = site
    await pebble.start()
    const answer = JSON.parse(await gateway.must("tls", "renew", "--json"))
    expect(answer).toMatchObject({ asked: true, outcome: "issued", failures: 0, names: NAMES })
    // Those of both processes that serve IMAP.
    await eventually("IMAP shows it", async () => {
      const seen = await Promise.all(Array.from({ length: 8 }, () => shown(gateway, IMAPS)))
      return seen.every(({ issuer }) => issuer.includes("Pebble Intermediate"))
    })
    const root = new X509Certificate(await pebble.root())
    for (const offset of [SUBMISSIONS, IMAPS, HTTPS]) {
      const certificate = await shown(gateway, offset)
      expect(NAMES.map((name) => certificate.checkHost(name))).toEqual(NAMES)
      expect(certificate.issuer).toContain("Pebble Intermediate")
    }
    const chain = pemDecode("CERTIFICATE", readFileSync(join(gateway.folder, "tls/server.pem"), "utf8"))
    expect(chain).toHaveLength(2)
    expect(new X509Certificate(chain[1] ?? "").verify(root.publicKey)).toBe(true)
    before.write("a NOOP\r\n")
    expect(String((await once(before, "data"))[0])).toMatch(/^a OK/)
  })

  test("keys are their owner's alone, and in no log; what happened is counted and shown", async () => {
    const { gateway } = site
    const files = ["secrets/acme/account.pem", "secrets/acme/issued.json", "tls/server.key"]
    expect(files.map((name) => statSync(join(gateway.folder, name)).mode & 0o777)).toEqual([0o600, 0o600, 0o600])
    expect(gateway.log).not.toContain("PRIVATE")
    expect(gateway.log).not.toContain("tls.not-reloaded")
    const metrics = await (await fetch(`http://127.0.0.1:${gateway.port + ADMIN}/metrics`)).text()
    expect(metrics).toContain('postern_acme_total{outcome="issued"} 1')
    expect(metrics).toContain('postern_acme_total{outcome="failed"} 1')
    expect(await gateway.must("tls", "show")).toMatch(/^certificate until .*, of https.*\nissued .*, renewed from /)
    expect(await gateway.must("status")).toMatch(/^tls +certificate until/m)
    const checked = Buffer.from((await gateway.postern("check", "--no-dns")).stdout).toString()
    expect(checked).toMatch(/^ok +tls\.acme: issued/m)
  })

  test("a challenge that fails leaves the certificate, and the CA's reason is told", async () => {
    const { gateway, dns } = site
    const { serialNumber } = await shown(gateway, HTTPS)
    dns.zone = { ...HERE, "mail.example.test A": ["127.0.0.2"] }
    const { code, stdout } = await gateway.postern("tls", "renew")
    expect(code).toBe(1)
    expect(Buffer.from(stdout).toString()).toMatch(
      /failed .*: acme: authorization of mail\.example\.test: urn:ietf:params:acme:error:connection: .*; asked again from /,
    )
    expect((await shown(gateway, HTTPS)).serialNumber).toBe(serialNumber)
    await gateway.logged(/"acme\.failed".*\}\n/)
    const line = gateway.log.split("\n").findLast((one) => one.includes("acme.failed") && one.endsWith("}")) ?? ""
    expect(JSON.parse(line)).toMatchObject({ problem: "urn:ietf:params:acme:error:connection" })
    dns.zone = HERE
  })

  test("a start does not ask again, and ends what a crash left half done", async () => {
    const { gateway } = site
    const { serialNumber } = await shown(gateway, HTTPS)
    before.destroy()
    await gateway.stop()
    writeFileSync(join(gateway.folder, "tls/server.key"), (await testCertificate()).key)
    await gateway.serve()
    expect((await shown(gateway, HTTPS)).serialNumber).toBe(serialNumber)
    await gateway.logged(/(?:"acme\.asking".*\n[\s\S]*){3}/)
    expect(gateway.log.split("acme.asking").length - 1).toBe(3)
  })
})

test.skipIf(!peer("pebble"))(
  "without any certificate file one is made to start with; the CA's follows, and is renewed in time",
  async () => {
    await using site = await makeSite({ validitySeconds: 6 })
    const { gateway, pebble } = site
    await pebble.start()
    for (const name of ["server.pem", "server.key"]) rmSync(join(gateway.folder, "tls", name))
    await gateway.serve()
    const ofCa = async () => {
      const certificate = await shown(gateway, HTTPS)
      return certificate.issuer.includes("Pebble") ? certificate : null
    }
    const first = await eventually("the first certificate", ofCa)
    const second = await eventually("the second certificate", async () => {
      const certificate = await ofCa()
      return certificate?.serialNumber === first.serialNumber ? null : certificate
    })
    expect(second.publicKey.equals(first.publicKey)).toBe(false)
    expect(await gateway.stop()).toBe(0)
  },
)

test("what the CA said about waiting holds behind a restart, and for an administrator", async () => {
  await using site = await makeSite({})
  const { gateway, pebble } = site
  const [at, retryAt] = [new Date().toISOString(), new Date(Date.now() + 7200e3).toISOString()]
  const said = { reason: "acme: newOrder: urn:x: slowly", problem: "urn:x", retryAt, nextAt: retryAt, request: null }
  mkdirSync(join(gateway.folder, "data/acme"))
  writeFileSync(
    join(gateway.folder, "data/acme/status.json"),
    JSON.stringify({ directory: pebble.directory, names: NAMES, at, outcome: "failed", failures: 1, ...said }),
  )
  await gateway.serve()
  const { code, stdout } = await gateway.postern("tls", "renew")
  expect(code).toBe(1)
  expect(Buffer.from(stdout).toString()).toContain(`not asked: the CA wants no request before ${retryAt}; failed ${at}`)
  expect(gateway.log).not.toContain("acme.asking")
})

test("where nothing can be written the CA is not asked, and the reason is told", async () => {
  await using site = await makeSite({})
  const { gateway } = site
  await gateway.serve({ args: ["--role", "http"] })
  await eventually("the first attempt", async () => gateway.log.includes("acme.failed"))
  renameSync(join(gateway.folder, "tls"), join(gateway.folder, "tls-away"))
  const { code, stdout } = await gateway.postern("tls", "renew", "--json")
  expect(code).toBe(1)
  expect(JSON.parse(Buffer.from(stdout).toString())).toMatchObject({
    asked: true,
    outcome: "failed",
    failures: 2,
    reason: expect.stringContaining("ENOENT"),
  })
})

test("who renews without a CA, or without a server, is told", async () => {
  await using gateway = await Instance.create()
  const { code, stderr } = await gateway.postern("tls", "renew")
  expect([code, stderr]).toEqual([1, expect.stringMatching(/tls\.acme is missing: there is no CA to ask/)])
})
