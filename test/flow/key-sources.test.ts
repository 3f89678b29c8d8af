import { readFileSync, writeFileSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { parseAddress } from "../../src/message/address.ts"
import { type DaneType, daneName } from "../../src/profiles/dane-records.ts"
import { AUTHORITY, forMail, make } from "../harness/authority.ts"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { mustRun, peer, run, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { DIRECTORY_BASE, SLAPD, type Slapd, startSlapd } from "../harness/slapd.ts"
import { openSmtpSink, type SmtpSink } from "../harness/smtp-sink.ts"
import { startValidatingDns, VALIDATING_DNS } from "../harness/validating-dns.ts"
import { WebHosts } from "../harness/web-hosts.ts"
import { submitBy } from "../harness/wire.ts"

const possible = [...VALIDATING_DNS, ...SLAPD, "gpg", "openssl"].every(peer)

const ALICE = "alice@example.test"
const CANARY = "canary-of-the-sources-2311"
const KEYSERVER = "keys.test"
/** Who has a key where, and nowhere else. */
const PEOPLE = {
  openpgpkey: "anna@signed.test",
  smimea: "dora@signed.test",
  ldap: "carl@directory.test",
  keyserver: "vera@other.test",
} as const

const stack = new AsyncDisposableStack()
let folder: TemporaryFolder
let gateway: Instance
let laptop: DeviceSettings
let hop: SmtpSink
let slapd: Slapd
let keyserverIs: "there" | "broken" = "there"

beforeAll(async () => {
  if (!possible) return
  folder = stack.use(await temporaryFolder())
  stack.defer(() => run("gpgconf", ["--homedir", folder.path, "--kill", "all"]).then(() => undefined))
  const root = await make(folder, { name: "root", extensions: AUTHORITY })
  const [carl, dora] = await Promise.all(
    (["ldap", "smimea"] as const).map((name) => make(folder, { name, by: root, extensions: forMail(PEOPLE[name]) })),
  )
  if (carl === undefined || dora === undefined) throw new Error("two certificates were expected")
  const [anna, vera] = [await gnupgKey(PEOPLE.openpgpkey), await gnupgKey(PEOPLE.keyserver)]
  hop = stack.use(await openSmtpSink({ server: { hideDSN: true } }))
  const web = stack.use(await WebHosts.open([KEYSERVER]))
  web.answer = ({ url }, response) => {
    const isVera = decodeURIComponent(url ?? "") === `/vks/v1/by-email/${PEOPLE.keyserver}`
    if (keyserverIs === "broken") response.writeHead(503, { "content-length": 0 }).end()
    else if (isVera) response.writeHead(200, { "content-length": vera.length }).end(vera)
    else response.writeHead(404, { "content-length": 0 }).end()
  }
  const records = ['_openpgpkey TXT "keys"', '_smimecert TXT "keys"']
  const dns = stack.use(
    await startValidatingDns([
      { name: ".", state: "unsigned", records: ["test NS ns.test.", "ns.test. A 127.0.0.1"] },
      { name: "test", state: "unsigned", records: ["keys A 127.0.0.1"] },
      {
        name: "signed.test",
        state: "signed",
        records: [
          ...records,
          record(PEOPLE.openpgpkey, "OPENPGPKEY", anna),
          record(PEOPLE.smimea, "SMIMEA", Uint8Array.of(3, 0, 0, ...dora.der)),
        ],
      },
      { name: "expired.test", state: "expired", records },
    ]),
  )
  slapd = stack.use(await startSlapd(directoryEntry(PEOPLE.ldap, carl.der)))
  gateway = stack.use(await Instance.create())
  gateway.configure('next = "mx"', `next = "smtp://127.0.0.1:${hop.port}"`)
  gateway.configure("[policy]", `[dns]\nservers = ["${dns.address}"]\nvalidating = true\n\n[policy]`)
  gateway.configure(
    'sources = ["pinned"]',
    `sources = ["pinned", "dane"]\nkeyservers = ["vks://${KEYSERVER}:${web.port}"]\nroots = ["${root.certificateFile}"]\nrevocation = "off"`,
  )
  writeFileSync(
    gateway.configuration,
    `${readFileSync(gateway.configuration, "utf8")}
[[keys.directories]]
url = "ldap://127.0.0.1:${slapd.port}"
domains = ["directory.test"]
base = "${DIRECTORY_BASE}"
`,
  )
  writeFileSync(folder.file("web.pem"), web.certificate.certificate)
  await gateway.must("account", "add", ALICE)
  laptop = await gateway.device(ALICE, "laptop")
  await gateway.serve({ env: { NODE_EXTRA_CA_CERTS: folder.file("web.pem") } })
})
afterAll(() => stack.disposeAsync())

const gpg = (...args: readonly string[]): Promise<Uint8Array> =>
  mustRun("gpg", ["--homedir", folder.path, "--batch", "--quiet", "--passphrase", "", ...args])

async function gnupgKey(address: string): Promise<Uint8Array> {
  await gpg("--quick-generate-key", address, "default", "default", "never")
  return await gpg("--export", address)
}

/** RFC 3597 §5, which every signer of zones reads. */
function record(address: string, type: DaneType, data: Uint8Array): string {
  const number = { OPENPGPKEY: 61, SMIMEA: 53 }[type]
  const name = daneName(parseAddress(address), type)
  return `${name}. TYPE${number} \\# ${data.length} ${Buffer.from(data).toString("hex")}`
}

function directoryEntry(address: string, certificate: Uint8Array): string {
  const encoded = Buffer.from(certificate).toString("base64")
  const lines = ["cn: carl", "sn: carl", `mail: ${address}`, `userCertificate;binary:: ${encoded}`, ""]
  return [`dn: cn=carl,ou=people,${DIRECTORY_BASE}`, "objectClass: inetOrgPerson", ...lines].join("\n")
}

async function send(to: string): Promise<void> {
  const message = `From: ${ALICE}\r\nTo: ${to}\r\nSubject: x\r\n\r\n${CANARY}\r\n`
  expect(await submitBy(laptop, [to], Buffer.from(message))).toMatch(/^250 /)
}

/** What the next hop got for somebody. */
const arrived = (to: string): Promise<string> =>
  eventually(`mail for ${to}`, () =>
    hop.messages.find(({ recipients }) => recipients.includes(to))?.octets.toString("latin1"),
  )

/** What became of the first attempt at somebody, and what was decided before. */
async function attempt(to: string): Promise<readonly [string, string]> {
  const { outcome, status } = await logged("mail.attempt", to)
  const { because = "" } = await logged("mail.decided", to)
  return [`${outcome} ${status}`, because]
}

async function logged(event: string, recipient: string): Promise<Readonly<Record<string, string>>> {
  const line = await eventually(`${event} of ${recipient}`, () =>
    gateway.log
      .split("\n")
      .find((one) => one.includes(`"event":"${event}"`) && one.includes(`"${recipient}"`) && one.endsWith("}")),
  )
  return JSON.parse(line)
}

describe.skipIf(!possible)("a key that is published in one place only", () => {
  test.each(["openpgpkey", "keyserver"] as const)("%s: GnuPG opens what leaves", async (source) => {
    await send(PEOPLE[source])
    const octets = await arrived(PEOPLE[source])
    expect(octets).not.toContain(CANARY)
    const [armored = ""] = /-----BEGIN PGP MESSAGE-----[\s\S]*-----END PGP MESSAGE-----/.exec(octets) ?? []
    writeFileSync(folder.file("message.asc"), armored)
    expect(Buffer.from(await gpg("--decrypt", folder.file("message.asc"))).toString()).toContain(CANARY)
  })

  test.each(["smimea", "ldap"] as const)("%s: OpenSSL opens what leaves", async (source) => {
    await send(PEOPLE[source])
    const octets = await arrived(PEOPLE[source])
    expect(octets).not.toContain(CANARY)
    writeFileSync(folder.file("message.eml"), octets, "latin1")
    const key = ["-inkey", folder.file(`${source}.key`), "-recip", folder.file(`${source}.pem`)]
    const opened = await mustRun("openssl", ["cms", "-decrypt", "-in", folder.file("message.eml"), ...key])
    expect(Buffer.from(opened).toString()).toContain(CANARY)
  })
})

describe.skipIf(!possible)("a source that cannot answer", () => {
  test("all say none: in clear, as policy has it", async () => {
    await send("nobody@other.test")
    expect(await arrived("nobody@other.test")).toContain(CANARY)
  })

  test("a zone whose signatures have expired: nothing leaves", async () => {
    await send("anna@expired.test")
    expect(await attempt("anna@expired.test")).toEqual(["retry 4.7.5", "no answer from openpgpkey, smimea"])
  })

  test("a directory that is away: nothing leaves", async () => {
    await slapd.stop()
    await send("otto@directory.test")
    expect(await attempt("otto@directory.test")).toEqual([
      "retry 4.7.5",
      expect.stringMatching(/^no answer from ldap /),
    ])
  })

  test("a keyserver that answers 503: nothing leaves, to nobody anywhere of whom nothing else is known", async () => {
    keyserverIs = "broken"
    await send("somebody@other.test")
    expect(await attempt("somebody@other.test")).toEqual(["retry 4.7.5", expect.stringMatching(/^no answer from vks /)])
    const clear = hop.messages.filter(({ octets }) => octets.includes(CANARY))
    expect(clear.flatMap(({ recipients }) => recipients)).toEqual(["nobody@other.test"])
  })
})
