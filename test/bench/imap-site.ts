import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { Dovecot, MASTER } from "../harness/dovecot.ts"
import { type DeviceSettings, eventually, Instance } from "../harness/instance.ts"
import { freePorts } from "../harness/ports.ts"
import { sendMail } from "../harness/wire.ts"
import type { Door } from "./imap-client.ts"
import { MANY_CONNECTIONS, nginxCanProxyMail, ProxyPeer, type TlsFiles } from "./imap-peers.ts"

export const MESSAGES = 2_000
/** As many as there are cores. */
export const IMAP_PROCESSES = 2
/** The devices that fetch at the same time, and one more whose records no other fetch makes. */
export const CLIENTS = 8
const ACCOUNT = "alice@example.test"
const SENDERS = 8
/** `postern init` gives the listeners ports in a row. */
const ADMIN_OFFSET = 6

export type Leg = "tls" | "plain"

/** Somebody who serves the mailbox. */
export interface Contestant {
  readonly name: string
  readonly door: Door
  /** The process whose tree does the work; null: not measured. */
  readonly pid: number | null
}

/** What stays for the whole run: a mailbox of mail encrypted by the gateway itself, a Dovecot that holds it, the gateway's instance. */
export class ImapSite {
  /** Octets of each message, by UID from 1. */
  readonly sizes: readonly number[]
  readonly #made: AsyncDisposableStack
  readonly #folder: string
  readonly #gateway: Instance
  readonly #devices: readonly DeviceSettings[]
  readonly #store: Dovecot
  readonly #storeTlsPort: number
  #keepSeconds = KEEP_SECONDS

  private constructor(parts: Parts) {
    this.sizes = parts.sizes
    this.#made = parts.made
    this.#folder = parts.folder
    this.#gateway = parts.gateway
    this.#devices = parts.devices
    this.#store = parts.store
    this.#storeTlsPort = parts.storeTlsPort
  }

