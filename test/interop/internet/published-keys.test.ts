import { once } from "node:events"
import { readFileSync } from "node:fs"
import { mkdir, writeFile } from "node:fs/promises"
import { createServer } from "node:https"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type TestCertificate, testCertificate } from "../../harness/certificate.ts"
import { Instance } from "../../harness/instance.ts"
import { Internet, internetPossible } from "../../harness/internet.ts"
import { type Finished, peer, run } from "../../harness/peers.ts"
import { startValidatingDns, VALIDATING_DNS } from "../../harness/validating-dns.ts"

/** Debian's package gnupg depends on all of them. */
const WKS_CLIENT = "/usr/lib/gnupg/gpg-wks-client"
/** Where Debian's GnuTLS looks, which dirmngr speaks TLS with. */
const AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
const possible = internetPossible && [...VALIDATING_DNS, "openssl", "gpg", "dirmngr", WKS_CLIENT].every(peer)

const ALICE = "alice@example.test"
const CAROL = "carol@direct.test"
const PEOPLE = [
  [ALICE, "openpgp"],
  [CAROL, "openpgp"],
  ["bob@example.test", "smime"],
] as const
const GATEWAY = "11.0.0.1"
/** Somebody with a directory that GnuPG made, on a web server of their own. */
const DORA = "Dora.Doe@gnupg.test"
const DIRECTORY = { host: "openpgpkey.gnupg.test", address: "11.0.4.1" } as const
/** Of "dora.doe", as GnuPG names the file. */
const HASH = "e7wxcbfetjseopuruic39t1dohdamaai"
const PROGRAM = join(import.meta.dirname, "../../../bin/postern.js")
/** Who may be asked by name; direct.test has no sub-domain for keys. */
const HOSTS = [
  "mail.example.test",
  "example.test",
  "openpgpkey.example.test",
  "mail-profile.example.test",
  "direct.test",
]

const stack = new AsyncDisposableStack()
let internet: Internet
let instance: Instance

beforeAll(async () => {
  if (!possible) return
  internet = stack.use(await Internet.open())
  const certificate = await testCertificate(...HOSTS, DIRECTORY.host)
  instance = stack.use(await Instance.create("--domain", "direct.test"))
  await Promise.all([
    writeFile(`${instance.folder}/tls/server.pem`, certificate.certificate),
    writeFile(`${instance.folder}/tls/server.key`, certificate.key),
    writeFile(internet.folder.file("authority.pem"), certificate.certificate),
  ])
  instance.configure("[listen]", `hostname = "mail.example.test"\n[dns]\nservers = ["127.0.0.1"]\n[listen]`)
  instance.configure('sources = ["pinned"]', 'sources = ["wkd", "profile"]')
  instance.configure(`https = "127.0.0.1:${instance.port + 5}"`, `https = "${GATEWAY}:443"`)
  for (const [address, format] of PEOPLE)
    await instance.must("account", "add", address, "--format", format, "--name", "Somebody")
  const records = HOSTS.filter((host) => host.endsWith("example.test")).map((host) => `${host}. A ${GATEWAY}`)
  const zones = [
    { name: ".", state: "unsigned", records: ["test NS ns.test.", "ns.test. A 127.0.0.1"] },
    { name: "test", state: "unsigned", records: [] },
    { name: "example.test", state: "unsigned", records },
    { name: "direct.test", state: "unsigned", records: [`@ A ${GATEWAY}`] },
    { name: "gnupg.test", state: "unsigned", records: [`openpgpkey A ${DIRECTORY.address}`] },
  ] as const
  stack.use(await startValidatingDns(zones, { port: 53, within: internet.inside }))
  instance.within = internet.inside
  await instance.serve()
  // GnuPG takes the system's authorities; the mount is this network's own.
  const mounted = await inside("mount", "--bind", internet.folder.file("authority.pem"), AUTHORITIES)
  if (mounted.code !== 0) throw new Error(mounted.stderr)
  await serveDirectory(certificate)
})
afterAll(() => stack.disposeAsync())

/** Runs a program in this network, with GnuPG's home in its folder: the dirmngr that it leaves behind ends with the network. */
function inside(command: string, ...args: readonly string[]): Promise<Finished> {
  const [enter = "", ...rest] = internet.deepInside
  return run(enter, [...rest, command, ...args], {
    env: { GNUPGHOME: internet.folder.path, NODE_EXTRA_CA_CERTS: internet.folder.file("authority.pem") },
  })
}

