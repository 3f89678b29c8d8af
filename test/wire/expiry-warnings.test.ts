import { simpleParser } from "mailparser"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/load.ts"
import { readCertificate } from "../../src/crypto/cms/certificate.ts"
import { pemDecode } from "../../src/crypto/cms/pem.ts"
import { sha256 } from "../../src/crypto/primitives/hash.ts"
import { applyRequest } from "../../src/identity/apply.ts"
import { type Ending, nearRenewed, serverEnding, warningDays } from "../../src/identity/endings.ts"
import { Counters } from "../../src/log/counters.ts"
import { silentLog } from "../../src/log/log.ts"
import { formatAddress } from "../../src/message/address.ts"
import type { Reports } from "../../src/pipeline/ports.ts"
import { GatewayKeys } from "../../src/store/gateway-keys.ts"
import { KeptKeyMemory } from "../../src/store/key-memory.ts"
import { People } from "../../src/store/people.ts"
import { RecryptionKeys } from "../../src/store/recryption-keys.ts"
import { isSpoolId } from "../../src/store/spool.ts"
import { openEmbeddedState } from "../../src/store/state.ts"
import { endingsNear, warn } from "../../src/wire/expiry-warnings.ts"
import { testCertificate } from "../harness/certificate.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { makeAlice, makeFullDevice, NOW } from "../identity/people.ts"

const DAY_MS = 86_400e3
const never = new AbortController().signal
const stack = new AsyncDisposableStack()
let machine: (sent: Sent[], now: () => Date) => { readonly round: () => Promise<void>; readonly counters: Counters }
let memory: KeptKeyMemory
let endOfAccount: Date

interface Sent {
  readonly name: string
  readonly to: string
  readonly octets: Uint8Array
}

beforeAll(async () => {
  const folder = stack.use(await temporaryFolder())
  const database = stack.adopt(openEmbeddedState(folder.file("data")), (state) => state.close())
  const recryptionKeys = new RecryptionKeys(database, folder.file("secrets"))
  const people = new People(database, { domains: ["example.test"], postmaster: null, recryptionKeys })
  memory = new KeptKeyMemory(database)
  const alice = await makeAlice("smime")
  const laptop = await makeFullDevice(alice.person, "laptop")
  const gatewayKeys = new GatewayKeys(folder.file("signing"))
  for (const { request } of [alice, laptop]) applyRequest({ people, database, gatewayKeys }, request, NOW)
  const [account] = people.accounts()
  endOfAccount = readCertificate(account?.keys[0]?.certificate ?? new Uint8Array()).notAfter
  const far = { ...(await testCertificate()), names: new Map(), ticketKeys: new Uint8Array(48) }
  const config = parseConfig(
    'domains = ["example.test"]\nhostname = "mail.example.test"\n',
    folder.file("postern.toml"),
  )
  machine = (sent, now) => {
    const counters = new Counters()
    const core = { config, people, database, counters, now, log: silentLog() }
    const reports: Reports = {
      submit: async ({ name, to, octets }) => void sent.push({ name, to: formatAddress(to), octets }),
    }
    const round = async () => warn(core, await endingsNear(core, far, never), reports, never)
    return { round, counters }
  }
})
afterAll(() => stack.disposeAsync())

const daysBefore = (end: Date, days: number) => new Date(end.getTime() - days * DAY_MS)

