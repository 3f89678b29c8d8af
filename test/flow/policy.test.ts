import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { mustRun, peer, run } from "../harness/peers.ts"
import { freeRange } from "../harness/ports.ts"
import { openSmtpSink, type SmtpSink } from "../harness/smtp-sink.ts"
import { submitBy } from "../harness/wire.ts"

const ALICE = "alice@example.test"
const CANARY = "canary-0815-4711"
const RULES = `
[[policy.rules]]
name = "partners"
to = ["*@partner.test"]
encrypt = "require"
otherwise = "refuse"
[[policy.rules]]
name = "careful"
to = ["*@careful.test"]
encrypt = "require"
[[policy.rules]]
name = "asked for"
subjectTag = "[secure]"
encrypt = "require"
`

let gateway: Instance
let laptop: DeviceSettings & { readonly folder: string }
let hop: SmtpSink
let ldapsPort: number

beforeAll(async () => {
  hop = await openSmtpSink({ server: { hideDSN: true } })
  gateway = await Instance.create()
  ldapsPort = await freeRange(1)
  gateway.configure('next = "mx"', `next = "smtp://127.0.0.1:${hop.port}"`)
  gateway.configure("[listen]\n", `[listen]\nldaps = "127.0.0.1:${ldapsPort}"\n`)
  writeFileSync(gateway.configuration, `${readFileSync(gateway.configuration, "utf8")}${RULES}`)
  await gateway.must("account", "add", ALICE)
  laptop = await gateway.device(ALICE, "laptop")
  const { certificates } = JSON.parse(await gateway.must("account", "show", ALICE, "--json")) as {
    certificates: { smime: string }
  }
  writeFileSync(join(gateway.folder, "friend.pem"), certificates.smime)
  await gateway.must("certificate", "add", "friend@careful.test", join(gateway.folder, "friend.pem"))
  await gateway.serve()
})

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]()
  await hop?.[Symbol.asyncDispose]()
})

/** What the server says to a message in the end. */
function submit(to: readonly string[], { subject = "figures", body = `${CANARY}\r\n` } = {}): Promise<string> {
  const message = `From: ${ALICE}\r\nTo: ${to.join(", ")}\r\nSubject: ${subject}\r\n\r\n${body}`
  return submitBy(laptop, to, Buffer.from(message))
}

interface Listed {
  readonly recipient: string
  readonly state: string
  readonly holdReason: string | null
}
const queued = async (): Promise<readonly Listed[]> =>
  JSON.parse(await gateway.must("queue", "list", "--json")) as Listed[]
const relayed = (recipient: string) =>
  eventually(`mail for ${recipient}`, () => hop.messages.findLast(({ recipients }) => recipients.includes(recipient)))

describe("policy at submission", () => {
  test("who has no key where encryption is demanded is refused before 250, by name; nothing is kept", async () => {
    expect(await submit(["bob@partner.test", "carol@elsewhere.test"])).toBe(
      '523 5.7.10 bob@partner.test has no key that may be used (rule "partners")',
    )
    expect(await queued()).toEqual([])
  })

  test("what its sender encrypted is taken, and leaves as it is", async () => {
    const keys = await mustRun(
      "openssl",
      [...["cms", "-encrypt", "-aes256", "-recip", join(gateway.folder, "friend.pem")]],
      { input: Buffer.from(`Content-Type: text/plain\r\n\r\n${CANARY}\r\n`) },
    )
    const mime = Buffer.from(keys).toString("latin1").replace(/\r?\n/g, "\r\n")
    const body = mime.slice(mime.indexOf("\r\n\r\n") + 4)
    const head = `From: ${ALICE}\r\nTo: bob@partner.test\r\n${mime.slice(0, mime.indexOf("\r\n\r\n"))}\r\n\r\n`
    expect(await submitBy(laptop, ["bob@partner.test"], Buffer.from(head + body))).toMatch(/^250 /)
    expect((await relayed("bob@partner.test")).octets.toString()).toContain(body.slice(0, 200))
  })
})

