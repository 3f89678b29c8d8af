import { createHash, X509Certificate } from "node:crypto"
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { type TestCertificate, testCertificate } from "../../harness/certificate.ts"
import { type DeviceSettings, eventually, Instance } from "../../harness/instance.ts"
import { Internet, internetPossible } from "../../harness/internet.ts"
import { peer } from "../../harness/peers.ts"
import { Postfix, type PostfixOptions, postfixThere } from "../../harness/postfix.ts"
import { ImapSession, openWithOpenssl } from "../../harness/reading.ts"
import { openSmtpSink, type SmtpSink, type SmtpSinkOptions } from "../../harness/smtp-sink.ts"
import { type ServedZone, startValidatingDns, VALIDATING_DNS } from "../../harness/validating-dns.ts"
import { stuffed, WireClient } from "../../harness/wire.ts"

export const worldPossible = internetPossible && postfixThere && [...VALIDATING_DNS, "openssl"].every(peer)

export const ALICE = "alice@example.test"
export const GATEWAY = { name: "mail.example.test", address: "11.0.0.1" } as const

type Device = DeviceSettings & { readonly folder: string }

/** One decision of the gateway. */
type LogLine = Readonly<Record<string, unknown>>

export interface WorldOptions {
  readonly zones: (gateway: GatewayToBe) => readonly ServedZone[] | Promise<readonly ServedZone[]>
  readonly postfix: PostfixOptions
  /** Certificates that the gateway takes for those of authorities. */
  readonly authorities: readonly TestCertificate[]
}

/** A gateway that is not served yet. */
interface GatewayToBe {
  readonly instance: Instance
  readonly laptop: Device
  /** What its listeners show, for its host name and those of its policies. */
  readonly certificate: TestCertificate
}

/** An instance for example.test and second.test, on 11.0.0.1, with a certificate that names it. */
async function makeGateway(): Promise<GatewayToBe> {
  const [instance, certificate] = await Promise.all([
    Instance.create("--domain", "second.test"),
    testCertificate(GATEWAY.name, "mta-sts.example.test", "mta-sts.second.test"),
  ])
  const { folder, port } = instance
  await Promise.all([
    writeFile(join(folder, "tls/server.pem"), certificate.certificate),
    writeFile(join(folder, "tls/server.key"), certificate.key),
  ])
  instance.configure(
    "[listen]",
    `hostname = "${GATEWAY.name}"\n[dns]\nservers = ["127.0.0.1"]\nvalidating = true\n[listen]`,
  )
  instance.configure(`mx = "127.0.0.1:${port}"`, `mx = "${GATEWAY.address}:25"`)
  instance.configure(`https = "127.0.0.1:${port + 5}"`, `https = "${GATEWAY.address}:443"`)
  instance.configure("[policy]", `[policy]\nmtaSts = "enforce"`)
  await Promise.all([instance.must("account", "add", ALICE), instance.must("dkim", "add", "example.test")])
  const [laptop] = await Promise.all([
    instance.device(ALICE, "laptop"),
    instance.must("dkim", "activate", "example.test", "--unseen"),
    instance.must("alias", "add", "bob@second.test", ALICE),
  ])
  return { instance, certificate, laptop }
}

/** A network with a validating resolver, a Postfix and a whole gateway, which know of each other from DNS alone. */
export class World implements AsyncDisposable {
  readonly internet: Internet
  readonly gateway: Instance
  readonly laptop: Device
  readonly postfix: Postfix
  readonly #authorities: string
  #stack: AsyncDisposableStack

  private constructor(
    parts: { readonly internet: Internet; readonly postfix: Postfix; readonly authorities: string },
    { instance, laptop }: GatewayToBe,
    stack: AsyncDisposableStack,
  ) {
    this.internet = parts.internet
    this.postfix = parts.postfix
    this.#authorities = parts.authorities
    this.gateway = instance
    this.laptop = laptop
    this.#stack = stack
  }

  static async start({ zones, postfix, authorities }: WorldOptions): Promise<World> {
    await using stack = new AsyncDisposableStack()
    const internet = stack.use(await Internet.open())
    const file = internet.folder.file("authorities.pem")
    await writeFile(file, authorities.map(({ certificate }) => certificate).join(""))
    const [started, gateway] = await Promise.all([Postfix.start(internet, postfix), makeGateway()])
    stack.use(gateway.instance)
    await writeFile(internet.folder.file("trusted.pem"), gateway.certificate.certificate)
    const within = internet.inside
    stack.use(await startValidatingDns([...ROOT, ...(await zones(gateway))], { port: 53, within }))
    gateway.instance.within = within
    const world = new World({ internet, postfix: started, authorities: file }, gateway, stack)
    await world.serve()
    world.#stack = stack.move()
    return world
  }

