import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { DKIM_VERIFIERS } from "../harness/dkim-verifiers.ts"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { mustRun, peer, run, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { openSmtpSink, type SmtpSink } from "../harness/smtp-sink.ts"
import { stuffed, WireClient } from "../harness/wire.ts"
import type { Zone } from "../harness/zone.ts"

const ALICE = "alice@example.test"

/** By the selectors of a message's signatures. */
const published = new Map<string, Zone>()
let folder: TemporaryFolder
let gateway: Instance
let laptop: DeviceSettings
let hop: SmtpSink
/** What the next hop says to the final dot of each message; null: it takes it. */
let refusal: string | null = null
/** Messages that it refused. */
const refused: Buffer[] = []

beforeAll(async () => {
  folder = await temporaryFolder()
  hop = await openSmtpSink({
    server: { hideDSN: true },
    data: ({ octets }) => {
      if (refusal !== null) refused.push(octets)
      return refusal
    },
  })
  gateway = await Instance.create()
  gateway.configure('next = "mx"', `next = "smtp://127.0.0.1:${hop.port}"`)
  await gateway.must("account", "add", ALICE)
  laptop = await gateway.device(ALICE, "laptop")
  await gateway.serve()
})

beforeEach(() => {
  refusal = null
  refused.length = 0
})

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]()
  await hop?.[Symbol.asyncDispose]()
  await folder?.[Symbol.asyncDispose]()
})

function message(name: string, body: Uint8Array | string = "some text\r\n"): Buffer {
  const header =
    `From: Alice <${ALICE}>\r\nTo: bob@else.test\r\nSubject: ${name}\r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\n` +
    `Message-ID: <${name}@example.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n`
  return Buffer.concat([Buffer.from(header), Buffer.from(body)])
}

/** @returns the spool id */
async function submit(octets: Uint8Array, to: string): Promise<string> {
  using client = await WireClient.connect(laptop.smtp.port, { tls: true })
  const { username, password } = laptop
  return await transact(client, octets, to, username, [
    "EHLO client.test",
    `AUTH PLAIN ${Buffer.from(`\0${username}\0${password}`).toString("base64")}`,
  ])
}

async function transact(client: WireClient, octets: Uint8Array, to: string, from: string, first: readonly string[]) {
  await client.until(/^220 .*\r\n/m)
  for (const command of [...first, `MAIL FROM:<${from}> BODY=8BITMIME`, `RCPT TO:<${to}> NOTIFY=SUCCESS`, "DATA"]) {
    await client.write(`${command}\r\n`)
    const reply = await client.until(/^\d{3} .*\r\n/m)
    expect(reply, command).toMatch(/^[23]/)
  }
  await client.write(stuffed(octets))
  const reply = await client.until(/^\d{3} .*\r\n/m)
  const id = /^250 .*\b([0-9a-z]{20,})\b/.exec(reply)?.[1]
  if (id === undefined) throw new Error(`not accepted: ${reply}`)
  return id
}

/** The message that reached the next hop for this recipient. */
async function relayed(recipient: string): Promise<Buffer> {
  const found = await eventually(`mail for ${recipient} at the next hop`, () =>
    hop.messages.findLast(({ recipients }) => recipients.includes(recipient)),
  )
  return found.octets
}

/** What is to be published, as DNS would have it; asked again when other keys are signed with. */
async function zone(octets: Buffer): Promise<Zone> {
  const selectors = octets.toString("latin1").match(/^\ts=[^;]+;/gm) ?? []
  const known = published.get(selectors.join())
  if (known) return known
  const records = JSON.parse(await gateway.must("dkim", "dns", "--json")) as { name: string; text: string }[]
  const zone = Object.fromEntries(
    records.map(({ name, text }) => [`${name.slice(0, -1)} TXT`, [text.match(/.{1,255}/g) ?? []]]),
  )
  published.set(selectors.join(), zone)
  return zone
}

/** Every verifier of this machine finds both signatures good, and sees it when an octet is another. */
async function expectVerified(octets: Buffer): Promise<void> {
  const keys = await zone(octets)
  const altered = Buffer.from(octets)
  altered[altered.length - 4] = (altered.at(-4) ?? 0) ^ 1
  const asked = DKIM_VERIFIERS.filter(({ there }) => there).map(async ({ name, verify }) => {
    const [unchanged, changed] = await verify([octets, altered], keys)
    expect(unchanged, name).toEqual(["pass", "pass"])
    expect(changed, name).not.toContain("pass")
  })
  await Promise.all(asked)
}

