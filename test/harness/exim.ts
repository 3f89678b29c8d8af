import { spawn } from "node:child_process"
import {
  appendFileSync,
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import type { TestCertificate } from "./certificate.ts"
import { eventually } from "./instance.ts"
import type { Internet } from "./internet.ts"
import { mustRun, peer, peerPath } from "./peers.ts"

/** As installed, or unpacked by .ci/run: Debian's mail servers conflict with one another. */
const PROGRAM =
  ["/usr/sbin/exim4"].find(existsSync) ?? join(import.meta.dirname, "../../node_modules/.cache/exim4/usr/sbin/exim4")

export const eximThere = peer(PROGRAM)

export interface EximOptions {
  readonly hostname: string
  /** Where it listens on port 25 and where it sends from. */
  readonly address: string
  /** Whose mail goes into its one mailbox. */
  readonly domain: string
  /** Who may send through it. */
  readonly submitters: string
  readonly tls: TestCertificate
}

/** An Exim of the test's own on an {@link Internet}: mail server of a domain, in both directions, with DANE. Ends with that network. */
export class Exim {
  readonly #folder: string

  private constructor(folder: string) {
    this.#folder = folder
  }

  static async start(internet: Internet, options: EximOptions): Promise<Exim> {
    const folder = internet.folder.file("exim")
    for (const name of ["", "spool", "log", "mail"]) mkdirSync(join(folder, name))
    writeFileSync(join(folder, "tls.pem"), options.tls.certificate)
    writeFileSync(join(folder, "tls.key"), options.tls.key, { mode: 0o600 })
    for (const name of ["", "spool", "log", "mail", "tls.pem", "tls.key"])
      chownSync(join(folder, name), USER_ID, USER_ID)
    writeFileSync(join(folder, "conf"), configuration(folder, options))
    await mustRun("chmod", ["a+x", internet.folder.path])
    // It starts itself anew as its own user, who may see nothing of where it lies.
    copyFileSync(PROGRAM, join(folder, "exim4"))
    chmodSync(join(folder, "exim4"), 0o755)
    await nameUser(internet, folder)
    const [command = "", ...args] = [...internet.deepInside, join(folder, "exim4"), "-C", join(folder, "conf"), "-bdf"]
    spawn(command, args, { stdio: "ignore", env: { ...process.env, PATH: peerPath() } })
    const exim = new Exim(folder)
    await exim.logged(/daemon started/)
    return exim
  }

  /** The first message with `text` in its mailbox, with the fields that Exim put above it. */
  received(text: string): Promise<string> {
    const folder = join(this.#folder, "mail/new")
    return eventually(`${text} in Exim's mailbox`, () => {
      const names = existsSync(folder) ? readdirSync(folder) : []
      return names.map((name) => readFileSync(join(folder, name), "latin1")).find((message) => message.includes(text))
    })
  }

  /** The first line of its log that fits. */
  logged(pattern: RegExp): Promise<string> {
    const file = join(this.#folder, "log/mainlog")
    return eventually(`${pattern} in Exim's log`, () =>
      (existsSync(file) ? readFileSync(file, "utf8") : "").split("\n").find((line) => pattern.test(line)),
    )
  }
}

/** Its user is known to that network's programs alone. */
async function nameUser(internet: Internet, folder: string): Promise<void> {
  for (const [name, entry] of [
    ["passwd", `Debian-exim:x:${USER_ID}:${USER_ID}::/nonexistent:/usr/sbin/nologin\n`],
    ["group", `Debian-exim:x:${USER_ID}:\n`],
  ] as const) {
    copyFileSync(`/etc/${name}`, join(folder, name))
    appendFileSync(join(folder, name), entry)
    const [command = "", ...args] = [...internet.deepInside, "mount", "--bind", join(folder, name), `/etc/${name}`]
    await mustRun(command, args)
  }
}

function configuration(folder: string, { hostname, address, domain, submitters }: EximOptions): string {
  return `primary_hostname = ${hostname}
spool_directory = ${folder}/spool
log_file_path = ${folder}/log/%slog
pid_file_path = ${folder}/spool/pid
exim_path = ${folder}/exim4
local_interfaces = ${address}
tls_advertise_hosts = *
tls_certificate = ${folder}/tls.pem
tls_privatekey = ${folder}/tls.key
dns_dnssec_ok = 1
deliver_drop_privilege = true
keep_environment =
host_lookup =
log_selector = +tls_certificate_verified +tls_cipher
acl_smtp_rcpt = rcpt
acl_smtp_data = accept
begin acl
rcpt:
  accept hosts = ${submitters}
  accept domains = ${domain}
  deny message = relay not permitted
begin routers
local:
  driver = accept
  domains = ${domain}
  transport = mailbox
remote:
  driver = dnslookup
  transport = remote
  dnssec_request_domains = *
  no_more
begin transports
mailbox:
  driver = appendfile
  directory = ${folder}/mail
  maildir_format
remote:
  driver = smtp
  interface = ${address}
  hosts_try_dane = *
begin retry
* * F,2h,15m
`
}

/** Nobody's on Debian; below those that systemd gives out. */
const USER_ID = 4096
