import { readFileSync } from "node:fs"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import type { Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { DeviceSettings } from "./instance.ts"
import { run } from "./peers.ts"
import { WireClient } from "./wire.ts"

type Device = DeviceSettings & { readonly folder: string }

/** An authenticated IMAP session of a device, spoken by hand. */
export class ImapSession implements Disposable {
  readonly wire: WireClient
  #number = 0

  private constructor(wire: WireClient) {
    this.wire = wire
  }

  /** Logs in over TLS, over `socket` where it is given. @throws Error with the server's words when it refuses */
  static async open(device: DeviceSettings, socket?: Socket): Promise<ImapSession> {
    const tls = { tls: true }
    const wire = await (socket ? WireClient.over(socket, tls) : WireClient.connect(device.imap.port, tls))
    const session = new ImapSession(wire)
    try {
      await session.wire.until(/^\* OK .*\r\n/)
      await session.must(`LOGIN ${device.username} ${device.password}`)
      return session
    } catch (error) {
      session[Symbol.dispose]()
      throw error
    }
  }

  /** Sends a command; everything up to its tagged line, that line included. */
  async command(text: string): Promise<string> {
    const tag = `t${++this.#number}`
    await this.wire.write(`${tag} ${text}\r\n`)
    return this.wire.until(new RegExp(`^${tag} .*\\r\\n`, "m"))
  }

  /** The same, with OK expected. */
  async must(text: string): Promise<string> {
    const answer = await this.command(text)
    if (!/^t\d+ OK/m.test(answer)) throw new Error(`${text.split(" ")[0]}: ${answer.trim()}`)
    return answer
  }

  /** The literal of one FETCH item of one message. */
  async fetch(uid: number, item: string): Promise<Uint8Array> {
    const tag = `t${++this.#number}`
    await this.wire.write(`${tag} UID FETCH ${uid} (${item})\r\n`)
    const head = await this.wire.until(/\{(\d+)\}\r\n/)
    const octets = await this.wire.take(Number(/\{(\d+)\}\r\n$/.exec(head)?.[1]))
    await this.wire.until(new RegExp(`^${tag} OK.*\\r\\n`, "m"))
    return octets
  }

  /** UIDs of the messages of a mailbox, which is selected. */
  async uids(mailbox = "INBOX"): Promise<number[]> {
    await this.must(`SELECT ${mailbox}`)
    const answer = await this.must("UID SEARCH ALL")
    const line = /^\* SEARCH(.*)\r\n/m.exec(answer)?.[1] ?? ""
    return line.trim().split(" ").filter(Boolean).map(Number)
  }

  [Symbol.dispose](): void {
    this.wire[Symbol.dispose]()
  }
}

/**
 * Opens an S/MIME message with the device's PKCS#12 as OpenSSL reads it.
 * @returns null when OpenSSL cannot open it
 */
export async function openWithOpenssl(message: Uint8Array, device: Device): Promise<Uint8Array | null> {
  const folder = await mkdtemp(join(tmpdir(), "postern-open-"))
  try {
    const identity = join(folder, "identity.pem")
    const file = join(device.folder, device.files.pkcs12 ?? "none")
    const unpacked = await run("openssl", [
      "pkcs12",
      "-in",
      file,
      "-nodes",
      "-passin",
      `pass:${device.pkcs12Password ?? ""}`,
      "-out",
      identity,
    ])
    if (unpacked.code !== 0) throw new Error(`openssl pkcs12: ${unpacked.stderr}`)
    await writeFile(join(folder, "message.eml"), message)
    const opened = await run("openssl", [
      "cms",
      "-decrypt",
      "-binary",
      "-in",
      join(folder, "message.eml"),
      "-inkey",
      identity,
      "-recip",
      identity,
    ])
    return opened.code === 0 ? opened.stdout : null
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** The armored OpenPGP message within `message`. */
export function armorOf(message: Uint8Array): string {
  const text = Buffer.from(message).toString("latin1")
  const start = text.indexOf("-----BEGIN PGP MESSAGE-----")
  const end = text.indexOf("-----END PGP MESSAGE-----")
  if (start < 0 || end < 0) throw new Error("no OpenPGP armor in the message")
  return `${text.slice(start, end)}-----END PGP MESSAGE-----\r\n`
}

/**
 * Opens the OpenPGP message within `message` with RNP and the device's key.
 * @returns null when RNP cannot open it
 */
export async function openWithRnp(
  message: Uint8Array,
  device: Device,
  env: Readonly<Record<string, string>> = {},
): Promise<Uint8Array | null> {
  const home = await mkdtemp(join(tmpdir(), "postern-rnp-"))
  try {
    const password = device.openpgpPassword ?? ""
    const imported = await run(
      "rnpkeys",
      ["--homedir", home, "--import-key", join(device.folder, device.files.openpgp ?? "none")],
      { env },
    )
    if (imported.code !== 0) throw new Error(`rnpkeys: ${imported.stderr}`)
    await writeFile(join(home, "message.asc"), armorOf(message))
    const opened = await run(
      "rnp",
      ["--homedir", home, "--password", password, "--decrypt", "--output", "-", join(home, "message.asc")],
      { env },
    )
    return opened.code === 0 ? opened.stdout : null
  } finally {
    await rm(home, { recursive: true, force: true })
  }
}

/** The same with Sequoia. */
export async function openWithSequoia(message: Uint8Array, device: Device): Promise<Uint8Array | null> {
  const opened = await run("sq", ["decrypt", "--recipient-key", join(device.folder, device.files.openpgp ?? "none")], {
    input: armorOf(message),
  })
  return opened.code === 0 ? opened.stdout : null
}

/** The same with GnuPG, set up as docs/CLIENTS.md says. */
export async function openWithGnupg(message: Uint8Array, device: Device): Promise<Uint8Array | null> {
  const home = await mkdtemp(join(tmpdir(), "postern-gpg-"))
  const gpg = (args: readonly string[], input?: string) =>
    run("gpg", ["--homedir", home, "--batch", "--quiet", ...args], input === undefined ? {} : { input })
  const key = join(device.folder, device.files.openpgp ?? "none")
  try {
    const imported = await gpg(["--import", key])
    if (imported.code !== 0) throw new Error(`gpg --import: ${imported.stderr}`)
    const listed = Buffer.from((await gpg(["--with-colons", "--list-secret-keys"])).stdout).toString()
    await run("gpgconf", ["--homedir", home, "--kill", "all"])
    const files = encryptionKeygrips(listed).map((keygrip) => join(home, "private-keys-v1.d", `${keygrip}.key`))
    await writeFile(join(home, "agent-key.mjs"), agentKeyScript())
    const script = await run(process.execPath, [join(home, "agent-key.mjs"), key, ...files])
    if (script.code !== 0) throw new Error(`agent-key.mjs: ${script.stderr}`)
    const opened = await gpg(["--decrypt"], armorOf(message))
    return opened.code === 0 ? opened.stdout : null
  } finally {
    await run("gpgconf", ["--homedir", home, "--kill", "all"])
    await rm(home, { recursive: true, force: true })
  }
}

/** Keygrips of subkeys for ECDH (algorithm 18), in their order: `ssb:…:18:…` lines, each with a `grp:` line below. */
function encryptionKeygrips(listed: string): readonly string[] {
  const subkeys = listed.split(/^(?=ssb:)/m).filter((part) => part.startsWith("ssb:") && part.split(":")[3] === "18")
  return subkeys.flatMap((part) => /^grp:{9}([0-9A-F]{40}):/m.exec(part)?.[1] ?? [])
}

/** The script that docs/CLIENTS.md gives people. */
function agentKeyScript(): string {
  const text = readFileSync(join(import.meta.dirname, "../../docs/CLIENTS.md"), "utf8")
  const script = /with this as `agent-key.mjs`:\s+```js\n(.*?)```/s.exec(text)?.[1]
  if (script === undefined) throw new Error("docs/CLIENTS.md has no agent-key.mjs")
  return script
}