describe("warnings that keys end", () => {
  test("each key's owner is told once for each threshold, whichever machine looks and however often", async () => {
    const sent: Sent[] = []
    let now = daysBefore(endOfAccount, 31)
    const machines = [machine(sent, () => now), machine(sent, () => now)]
    const told: [days: number, mails: number][] = []
    for (const days of [31, 30, 29, 14.5, 14, 5, 3, 2, 1, 0.5, -1]) {
      now = daysBefore(endOfAccount, days)
      const soFar = sent.length
      for (const { round } of machines) await round()
      told.push([days, sent.length - soFar])
    }
    // Intermediate and certificate of the account, and what the device opens and signs with: made in the same second.
    const all = told.find(([days]) => days === 30)?.[1] ?? 0
    expect(all).toBeGreaterThanOrEqual(4)
    expect(told).toEqual(
      [31, 30, 29, 14.5, 14, 5, 3, 2, 1, 0.5, -1].map((at) => [at, [30, 14, 3, 1].includes(at) ? all : 0]),
    )
    expect(new Set(sent.map(({ to }) => to))).toEqual(new Set(["alice@example.test"]))
    expect(new Set(sent.map(({ name }) => name)).size).toBe(sent.length)
    expect(sent.every(({ name }) => isSpoolId(name))).toBe(true)
  })

  test("who was away for the earlier thresholds hears of the nearest only; the mail says whose, which, until when and what to do", async () => {
    const sent: Sent[] = []
    const expiresAt = new Date(NOW.getTime() + 10 * DAY_MS)
    const key = { format: "openpgp", lineage: "l", source: "wkd", trust: "domain", fingerprint: "ab12", expiresAt }
    memory.saw("bob@elsewhere.test", [key], NOW)
    memory.saw("bobby@elsewhere.test", [key], NOW)
    memory.saw("bært@elsewhere.test", [{ ...key, fingerprint: "cd34", source: "pinned", format: "smime" }], NOW)
    const { round, counters } = machine(sent, () => NOW)
    await round()
    await round()
    const mails = await Promise.all(sent.map(async ({ octets }) => simpleParser(Buffer.from(octets))))
    const about = mails.find(({ text }) => text?.includes("ab12"))
    expect(about?.subject).toBe(
      "A key of a correspondent ends in 10 days: OpenPGP key of bob@elsewhere.test and of 1 more",
    )
    expect([about?.from?.text, sent[0]?.to]).toEqual(["postmaster@example.test", "postmaster@example.test"])
    expect(about?.text).toContain(expiresAt.toISOString())
    expect(about?.text).toContain("postern profile lookup bob@elsewhere.test")
    const pinned = mails.find(({ text }) => text?.includes("cd34"))
    expect(pinned?.text).toContain("postern certificate add bært@elsewhere.test FILE")
    expect(sent.every(({ octets }) => /^[\x00-\x7f]*$/.test(Buffer.from(octets).toString("latin1")))).toBe(true)
    expect(await counters.text()).toMatch(/postern_expiry_warnings_total\{kind="correspondent"\} 2/)
  })

  test("a mail that could not be queued is tried again", async () => {
    const sent: Sent[] = []
    const later = new Date(NOW.getTime() + 7.5 * DAY_MS)
    const { round } = machine(sent, () => later)
    const failing = { submit: () => Promise.reject(new Error("disk full")) }
    const stranded: Ending = {
      ...{
        kind: "server",
        about: "certificate of the server x",
        owner: null,
        fingerprint: "ef",
        since: null,
        remedy: "y",
      },
      ...{ until: new Date(later.getTime() + DAY_MS / 2), nearDays: 30 },
    }
    await round()
    expect(sent).toHaveLength(2)
    const folder = stack.use(await temporaryFolder())
    const database = stack.adopt(openEmbeddedState(folder.file("data")), (state) => state.close())
    const config = parseConfig('domains = ["example.test"]\n', folder.file("postern.toml"))
    const core = { config, database, counters: new Counters(), now: () => later, log: silentLog() }
    await expect(warn(core, [stranded], failing, never)).rejects.toThrow("disk full")
    const submit = async ({ name, to, octets }: Parameters<Reports["submit"]>[0]) =>
      void sent.push({ name, to: formatAddress(to), octets })
    await warn(core, [stranded], { submit }, never)
    expect(sent).toHaveLength(3)
    expect(Buffer.from(sent[2]?.octets ?? []).toString()).toContain("ends within a day")
  })
})

describe("thresholds", () => {
  const ending = (days: number, nearDays = 30) =>
    ({ until: new Date(NOW.getTime() + days * DAY_MS), nearDays }) as Ending
  const rows: [left: number, near: number, want: number | null][] = [
    [30.1, 30, null],
    [30, 30, 30],
    [14.1, 30, 30],
    [3, 30, 3],
    [0.1, 30, 1],
    [0, 30, null],
    [-5, 30, null],
    [20, 14, null],
    [14, 14, 14],
    [1.4, 1.5, null],
    [1, 1.5, 1],
    [0.4, 0.5, null],
  ]
  for (const [left, near, want] of rows)
    test(`${left} days before the end, near from ${near} days: ${want}`, () =>
      expect(warningDays(ending(left, near), NOW)).toBe(want))

  test("a server's chain ends with the first of its certificates; what a CA renews is late at a quarter of its time", async () => {
    const [long, short] = [await testCertificate(), await testCertificate()].map(
      ({ certificate }) => pemDecode("CERTIFICATE", certificate)[0] ?? new Uint8Array(),
    )
    if (long === undefined || short === undefined) throw new Error("no certificates")
    const found = serverEnding("mail.example.test", [long, short], false)
    expect(found?.until).toEqual(new Date(Math.min(+readCertificate(long).notAfter, +readCertificate(short).notAfter)))
    expect(found?.fingerprint).toBe(Buffer.from(sha256(long)).toString("hex"))
    expect(serverEnding("mail.example.test", [long], true)?.nearDays).toBe(0.5)
    expect(serverEnding("mail.example.test", [], true)).toBeNull()
    expect(nearRenewed({ notBefore: NOW, notAfter: new Date(NOW.getTime() + 90 * DAY_MS) })).toBe(14)
  })
})
