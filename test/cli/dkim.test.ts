import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { makeDkimKey } from "../../src/crypto/primitives/dkim-key.ts"
import { DnsServer } from "../harness/dns-server.ts"
import { makeInstance, mustPostern, postern, type TestInstance } from "./postern.ts"

/** No reserved name: those are never asked for. */
const DOMAIN = "gate.internal"

interface Record {
  readonly name: string
  readonly text: string
  readonly value: string
  readonly act: string
  readonly selector: string
}

let dns: DnsServer
let instance: TestInstance

beforeAll(async () => {
  dns = await DnsServer.start({})
  instance = await makeInstance("--port", "25000")
  writeFileSync(
    instance.file("postern.toml"),
    `domains = ["${DOMAIN}", "example.test"]\n[dns]\nservers = ["${dns.address}"]\n`,
  )
})
afterAll(async () => {
  instance?.[Symbol.dispose]()
  await dns?.[Symbol.asyncDispose]()
})

const run = (...args: string[]) => postern([...args, ...instance.config])
const must = (...args: string[]) => mustPostern([...args, ...instance.config])

async function records(): Promise<Record[]> {
  return JSON.parse(await must("dkim", "dns", DOMAIN, "--json"))
}

/** Puts into DNS what is to be published, or something else under these names. */
async function publish(change: (text: string) => string = (text) => text): Promise<void> {
  dns.zone = Object.fromEntries(
    (await records()).map(({ name, text }) => [`${name.slice(0, -1)} TXT`, [change(text).match(/.{1,255}/g) ?? []]]),
  )
}

async function states(): Promise<string[]> {
  const keys = JSON.parse(await must("dkim", "list", "--json")) as { selector: string; state: string }[]
  return keys.map(({ selector, state }) => `${selector} ${state}`)
}

/** What check says of these keys. */
async function checked(): Promise<string[]> {
  const said = Buffer.from((await run("check")).stdout).toString()
  return said.split("\n").filter((line) => line.includes("DKIM") && line.includes(DOMAIN))
}

