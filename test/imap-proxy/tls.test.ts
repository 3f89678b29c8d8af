import { afterAll, beforeAll, expect, test } from "vitest"
import { drawTicketKeys } from "../../src/wire/tls.ts"
import { type TestCertificate, testCertificate } from "../harness/certificate.ts"
import { type Finished, peer, run, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { BareClient } from "./client.ts"
import { embedded, type Rig, type RigOptions, startRig } from "./rig.ts"

let folder: TemporaryFolder
let store: ReturnType<typeof embedded>
let own: TestCertificate
let mail: TestCertificate

beforeAll(async () => {
  folder = await temporaryFolder()
  store = embedded(folder.path)
  ;[own, mail] = await Promise.all([testCertificate(), testCertificate("mail.example.test")])
})

afterAll(async () => {
  await store[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

function tlsRig(options: Partial<RigOptions> = {}): Promise<Rig> {
  return startRig({ upstream: store.upstream, tlsMode: "implicit", tls: own, ...options })
}

/** openssl s_client to the listener, logging out at once. */
function client({ port }: Rig, ...options: readonly string[]): Promise<Finished> {
  const args = ["s_client", "-connect", `127.0.0.1:${port}`, "-ign_eof", "-showcerts", ...options]
  return run("openssl", args, { input: "a LOGOUT\r\n" })
}

const text = ({ stdout }: Finished): string => Buffer.from(stdout).toString("latin1")
const isReused = (finished: Finished): boolean => /^Reused, /m.test(text(finished))
/** True when the client was shown this certificate. */
const shows = (finished: Finished, { certificate }: TestCertificate): boolean =>
  text(finished).replaceAll("\r", "").includes(certificate.trim())

const openssl = test.skipIf(!peer("openssl"))

for (const version of ["-tls1_3", "-tls1_2"])
  openssl(`a session is resumed with a ticket (${version})`, async () => {
    await using rig = await tlsRig()
    const file = folder.file(`session${version}`)
    expect(isReused(await client(rig, version, "-sess_out", file))).toBe(false)
    const again = await client(rig, version, "-sess_in", file)
    expect(isReused(again)).toBe(true)
    expect(text(again)).toContain("* OK [CAPABILITY")
  })

openssl(
  "AES-128-GCM is chosen where the client has no other wish than to know it, and what it knows otherwise",
  async () => {
    await using rig = await tlsRig()
    const chosen = async (...options: readonly string[]) =>
      /Cipher is (\S+)/.exec(text(await client(rig, ...options)))?.[1]
    expect(await chosen()).toBe("TLS_AES_128_GCM_SHA256")
    expect(await chosen("-ciphersuites", "TLS_AES_256_GCM_SHA384")).toBe("TLS_AES_256_GCM_SHA384")
    expect(await chosen("-tls1_2")).toBe("ECDHE-ECDSA-AES128-GCM-SHA256")
  },
)

openssl("processes with the same ticket keys resume each other's sessions, and no others", async () => {
  const tls = { ...own, ticketKeys: drawTicketKeys() }
  await using first = await tlsRig({ tls })
  await using second = await tlsRig({ tls })
  const file = folder.file("shared")
  await client(first, "-sess_out", file)
  expect(isReused(await client(second, "-sess_in", file))).toBe(true)
  second.listener.reloadTls({ ...own, ticketKeys: drawTicketKeys() })
  expect(isReused(await client(second, "-sess_in", file))).toBe(false)
  expect(isReused(await client(first, "-sess_in", file))).toBe(true)
})

openssl("a session without a certificate is none where one is asked for", async () => {
  const tls = { ...own, ticketKeys: drawTicketKeys() }
  await using plain = await tlsRig({ tls })
  await using certified = await tlsRig({ tls, owners: new Map() })
  const file = folder.file("foreign")
  await client(plain, "-sess_out", file)
  const finished = await client(certified, "-sess_in", file)
  expect(isReused(finished)).toBe(false)
  expect(text(finished)).toContain("LOGINDISABLED")
})

openssl("each name has its certificate; who asks for another, or none, sees the listener's own", async () => {
  await using rig = await tlsRig({ tls: { ...own, names: new Map([["mail.example.test", mail]]) } })
  const rows: [name: string[], certificate: TestCertificate][] = [
    [["-servername", "mail.example.test"], mail],
    [["-servername", "MAIL.Example.test"], mail],
    [["-servername", "other.example.test"], own],
    [["-noservername"], own],
    [["-servername", "mail.example.test", "-tls1_2"], mail],
  ]
  for (const [name, certificate] of rows) {
    const finished = await client(rig, ...name)
    expect([name, shows(finished, certificate)]).toEqual([name, true])
  }
  const file = folder.file("named")
  await client(rig, "-servername", "mail.example.test", "-sess_out", file)
  expect(isReused(await client(rig, "-servername", "mail.example.test", "-sess_in", file))).toBe(true)
})

openssl("a new certificate is shown at once, and nobody loses a connection or a ticket", async () => {
  await using rig = await tlsRig()
  await using open = await BareClient.implicit(rig, { ca: own.certificate })
  await open.until("\r\n")
  const file = folder.file("before")
  await client(rig, "-sess_out", file)
  rig.listener.reloadTls(mail)
  expect(shows(await client(rig), mail)).toBe(true)
  expect(isReused(await client(rig, "-sess_in", file))).toBe(true)
  await open.ok("NOOP")
})

openssl("TLS 1.2 at least, and no protocol but IMAP", async () => {
  await using rig = await tlsRig()
  const rows: [options: string[], want: RegExp][] = [
    [["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], /alert protocol version|no protocols available/],
    [["-alpn", "http/1.1"], /alert no application protocol/],
  ]
  for (const [options, want] of rows) {
    const finished = await client(rig, ...options)
    expect([options, finished.code, finished.stderr]).toEqual([options, 1, expect.stringMatching(want)])
  }
  expect(text(await client(rig, "-alpn", "imap"))).toContain("ALPN protocol: imap")
  expect(text(await client(rig))).toContain("No ALPN negotiated")
})

test("an address that says nothing sensible ends its own connection only", async () => {
  await using rig = await tlsRig()
  await using noise = await BareClient.plain(rig)
  noise.send("a LOGIN in clear\r\n".repeat(10))
  await noise.rest()
  await using other = await BareClient.implicit(rig, { ca: own.certificate })
  expect(await other.until("\r\n")).toContain("AUTH=PLAIN AUTH=LOGIN]")
})
