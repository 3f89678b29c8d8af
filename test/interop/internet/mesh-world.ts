import { once } from "node:events"
import { copyFile, readFile, writeFile } from "node:fs/promises"
import { createServer, type Server, type Socket } from "node:net"
import { join } from "node:path"
import { AUTHORITY, make } from "../../harness/authority.ts"
import { type DeviceSettings, eventually, Instance } from "../../harness/instance.ts"
import { Internet, internetPossible } from "../../harness/internet.ts"
import { peer, type TemporaryFolder } from "../../harness/peers.ts"
import { ImapSession, openWithGnupg, openWithOpenssl } from "../../harness/reading.ts"
import { startValidatingDns, VALIDATING_DNS } from "../../harness/validating-dns.ts"
import { stuffed, WireClient } from "../../harness/wire.ts"

export const meshWorldPossible = internetPossible && [...VALIDATING_DNS, "openssl", "gpg"].every(peer)

export type Device = DeviceSettings & { readonly folder: string }

/** One organisation: a domain and its gateway, which others reach at `address`, and which listens at `inner`. */
export interface Site {
  readonly domain: string
  readonly address: string
  readonly inner: string
}

export const ONE: Site = { domain: "one.test", address: "11.0.1.1", inner: "11.0.1.1" }
/** What goes to it passes a tap. */
export const TWO: Site = { domain: "two.test", address: "11.0.2.1", inner: "11.0.2.2" }

export interface MeshGateway {
  readonly site: Site
  readonly instance: Instance
  /** File of the authority that vouches for its server, PEM. */
  readonly authority: string
}

/** Two gateways as processes of their own, with a domain each, that know of each other from DNS alone; and what passes from one to the other. */
export class MeshWorld implements AsyncDisposable {
  readonly internet: Internet
  readonly one: MeshGateway
  readonly two: MeshGateway
  /** Every octet on its way to the second gateway's HTTPS, and back. */
  readonly tapped: Buffer[] = []
  /** Connections of the tap that are open. */
  readonly #passing = new Set<Socket>()
  #isCut = false
  #impostor: Server | null = null
  #stack: AsyncDisposableStack

  private constructor(internet: Internet, one: MeshGateway, two: MeshGateway, stack: AsyncDisposableStack) {
    this.internet = internet
    this.one = one
    this.two = two
    this.#stack = stack
  }

  /** @param configured changes postern.toml of both; isTapped: false for measuring, what goes to the second gateway goes there straight */
  static async start({
    configured = () => undefined,
    isTapped = true,
  }: {
    readonly configured?: (instance: Instance) => void
    readonly isTapped?: boolean
  } = {}): Promise<MeshWorld> {
    await using stack = new AsyncDisposableStack()
    const internet = stack.use(await Internet.open())
    const [one, two] = await Promise.all([
      gateway(ONE, internet.folder, configured),
      gateway(TWO, internet.folder, configured),
    ])
    for (const { instance } of [one, two]) {
      stack.use(instance)
      instance.within = internet.inside
    }
    const authorities = internet.folder.file("authorities.pem")
    const each = [one, two].map(({ authority }) => readFile(authority, "utf8"))
    await writeFile(authorities, (await Promise.all(each)).join(""))
    const zones = [
      { name: ".", state: "unsigned", records: ["test NS ns.test.", "ns.test. A 127.0.0.1"] },
      { name: "test", state: "unsigned", records: [] },
      ...[ONE, TWO].map(({ domain, address, inner }) => ({
        name: domain,
        state: "unsigned" as const,
        records: [
          ...["@", "mail", "mail-profile"].map((name) => `${name} A ${isTapped ? address : inner}`),
          `mx A ${inner}`,
          `@ MX 10 mx.${domain}.`,
        ],
      })),
    ] as const
    stack.use(await startValidatingDns(zones, { port: 53, within: internet.inside }))
    const world = new MeshWorld(internet, one, two, stack)
    if (isTapped) await world.#tap()
    world.#stack = stack.move()
    return world
  }

  /** Starts both, or one again. */
  async serve(...gateways: readonly MeshGateway[]): Promise<void> {
    const env = { NODE_EXTRA_CA_CERTS: this.internet.folder.file("authorities.pem") }
    const all = gateways.length > 0 ? gateways : [this.one, this.two]
    await Promise.all(all.map(({ instance }) => instance.serve({ env })))
  }

