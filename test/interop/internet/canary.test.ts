import { once } from "node:events"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { writeFile } from "node:fs/promises"
import type { IncomingMessage, ServerResponse } from "node:http"
import { createServer } from "node:https"
import { connect, type Server, type Socket } from "node:net"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { makeAccountKey } from "../../../src/crypto/openpgp/account-key.ts"
import { AUTHORITY, forMail, make } from "../../harness/authority.ts"
import { type Canary, filesShowing, makeCanary, shows } from "../../harness/canary.ts"
import { testCertificate } from "../../harness/certificate.ts"
import { type DeviceSettings, eventually, Instance } from "../../harness/instance.ts"
import { Internet, internetPossible } from "../../harness/internet.ts"
import { peer } from "../../harness/peers.ts"
import { openSmtpSink, type SmtpSink } from "../../harness/smtp-sink.ts"
import { startValidatingDns, VALIDATING_DNS } from "../../harness/validating-dns.ts"
import { submitMail, WireClient } from "../../harness/wire.ts"

const possible = internetPossible && [...VALIDATING_DNS, "openssl"].every(peer)

const ALICE = "alice@example.test"
const MAIL = "11.0.5.1"
const WEB = "11.0.5.2"
/** Shows a certificate of another name. */
const LIAR = "11.0.5.3"
const NOBODY = "11.0.5.4"
const OVERSIZE_OCTETS = 4_194_304

type Answer = (response: ServerResponse, request: IncomingMessage) => void

/** What the key directory of each domain does, and what becomes of mail to it. */
const DOMAINS: readonly (readonly [
  domain: string,
  becomes: "encrypted" | "clear" | "held" | "waits",
  web: string,
  Answer?,
])[] = [
  ["key.test", "encrypted", WEB, (response) => (keyIsThere ? response : response.writeHead(404)).end(certificate)],
  ["pinned.test", "encrypted", WEB, (response) => response.writeHead(404).end()],
  ["clear.test", "clear", WEB, (response) => response.writeHead(404).end()],
  ["none.test", "held", WEB, (response) => response.writeHead(404).end()],
  ["silent.test", "waits", WEB, () => undefined],
  ["away.test", "waits", NOBODY],
  ["lying.test", "waits", LIAR, (response) => response.writeHead(404).end()],
  ["broken.test", "waits", WEB, (response) => response.writeHead(503).end()],
  ["huge.test", "waits", WEB, (response) => response.end(Buffer.alloc(OVERSIZE_OCTETS))],
  [
    "cut.test",
    "waits",
    WEB,
    (response, { socket }) => response.writeHead(200, { "content-length": 9 }).write("4", () => socket.destroy()),
  ],
  ["inward.test", "waits", WEB, (response) => response.writeHead(302, { location: "https://inside.test/" }).end()],
  ["home.test", "waits", WEB, (response) => response.writeHead(302, { location: "https://127.0.0.1/" }).end()],
]
const RULES = `
[[policy.rules]]
name = "secret"
to = ["*@none.test"]
encrypt = "require"
`

const stack = new AsyncDisposableStack()
const canaries = new Map<string, Canary>(DOMAINS.map(([domain]) => [domain, makeCanary()]))
let certificate: Uint8Array
let keyIsThere = true
let internet: Internet
let gateway: Instance
let laptop: DeviceSettings
let sink: SmtpSink
/** All that went over connections to mail exchangers, each direction of each by itself, and all that a web server was asked. */
const streams: string[] = []
let asked = ""
let knocksInside = 0

