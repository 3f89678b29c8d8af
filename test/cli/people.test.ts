import { chownSync, existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs"
import { createServer } from "node:https"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { localPartHash } from "../../src/identity/fingerprint.ts"
import { verifyProfile } from "../../src/identity/profile.ts"
import { departureFacts } from "../../src/profiles/departure-facts.ts"
import { KeptDepartures } from "../../src/store/departures.ts"
import { KeptKeyMemory } from "../../src/store/key-memory.ts"
import { Presence } from "../../src/store/presence.ts"
import { openEmbeddedState } from "../../src/store/state.ts"
import { freeRange } from "../harness/ports.ts"
import { UNKNOWN } from "../profiles/unknown.ts"
import { makeInstance, mustPostern, ownProcess, postern, type TestInstance } from "./postern.ts"

/** Members of a `--json` answer. */
type Json = Readonly<Record<string, unknown>>

const PINNED = "friend@localhost"
let instance: TestInstance
let port: number
beforeAll(async () => {
  port = await freeRange(7)
  instance = await makeInstance("--port", String(port))
})
afterAll(() => instance[Symbol.dispose]())

const here = (...args: string[]) => mustPostern([...args, ...instance.config])
const json = async (...args: string[]): Promise<unknown> => JSON.parse(await here(...args, "--json"))

describe("accounts and devices on one machine", () => {
  test("init makes the folder as the contract says, and never twice", async () => {
    for (const name of ["postern.toml", "tls/ca.pem", "tls/server.pem", "tls/server.key"])
      expect(existsSync(instance.file(name)), name).toBe(true)
    expect(statSync(instance.file("secrets")).mode & 0o777).toBe(0o700)
    expect(statSync(instance.file("keyring")).mode & 0o777).toBe(0o700)
    const toml = readFileSync(instance.file("postern.toml"), "utf8")
    expect(toml).toContain(`admin = "127.0.0.1:${port + 6}"`)
    const again = await postern(["init", instance.folder, "--domain", "example.test"])
    expect([again.code, again.stderr]).toEqual([1, expect.stringMatching(/^postern: .*postern.toml: is there already/)])
  })

  test("account add publishes a profile and leaves the secrets in the keyring, unsealed with a warning", async () => {
    const added = await postern([
      "account",
      "add",
      "Alice@Example.test",
      "--name",
      "Alice Example",
      "--json",
      ...instance.config,
    ])
    expect([added.code, added.stderr]).toEqual([
      0,
      expect.stringMatching(/^postern: warning: keyring .* is not sealed/),
    ])
    expect(statSync(instance.file("keyring/alice@example.test.json")).mode & 0o777).toBe(0o600)
    const shown = (await json("profile", "show", "alice@example.test")) as Json
    expect(shown["certificates"]).toEqual({ smime: expect.stringMatching(/^-----BEGIN CERTIFICATE-----/) })
    const profile = verifyProfile(String(shown["profile"]))
    expect(profile).toMatchObject({
      address: "alice@example.test",
      name: "Alice Example",
      connection: [{ encrypt: "S/MIME" }],
    })
    expect(profile.udf).toBe(JSON.parse(Buffer.from(added.stdout).toString()).fingerprint)
    expect(await json("account", "list")).toMatchObject([
      { address: "alice@example.test", formats: ["smime"], devices: 0 },
    ])
  })

  test("account add makes a Mesh profile, too, and this gateway a device of it; shares of its seed are printed", async () => {
    const { mesh } = (await json("account", "show", "alice@example.test")) as { mesh: Json }
    expect(mesh).toMatchObject({ udf: expect.stringMatching(/^MBQ/), service: expect.stringMatching(/^MBQ/) })
    expect(statSync(instance.file("secrets/mesh/host.json")).mode & 0o777).toBe(0o600)
    const recovery = (...args: string[]) => json("account", "recovery", "alice@example.test", ...args) as Promise<Json>
    const { shares, ...said } = await recovery("--shares", "5", "--threshold", "3")
    expect(said).toEqual({ address: "alice@example.test", mesh: mesh["udf"], threshold: 3 })
    expect(new Set(shares as string[]).size).toBe(5)
    await expect(recovery("--shares", "2", "--threshold", "3")).rejects.toThrow(
      /threshold is 1 to 15, shares as many as that to 16/,
    )
    expect(await here("account", "mesh", "alice@example.test")).toContain(`${mesh["udf"]} in the Mesh`)
  })

  test("the same account twice, another domain, an unknown format", async () => {
    const rows: [args: string[], code: number, message: RegExp][] = [
      [["account", "add", "ALICE@example.test"], 1, /^postern: account alice@example.test: exists already/],
      [["account", "add", "alice@other.test"], 1, /^postern: account alice@other.test: its domain is not/],
      [["account", "add", "carol@example.test", "--format", "pgp"], 2, /pgp is none of smime, openpgp/],
      [["account", "add", "nobody"], 1, /^postern: address: no @/],
      [["account", "show", "nobody@example.test"], 1, /^postern: account nobody@example.test: unknown/],
      [["device", "add", "nobody@example.test", "laptop"], 1, /^postern: account nobody@example.test: unknown/],
      [["device", "add", "alice@example.test", "../x"], 2, /a name is 1 to 64/],
      [["account", "recovery", "alice@example.test", "--offline", "x"], 2, /unknown option '--offline'/],
      [["accept", "/nowhere"], 1, /^postern: \/nowhere: cannot read this file: no such file or directory\n/],
      [["accept", "/"], 1, /^postern: \/: cannot read this file: illegal operation on a directory\n/],
      [["certificate", "add", "dave@b.test", instance.file("postern.toml")], 1, /no certificate to encrypt to: /],
      [["device", "revoke", "alice@example.test", "fridge"], 1, /there is no such live device/],
    ]
    for (const [args, code, message] of rows) {
      const done = await postern([...args, ...instance.config])
      expect([args, done.code, done.stderr]).toEqual([args, code, expect.stringMatching(message)])
      expect(done.stdout.length).toBe(0)
    }
  })

  test("device add writes its files for their owner only, with the addresses of this instance", async () => {
    const out = instance.file("devices")
    const added = (await json("device", "add", "alice@example.test", "laptop", "--out", out)) as Json
    expect(added["files"]).toEqual(
      ["laptop.json", "laptop.p12", "laptop-sign.p12", "root.pem"].map((name) => `${out}/${name}`),
    )
    for (const file of added["files"] as string[]) expect(statSync(file).mode & 0o777, file).toBe(0o600)
    const settings = JSON.parse(readFileSync(`${out}/laptop.json`, "utf8"))
    expect(settings).toMatchObject({
      address: "alice@example.test",
      device: "laptop",
      username: "alice@example.test",
      password: expect.stringMatching(/^[A-Za-z0-9]{24}$/),
      pkcs12Password: expect.stringMatching(/^[A-Za-z0-9]{24}$/),
      imap: { host: "localhost", port: port + 4, security: "tls" },
      smtp: { host: "localhost", port: port + 2, security: "tls" },
      files: { pkcs12: "laptop.p12", root: "root.pem" },
    })
    const twice = await postern(["device", "add", "alice@example.test", "laptop", "--out", out, ...instance.config])
    expect([twice.code, twice.stderr]).toEqual([1, expect.stringContaining("exists already")])
    expect(JSON.parse(readFileSync(`${out}/laptop.json`, "utf8"))).toEqual(settings)
  })

  test("where its files cannot be written no device is made, and nothing renewed", async () => {
    const file = instance.file("postern.toml")
    const rows: [args: string[], code: number, message: RegExp][] = [
      [["device", "add", "alice@example.test", "tablet", "--out", file], 1, /^postern: EEXIST: /],
      [["device", "renew", "alice@example.test", "laptop", "--out", `${file}/below`], 1, /^postern: ENOTDIR: /],
      [["gateway-key", "add", "alice@example.test", "--request", `${file}/request`], 1, /^postern: (ENOENT|ENOTDIR): /],
      [["stand-in", "make", "--out", `${file}/authority.pem`], 1, /^postern: (ENOENT|ENOTDIR): /],
      [["stand-in", "make", "--out", instance.folder], 2, /: is a folder/],
    ]
    const before = await json("device", "list", "alice@example.test")
    for (const [args, code, message] of rows) {
      const done = await postern([...args, ...instance.config])
      expect([args, done.code, done.stderr]).toEqual([args, code, expect.stringMatching(message)])
    }
    expect(await json("device", "list", "alice@example.test")).toEqual(before)
    expect(await json("gateway-key", "list")).toEqual([])
    expect(await json("stand-in", "show")).toEqual([])
  })

  test("a revoked device's name can be given again", async () => {
    await here("device", "add", "alice@example.test", "phone", "--out", instance.file("devices"), "--read-only")
    await here("device", "revoke", "alice@example.test", "phone")
    const devices = await json("device", "list", "alice@example.test")
    expect(devices).toMatchObject([
      { name: "laptop", revokedAt: null },
      { name: "phone", readOnly: true, revokedAt: expect.any(String) },
    ])
    const out = instance.file("devices")
    await here("device", "add", "alice@example.test", "phone", "--out", out, "--login-certificate")
    expect(JSON.parse(readFileSync(`${out}/phone.json`, "utf8")).files.login).toBe("phone-login.p12")
    expect(statSync(`${out}/phone-login.p12`).mode & 0o777).toBe(0o600)
    expect(await json("device", "list", "alice@example.test")).toMatchObject([
      {},
      {},
      { name: "phone", revokedAt: null, loginUntil: expect.any(String) },
    ])
  })

  test("revoke needs no keyring, and another device can be made once it is back", async () => {
    renameSync(instance.file("keyring"), instance.file("elsewhere"))
    await here("device", "revoke", "alice@example.test", "phone")
    expect(await json("device", "list", "alice@example.test")).toMatchObject([
      {},
      {},
      { revokedAt: expect.any(String) },
    ])
    const failed = await postern(["device", "add", "alice@example.test", "tablet", ...instance.config])
    expect([failed.code, failed.stderr]).toEqual([1, expect.stringContaining("has nothing of alice@example.test")])
    renameSync(instance.file("elsewhere"), instance.file("keyring"))
    await here("device", "add", "alice@example.test", "phone", "--out", instance.file("devices"))
  })

  test("revoke waits for running processes, and names the one that does not answer", async () => {
    const database = openEmbeddedState(instance.file("data"))
    // Its listener never comes to an end.
    const presence = new Presence(database, { roles: ["imap"], now: () => new Date(), onError: () => undefined })
    presence.onChange(() => new Promise(() => undefined))
    const failed = await postern(["device", "revoke", "alice@example.test", "phone", ...instance.config])
    expect([failed.code, failed.stderr]).toEqual([
      1,
      expect.stringContaining(`not confirmed by process ${process.pid}`),
    ])
    presence[Symbol.dispose]()
    database.close()
  })

  test("aliases", async () => {
    await here("alias", "add", "sales@example.test", "alice@example.test")
    expect(await json("alias", "list")).toEqual([
      { address: "sales@example.test", targets: ["alice@example.test"], forwards: [] },
    ])
    expect(await here("alias", "add", "away@example.test", "alice@example.test", "bob@else.test")).toBe(
      "alias away@example.test: goes to alice@example.test, bob@else.test\nmail to bob@else.test is held while no key of it is known: postern profile lookup bob@else.test\n",
    )
    await here("alias", "add", "open@example.test", "bob@else.test", "--clear")
    expect(await json("alias", "list")).toMatchObject([
      {},
      { targets: ["alice@example.test", "bob@else.test"], forwards: [{ target: "bob@else.test", clear: false }] },
      { targets: ["bob@else.test"], forwards: [{ target: "bob@else.test", clear: true }] },
    ])
    expect(await here("alias", "list")).toMatch(
      /alice@example\.test, bob@else\.test \(elsewhere, encrypted\)\n.*bob@else\.test \(elsewhere, in clear where policy lets it\)/,
    )
    expect(await json("profile", "lookup", "away+tag@example.test")).toMatchObject({
      use: "account here",
      why: "stored here for alice@example.test; forwarded to bob@else.test",
    })
    expect(await json("profile", "lookup", "open@example.test")).toMatchObject({ why: "forwarded to bob@else.test" })
    const looked = async () => {
      const { stdout } = await postern(["check", "--no-dns", "--json", ...instance.config])
      const findings = JSON.parse(Buffer.from(stdout).toString()) as { about: string }[]
      return findings.find(({ about }) => about === "forwarding")
    }
    expect(await looked()).toMatchObject({ state: "ok", text: "2 aliases lead elsewhere" })
    const useless = ["alias", "add", "x@example.test", "alice@example.test", "--clear", ...instance.config]
    expect((await postern(useless)).code).toBe(2)
    for (const alias of ["away", "open"]) await here("alias", "remove", `${alias}@example.test`)
    await here("alias", "remove", "sales@example.test")
    expect(await json("alias", "list")).toEqual([])
    expect((await postern(["alias", "add", "x@example.test", "nobody@example.test", ...instance.config])).code).toBe(1)
  })

  test("a pinned certificate, and what lookup says of it", async () => {
    const { certificates } = (await json("account", "show", "alice@example.test")) as {
      certificates: { smime: string }
    }
    writeFileSync(instance.file("friend.pem"), certificates.smime)
    const pinned = await postern([
      "certificate",
      "add",
      "friend@localhost",
      instance.file("friend.pem"),
      "--json",
      ...instance.config,
    ])
    expect([pinned.code, pinned.stderr]).toEqual([
      0,
      expect.stringContaining("does not name friend@localhost but alice@example.test"),
    ])
    const found = await json("profile", "lookup", "friend@localhost")
    expect(found).toMatchObject({
      answers: [
        { source: "account here", outcome: "nothing" },
        {
          source: "pinned certificate",
          outcome: "found",
          detail: expect.stringMatching(/^smime P-256 [0-9a-f]{16} until /),
        },
      ],
      use: "pinned certificate",
      decision: "encrypt",
      keys: [{ format: "smime", trust: "pinned" }],
    })
    const nobody = await postern(["profile", "lookup", "nobody@localhost", ...instance.config])
    expect([nobody.code, nobody.stdout.toString().replace(/\d+ ms/g, "0 ms")]).toEqual([
      0,
      "account here: nothing, 0 ms\npinned certificate: nothing, 0 ms\nwould be sent in clear; nobody@localhost has no key that may be used\n",
    ])
  })

  test("policy test explains, for a message and for two people, and sends nothing", async () => {
    const message = "From: alice@example.test\r\nTo: friend@localhost, nobody@localhost\r\nSubject: x\r\n\r\nbody\r\n"
    writeFileSync(instance.file("message.eml"), message)
    const explained = await json("policy", "test", instance.file("message.eml"))
    expect(explained).toMatchObject({
      sender: "alice@example.test",
      recipients: [
        { recipient: "friend@localhost", decision: "encrypt", key: { source: "pinned certificate" } },
        {
          recipient: "nobody@localhost",
          decision: "send",
          key: null,
          policy: { encrypt: "prefer" },
          statedBy: { encrypt: null },
        },
      ],
    })
    const between = await postern([
      "policy",
      "test",
      "--from",
      "alice@example.test",
      "--to",
      "nobody@localhost",
      ...instance.config,
    ])
    expect(between.stdout.toString()).toMatch(
      /^nobody@localhost: send, nobody@localhost has no key that may be used\n {4}encrypt = "prefer"\n/,
    )
    expect((await postern(["policy", "test", ...instance.config])).code).toBe(2)
  })

  test("policy preview: what another policy would have done to the last days' mail", async () => {
    const database = openEmbeddedState(instance.file("data"))
    const facts = departureFacts([], UNKNOWN)
    const at = (days: number) => new Date(Date.now() - days * 86_400e3)
    const row = (recipient: string, days: number) => ({
      spoolId: `s${days}`,
      recipient,
      sender: "alice@example.test",
      at: at(days),
      decision: "send",
      facts,
    })
    const rows = Array.from({ length: 2_005 }, (_, index) => row(`p${index}@partner.test`, 1))
    new KeptDepartures(database).add([...rows, row("x@other.test", 2), row("y@other.test", 40)], new Date())
    database.close()
    const other = '\n[[policy.rules]]\nto = ["*@partner.test"]\nencrypt = "require"\notherwise = "refuse"\n'
    writeFileSync(instance.file("other.toml"), `domains = ["example.test"]${other}`)
    expect(await json("policy", "preview", instance.file("other.toml"))).toMatchObject({
      messages: 2_006,
      same: 1,
      changes: [{ was: "send", would: "refuse", messages: 2_005, domains: { "partner.test": 2_005 } }],
    })
    const { stdout } = await postern([
      "policy",
      "preview",
      instance.file("other.toml"),
      "--days",
      "90",
      ...instance.config,
    ])
    expect(stdout.toString()).toBe(
      "the last 90 days: 2007 messages to other domains, 2 as before\n2005 that were sent in clear would have been refused (partner.test 2005)\n",
    )
    expect((await postern(["policy", "preview", instance.file("none.toml"), ...instance.config])).code).toBe(2)
  })

  test("certificates that were added are listed, and removed", async () => {
    const listed = (await json("certificate", "list")) as Json[]
    expect(listed).toEqual([
      {
        address: PINNED,
        format: "smime",
        fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/),
        notAfter: expect.stringMatching(/Z$/),
        addedAt: expect.stringMatching(/Z$/),
      },
    ])
    expect(await here("certificate", "list", PINNED)).toContain(`smime\t${listed[0]?.["fingerprint"]}\tadded `)
    expect(await json("certificate", "list", "nobody@elsewhere.test")).toEqual([])
    const other = await postern(["certificate", "remove", PINNED, "--format", "openpgp", ...instance.config])
    expect([other.code, other.stderr]).toEqual([1, `postern: certificate for ${PINNED}: none was added\n`])
    expect(await here("certificate", "remove", PINNED)).toContain(`postern profile forget ${PINNED}`)
    expect(await json("certificate", "list")).toEqual([])
  })

  test("what was remembered of an address is forgotten when an administrator says so", async () => {
    const database = openEmbeddedState(instance.file("data"))
    const key = { format: "smime", lineage: "old", source: "wkd", trust: "domain", fingerprint: "", expiresAt: null }
    new KeptKeyMemory(database).saw("nobody@localhost", [key], new Date())
    const before = database.changeSequence()
    expect(await json("profile", "lookup", "nobody@localhost")).toMatchObject({
      decision: "hold",
      remembered: [{ lineage: "old" }],
    })
    expect(await json("profile", "forget", "nobody@localhost")).toEqual({ address: "nobody@localhost", forgotten: 1 })
    expect(database.changeSequence()).toBeGreaterThan(before)
    expect(await json("profile", "lookup", "nobody@localhost")).toMatchObject({ decision: "send", remembered: [] })
    database.close()
  })

  test("the published profile is fetched over HTTPS with this instance's own authority", async () => {
    const { profile: text, mailProfile } = (await json("profile", "show", "alice@example.test")) as Json
    expect(mailProfile).toEqual(expect.any(String))
    const leaf = `${localPartHash("alice")}?l=Alice`
    const published = new Map([
      [`/.well-known/mail-profile/${leaf}`, text],
      [`/.well-known/mail-profile/v2/${leaf}`, mailProfile],
    ])
    const tls = {
      key: readFileSync(instance.file("tls/server.key")),
      cert: readFileSync(instance.file("tls/server.pem")),
    }
    const server = createServer(tls, (request, response) => {
      const found = published.get(request.url ?? "")
      response.writeHead(found === undefined ? 404 : 200).end(found)
    })
    await new Promise<void>((resolve) => server.listen(port + 5, "127.0.0.1", resolve))
    const remote = (await json("profile", "show", "Alice@example.test", "--remote")) as Json
    expect(remote).toMatchObject({
      profile: text,
      mailProfile,
      certificates: { smime: expect.stringContaining("BEGIN CERTIFICATE") },
    })
    const none = await postern(["profile", "show", "nobody@example.test", "--remote", ...instance.config])
    expect([none.code, none.stderr]).toEqual([1, "postern: profile nobody@example.test: its server has none\n"])
    await new Promise((resolve) => server.close(resolve))
    const gone = await ownProcess(["profile", "show", "alice@example.test", "--remote", ...instance.config])
    expect([gone.code, gone.stderr]).toEqual([1, expect.stringContaining("ECONNREFUSED")])
  })

  test("check is content, and is not without a postmaster's account", async () => {
    const findings = (await json("check")) as { state: string }[]
    expect(findings.filter((finding) => finding.state === "wrong")).toEqual([])
    using empty = await makeInstance("--port", String(port))
    const wrong = await postern(["check", ...empty.config])
    expect([wrong.code, Buffer.from(wrong.stdout).toString()]).toEqual([
      1,
      expect.stringMatching(/^wrong {2}postmaster@example.test/m),
    ])
  })

  test("tls show is content with a certificate only", async () => {
    using broken = await makeInstance("--port", String(port))
    expect(await mustPostern(["tls", "show", ...broken.config])).toMatch(/^certificate until \d/)
    writeFileSync(broken.file("tls/server.pem"), "nothing\n")
    const { code, stdout } = await postern(["tls", "show", ...broken.config])
    expect([code, Buffer.from(stdout).toString()]).toEqual([
      1,
      `no certificate can be read in ${broken.file("tls/server.pem")}\n`,
    ])
  })

  test("check finds devices whose recryption keys are not there, as after a restore of data/ alone", async () => {
    using restored = await makeInstance("--port", String(port))
    for (const args of [
      ["account", "add", "alice@example.test"],
      ["device", "add", "alice@example.test", "laptop", "--out", restored.file("out")],
      ["device", "add", "alice@example.test", "phone", "--out", restored.file("out")],
      ["device", "revoke", "alice@example.test", "phone"],
    ])
      await mustPostern([...args, ...restored.config])
    const secretsSaid = async () => {
      const { code, stdout } = await postern(["check", "--no-dns", ...restored.config])
      return [
        code,
        Buffer.from(stdout)
          .toString()
          .match(/^wrong {2}.*$/gm),
      ]
    }
    expect(await secretsSaid()).toEqual([0, null])
    rmSync(restored.file("secrets"), { recursive: true })
    expect(await secretsSaid()).toEqual([
      1,
      [
        expect.stringMatching(
          /secrets\/recryption lacks the keys of laptop of alice@example\.test: they can read nothing/,
        ),
      ],
    ])
  })

  test.runIf(process.geteuid?.() === 0)(
    "what root makes for a server that is not root is warned of, and found",
    async () => {
      using other = await makeInstance("--port", String(port))
      for (const name of ["secrets", "data"]) chownSync(other.file(name), 65_534, 65_534)
      chownSync(other.file("secrets/tls-authority.key"), 65_534, 65_534)
      const added = await postern(["account", "add", "alice@example.test", ...other.config])
      expect([added.code, added.stderr]).toEqual([
        0,
        expect.stringMatching(/^postern: warning: this is root, and .* 65534/),
      ])
      const said = await postern(["check", "--no-dns", ...other.config])
      expect([said.code, Buffer.from(said.stdout).toString()]).toEqual([
        1,
        expect.stringMatching(
          /^wrong {2}secrets: .*\/secrets\/mesh and \d+ more is root's, and user 65534 cannot read it/m,
        ),
      ])
    },
  )

  test("check says who is not authenticated, and what other servers will not find in a certificate", async () => {
    using published = await makeInstance("--port", String(port))
    const file = published.file("postern.toml")
    const written = readFileSync(file, "utf8")
    expect(written).toContain("[policy]\n")
    writeFileSync(file, written.replace("[policy]\n", '[policy]\nmtaSts = "enforce"\n'))
    const said = Buffer.from((await postern(["check", "--no-dns", ...published.config])).stdout).toString()
    expect(said).toMatch(/^note {3}policy\.trusted: listen\.mx is on this machine.*127\.0\.0\.0\/8, ::1\/128/m)
    expect(said).toMatch(/^wrong {2}policy\.mtaSts: no certificate names mta-sts\.example\.test/m)
  })

  test("account remove", async () => {
    await here("account", "add", "carol@example.test")
    await here("account", "remove", "carol@example.test")
    expect((await postern(["account", "show", "carol@example.test", ...instance.config])).code).toBe(1)
    const again = await postern(["account", "add", "carol@example.test", ...instance.config])
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining("the keyring has keys of it; move")])
  })
})