describe("from the first key to its successor, and back to none", () => {
  test("add: pending keys, and their records", async () => {
    expect(await must("dkim", "list")).toBe("no keys: mail leaves unsigned\n")
    expect(await checked()).toEqual([
      expect.stringMatching(/^note .*no key is active, mail leaves unsigned: postern dkim add/),
    ])
    const made = await must("dkim", "add", DOMAIN, "--selector", "one")
    expect(made).toMatch(
      /^one-rsa\._domainkey\.gate\.internal\.\t3600\tIN\tTXT\t"v=DKIM1; k=rsa; p=[^"]{237}" "[^"]+"\t; DKIM, rsa-sha256, pending$/m,
    )
    expect(made).toMatch(
      /^one-ed25519\._domainkey\.gate\.internal\.\t3600\tIN\tTXT\t"v=DKIM1; k=ed25519; p=[^"]{44}"\t/m,
    )
    expect(made).toContain(`postern dkim activate ${DOMAIN}`)
    expect(await states()).toEqual(["one-rsa pending", "one-ed25519 pending"])
    expect(await must("dns", "--domain", DOMAIN)).toContain("one-ed25519._domainkey.gate.internal.\t3600\tIN\tTXT\t")
    expect(readdirSync(instance.file("secrets/dkim"))).toEqual([DOMAIN])
  })

  const wrongs: readonly (readonly [name: string, zone: () => Promise<void> | void, text: string])[] = [
    ["nothing", () => void (dns.zone = {}), "one-rsa of gate.internal: is not in DNS"],
    [
      "something else",
      () => publish((text) => text.replace(/p=..../, "p=AAAA")),
      "one-rsa of gate.internal: is not what DNS has",
    ],
    [
      "revoked ones",
      () => publish((text) => text.replace(/p=.*/, "p=")),
      "one-rsa of gate.internal: is revoked in DNS",
    ],
    [
      "no answer",
      () => void (dns.zone = { "one-rsa._domainkey.gate.internal TXT": "SERVFAIL" }),
      "one-rsa of gate.internal: no answer from DNS",
    ],
  ]
  for (const [name, zone, text] of wrongs)
    test(`activate refuses when DNS has ${name}`, async () => {
      await zone()
      const { code, stderr } = await run("dkim", "activate", DOMAIN)
      expect([code, stderr]).toEqual([1, expect.stringContaining(text)])
      expect(await states()).toEqual(["one-rsa pending", "one-ed25519 pending"])
    })

  test("activate, when DNS has them", async () => {
    await publish((text) => text.replace("; ", " ;\t"))
    expect(await checked()).toContainEqual(expect.stringMatching(/^note .*one-rsa.* is in DNS: postern dkim activate/))
    expect(await must("dkim", "activate", DOMAIN)).toContain("one-rsa of gate.internal: signs, rsa-sha256\n")
    expect(await states()).toEqual(["one-rsa active", "one-ed25519 active"])
  })

  test("check: an active key that DNS does not have, or has otherwise, is wrong", async () => {
    const of = (lines: string[]) =>
      lines.filter((line) => line.includes("record of")).map((line) => line.slice(0, 5).trim())
    expect(of(await checked())).toEqual(["ok", "ok"])
    await publish((text) => text.replace(/p=..../, "p=AAAA"))
    expect(of(await checked())).toEqual(["wrong", "wrong"])
    dns.zone = {}
    expect(await checked()).toContainEqual(expect.stringMatching(/^wrong .*one-rsa.* is not in DNS: postern dkim dns/))
    chmodSync(instance.file("secrets/dkim", DOMAIN, "one-rsa.pem"), 0o640)
    expect(await checked()).toContainEqual(
      expect.stringMatching(/^wrong .*mode 640\): chmod 600; mail of the domain waits/),
    )
    chmodSync(instance.file("secrets/dkim", DOMAIN, "one-rsa.pem"), 0o600)
  })

  test("rotate: successors are pending while the old ones sign; then these retire, and their records stay", async () => {
    const made = JSON.parse(await must("dkim", "rotate", DOMAIN, "--selector", "two", "--json")) as {
      state: string
      record: Record
    }[]
    expect(made.map(({ state, record }) => [state, record.name])).toEqual([
      ["pending", "two-rsa._domainkey.gate.internal."],
      ["pending", "two-ed25519._domainkey.gate.internal."],
    ])
    const again = await run("dkim", "rotate", DOMAIN)
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining("two-rsa is pending already")])
    await publish()
    expect(await must("dkim", "activate", DOMAIN)).toMatch(
      /^one-rsa of gate\.internal: retired; its record stays until \d{4}-/m,
    )
    expect(await states()).toEqual(["one-rsa retired", "one-ed25519 retired", "two-rsa active", "two-ed25519 active"])
    expect((await records()).map(({ act }) => act)).toEqual(Array(4).fill("publish"))
    expect(await checked()).toContainEqual(expect.stringMatching(/^ok .*record of DKIM key one-rsa.*: stays until/))
  })

  test("a retired key's record is named as one to remove when its time is over, and then the key can be destroyed", async () => {
    const early = await run("dkim", "remove", DOMAIN, "one-rsa")
    expect([early.code, early.stderr]).toEqual([1, expect.stringMatching(/its record is needed until .*; --force/)])
    backdate(instance.file("secrets/dkim", DOMAIN, "keys.json"))
    expect((await records()).map(({ act }) => act)).toEqual(["remove", "remove", "publish", "publish"])
    expect(await must("dkim", "dns")).toContain("; remove: one-rsa._domainkey.gate.internal. TXT\n")
    expect(await must("dns", "--domain", DOMAIN)).not.toContain("one-rsa")
    expect(await checked()).toContainEqual(
      expect.stringMatching(/^note .*one-rsa.*: is not needed any more: remove it, then postern dkim remove/),
    )
    for (const selector of ["one-rsa", "one-ed25519"]) await must("dkim", "remove", DOMAIN, selector)
    expect(await states()).toEqual(["two-rsa active", "two-ed25519 active"])
  })

  test("retire and remove: unsigned mail is said aloud", async () => {
    const refusal = await run("dkim", "remove", DOMAIN, "two-rsa")
    expect([refusal.code, refusal.stderr]).toEqual([1, expect.stringContaining("is active: rotate or retire it first")])
    expect((await run("dkim", "retire", DOMAIN, "two-rsa")).stderr).toBe("")
    expect((await run("dkim", "retire", DOMAIN, "two-ed25519")).stderr).toContain("mail leaves unsigned")
    for (const selector of ["two-rsa", "two-ed25519"]) await must("dkim", "remove", "--force", DOMAIN, selector)
    expect(await states()).toEqual([])
    expect(readdirSync(instance.file("secrets/dkim"))).toEqual([])
  })
})