function signatures(octets: Buffer): number {
  return octets.toString("latin1").match(/^DKIM-Signature: /gm)?.length ?? 0
}

interface Shown {
  readonly jobs: readonly {
    readonly state: string
    readonly lastStatus: { readonly status: string; readonly diagnostic: string } | null
  }[]
}

async function shown(id: string): Promise<Shown> {
  return (await gateway.shown(id)) as Shown
}

/** The last status of the message's only job, once an attempt has left it waiting. */
function delayed(id: string) {
  return eventually("a delayed job", async () => {
    const [job] = (await shown(id)).jobs
    return job?.state === "delayed" ? job.lastStatus : null
  })
}

test("without keys, and while they are pending, mail leaves as it is", async () => {
  await submit(message("unsigned"), "none@else.test")
  expect(signatures(await relayed("none@else.test"))).toBe(0)
  await gateway.must("dkim", "add", "example.test")
  await submit(message("pending"), "pending@else.test")
  expect(signatures(await relayed("pending@else.test"))).toBe(0)
  await gateway.must("dkim", "activate", "example.test", "--unseen")
})

describe("with active keys, from the next message on", () => {
  const bodies: readonly (readonly [name: string, body: Uint8Array | string])[] = [
    ["plain", "some text\r\n.\r\n..\r\nend\r\n"],
    ["8-bit", Buffer.from("Gr\xfc\xdfe, \xff\xfe \xa0\r\nzweite Zeile  \r\n", "latin1")],
    ["long-lines", `${"long line ".repeat(20_000)}\r\nend\r\n`],
    ["one-line", "x".repeat(2_000_000)],
    ["empty-body", ""],
    ["blank-lines", "text\r\n\r\n \t\r\n\r\n\r\n"],
    ["large", `${"0123456789 abcdef\t\r\n".repeat(150_000)}end\r\n`],
  ]
  for (const [name, body] of bodies)
    test(`${name}: verified, and behind the signatures it is what was submitted`, async () => {
      const sent = message(name, body)
      await submit(sent, `${name}@else.test`)
      const got = await relayed(`${name}@else.test`)
      // The dialogue ends a last line that has no end.
      const submitted = sent.toString("latin1").endsWith("\r\n") ? sent : Buffer.concat([sent, Buffer.from("\r\n")])
      expect(got.subarray(-submitted.length).equals(submitted)).toBe(true)
      expect(got.toString("latin1", 0, 16)).toBe("DKIM-Signature: ")
      expect(signatures(got)).toBe(2)
      if (body !== "") await expectVerified(got)
      else
        for (const { there, verify } of DKIM_VERIFIERS)
          if (there) expect((await verify([got], await zone(got)))[0]?.[0]).toBe("pass")
    })

  test.skipIf(!peer("openssl"))(
    "what is encrypted to a pinned S/MIME certificate is signed as encrypted, and opens",
    async () => {
      const [key, certificate] = [folder.file("bob.key"), folder.file("bob.pem")]
      await mustRun("openssl", [
        ...["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=bob"],
        ...["-keyout", key, "-out", certificate, "-addext", "subjectAltName=email:smime@else.test"],
      ])
      await gateway.must("certificate", "add", "smime@else.test", certificate)
      const sent = message("smime")
      await submit(sent, "smime@else.test")
      const got = await relayed("smime@else.test")
      expect(got.toString("latin1")).toContain("application/pkcs7-mime")
      expect(got.toString("latin1")).not.toContain("some text")
      await expectVerified(got)
      const args = ["cms", "-decrypt", "-binary", "-inkey", key, "-recip", certificate]
      const opened = Buffer.from(await mustRun("openssl", args, { input: got })).toString()
      expect(opened.endsWith(sent.toString().slice(sent.indexOf("\r\n\r\n")))).toBe(true)
    },
  )

  test.skipIf(!peer("gpg"))("and to an OpenPGP certificate", async () => {
    const home = folder.file("gnupg")
    mkdirSync(home, { mode: 0o700 })
    const gpg = (...args: string[]) =>
      mustRun("gpg", ["--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase", "", ...args])
    try {
      await gpg("--quick-generate-key", "Bob <openpgp@else.test>", "future-default", "default", "never")
      writeFileSync(folder.file("bob.asc"), await gpg("--armor", "--export", "openpgp@else.test"))
    } finally {
      await run("gpgconf", ["--homedir", home, "--kill", "all"])
    }
    await gateway.must("certificate", "add", "openpgp@else.test", folder.file("bob.asc"))
    await submit(message("openpgp"), "openpgp@else.test")
    const got = await relayed("openpgp@else.test")
    expect(got.toString("latin1")).toContain("application/pgp-encrypted")
    await expectVerified(got)
  })

  test("our reports to others are signed, by the postmaster of our domain", async () => {
    using client = await WireClient.connect(gateway.port)
    await transact(client, message("from-outside"), ALICE, "carol@else.test", ["EHLO else.test"])
    const report = await relayed("carol@else.test")
    expect(report.toString("latin1")).toMatch(/^From: Mail delivery <postmaster@example\.test>\r\n/m)
    expect(signatures(report)).toBe(2)
    await expectVerified(report)
  })
})