  /** Starts the gateway, once more after `gateway.stop()`. */
  async serve(): Promise<void> {
    await this.gateway.serve({ env: { NODE_EXTRA_CA_CERTS: this.#authorities } })
  }

  /** A sink on port 25 of an address. */
  async sink(address: string, options: Omit<SmtpSinkOptions, "at"> = {}): Promise<SmtpSink> {
    return this.#stack.use(await openSmtpSink({ ...options, at: await this.internet.listen(address) }))
  }

  /** Submits as Alice's laptop. @returns the spool id */
  async submit(
    octets: Uint8Array,
    to: readonly string[],
    { mail = "", rcpt = "" }: { readonly mail?: string; readonly rcpt?: string } = {},
  ): Promise<string> {
    const socket = await this.internet.connect("127.0.0.1", this.laptop.smtp.port)
    using client = await WireClient.over(socket, { tls: true })
    await client.until(/^220 .*\r\n/m)
    const { username, password } = this.laptop
    const commands = [
      "EHLO client.test",
      `AUTH PLAIN ${Buffer.from(`\0${username}\0${password}`).toString("base64")}`,
      `MAIL FROM:<${username}> BODY=8BITMIME ${mail}`.trim(),
      ...to.map((recipient) => `RCPT TO:<${recipient}> ${rcpt}`.trim()),
      "DATA",
    ]
    for (const command of commands) {
      await client.write(`${command}\r\n`)
      const reply = await client.until(/^\d{3} .*\r\n/m)
      if (!/^[23]\d\d[ -]/.test(reply)) throw new Error(`${command}: ${reply}`)
    }
    await client.write(stuffed(octets))
    const reply = await client.until(/^\d{3} .*\r\n/m)
    const id = /^250 .*\b([0-9a-z]{20,})\b/.exec(reply)?.[1]
    if (id === undefined) throw new Error(`not accepted: ${reply}`)
    return id
  }

  /** What became of an attempt at one recipient: the first, or a repeat (1 and up). */
  attempt(id: string, recipient: string, number = 0): Promise<LogLine> {
    return eventually(`attempt ${number} at ${recipient}`, () =>
      this.events("mail.attempt").find(
        (one) => one["id"] === id && one["recipient"] === recipient && one["attempt"] === number,
      ),
    )
  }

  /** Lines of the gateway's log. */
  events(event: string): readonly LogLine[] {
    const lines = this.gateway.log
      .split("\n")
      .filter((line) => line.includes(`"event":"${event}"`) && line.endsWith("}"))
    return lines.map((line) => JSON.parse(line) as LogLine)
  }

  /** A message in Alice's INBOX that this search key finds, as her laptop opens it: outside and inside. */
  async inMailbox(key: string): Promise<{ readonly outside: string; readonly inside: string }> {
    const socket = await this.internet.connect("127.0.0.1", this.laptop.imap.port)
    using session = await ImapSession.open(this.laptop, socket)
    const uid = await eventually(`${key} in the mailbox`, async () => {
      await session.must("SELECT INBOX")
      return Number(/^\* SEARCH.* (\d+)\r$/m.exec(await session.must(`UID SEARCH ${key}`))?.[1] ?? 0)
    })
    const octets = await session.fetch(uid, "BODY.PEEK[]")
    const opened = Buffer.from((await openWithOpenssl(octets, this.laptop)) ?? [])
    return { outside: Buffer.from(octets).toString("latin1"), inside: opened.toString("latin1") }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]()
  }
}

/** A message of Alice's. */
export function message(name: string, to: string, body = SECRET): Buffer {
  return Buffer.from(
    `From: ${ALICE}\r\nTo: ${to}\r\nSubject: ${name}\r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\n` +
      `Message-ID: <${name}@example.test>\r\n\r\n${body}\r\n`,
  )
}

/** In every message; nothing outside may show it where mail is encrypted. */
export const SECRET = "for the recipient and nobody on the way"

/** A signed root makes every answer a proven one; below .test only what has an anchor of its own is signed. */
const ROOT: readonly ServedZone[] = [
  { name: ".", state: "signed", records: ["test NS ns.test.", "ns.test. A 127.0.0.1"] },
  { name: "test", state: "unsigned", records: [] },
]

/** DANE-EE by the key (RFC 7672 §3.1.1), as a zone file has it. */
export function tlsa({ certificate }: TestCertificate): string {
  const spki = new X509Certificate(certificate).publicKey.export({ type: "spki", format: "der" })
  return `3 1 1 ${createHash("sha256").update(spki).digest("hex")}`
}
