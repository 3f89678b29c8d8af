import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { readCertificate } from "../../src/crypto/openpgp/certificate.ts"
import { DnsServer } from "../harness/dns-server.ts"
import { Instance } from "../harness/instance.ts"
import { run } from "../harness/peers.ts"
import { WebHosts } from "../harness/web-hosts.ts"

const HOST = "keys.example"
const stack = new AsyncDisposableStack()
let gateway: Instance
let web: WebHosts

beforeAll(async () => {
  web = stack.use(await WebHosts.open([HOST]))
  const dns = stack.use(await DnsServer.start({ [`${HOST} A`]: ["127.0.0.1"] }))
  gateway = stack.use(await Instance.create())
  gateway.configure('next = "mx"', `next = "mx"\n[dns]\nservers = ["${dns.address}"]`)
  writeFileSync(join(gateway.folder, "web.pem"), web.certificate.certificate)
  await gateway.must("account", "add", "alice@example.test", "--format", "openpgp")
  await gateway.must("account", "add", "bob@example.test", "--format", "smime")
})
afterAll(() => stack.disposeAsync())

const publish = (...args: readonly string[]) =>
  run(
    process.execPath,
    [join(process.cwd(), "bin/postern.js"), "--config", gateway.configuration, "profile", "publish", ...args],
    { env: { NODE_EXTRA_CA_CERTS: join(gateway.folder, "web.pem") } },
  )

test("an account's OpenPGP certificate is brought to the keyserver that is named", async () => {
  const posted: { readonly keytext?: string; readonly addresses?: readonly string[] }[] = []
  web.answer = async (request, response) => {
    const pieces: Buffer[] = []
    for await (const piece of request) pieces.push(piece as Buffer)
    const asked = JSON.parse(Buffer.concat(pieces).toString()) as (typeof posted)[number]
    posted.push(asked)
    const fingerprint = readCertificate(Buffer.from(posted[0]?.keytext ?? "")).fingerprint
    const status = { "alice@example.test": asked.keytext === undefined ? "pending" : "unpublished" }
    response.end(JSON.stringify({ key_fpr: Buffer.from(fingerprint).toString("hex"), token: "t", status }))
  }
  const { code, stdout, stderr } = await publish("alice@example.test", "--keyserver", `vks://${HOST}:${web.port}`)
  expect([stderr, code]).toEqual(["", 0])
  expect(stdout.toString()).toMatch(/^vks:\/\/keys\.example:\d+: has this certificate, and writes to the address/)
  expect(readCertificate(Buffer.from(posted[0]?.keytext ?? "")).userIds).toEqual([
    expect.stringContaining("alice@example.test"),
  ])
  expect(posted[1]).toEqual({ token: "t", addresses: ["alice@example.test"] })
})

const rows: [name: string, args: readonly string[], text: RegExp][] = [
  ["an account without such a key", ["bob@example.test", "--keyserver", `vks://${HOST}`], /has no OpenPGP key/],
  ["no keyserver", ["alice@example.test"], /name a keyserver/],
  ["one that does not verify", ["alice@example.test", "--keyserver", `hkps://${HOST}`], /name a keyserver/],
  ["what is no keyserver", ["alice@example.test", "--keyserver", `https://${HOST}`], /name a keyserver/],
]
for (const [name, args, text] of rows)
  test(`is refused with a word: ${name}`, async () => {
    const { code, stderr } = await publish(...args)
    expect([code, stderr]).toEqual([2, expect.stringMatching(text)])
  })