beforeAll(async () => {
  if (!possible) return
  const key = await makeAccountKey({
    name: "Friend",
    address: "friend@key.test",
    createdAt: new Date(Date.now() - 60_000),
  })
  certificate = key.certificate
  internet = stack.use(await Internet.open())
  const names = DOMAINS.map(([domain]) => `openpgpkey.${domain}`)
  const [honest, other] = await Promise.all([
    testCertificate(...names.filter((name) => !name.includes("lying")), "inside.test"),
    testCertificate("somebody.else.test"),
  ])
  await writeFile(internet.folder.file("authorities.pem"), honest.certificate + other.certificate)
  const records = (web: string) => ["@ MX 10 mx", `mx A ${MAIL}`, `openpgpkey A ${web}`]
  stack.use(
    await startValidatingDns(
      [
        { name: ".", state: "unsigned", records: ["test NS ns.test.", "ns.test. A 127.0.0.1"] },
        { name: "test", state: "unsigned", records: ["inside A 127.0.0.1"] },
        ...DOMAINS.map(([name, , web]) => ({ name, state: "unsigned" as const, records: records(web) })),
      ],
      { port: 53, within: internet.inside },
    ),
  )
  for (const [address, { key, certificate }] of [
    [WEB, honest],
    [LIAR, other],
  ] as const) {
    const server = createServer({ key, cert: certificate }, answer)
    server.listen(await internet.listen(address, 443))
    await once(server, "listening")
    stack.defer(() => {
      server.closeAllConnections()
      server.close()
    })
  }
  const inside = await internet.listen("127.0.0.1", 443)
  inside.on("connection", (socket) => {
    knocksInside += 1
    socket.destroy()
  })
  stack.defer(() => void inside.close())
  sink = stack.use(await openSmtpSink({ server: { hideDSN: true } }))
  record(await internet.listen(MAIL), sink.port)
  gateway = stack.use(await Instance.create())
  gateway.configure("[listen]", `[dns]\nservers = ["127.0.0.1"]\n[listen]`)
  gateway.configure('sources = ["pinned"]', 'sources = ["pinned", "wkd", "profile"]\nkeep = "1ms"')
  gateway.configure("[policy]\n", '[policy]\nheaders = "hidden"\n')
  writeFileSync(gateway.configuration, `${readFileSync(gateway.configuration, "utf8")}${RULES}`)
  await gateway.must("account", "add", ALICE)
  const root = await make(internet.folder, { name: "root", extensions: AUTHORITY })
  const extensions = forMail("friend@pinned.test")
  const pinned = await make(internet.folder, { name: "friend", by: root, extensions })
  await gateway.must("certificate", "add", "friend@pinned.test", pinned.certificateFile)
  laptop = await gateway.device(ALICE, "laptop")
  gateway.within = internet.inside
  await serve()
})
afterAll(() => stack.disposeAsync())

async function serve(): Promise<void> {
  await gateway.serve({ env: { NODE_EXTRA_CA_CERTS: internet.folder.file("authorities.pem"), TMPDIR: temporary() } })
}

function temporary(): string {
  const folder = join(gateway.folder, "..", "tmp")
  mkdirSync(folder, { recursive: true })
  return folder
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  asked += `${request.method} ${request.url} ${JSON.stringify(request.rawHeaders)}\n`
  request.on("data", (octets: Buffer) => {
    asked += octets.toString("latin1")
  })
  const found = DOMAINS.find(([domain]) => request.headers.host === `openpgpkey.${domain}`)
  found?.[3]?.(response, request)
}

/** Hands on what comes to a listener, and keeps every octet of both directions. */
function record(listener: Server, port: number): void {
  const sockets = new Set<Socket>()
  listener.on("connection", (socket) => {
    const there = connect(port, "127.0.0.1")
    for (const [from, to] of [
      [socket, there],
      [there, socket],
    ] as const) {
      sockets.add(from)
      const stream = streams.push("") - 1
      from.on("data", (octets) => {
        streams[stream] += octets.toString("latin1")
      })
      from.on("error", () => undefined)
      from.pipe(to)
    }
  })
  stack.defer(() => {
    for (const socket of sockets) socket.destroy()
    listener.close()
  })
}

const canaryOf = (domain: string): Canary => canaries.get(domain) ?? makeCanary()

async function send(to: readonly string[], { text }: Canary): Promise<void> {
  const socket = await internet.connect("127.0.0.1", laptop.smtp.port)
  using client = await WireClient.over(socket, { tls: true })
  const head = `From: ${ALICE}\r\nTo: ${to.join(", ")}\r\nSubject: ${text}\r\nKeywords: ${text}\r\n`
  const body = `${text}\r\n${Buffer.from(text).toString("base64")}\r\n`
  expect(await submitMail(client, laptop, to, Buffer.from(`${head}\r\n${body}`))).toMatch(/^250 /)
}

/** Canaries of these domains that any octet on the way, or on the disk, shows. */
function seen(): {
  readonly wire: readonly string[]
  readonly asked: readonly string[]
  readonly disk: readonly string[]
} {
  const showing = (octets: string) =>
    [...canaries].filter(([, canary]) => shows(octets, canary)).map(([domain]) => domain)
  const folders = [gateway.folder, temporary()]
  return {
    wire: showing(streams.join("\n")),
    asked: showing(asked),
    disk: [...filesShowing(folders, [...canaries.values()]), ...showing(gateway.log)],
  }
}

interface Listed {
  readonly id: string
  readonly recipient: string
  readonly state: string
  readonly attempts: number
  readonly holdReason: string | null
}
const queued = async (): Promise<readonly Listed[]> =>
  JSON.parse(await gateway.must("queue", "list", "--json")) as readonly Listed[]