describe("each attempt sends the same octets", () => {
  test("a retry, also behind a rotation and a restart; what is sent later has the new keys", async () => {
    refusal = "451 4.7.1 come back"
    const id = await submit(message("again"), "again@else.test")
    await delayed(id)
    await gateway.must("dkim", "rotate", "example.test")
    const active = JSON.parse(await gateway.must("dkim", "activate", "example.test", "--unseen", "--json")) as {
      activeAt: string
    }[]
    expect(active).toHaveLength(4)
    await gateway.must("queue", "retry", id)
    await eventually("a second attempt", () => refused.length === 2)
    await delayed(id)
    await gateway.stop()
    await gateway.serve()
    refusal = null
    await gateway.must("queue", "retry", id)
    const got = await relayed("again@else.test")
    expect([refused[0]?.equals(got), refused[1]?.equals(got)]).toEqual([true, true])
    await expectVerified(got)

    const from = Math.max(...active.map(({ activeAt }) => Date.parse(activeAt)))
    await eventually("the new keys' time", () => Date.now() > from)
    await submit(message("later"), "later@else.test")
    const later = await relayed("later@else.test")
    const selectors = (octets: Buffer) =>
      [...octets.toString("latin1").matchAll(/^\ts=([^;]+);/gm)].map((found) => found[1])
    expect(selectors(later)).toEqual(selectors(got).map((selector) => `${selector}-2`))
    await expectVerified(later)
  })
})

describe("a key that cannot be used", () => {
  test("mail of its domain waits and says why; nothing goes out unsigned; it goes on when that is put right", async () => {
    const [key] = (
      JSON.parse(await gateway.must("dkim", "list", "--json")) as { selector: string; state: string }[]
    ).filter(({ state }) => state === "active")
    const path = `${gateway.folder}/secrets/dkim/example.test/${key?.selector}.pem`
    const pem = readFileSync(path)

    chmodSync(path, 0o644)
    const readable = await submit(message("readable"), "readable@else.test")
    expect(await delayed(readable)).toMatchObject({
      status: "4.3.5",
      diagnostic: expect.stringMatching(/^dkim key .*\.pem: others can use it \(mode 644\): chmod 600$/),
    })
    const check = await gateway.postern("check", "--no-dns")
    expect(check.code).toBe(1)
    expect(Buffer.from(check.stdout).toString()).toMatch(
      /^wrong {2}DKIM of example\.test: .*chmod 600; mail of the domain waits$/m,
    )

    chmodSync(path, 0o600)
    writeFileSync(path, pem.subarray(0, 60))
    const damaged = await submit(message("damaged"), "damaged@else.test")
    expect((await delayed(damaged))?.diagnostic).toMatch(/\.pem: cannot be read$/)
    expect(hop.messages.filter(({ recipients }) => /readable|damaged/.test(recipients.join()))).toEqual([])

    writeFileSync(path, pem)
    for (const id of [readable, damaged]) await gateway.must("queue", "retry", id)
    for (const name of ["readable", "damaged"]) await expectVerified(await relayed(`${name}@else.test`))
    await gateway.logged(/"event":"mail\.not-signed"/)
    expect(gateway.log).not.toMatch(/PRIVATE KEY/)
  })
})
