import { readdirSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { Dovecot, dovecotPossible } from "../harness/dovecot.ts"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { ImapSession, openWithOpenssl } from "../harness/reading.ts"
import { TokenEndpoint } from "../harness/token-endpoint.ts"
import { sendMail, WireClient } from "../harness/wire.ts"

type Device = DeviceSettings & { readonly folder: string }

const ALICE = "alice@example.test"
/** What must stand in no output and no log. */
const SECRETS = ["her own word", "refresh-0", "refresh-1", "access-1", "client word"]

let folder: TemporaryFolder
let dovecot: Dovecot
let endpoint: TokenEndpoint
let gateway: Instance
let laptop: Device
let waiting: { readonly id: string; readonly lastStatus: object }
let printed = ""

describe.skipIf(!dovecotPossible)("a store with a credential for each account", () => {
  beforeAll(async () => {
    folder = await temporaryFolder()
    endpoint = await TokenEndpoint.start()
    endpoint.user = "alice.cloud"
    endpoint.rotates = true
    for (const [name, text] of [
      ["users", "alice.store:{PLAIN}her own word\n"],
      ["password", "her own word\n"],
      ["refresh", "refresh-0\n"],
      ["client", "client word\n"],
      [
        "oauth",
        `introspection_url = ${endpoint.introspectionUrl}\nintrospection_mode = post\nusername_attribute = username\n` +
          "active_attribute = active\nactive_value = true\n",
      ],
    ] as const)
      writeFileSync(folder.file(name), text)
    dovecot = await Dovecot.start(folder.file("dovecot"), folder.file("mail"), {
      more: `auth_mechanisms = plain login xoauth2
passdb {
  driver = passwd-file
  args = ${folder.file("users")}
}
passdb {
  driver = oauth2
  mechanisms = xoauth2
  args = ${folder.file("oauth")}
}
`,
    })
    gateway = await Instance.create()
    await gateway.must("account", "add", ALICE)
    laptop = await gateway.device(ALICE, "laptop")
    gateway.configure(
      'deliver = "embedded:"\nimap = "embedded:"',
      `deliver = "imap:"\nimap = "imap://127.0.0.1:${dovecot.imapPort}"\nauth = "stored"\nconnectionsPerAccount = 2`,
    )
    await gateway.serve()
  })

  afterAll(async () => {
    await gateway?.[Symbol.asyncDispose]()
    await dovecot?.[Symbol.asyncDispose]()
    await endpoint?.[Symbol.asyncDispose]()
    await folder?.[Symbol.asyncDispose]()
  })

  test("without one, mail waits, and a device is told that its password is right", async () => {
    await send("waits", ALICE)
    waiting = await eventually("an attempt was made", async () => {
      const [job] = JSON.parse(await gateway.must("queue", "list", "--json"))
      return job?.lastStatus ? job : null
    })
    expect(waiting.lastStatus).toMatchObject({ status: "4.3.0", diagnostic: expect.stringMatching(/no credential/) })
    expect(await loginOf(laptop)).toMatch(/^a NO \[CONTACTADMIN\] .*your password is right/)
  })

  test("a password that is set while the server runs takes effect at once, for reading and for delivery", async () => {
    await upstream("set", ALICE, "--user", "alice.store", "--password-file", folder.file("password"))
    await gateway.must("queue", "retry", waiting.id)
    expect(await openWithOpenssl(await read(laptop, "waits"), laptop)).not.toBeNull()
    expect(JSON.parse(await upstream("test", ALICE, "--json"))).toMatchObject({
      capabilities: expect.arrayContaining(["IMAP4rev1", "CATENATE"]),
      offered: expect.arrayContaining(["IMAP4rev1", "CONDSTORE"]),
      withheld: expect.arrayContaining(["CATENATE"]),
    })
  })

  test("at its limit of connections an account is told so", async () => {
    using first = await ImapSession.open(laptop)
    using _second = await ImapSession.open(laptop)
    expect(await loginOf(laptop)).toMatch(/^a NO \[LIMIT\]/)
    first[Symbol.dispose]()
    await eventually("a place is free", async () => (await loginOf(laptop)).startsWith("a OK"))
  })

  test("by OAuth: tokens are fetched, rotated and kept; when the owner takes it back, that is said", async () => {
    const oauth = ["--oauth", endpoint.url, "--client-id", "client", "--scope", "mail"]
    const files = ["--client-secret-file", folder.file("client"), "--refresh-token-file", folder.file("refresh")]
    await upstream("set", ALICE, "--user", "alice.cloud", ...oauth, ...files)
    await send("by-oauth", ALICE)
    expect(await openWithOpenssl(await read(laptop, "by-oauth"), laptop)).not.toBeNull()
    const form = { grant_type: "refresh_token", refresh_token: "refresh-0", client_id: "client", scope: "mail" }
    // For the delivery's thread and for the reader's.
    expect(endpoint.requests).toEqual([{ ...form, client_secret: "client word" }])
    expect(await upstream("show", ALICE)).toMatch(
      /oauth of alice\.cloud.*\n.*client client\nscope: mail\nstate: access token until/,
    )
    await upstream("set", ALICE, "--user", "alice.cloud", ...oauth, ...files)
    expect(await loginOf(laptop)).toMatch(/^a NO \[CONTACTADMIN\] the owner of this mailbox/)
    await refuses(["test", ALICE], 1, /^postern: token endpoint: invalid_grant: the owner must consent again/)
    expect(JSON.parse(await upstream("list", "--json"))).toMatchObject([
      { address: ALICE, kind: "oauth", oauth: { state: expect.stringMatching(/^refused at .*: invalid_grant$/) } },
    ])
  })

  test("removed is gone, and what is wrong is said", async () => {
    const secrets = join(gateway.folder, "secrets", "upstream")
    expect([statSync(secrets).mode & 0o777, readdirSync(secrets).length]).toEqual([0o700, 1])
    await upstream("remove", ALICE)
    expect(readdirSync(secrets)).toEqual([])
    const elsewhere = [
      "--oauth",
      "http://x.example/",
      "--client-id",
      "c",
      "--refresh-token-file",
      folder.file("refresh"),
    ]
    await Promise.all([
      refuses(["show", ALICE], 1, /alice@example.test: there is none/),
      check(/^wrong +upstream of alice@example\.test: no credential: postern upstream set alice/m),
      refuses(["set", ALICE, "--user", "b"], 2, /give --password-file or --oauth/),
      refuses(["set", ALICE, "--user", "b", ...elsewhere], 2, /must be https/),
    ])
  })

  test("no secret stands in an output or in the log, and the refusals do, with their account", async () => {
    const told = printed + gateway.log
    for (const secret of SECRETS) {
      expect(told).not.toContain(secret)
      expect(told).not.toContain(Buffer.from(`\0alice.store\0${secret}`).toString("base64"))
    }
    await gateway.logged(
      /"level":50.*"imap\.upstream\.unavailable".*"account":"alice@example\.test".*"UPSTREAM_REFUSED"/,
    )
    await gateway.logged(/"imap\.upstream\.token","account":"alice@example\.test","rotated":true/)
    await gateway.stop()
  })
})

async function upstream(...args: readonly string[]): Promise<string> {
  const stdout = await gateway.must("upstream", ...args)
  printed += stdout
  return stdout
}

async function refuses(args: readonly string[], code: number, message: RegExp): Promise<void> {
  const done = await gateway.postern("upstream", ...args)
  printed += Buffer.from(done.stdout).toString() + done.stderr
  expect([args, done.code, done.stderr]).toEqual([args, code, expect.stringMatching(message)])
}

async function check(finding: RegExp): Promise<void> {
  const { stdout } = await gateway.postern("check", "--no-dns")
  expect(Buffer.from(stdout).toString()).toMatch(finding)
}

function send(id: string, to: string): Promise<unknown> {
  const text = `Message-ID: <${id}@elsewhere.test>\r\nSubject: ${id}\r\n\r\nsecret\r\n`
  return sendMail(gateway.port, "carol@elsewhere.test", [to], Buffer.from(text))
}

/** The tagged line. */
async function loginOf(device: Device): Promise<string> {
  using session = await WireClient.connect(device.imap.port, { tls: true })
  await session.until(/^\* OK .*\r\n/)
  await session.write(`a LOGIN ${device.username} ${device.password}\r\n`)
  const answer = await session.until(/^a .*\r\n/m)
  return answer.slice(answer.search(/^a /m))
}

/** The message with this name, once it is there, as `device` sees it. */
async function read(device: Device, name: string): Promise<Uint8Array> {
  using session = await ImapSession.open(device)
  const uid = await eventually(`${name} is in the INBOX of ${device.address}`, async () => {
    await session.must("SELECT INBOX")
    const answer = await session.must(`UID SEARCH HEADER Message-ID "<${name}@elsewhere.test>"`)
    return Number(/^\* SEARCH (\d+)\r\n/m.exec(answer)?.[1] ?? 0)
  })
  return await session.fetch(uid, "BODY.PEEK[]")
}