/** What became of the attempts at a recipient, the first first. */
function attempts(recipient: string): readonly string[] {
  const lines = gateway.log.split("\n").filter((line) => line.includes('"event":"mail.attempt"') && line.endsWith("}"))
  const all = lines.map((line) => JSON.parse(line) as Readonly<Record<string, string>>)
  return all.filter((one) => one["recipient"] === recipient).map(({ outcome, status }) => `${outcome} ${status}`)
}

const NOTHING_BUT_CLEAR = { wire: ["clear.test"], asked: [], disk: [] }

describe.skipIf(!possible)("what a message says", () => {
  const recipients = DOMAINS.map(([domain]) => `friend@${domain}`)

  test("is nowhere on the wire or the disk but where policy lets it leave in clear", async () => {
    await Promise.all(DOMAINS.map(([domain]) => send([`friend@${domain}`], canaryOf(domain))))
    const wanted = { encrypted: "done 2.0.0", clear: "done 2.0.0", held: "held", waits: "retry 4.7.5" } as const
    for (const [domain, becomes] of DOMAINS) {
      const of = `friend@${domain}`
      if (becomes === "held")
        expect(
          await eventually(`${of} is held`, async () =>
            (await queued()).find((one) => one.recipient === of && one.state === "held"),
          ),
        ).toMatchObject({ holdReason: expect.stringContaining("no key that may be used") })
      else expect(await eventually(`an attempt at ${of}`, () => attempts(of)[0]), of).toBe(wanted[becomes])
    }
    expect(sink.messages.flatMap(({ recipients: to }) => to).toSorted()).toEqual(
      ["friend@clear.test", "friend@key.test", "friend@pinned.test"].toSorted(),
    )
    expect(seen()).toEqual(NOTHING_BUT_CLEAR)
  })

  test("nor in a message to all of them at once, which leaves for some", async () => {
    canaries.set("everybody", makeCanary())
    await send(
      recipients.filter((to) => to !== "friend@clear.test"),
      canaryOf("everybody"),
    )
    const both = ["friend@key.test", "friend@pinned.test"]
    await eventually("both have it", () => sink.messages.length === 5)
    await eventually("both are done", async () => (await queued()).every(({ recipient }) => !both.includes(recipient)))
    expect(seen()).toEqual(NOTHING_BUT_CLEAR)
  })

  test("nor after the gateway was killed, started again and made to try again", async () => {
    await gateway.stop("SIGKILL")
    expect(seen()).toEqual(NOTHING_BUT_CLEAR)
    await serve()
    const waits = DOMAINS.filter(([, becomes]) => becomes === "waits").map(([domain]) => `friend@${domain}`)
    const waiting = await queued()
    for (const to of waits) {
      const before = attempts(to).length
      const job = waiting.find(({ recipient, state }) => recipient === to && state === "delayed")
      await gateway.must("queue", "retry", job?.id ?? to)
      await eventually(`${to} again`, () => attempts(to).length > before, 30_000)
    }
    expect(seen()).toEqual(NOTHING_BUT_CLEAR)
    expect(sink.messages).toHaveLength(5)
  })

  test("nor when the key that an address had is gone: the message is held, and its sender told (row 36)", async () => {
    keyIsThere = false
    canaries.set("gone", makeCanary())
    await send(["friend@key.test"], canaryOf("gone"))
    const held = await eventually("a held message", async () =>
      (await queued()).find(({ recipient, state }) => recipient === "friend@key.test" && state === "held"),
    )
    expect(held.holdReason).toBe("friend@key.test had a key (wkd) and has none now")
    const inbox = join(gateway.maildir(ALICE), "new")
    await eventually("a report on each held message", () => {
      const texts = existsSync(inbox) ? readdirSync(inbox).map((name) => readFileSync(join(inbox, name), "latin1")) : []
      return texts.filter((text) => text.includes("\r\nSubject: Delayed mail\r\n")).length === 3
    })
    expect(seen()).toEqual(NOTHING_BUT_CLEAR)
    expect(sink.messages).toHaveLength(5)
  })

  test("and nobody inside was knocked at, whatever a web server said", () => {
    expect(asked).toContain("openpgpkey.inward.test")
    expect(asked).toContain("openpgpkey.home.test")
    expect(knocksInside).toBe(0)
  })

  test("the recorder sees what it looks for", () => {
    for (const form of canaryOf("key.test").forms)
      expect(shows(`before ${form} after`, canaryOf("key.test"))).toBe(true)
    const wire = streams.join("\n")
    expect(wire).toContain(`Subject: ${canaryOf("clear.test").text}`)
    expect(wire.match(/^Subject: \[\.\.\.\]\r$/gm)).toHaveLength(4)
  })
})