describe("the program itself", () => {
  const rows: [name: string, args: string[], code: number][] = [
    ["no command", [], 2],
    ["unknown command", ["bogus"], 2],
    ["unknown option", ["check", "--bogus"], 2],
    ["missing argument", ["account", "add"], 2],
    ["help", ["--help"], 0],
    ["help of a command", ["device", "add", "--help"], 0],
    ["version", ["--version"], 0],
    ["no configuration", ["check", "--config", "/nowhere/postern.toml"], 1],
  ]
  for (const [name, args, code] of rows)
    test(`${name}: exit code ${code}`, async () => {
      const done = await postern(args)
      expect(done.code).toBe(code)
      if (code !== 0) expect(done.stdout.length).toBe(0)
      else expect(done.stderr).toBe("")
    })

  test("--config may stand before the command, and is found in the working folder", async () => {
    expect((await postern([...instance.config, "account", "list"])).code).toBe(0)
    expect((await postern(["account", "list", "--json"], {}, instance.folder)).code).toBe(0)
  })

  test("every mistake of postern.toml is named", async () => {
    const file = instance.file("bad.toml")
    writeFileSync(file, 'domains = ["example.test"]\nbogus = 1\n[limits]\nrecipients = "x"\n')
    const done = await postern(["account", "list", "--config", file])
    expect(done.code).toBe(1)
    expect(done.stderr).toBe(
      `postern: ${file}:2: bogus: is no key of postern.toml\npostern: ${file}:4: limits.recipients: must be a whole number from 1 to 10000\n`,
    )
  })
})