  /** Whatever it makes and starts, now and later, is ended with `made`. */
  static async start(made: AsyncDisposableStack): Promise<ImapSite> {
    const folder = await mkdtemp(join(tmpdir(), "postern-bench-imap-"))
    made.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }))
    const gateway = made.use(await Instance.create())
    await gateway.must("account", "add", ACCOUNT)
    const devices: DeviceSettings[] = []
    for (let index = 0; index <= CLIENTS; index++) devices.push(await gateway.device(ACCOUNT, `device${index}`))
    const sizes = await fill(gateway, join(folder, "mail", ACCOUNT, "Maildir"))
    const [storeTlsPort = 0] = await freePorts(1)
    const store = made.use(await startStore(folder, tlsOf(gateway), storeTlsPort))
    pointAt(gateway, store)
    return new ImapSite({ sizes, made, folder, gateway, devices, store, storeTlsPort })
  }

  /** Our proxy in a fresh process. One at a time: the one before is ended. */
  async ours(leg: Leg, { preload = [], keepSeconds = KEEP_SECONDS }: OursOptions = {}): Promise<Contestant> {
    await this.#gateway.stop("SIGKILL")
    this.#gateway.configure(`keepSeconds = ${this.#keepSeconds}`, `keepSeconds = ${keepSeconds}`)
    this.#keepSeconds = keepSeconds
    const modules = leg === "plain" ? ["imap-plain.ts", ...preload] : preload
    const imports = modules.map((name) => `--import=${pathToFileURL(join(import.meta.dirname, name))}`)
    const env = { NODE_OPTIONS: imports.join(" "), POSTERN_BENCH_PROFILES: this.#folder }
    await this.#gateway.serve({ args: ["--role", "imap"], env })
    const logins = this.#devices.map(({ username, password }) => ({ user: username, password }))
    const port = this.#devices[0]?.imap.port ?? 0
    return {
      name: "ours",
      door: { port, tls: leg === "tls", logins: logins.slice(0, CLIENTS) },
      pid: this.#gateway.pid,
    }
  }

  /** The same proxy by the device whose records no other fetch makes. */
  lastDevice(ours: Contestant): Contestant {
    const { username = "", password = "" } = this.#devices[CLIENTS] ?? {}
    return { ...ours, door: { ...ours.door, logins: [{ user: username, password }] } }
  }

  /** Messages that our proxy, since its start, had to read for the place of their window. */
  async looked(): Promise<number> {
    const answer = await fetch(`http://127.0.0.1:${this.#gateway.port + ADMIN_OFFSET}/metrics`)
    return Number(/^postern_imap_patched_total (\d+)/m.exec(await answer.text())?.[1])
  }

  direct(leg: Leg): Contestant {
    const port = leg === "tls" ? this.#storeTlsPort : this.#store.imapPort
    return { name: "Dovecot directly", door: { port, tls: leg === "tls", logins: STORE_LOGIN }, pid: null }
  }

  /** null where it is not installed. */
  async nginx(): Promise<ProxyPeer | null> {
    if (!nginxCanProxyMail()) return null
    return this.#made.use(await ProxyPeer.nginx(this.#store.imapPort, tlsOf(this.#gateway)))
  }

  async dovecotProxy(): Promise<ProxyPeer> {
    return this.#made.use(await ProxyPeer.dovecot(this.#store.imapPort, tlsOf(this.#gateway)))
  }

  /** The CPU profiles of so many processes with imap-profiler.ts, when all are written. */
  async profiles(count: number): Promise<string[]> {
    const found = () => readdirSync(this.#folder).filter((name) => name.endsWith(".cpuprofile"))
    await eventually("profiles are written", () => found().length >= count, 60_000)
    return found().map((name) => readFileSync(join(this.#folder, name), "utf8"))
  }
}

export interface OursOptions {
  /** Modules loaded before it. */
  readonly preload?: readonly string[]
  /** `mailboxes.keepSeconds`; its default unless stated. */
  readonly keepSeconds?: number
}

interface Parts {
  readonly sizes: readonly number[]
  readonly made: AsyncDisposableStack
  readonly folder: string
  readonly gateway: Instance
  readonly devices: readonly DeviceSettings[]
  readonly store: Dovecot
  readonly storeTlsPort: number
}

export function through(peer: ProxyPeer, leg: Leg): Contestant {
  const port = leg === "tls" ? peer.tlsPort : peer.plainPort
  return { name: peer.name, door: { port, tls: leg === "tls", logins: STORE_LOGIN }, pid: peer.pid }
}

/** The store lets everybody in with this password. */
const STORE_LOGIN = [{ user: ACCOUNT, password: "x" }]

function tlsOf(gateway: Instance): TlsFiles {
  return { certificate: join(gateway.folder, "tls", "server.pem"), key: join(gateway.folder, "tls", "server.key") }
}

/**
 * Messages come in by SMTP and are encrypted as every other; then Dovecot gets them as it would have written them itself.
 * @returns their sizes, in the order of the UIDs
 */
async function fill(gateway: Instance, maildir: string): Promise<number[]> {
  await gateway.serve()
  await deliver(gateway)
  await gateway.stop()
  for (const name of ["cur", "new", "tmp"]) mkdirSync(join(maildir, name), { recursive: true })
  const sizes: number[] = Array(MESSAGES).fill(0)
  for (const name of readdirSync(join(gateway.maildir(ACCOUNT), "new"))) {
    const text = readFileSync(join(gateway.maildir(ACCOUNT), "new", name), "latin1").replaceAll("\r\n", "\n")
    const number = Number(/^Subject: message (\d+)/m.exec(text)?.[1])
    const octets = text.length + text.split("\n").length - 1
    const file = `${FIRST_SECOND + number}.M1P1.bench,S=${text.length},W=${octets}:2,S`
    writeFileSync(join(maildir, "cur", file), text, "latin1")
    sizes[number] = octets
  }
  return sizes
}

async function deliver(gateway: Instance): Promise<void> {
  const messages = clearMessages()
  const send = async (): Promise<void> => {
    for (const message of messages) {
      const reply = await sendMail(gateway.port, "sender@elsewhere.test", [ACCOUNT], message)
      if (!reply.startsWith("250")) throw new Error(reply)
    }
  }
  await Promise.all(Array.from({ length: SENDERS }, send))
  const inbox = join(gateway.maildir(ACCOUNT), "new")
  await eventually("all mail is delivered", () => readdirSync(inbox).length === MESSAGES, 60_000)
}

/** Dovecot numbers messages in the order of the times in their names. */
const FIRST_SECOND = 1_700_000_000

/** The same every time: text of many sizes, as mail has, 30 KB each on average when encrypted. */
function* clearMessages(): Generator<Uint8Array> {
  const random = randomNumbers(42)
  const words = Array.from({ length: 4_000 }, () => word(random))
  for (let number = 0; number < MESSAGES; number++) {
    const octets = Math.min(200_000, Math.max(2_000, Math.exp(MEAN_LOG + SPREAD_LOG * normal(random))))
    const lines: string[] = []
    for (let length = 0; length < octets; ) {
      const line = Array.from({ length: 10 }, () => words[Math.floor(random() * words.length)]).join(" ")
      length += lines.push(line) > 0 ? line.length + 2 : 0
    }
    yield Buffer.from(
      `From: sender@elsewhere.test\r\nTo: ${ACCOUNT}\r\nSubject: message ${number}\r\nMessage-ID: <${number}@elsewhere.test>\r\n\r\n${lines.join("\r\n")}\r\n`,
    )
  }
}

/** Of the natural logarithm of the clear size. */
const MEAN_LOG = 9.85
const SPREAD_LOG = 0.55

function word(random: () => number): string {
  const length = 2 + Math.floor(random() * 9)
  return Array.from({ length }, () => String.fromCharCode(97 + Math.floor(random() * 26))).join("")
}

/** Box and Muller. */
function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
}

/** Park and Miller's generator: 0 to 1. */
function randomNumbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 48_271) % 2_147_483_647
    return state / 2_147_483_647
  }
}