describe("policy at delivery", () => {
  test("row 41: each recipient by what is known of him: encrypted, held, in clear; the sender hears of what is held", async () => {
    expect(await submit(["friend@careful.test", "stranger@careful.test", "anybody@elsewhere.test"])).toMatch(/^250 /)
    const encrypted = (await relayed("friend@careful.test")).octets.toString()
    expect(encrypted).toContain("application/pkcs7-mime")
    expect(encrypted).not.toContain(CANARY)
    expect((await relayed("anybody@elsewhere.test")).octets.toString()).toContain(CANARY)
    const held = await eventually("a held message", async () => (await queued()).find(({ state }) => state === "held"))
    expect(held).toMatchObject({
      recipient: "stranger@careful.test",
      holdReason: 'stranger@careful.test has no key that may be used (rule "careful")',
    })
    const told = await eventually("a report", () => storedFor(ALICE))
    // In Alice's mailbox as all that is stored, so encrypted; it is there, which is what is looked at here.
    expect(told).toContain("Subject: Delayed mail")
    for (const { recipients, octets } of hop.messages.filter(
      ({ recipients: to }) => !to.includes("anybody@elsewhere.test"),
    ))
      expect(octets.toString(), recipients.join()).not.toContain(CANARY)
  })

  test("a key that an administrator pins lets the held message go, encrypted", async () => {
    await gateway.must("certificate", "add", "stranger@careful.test", join(gateway.folder, "friend.pem"))
    const [held] = JSON.parse(await gateway.must("queue", "list", "--json")) as readonly { id: string }[]
    await gateway.must("queue", "release", held?.id ?? "")
    const { octets } = await relayed("stranger@careful.test")
    expect(octets.toString()).not.toContain(CANARY)
    expect(await eventually("an empty queue", async () => ((await queued()).length === 0 ? true : null))).toBe(true)
  })

  test("a tag in the subject demands encryption", async () => {
    expect(await submit(["anybody@elsewhere.test"], { subject: "Re: [Secure] plans" })).toMatch(/^250 /)
    expect(
      await eventually("a held message", async () => (await queued()).find(({ state }) => state === "held")),
    ).toMatchObject({
      recipient: "anybody@elsewhere.test",
    })
    const test = ["policy", "test", "--from", ALICE, "--to", "anybody@elsewhere.test", "--subject", "[secure] plans"]
    expect(await gateway.must(...test)).toContain("    leaves without [secure] in its subject\n")
  })
})

describe.skipIf(!peer("ldapsearch"))("the directory for mail clients", () => {
  const search = (password: string, address: string) =>
    run(
      "ldapsearch",
      [
        "-x",
        "-LLL",
        "-o",
        "ldif-wrap=no",
        "-H",
        `ldaps://127.0.0.1:${ldapsPort}`,
        "-D",
        ALICE,
        "-w",
        password,
        "-b",
        "o=example.test",
        `(mail=${address})`,
        "cn",
        "userCertificate;binary",
      ],
      { env: { LDAPTLS_CACERT: join(gateway.folder, "tls", "ca.pem") } },
    )

  test("our own people and those whose keys are known are found; others are not, and nobody without a device's password", async () => {
    const own = await search(laptop.password, ALICE)
    expect([own.code, own.stderr]).toEqual([0, ""])
    expect(own.stdout.toString()).toMatch(/userCertificate;binary:: MII/)
    expect((await search(laptop.password, "friend@careful.test")).stdout.toString()).toMatch(
      /userCertificate;binary:: MII/,
    )
    expect((await search(laptop.password, "nobody@elsewhere.test")).stdout.toString()).toBe("")
    expect((await search("wrong", ALICE)).code).toBe(49)
  })
})

describe("diagnosis", () => {
  const ADMIN_OFFSET = 6
  /** Times differ. */
  const timeless = (view: object): unknown =>
    JSON.parse(JSON.stringify(view, (name, value: unknown) => (name === "ms" || name === "lastSeen" ? null : value)))
  const rows: [name: string, command: readonly string[], path: string][] = [
    ["who has a key", ["profile", "lookup", "friend@careful.test"], "keys/friend@careful.test"],
    ["who is here", ["profile", "lookup", ALICE], `keys/${ALICE}`],
    [
      "what policy makes of mail",
      ["policy", "test", "--from", ALICE, "--to", "bob@partner.test", "--subject", "[secure] a"],
      `policy?from=${ALICE}&to=bob@partner.test&subject=[secure]+a`,
    ],
  ]
  for (const [name, command, path] of rows)
    test(`the administration listener says what the command says: ${name}`, async () => {
      const response = await fetch(`http://127.0.0.1:${gateway.port + ADMIN_OFFSET}/api/v1/${path}`)
      const said = (await response.json()) as object
      expect(timeless(said)).toEqual(timeless(JSON.parse(await gateway.must(...command, "--json")) as object))
    })
})

/** The header of the newest message in the mailbox that is a report. */
function storedFor(address: string): string | undefined {
  const folder = join(gateway.folder, "data", "mail", address, "Maildir", "new")
  if (!existsSync(folder)) return undefined
  return readdirSync(folder)
    .map((name) => readFileSync(join(folder, name), "latin1"))
    .find((text) => text.includes("Subject: Delayed mail"))
}
