import { X509Certificate } from "node:crypto"
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest"
import { parseConfig } from "../../src/config/load.ts"
import { Counters } from "../../src/log/counters.ts"
import { createLog } from "../../src/log/written.ts"
import { describeCertificates } from "../../src/wire/gauges.ts"
import { drawTicketKeys, LiveTls, type ServerTls } from "../../src/wire/tls.ts"
import { type TestCertificate, testCertificate } from "../harness/certificate.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"

const TOML = `domains = ["example.test"]
[tls]
certificate = "own.pem"
key = "own.key"
[[tls.names]]
name = "Mail.example.test"
certificate = "mail.pem"
key = "mail.key"
`
let folder: TemporaryFolder
let own: TestCertificate
let mail: TestCertificate
let other: TestCertificate
let lines: string[]

beforeAll(async () => {
  folder = await temporaryFolder()
  ;[own, mail, other] = await Promise.all([testCertificate(), testCertificate(), testCertificate()])
})

afterAll(() => folder[Symbol.asyncDispose]())

beforeEach(async () => {
  lines = []
  await write("own", own)
  await write("mail", mail)
})

async function write(name: string, { certificate, key }: TestCertificate): Promise<void> {
  await writeFile(folder.file(`${name}.pem`), certificate)
  await writeFile(folder.file(`${name}.key`), key)
}

function open(ticketKeys?: Uint8Array): LiveTls {
  const log = createLog("debug", { write: (line) => lines.push(line) })
  return new LiveTls(parseConfig(TOML, join(folder.path, "postern.toml")), log, ticketKeys)
}

test("what is read is what the files hold, names in lower case", () => {
  using tls = open()
  expect(tls.current).toEqual({ ...own, names: new Map([["mail.example.test", mail]]), ticketKeys: expect.anything() })
  expect(tls.current.ticketKeys).toHaveLength(48)
})

test("a renewed certificate is handed on, with the same ticket keys; one that did not change is not", async () => {
  using tls = open()
  const { ticketKeys } = tls.current
  const seen: ServerTls[] = []
  tls.onChange((changed) => seen.push(changed))
  tls.reload()
  await write("mail", other)
  tls.reload()
  tls.reload()
  expect(seen).toEqual([{ ...own, names: new Map([["mail.example.test", other]]), ticketKeys }])
  expect(tls.current).toBe(seen[0])
})

test("the metrics say how long each certificate holds still", async () => {
  using tls = open()
  const counters = new Counters()
  const ends = (pem: string) => new X509Certificate(pem).validToDate.getTime()
  const day = new Date(ends(own.certificate) - 86_400_000)
  describeCertificates(
    counters,
    "mx.example.test",
    () => tls.current,
    () => day,
  )
  const left = Math.floor((ends(mail.certificate) - day.getTime()) / 1_000)
  expect((await counters.text()).match(/^postern_certificate.*$/gm)).toEqual([
    'postern_certificate_seconds_left{name="mx.example.test"} 86400',
    `postern_certificate_seconds_left{name="mail.example.test"} ${left}`,
  ])
})

test("half of a renewal changes nothing, and says so without the key", async () => {
  using tls = open()
  const before = tls.current
  await writeFile(folder.file("own.pem"), other.certificate)
  tls.reload()
  await writeFile(folder.file("own.pem"), "")
  tls.reload()
  expect(tls.current).toBe(before)
  expect(lines.filter((line) => line.includes("tls.not-reloaded"))).toHaveLength(2)
  expect(lines.join("")).not.toContain("PRIVATE KEY")
})

test("a key that does not fit, or a file that is not there, stops the start by name", async () => {
  await writeFile(folder.file("mail.pem"), other.certificate)
  expect(() => open()).toThrow(
    /tls\.names of mail\.example\.test: .*mail\.pem and .*mail\.key are not a certificate and its key/,
  )
  await write("mail", mail)
  await writeFile(folder.file("own.pem"), "")
  expect(() => open()).toThrow(/^tls: .*own\.pem and /)
})

test("ticket keys of somebody else are used, and changed by them", () => {
  const [first, second] = [drawTicketKeys(), drawTicketKeys()]
  using tls = open(first)
  expect(tls.current.ticketKeys).toBe(first)
  tls.useTicketKeys(second)
  expect(tls.current.ticketKeys).toBe(second)
  expect(tls.current.certificate).toBe(own.certificate)
})