/** Files as they lie there, as any web server would. */
async function serveDirectory({ key, certificate }: TestCertificate): Promise<void> {
  const folder = internet.folder.file("directory")
  const server = createServer({ key, cert: certificate }, (request, response) => {
    const path = (request.url ?? "").replace(/^\/\.well-known\/openpgpkey\//, "").replace(/\?.*$/, "")
    try {
      response.end(readFileSync(join(folder, path)))
    } catch {
      response.writeHead(404).end()
    }
  })
  server.listen(await internet.listen(DIRECTORY.address, 443))
  await once(server, "listening")
  stack.defer(() => {
    server.closeAllConnections()
    server.close()
  })
}

const gpg = (...args: readonly string[]): Promise<Finished> =>
  inside("gpg", "--batch", "--auto-key-locate", "clear,nodefault,wkd", ...args)

describe.skipIf(!possible)("GnuPG finds our people's keys", () => {
  test.each([
    ["advanced", ALICE],
    ["direct", CAROL],
  ])("by the %s method, and encrypts to them", async (_method, address) => {
    const found = await gpg("--locate-external-keys", address)
    expect(found).toMatchObject({ code: 0 })
    expect(Buffer.from(found.stdout).toString()).toContain(`Somebody <${address}>`)
    const sealed = await gpg(
      "--trust-model",
      "always",
      "--armor",
      "--recipient",
      address,
      "--output",
      "-",
      "--encrypt",
      internet.folder.file("authority.pem"),
    )
    expect([sealed.code, Buffer.from(sealed.stdout).toString()]).toEqual([
      0,
      expect.stringContaining("BEGIN PGP MESSAGE"),
    ])
  })

  test.each(["bob@example.test", "nobody@example.test", "alice+tag@example.test"])(
    "and none for %s",
    async (address) => {
      const { code, stderr } = await gpg("--locate-external-keys", address)
      expect([code, stderr]).toEqual([2, expect.stringContaining("No data")])
    },
  )

  test("its own checker finds the key, and a policy that names no place to send keys to", async () => {
    expect(await inside(WKS_CLIENT, "--verbose", "--check", ALICE)).toMatchObject({
      code: 0,
      stderr: expect.stringContaining(`addr-spec: ${ALICE}`),
    })
    expect(await inside(WKS_CLIENT, "--verbose", "--supported", ALICE)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("does NOT support WKS"),
    })
  })
})

describe.skipIf(!possible)("we find the keys of a directory that GnuPG made", () => {
  async function lookup(address: string): Promise<Record<string, unknown>> {
    const { stdout, stderr } = await inside(
      process.execPath,
      PROGRAM,
      "profile",
      "lookup",
      address,
      "--json",
      "--config",
      instance.configuration,
    )
    expect(stderr).toBe("")
    return JSON.parse(Buffer.from(stdout).toString()) as Record<string, unknown>
  }

  test("by DNS, on port 443, by its own hash; and nobody else's", async () => {
    await mkdir(internet.folder.file("directory/gnupg.test/hu"), { recursive: true })
    const made = await gpg(
      "--passphrase",
      "",
      "--quick-generate-key",
      `Dora <${DORA}>`,
      "future-default",
      "default",
      "never",
    )
    expect(made).toMatchObject({ code: 0 })
    const listed = Buffer.from((await gpg("--with-colons", "--list-keys", DORA)).stdout).toString()
    const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(listed)?.[1] ?? ""
    const installed = await inside(
      WKS_CLIENT,
      "-C",
      internet.folder.file("directory"),
      "--install-key",
      fingerprint,
      DORA,
    )
    expect(installed).toMatchObject({ code: 0 })
    const { keys, rejected, use } = await lookup(DORA)
    const place = `https://${DIRECTORY.host}/.well-known/openpgpkey/gnupg.test/hu/${HASH}?l=Dora.Doe`
    expect([use, keys, rejected]).toEqual([
      "wkd",
      [expect.objectContaining({ fingerprint: fingerprint.toLowerCase(), trust: "domain", place })],
      [],
    ])
    expect(await lookup("nobody@gnupg.test")).toMatchObject({ use: null, keys: [], rejected: [] })
  })
})
