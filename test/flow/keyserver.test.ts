import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { DnsServer } from "../harness/dns-server.ts"
import { Hagrid } from "../harness/hagrid.ts"
import { eventually, Instance } from "../harness/instance.ts"
import { mustRun } from "../harness/peers.ts"
import { WebHosts } from "../harness/web-hosts.ts"
import { sendMail } from "../harness/wire.ts"

const HOST = "keys.example"
const ALICE = "alice@example.test"
const stack = new AsyncDisposableStack()
let gateway: Instance
let keyserver: Hagrid

beforeAll(async () => {
  const web = stack.use(await WebHosts.open([HOST]))
  keyserver = new Hagrid(web, HOST)
  const dns = stack.use(
    await DnsServer.start({
      [`${HOST} A`]: ["127.0.0.1"],
      [`${HOST} TXT`]: ["v=spf1 ip4:127.0.0.1 -all"],
      [`_dmarc.${HOST} TXT`]: ["v=DMARC1; p=reject"],
    }),
  )
  gateway = stack.use(await Instance.create())
  gateway.configure("[policy]", `[dns]\nservers = ["${dns.address}"]\n\n[policy]\ntrusted = []`)
  writeFileSync(join(gateway.folder, "web.pem"), web.certificate.certificate)
  await gateway.must("account", "add", ALICE, "--format", "openpgp")
  await gateway.serve({ env: { NODE_EXTRA_CA_CERTS: join(gateway.folder, "web.pem") } })
})
afterAll(() => stack.disposeAsync())

const status = (...args: readonly string[]) => gateway.must("profile", "publish", ALICE, "--status", ...args)

/** In a process of its own, which believes the keyserver's certificate. */
async function publish(): Promise<string> {
  const args = ["--keyserver", `vks://${keyserver.host}`]
  const program = [
    join(process.cwd(), "bin/postern.js"),
    "--config",
    gateway.configuration,
    "profile",
    "publish",
    ALICE,
  ]
  const env = { NODE_EXTRA_CA_CERTS: join(gateway.folder, "web.pem") }
  return Buffer.from(await mustRun(process.execPath, [...program, ...args], { env })).toString()
}

const arrive = (mail: string) => sendMail(gateway.port, `noreply@${HOST}`, [ALICE], Buffer.from(mail))
const stored = () => gateway.log.match(/"event":"mail.attempt".*"outcome":"done"/g)?.length ?? 0

test("a keyserver's mail is answered by the gateway: for the key that was brought there, once, and it arrives all the same", async () => {
  expect(await publish()).toContain("which this gateway does when it arrives")
  const genuine = keyserver.sent[0]?.mail ?? ""
  expect(await status()).toContain("was asked; its mail has not come yet")

  // Anybody can bring a key of their own with her address, and have the keyserver write to her.
  expect(await arrive(keyserver.write(ALICE, "F".repeat(40)))).toMatch(/^250 /)
  await eventually("the mail about another key", async () => gateway.log.includes("keyserver.mail-left"))
  expect([keyserver.followed, keyserver.publishes(ALICE)]).toEqual([[], false])

  for (let time = 0; time < 2; time += 1) expect(await arrive(genuine)).toMatch(/^250 /)
  await eventually("three messages", async () => stored() === 3)
  await eventually("what came of it", async () => gateway.log.includes("keyserver.published"))
  expect([keyserver.followed.length, keyserver.publishes(ALICE)]).toEqual([1, true])
  const told = JSON.parse(await status("--json"))
  expect(told).toMatchObject({
    address: ALICE,
    requests: [{ keyserver: `vks://${keyserver.host}`, state: "published", because: "" }],
  })
  expect(await publish()).toContain("gives it to who asks for the address")
})