  /** From now on nobody reaches the second gateway, or everybody again. */
  cut(isCut: boolean): void {
    this.#isCut = isCut
    if (isCut) for (const socket of this.#passing) socket.destroy()
  }

  /** From now on this server answers in place of the second gateway, or that one again. */
  impersonate(impostor: Server | null): void {
    this.#impostor = impostor
    for (const socket of this.#passing) socket.destroy()
  }

  async #tap(): Promise<void> {
    const server = await this.internet.listen(TWO.address, 443)
    server.on("connection", (socket: Socket) => {
      if (this.#isCut) return void socket.destroy()
      this.#passing.add(socket)
      socket.on("error", () => undefined)
      socket.once("close", () => this.#passing.delete(socket))
      if (this.#impostor !== null) return void this.#impostor.emit("connection", socket)
      this.internet.connect(TWO.inner, 443).then(
        (inner) => {
          inner.on("error", () => socket.destroy())
          for (const [from, to] of [
            [socket, inner],
            [inner, socket],
          ] as const) {
            from.on("data", (octets: Buffer) => this.tapped.push(octets))
            from.pipe(to)
            from.once("close", () => to.destroy())
          }
        },
        () => socket.destroy(),
      )
    })
    this.#stack.defer(() => void server.close())
  }

  async submit(device: Device, to: readonly string[], octets: Uint8Array): Promise<string> {
    using client = await this.submitting(device)
    return await client.send(to, octets)
  }

  /** A session of a device's, that sends as many messages as are wanted. */
  async submitting(device: Device) {
    const socket = await this.internet.connect("127.0.0.1", device.smtp.port)
    const client = await WireClient.over(socket, { tls: true })
    const say = async (command: string): Promise<string> => {
      await client.write(`${command}\r\n`)
      const reply = await client.until(/^\d{3} .*\r\n/m)
      if (!/^[23]\d\d[ -]/.test(reply)) throw new Error(`${command}: ${reply}`)
      return reply
    }
    await client.until(/^220 .*\r\n/m)
    await say("EHLO client.test")
    await say(`AUTH PLAIN ${Buffer.from(`\0${device.username}\0${device.password}`).toString("base64")}`)
    return {
      async send(to: readonly string[], octets: Uint8Array): Promise<string> {
        await say(`MAIL FROM:<${device.address}> BODY=8BITMIME`)
        for (const recipient of to) await say(`RCPT TO:<${recipient}>`)
        await say("DATA")
        if (octets.length < TEXT_OCTETS) await client.write(stuffed(octets))
        else {
          // Has no line that begins with a dot.
          for (let at = 0; at < octets.length; at += TEXT_OCTETS)
            await client.write(octets.subarray(at, at + TEXT_OCTETS))
          await client.write("\r\n.\r\n")
        }
        const reply = await client.until(/^\d{3} .*\r\n/m)
        const id = /^250 .*\b([0-9a-z]{20,})\b/.exec(reply)?.[1]
        if (id === undefined) throw new Error(`not accepted: ${reply}`)
        return id
      },
      [Symbol.dispose]: () => client[Symbol.dispose](),
    }
  }

  async reading(device: Device): Promise<ImapSession> {
    return ImapSession.open(device, await this.internet.connect("127.0.0.1", device.imap.port))
  }

  /** The device as a program outside of this network has it: its ports lead in from loopback. */
  async fromOutside(device: Device): Promise<Device> {
    const within = async (at: DeviceSettings["imap"]) => ({
      ...at,
      host: "localhost",
      port: await this.door("127.0.0.1", at.port),
    })
    return { ...device, imap: await within(device.imap), smtp: await within(device.smtp) }
  }

  /** @returns a port of loopback outside of this network that leads to this place in it */
  async door(address: string, port: number): Promise<number> {
    const server = createServer((socket) => {
      socket.on("error", () => undefined)
      this.internet.connect(address, port).then(
        (inner) => {
          inner.on("error", () => socket.destroy())
          socket.pipe(inner).pipe(socket)
        },
        () => socket.destroy(),
      )
    }).listen(0, "127.0.0.1")
    await once(server, "listening")
    this.#stack.defer(() => void server.close())
    const bound = server.address()
    if (bound === null || typeof bound === "string") throw new Error("no port")
    return bound.port
  }

  /** A message in the INBOX with this Message-ID, as the device opens it: with OpenSSL, or where it has OpenPGP alone with GnuPG. */
  async inMailbox(device: Device, messageId: string) {
    using session = await this.reading(device)
    const uid = await eventually(`${messageId} in the mailbox`, async () => {
      await session.must("SELECT INBOX")
      return Number(
        /^\* SEARCH.* (\d+)\r$/m.exec(await session.must(`UID SEARCH HEADER Message-ID ${messageId}`))?.[1] ?? 0,
      )
    })
    const octets = Buffer.from(await session.fetch(uid, "BODY.PEEK[]"))
    const open = device.files.pkcs12 === undefined ? openWithGnupg : openWithOpenssl
    return { octets, inside: Buffer.from((await open(octets, device)) ?? []) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]()
  }
}

export const ALICE = `alice@${ONE.domain}`
export const BOB = `bob@${TWO.domain}`

/** Somebody at either gateway, with a device; both gateways serve then. For soaks and benches, that count what Bob has. */
export async function aliceAndBob(world: MeshWorld): Promise<{ readonly alice: Device; readonly bob: Device }> {
  const [one, two] = [world.one.instance, world.two.instance]
  await one.must("account", "add", ALICE)
  // Who is first is postmaster, and gets mail of the gateway's own.
  await two.must("account", "add", `admin@${TWO.domain}`)
  await two.must("account", "add", BOB)
  const people = { alice: await one.device(ALICE, "laptop"), bob: await two.device(BOB, "laptop") }
  await world.serve()
  return people
}

/** What is longer is no text in memory. */
const TEXT_OCTETS = 16_777_216

/** Lines of a gateway's log. */
export function events({ instance }: MeshGateway, event: string): readonly Readonly<Record<string, unknown>>[] {
  return instance.log
    .split("\n")
    .filter((line) => line.includes(`"event":"${event}"`) && line.endsWith("}"))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
}

/** Has a message tried at once; the log tells of the last attempt before it is over. */
export async function retry({ instance }: MeshGateway, id: string): Promise<void> {
  await eventually(`${id} is tried again`, async () => (await instance.postern("queue", "retry", id)).code === 0)
}

async function gateway(
  site: Site,
  folder: TemporaryFolder,
  configured: (instance: Instance) => void,
): Promise<MeshGateway> {
  const { domain, inner } = site
  const by = await make(folder, { name: `authority of ${domain}`, extensions: AUTHORITY })
  const names = ["localhost", domain, `mail.${domain}`, `mail-profile.${domain}`].map((name) => `DNS:${name}`)
  const extensions = [
    "basicConstraints=critical,CA:FALSE",
    "extendedKeyUsage=serverAuth",
    `subjectAltName=IP:127.0.0.1,${names.join(",")}`,
  ]
  const [instance, server] = await Promise.all([Instance.create(), make(folder, { name: domain, by, extensions })])
  await Promise.all([
    copyFile(server.certificateFile, join(instance.folder, "tls/server.pem")),
    copyFile(server.keyFile, join(instance.folder, "tls/server.key")),
  ])
  instance.configure('domains = ["example.test"]', `domains = ["${domain}"]\nhostname = "mail.${domain}"`)
  instance.configure("[listen]", `[dns]\nservers = ["127.0.0.1"]\n[listen]`)
  instance.configure('sources = ["pinned"]', 'sources = ["pinned", "profile"]')
  instance.configure(`mx = "127.0.0.1:${instance.port}"`, `mx = "${inner}:25"`)
  instance.configure(`https = "127.0.0.1:${instance.port + 5}"`, `https = "${inner}:443"`)
  instance.configure(
    "[policy]",
    `[mesh]\nservice = "https://mail.${domain}/.well-known/mmm/"\naccept = ["organisation", "everybody"]\n[policy]`,
  )
  configured(instance)
  return { site, instance, authority: by.certificateFile }
}