/** Plain IMAP for the proxies, and TLS on a port of its own for direct clients. */
async function startStore(folder: string, tls: TlsFiles, tlsPort: number): Promise<Dovecot> {
  return Dovecot.start(join(folder, "dovecot"), join(folder, "mail"), {
    tls: { key: readFileSync(tls.key, "utf8"), certificate: readFileSync(tls.certificate, "utf8") },
    more: `${MANY_CONNECTIONS}
service imap-login {
  inet_listener imaps {
    port = ${tlsPort}
    ssl = yes
  }
}
service imap {
  client_limit = 1
  service_count = 100
  process_min_avail = 4
}
`,
  })
}

/** The gateway reads from Dovecot from its next start on. */
function pointAt(gateway: Instance, store: Dovecot): void {
  writeFileSync(join(gateway.folder, "secrets", "master"), `${MASTER.password}\n`)
  gateway.configure(
    'imap = "embedded:"',
    `imap = "imap://127.0.0.1:${store.imapPort}"\nmasterUser = "${MASTER.user}"\nmasterPasswordFile = "secrets/master"\nconnectionsPerAccount = ${MANY}\nkeepSeconds = ${KEEP_SECONDS}`,
  )
  const limits = ["imapConnections", "imapConnectionsPerAccount", "imapConnectionsPerDevice"]
  gateway.configure(
    "[limits]",
    `[limits]\n${limits.map((limit) => `${limit} = ${MANY}\n`).join("")}imapProcesses = ${IMAP_PROCESSES}`,
  )
}

/** The default. */
const KEEP_SECONDS = 30
/** More connections than any part opens, all of one account. */
const MANY = 9_000