test("an existing key is taken over; a stolen one is replaced at once", async () => {
  writeFileSync(instance.file("old.pem"), makeDkimKey("rsa-sha256"), { mode: 0o600 })
  await must("dkim", "add", "example.test", "--key", instance.file("old.pem"), "--selector", "mail2019", "--activate")
  const { stderr } = await run("dkim", "rotate", "example.test", "--selector", "new", "--activate")
  expect(stderr).toContain("publish the records at once")
  expect(await states()).toEqual(["mail2019 retired", "new active"])
  expect(await must("dkim", "remove", "--force", "example.test", "mail2019")).toContain(
    "mail2019._domainkey.example.test.",
  )
})

test("commands that run at once lose nothing of one another", async () => {
  const names = ["a", "b", "c", "d", "e"]
  await Promise.all(
    names.map((name) => must("dkim", "add", "example.test", "--algorithm", "ed25519", "--selector", name)),
  )
  expect(await states()).toEqual(expect.arrayContaining(names.map((name) => `${name} pending`)))
})

const usage: readonly (readonly [args: string[], code: number, text: string])[] = [
  [["add", "elsewhere.test"], 2, "is not among domains of"],
  [["add", DOMAIN, "--selector", "no/selector"], 2, "dkim selector"],
  [["add", DOMAIN, "--key", "x.pem"], 2, "--key needs --selector"],
  [["add", DOMAIN, "--key", "x.pem", "--selector", "s", "--algorithm", "rsa"], 2, "cannot be used with option"],
  [["add", DOMAIN, "--key", "/nowhere.pem", "--selector", "s"], 1, "ENOENT"],
  [["add", DOMAIN, "--algorithm", "dsa"], 2, "Allowed choices are rsa, ed25519, both"],
  [["rotate", DOMAIN], 1, `there are none: postern dkim add ${DOMAIN}`],
  [["activate", DOMAIN], 1, "there are none"],
  [["remove", DOMAIN, "x"], 1, "there are none"],
]
for (const [args, code, text] of usage)
  test(`dkim ${args.slice(0, 1)} ${args.slice(2).join(" ")}: says what is wrong`, async () => {
    const said = await run("dkim", ...args)
    expect([said.code, said.stderr]).toEqual([code, expect.stringContaining(text)])
  })

test("help says what to do when", async () => {
  const help = await must("dkim", "--help")
  for (const step of ["To set up:", "Once a year:", "Afterwards:", "Key stolen:"]) expect(help).toContain(step)
})

/** Two weeks pass. */
function backdate(path: string): void {
  const text = readFileSync(path, "utf8")
  writeFileSync(
    path,
    text.replace(/"\d{4}-\d\d-\d\dT[^"]*"/g, (date) =>
      JSON.stringify(new Date(Date.parse(JSON.parse(date)) - 14 * 86_400_000)),
    ),
  )
}
