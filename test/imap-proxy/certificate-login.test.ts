import { writeFile } from "node:fs/promises"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { publicKeyFingerprint, readCertificate } from "../../src/crypto/cms/certificate.ts"
import { pemDecode } from "../../src/crypto/cms/pem.ts"
import type { CertifiedDevice } from "../../src/imap-proxy/ports.ts"
import { type TestCertificate, testCertificate } from "../harness/certificate.ts"
import { mustRun, peer, run, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { BareClient, quoted } from "./client.ts"
import { ACCOUNT, embedded, LAPTOP, PHONE, type Rig, startRig } from "./rig.ts"

let folder: TemporaryFolder
let store: ReturnType<typeof embedded>
let rig: Rig
let laptop: TestCertificate
let old: TestCertificate
let stranger: TestCertificate
const owners = new Map<string, CertifiedDevice>()

beforeAll(async () => {
  folder = await temporaryFolder()
  store = embedded(folder.path)
  ;[laptop, old, stranger] = await Promise.all([testCertificate(), testCertificate(), testCertificate()])
  owners.set(fingerprint(laptop), { account: ACCOUNT, device: LAPTOP, expired: false })
  owners.set(fingerprint(old), { account: ACCOUNT, device: PHONE, expired: true })
  rig = await startRig({ upstream: store.upstream, tlsMode: "implicit", owners })
  for (const [name, content] of [
    ["laptop.pem", laptop.certificate + laptop.key],
    ["stranger.pem", stranger.certificate + stranger.key],
    ["ca.pem", rig.certificate.certificate],
  ] as const)
    await writeFile(folder.file(name), content)
})

afterAll(async () => {
  await rig[Symbol.asyncDispose]()
  await store[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

function fingerprint({ certificate }: TestCertificate): string {
  const [der = new Uint8Array()] = pemDecode("CERTIFICATE", certificate)
  return Buffer.from(publicKeyFingerprint(readCertificate(der))).toString("hex")
}

const base64 = (text: string): string => Buffer.from(text).toString("base64")

/** Connected, with the greeting read. */
async function connected(shown: TestCertificate | null): Promise<{ client: BareClient; greeting: string }> {
  const client = await BareClient.implicit(rig, shown === null ? {} : { cert: shown.certificate, key: shown.key })
  return { client, greeting: await client.until("\r\n") }
}

describe("what is offered", () => {
  const rows: [name: string, shown: () => TestCertificate | null, want: string][] = [
    ["with a device's certificate", () => laptop, "ID AUTH=EXTERNAL AUTH=PLAIN AUTH=LOGIN]"],
    ["with one that has ended, so that the client hears why", () => old, "ID AUTH=EXTERNAL AUTH=PLAIN AUTH=LOGIN]"],
    ["with a stranger's", () => stranger, "ID LOGINDISABLED]"],
    ["without", () => null, "ID LOGINDISABLED]"],
  ]
  for (const [name, shown, want] of rows)
    test(name, async () => {
      const { client, greeting } = await connected(shown())
      await using _ = client
      expect(greeting).toContain(want)
      expect(await client.ok("CAPABILITY")).toContain(want.slice(0, -1))
    })

  test("EXTERNAL is no mechanism where no certificate is asked for", async () => {
    await using password = await startRig({ upstream: store.upstream })
    await using client = await BareClient.secure(password)
    expect(await client.command("AUTHENTICATE EXTERNAL =")).toContain("NO [CANNOT]")
  })
})

describe("a device's certificate logs in", () => {
  const rows: [name: string, text: string][] = [
    ["EXTERNAL with an empty initial response", "AUTHENTICATE EXTERNAL ="],
    ["EXTERNAL with an empty response to an empty challenge", "AUTHENTICATE EXTERNAL\r\n"],
    ["EXTERNAL with its own address", `AUTHENTICATE EXTERNAL ${base64(ACCOUNT)}`],
    [
      "EXTERNAL with its own address, later and in another case",
      `AUTHENTICATE EXTERNAL\r\n${base64("Alice@EXAMPLE.test")}`,
    ],
    ["LOGIN with the device's own password beside it", `LOGIN ${ACCOUNT} ${quoted(LAPTOP)}`],
    ["PLAIN with the device's own password beside it", `AUTHENTICATE PLAIN ${base64(`\0${ACCOUNT}\0${LAPTOP}`)}`],
  ]
  for (const [name, text] of rows)
    test(name, async () => {
      const { client } = await connected(laptop)
      await using _ = client
      expect(await client.ok(text)).toContain("OK [CAPABILITY IMAP4rev1 ")
      await client.ok("SELECT INBOX")
    })

  test("commands behind EXTERNAL are not lost", async () => {
    const { client } = await connected(laptop)
    await using _ = client
    client.send("a AUTHENTICATE EXTERNAL =\r\nb NAMESPACE\r\nc SELECT INBOX\r\n")
    expect(await client.tagged("c")).toMatch(/a OK[\s\S]*b OK[\s\S]*c OK/)
  })
})

describe("refused", () => {
  const rows: [name: string, shown: () => TestCertificate | null, text: string, want: string][] = [
    ["no certificate", () => null, "AUTHENTICATE EXTERNAL =", "NO [AUTHENTICATIONFAILED]"],
    [
      "no certificate, whatever the password",
      () => null,
      `LOGIN ${ACCOUNT} ${quoted(LAPTOP)}`,
      "NO [AUTHENTICATIONFAILED]",
    ],
    ["a stranger's", () => stranger, "AUTHENTICATE EXTERNAL =", "NO [AUTHENTICATIONFAILED]"],
    [
      "a stranger's, with somebody's address",
      () => stranger,
      `AUTHENTICATE EXTERNAL ${base64(ACCOUNT)}`,
      "NO [AUTHENTICATIONFAILED]",
    ],
    ["one that has ended", () => old, "AUTHENTICATE EXTERNAL =", "NO [EXPIRED]"],
    ["one that has ended, with a password", () => old, `LOGIN ${ACCOUNT} ${PHONE}`, "NO [EXPIRED]"],
    [
      "another's address",
      () => laptop,
      `AUTHENTICATE EXTERNAL ${base64("bob@example.test")}`,
      "NO [AUTHORIZATIONFAILED]",
    ],
    ["what is no address", () => laptop, `AUTHENTICATE EXTERNAL ${base64(`${ACCOUNT}\0`)}`, "NO [AUTHORIZATIONFAILED]"],
    ["another device's password", () => laptop, `LOGIN ${ACCOUNT} ${PHONE}`, "NO [AUTHENTICATIONFAILED]"],
    ["a wrong password", () => laptop, `LOGIN ${ACCOUNT} wrong`, "NO [AUTHENTICATIONFAILED]"],
    ["a cancelled exchange", () => laptop, "AUTHENTICATE EXTERNAL\r\n*", "BAD cancelled"],
    ["a response that is no base64", () => laptop, "AUTHENTICATE EXTERNAL ?", "BAD not base64"],
  ]
  for (const [name, shown, text, want] of rows)
    test(name, async () => {
      const { client } = await connected(shown())
      await using _ = client
      expect(await client.command(text)).toContain(want)
      expect(await client.command("SELECT INBOX")).toContain("BAD")
    })

  test("three times, then the connection ends", async () => {
    const { client } = await connected(stranger)
    await using _ = client
    client.send("a AUTHENTICATE EXTERNAL =\r\n".repeat(3))
    expect(await client.rest()).toMatch(/\* BYE too many tries\r\n$/)
  })

  test("a device that is revoked while it is connected", async () => {
    const gone = await testCertificate()
    const key = fingerprint(gone)
    owners.set(key, { account: ACCOUNT, device: PHONE, expired: false })
    const { client, greeting } = await connected(gone)
    await using _ = client
    expect(greeting).toContain("AUTH=EXTERNAL")
    owners.delete(key)
    expect(await client.command("AUTHENTICATE EXTERNAL =")).toContain("NO [AUTHENTICATIONFAILED]")
  })
})

describe("other people's programs", () => {
  const url = () => `imaps://localhost:${rig.port}/`
  const curl = (certificate: string, ...options: string[]) =>
    run("curl", [
      ...["--silent", "--show-error", "--cacert", folder.file("ca.pem"), "--cert", folder.file(certificate)],
      ...["--login-options", "AUTH=EXTERNAL", ...options, url(), "--request", "NAMESPACE"],
    ])

  test.skipIf(!peer("curl"))("curl: with and without initial response, with and without a name", async () => {
    for (const options of [
      ["--user", `${ACCOUNT}:`],
      ["--user", `${ACCOUNT}:`, "--sasl-ir"],
      ["--user", ":"],
      ["--user", ":", "--sasl-ir"],
    ]) {
      const { code, stdout, stderr } = await curl("laptop.pem", ...options)
      expect([options, code, stderr]).toEqual([options, 0, ""])
      expect(Buffer.from(stdout).toString()).toContain("* NAMESPACE")
    }
    // 67: login denied, also where nothing was offered.
    expect((await curl("stranger.pem", "--user", `${ACCOUNT}:`)).code).toBe(67)
    expect((await curl("laptop.pem", "--user", "bob@example.test:")).code).toBe(67)
  })

  test.skipIf(!peer("openssl"))("openssl s_client: a resumed session is still the device's", async () => {
    const client = (...options: string[]) =>
      run(
        "openssl",
        ["s_client", "-connect", `localhost:${rig.port}`, "-ign_eof", "-cert", folder.file("laptop.pem"), ...options],
        { input: "a AUTHENTICATE EXTERNAL =\r\nb LOGOUT\r\n" },
      )
    for (const version of ["-tls1_3", "-tls1_2"]) {
      const file = folder.file(`session${version}`)
      expect(Buffer.from((await client(version, "-sess_out", file)).stdout).toString()).toContain("a OK [CAPABILITY")
      const again = Buffer.from((await client(version, "-sess_in", file)).stdout).toString()
      expect(again).toMatch(/^Reused, /m)
      expect(again).toContain("a OK [CAPABILITY")
    }
  })

  test.skipIf(!peer("python3"))("Python's imaplib", async () => {
    const script = `
import imaplib, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
context.load_cert_chain(sys.argv[2])
for answer in (b"", sys.argv[4].encode()):
    with imaplib.IMAP4_SSL("localhost", int(sys.argv[3]), ssl_context=context) as client:
        assert "AUTH=EXTERNAL" in client.capabilities, client.capabilities
        client.authenticate("EXTERNAL", lambda challenge: answer)
        print(client.select()[0], client.namespace()[0])
`
    const args = [folder.file("ca.pem"), folder.file("laptop.pem"), String(rig.port), ACCOUNT]
    expect(Buffer.from(await mustRun("python3", ["-c", script, ...args])).toString()).toBe("OK OK\nOK OK\n")
  })
})
