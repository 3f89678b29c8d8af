import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { chown, lchown, readdir } from "node:fs/promises"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import type { TestCertificate } from "./certificate.ts"
import { peer } from "./peers.ts"
import { freePorts } from "./ports.ts"

/** Dovecot's own processes change users, which only root may. */
export const dovecotPossible = peer("dovecot") && process.getuid?.() === 0

/** The user that Dovecot's mail processes run as: root may not be one. What they open must be this user's. */
const MAIL_UID = 5000

/** What `account*postern` logs in with, for every account. */
export const MASTER = { user: "postern", password: "master of this test" } as const

/** What a test wants of its Dovecot. */
interface DovecotOptions {
  /** Without it there is no STARTTLS. */
  readonly tls?: TestCertificate
  /** Settings added at the end. */
  readonly more?: string
}

/** A Dovecot of the test's own: IMAP (plain) and LMTP over Maildirs in a folder. Every name has a mailbox, and the password `x`. */
export class Dovecot implements AsyncDisposable {
  readonly imapPort: number
  readonly lmtpPort: number
  /** The same LMTP on a Unix socket. */
  readonly lmtpSocket: string
  readonly mailRoot: string
  readonly #folder: string
  #process: ChildProcess | null = null

  private constructor(folder: string, mailRoot: string, [imapPort = 0, lmtpPort = 0]: readonly number[]) {
    this.#folder = folder
    this.mailRoot = mailRoot
    this.imapPort = imapPort
    this.lmtpPort = lmtpPort
    this.lmtpSocket = join(folder, "lmtp")
  }

  /** Runs over `<mailRoot>/<user>/Maildir`; `folder` gets its configuration and what it needs to run. Both are made. */
  static async start(folder: string, mailRoot: string, options: DovecotOptions = {}): Promise<Dovecot> {
    const dovecot = new Dovecot(folder, mailRoot, await freePorts(2))
    for (const path of [folder, mailRoot]) {
      mkdirSync(path, { recursive: true })
      passable(path)
    }
    await giveTo(mailRoot, MAIL_UID)
    writeFileSync(join(folder, "master"), `${MASTER.user}:{PLAIN}${MASTER.password}\n`)
    if (options.tls) {
      writeFileSync(join(folder, "tls.pem"), options.tls.certificate)
      writeFileSync(join(folder, "tls.key"), options.tls.key, { mode: 0o600 })
    }
    writeFileSync(join(folder, "dovecot.conf"), dovecot.#settings(options))
    await dovecot.start()
    return dovecot
  }

  /** Starts it again after {@link stop}, on the same ports; does nothing while it runs. */
  async start(): Promise<void> {
    if (this.#process) return
    const child = spawn("dovecot", ["-F", "-c", join(this.#folder, "dovecot.conf")], { stdio: "ignore" })
    this.#process = child
    for (const where of [this.imapPort, this.lmtpPort, this.lmtpSocket]) await accepting(where, child, () => this.log)
  }

  async stop(): Promise<void> {
    const child = this.#process
    this.#process = null
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, "exit")
    child.kill("SIGTERM")
    await ended
  }

  /** What it wrote to its log so far. */
  get log(): string {
    return readFileSync(join(this.#folder, "log"), "utf8")
  }

  /** The INBOX of a user. */
  maildir(user: string): string {
    return join(this.mailRoot, user, "Maildir")
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  #settings({ tls, more = "" }: DovecotOptions): string {
    const encryption = tls ? `yes\nssl_cert = <${this.#folder}/tls.pem\nssl_key = <${this.#folder}/tls.key` : "no"
    return `base_dir = ${this.#folder}/run
state_dir = ${this.#folder}/state
log_path = ${this.#folder}/log
protocols = imap lmtp
listen = 127.0.0.1
ssl = ${encryption}
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_master_user_separator = *
auth_failure_delay = 0
mail_uid = ${MAIL_UID}
mail_gid = ${MAIL_UID}
first_valid_uid = 1
mail_location = maildir:${this.mailRoot}/%u/Maildir
postmaster_address = postmaster@store.test
passdb {
  driver = passwd-file
  master = yes
  args = ${this.#folder}/master
}
passdb {
  driver = static
  args = password=x
}
userdb {
  driver = static
  args = uid=${MAIL_UID} gid=${MAIL_UID} home=${this.#folder}/home/%u allow_all_users=yes
}
namespace inbox {
  inbox = yes
}
service anvil {
  # Without it the next to log in from 127.0.0.1 would pay for a test's wrong passwords.
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service imap-login {
  inet_listener imap {
    port = ${this.imapPort}
  }
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  inet_listener lmtp {
    port = ${this.lmtpPort}
  }
  unix_listener ${this.lmtpSocket} {
    mode = 0666
  }
}
${more}
`
  }
}

/** Gives a tree to `uid`. */
async function giveTo(path: string, uid: number): Promise<void> {
  await chown(path, uid, uid)
  for (const entry of await readdir(path, { recursive: true })) await lchown(join(path, entry), uid, uid)
}

/** Lets everybody through the folders down to `path`, which are a test's own from the temporary folder on. */
function passable(path: string): void {
  for (let folder = path; folder.startsWith(`${tmpdir()}/`); folder = dirname(folder)) chmodSync(folder, 0o755)
}

/** Dovecot tells nobody when it is ready. */
async function accepting(where: number | string, child: ChildProcess, log: () => string): Promise<void> {
  const end = Date.now() + 10_000
  while (!(await accepts(where))) {
    if (child.exitCode !== null || Date.now() > end) throw new Error(`dovecot does not accept connections: ${log()}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

function accepts(where: number | string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = typeof where === "number" ? connect(where, "127.0.0.1") : connect(where)
    socket.once("connect", () => resolve(true))
    socket.once("error", () => resolve(false))
    socket.once("connect", () => socket.destroy())
  })
}
