import { chownSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { TestCertificate } from "./certificate.ts"
import { eventually } from "./instance.ts"
import type { Internet } from "./internet.ts"
import { mustRun, peer } from "./peers.ts"

/** What {@link Postfix} needs of the machine. */
export const postfixThere = ["postfix", "swaks"].every(peer)

export interface PostfixOptions {
  readonly hostname: string
  /** Where it listens on port 25 and is the final destination, and where it sends from. */
  readonly addresses: readonly string[]
  /** Whose mail goes into its one mailbox. */
  readonly domains: readonly string[]
  readonly tls: TestCertificate
  /** Settings of main.cf. */
  readonly more?: Readonly<Record<string, string>>
}

/**
 * A Postfix of the test's own on an {@link Internet}: mail server of some domains, in both directions. Ends with that network. What it
 * trusts in other servers' certificates is `trusted.pem` in that network's folder.
 */
export class Postfix {
  readonly #folder: string

  private constructor(folder: string) {
    this.#folder = folder
  }

  static async start(internet: Internet, options: PostfixOptions): Promise<Postfix> {
    const folder = internet.folder.file("postfix")
    for (const name of ["", "etc", "spool", "data", "mail"]) mkdirSync(join(folder, name))
    // Its processes have users of their own.
    await mustRun("chmod", ["a+rx", internet.folder.path, folder])
    chownSync(join(folder, "data"), await idOf("postfix"), 0)
    chownSync(join(folder, "mail"), await idOf("nobody"), 0)
    writeFileSync(join(folder, "etc/tls.pem"), options.tls.certificate)
    writeFileSync(join(folder, "etc/tls.key"), options.tls.key, { mode: 0o600 })
    const trusted = { smtp_tls_CAfile: internet.folder.file("trusted.pem") }
    const settings = { ...(await mainSettings(folder, options)), ...trusted, ...options.more }
    const lines = Object.entries(settings).map(([key, value]) => `${key} = ${value}\n`)
    writeFileSync(join(folder, "etc/main.cf"), lines.join(""))
    writeFileSync(join(folder, "etc/master.cf"), services(options.addresses.map(listenerOn)))
    const [command = "", ...args] = [...internet.deepInside, "postfix", "-c", join(folder, "etc"), "start"]
    await mustRun(command, args)
    return new Postfix(folder)
  }

  /** The messages in its mailbox that have `text`, with the fields that Postfix put above them. */
  mailbox(text: string): string[] {
    try {
      const folder = join(this.#folder, "mail/inbox/new")
      const messages = readdirSync(folder).map((name) => readFileSync(join(folder, name), "latin1"))
      return messages.filter((message) => message.includes(text))
    } catch (error) {
      // Made with the first message.
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return []
      throw error
    }
  }

  /** The first message with `text`, when it has arrived. */
  received(text: string): Promise<string> {
    return eventually(`${text} in Postfix's mailbox; ${this.log}`, () => this.mailbox(text)[0])
  }

  get log(): string {
    return readFileSync(join(this.#folder, "maillog"), "utf8")
  }

  /** The first line of its log that fits. */
  logged(pattern: RegExp): Promise<string> {
    return eventually(`${pattern} in Postfix's log`, () => this.log.split("\n").find((line) => pattern.test(line)))
  }
}

async function idOf(user: string): Promise<number> {
  return Number(Buffer.from(await mustRun("id", ["-u", user])).toString())
}

async function mainSettings(
  folder: string,
  { hostname, addresses, domains }: PostfixOptions,
): Promise<Readonly<Record<string, string>>> {
  const [ipv4 = "", ipv6] = addresses
  return {
    ...baseSettings(folder),
    inet_interfaces: "loopback-only",
    inet_protocols: "all",
    myhostname: hostname,
    // Whoever injects for its own people.
    mynetworks: "11.0.2.50/32",
    smtp_bind_address: ipv4,
    ...(ipv6 === undefined ? {} : { smtp_bind_address6: ipv6 }),
    smtp_tls_security_level: "dane",
    smtp_dns_support_level: "dnssec",
    smtp_host_lookup: "dns",
    smtp_tls_loglevel: "1",
    smtpd_tls_security_level: "may",
    smtpd_tls_cert_file: join(folder, "etc/tls.pem"),
    smtpd_tls_key_file: join(folder, "etc/tls.key"),
    smtpd_tls_received_header: "yes",
    smtpd_peername_lookup: "no",
    smtpd_relay_restrictions: "permit_mynetworks, reject_unauth_destination",
    virtual_mailbox_domains: domains.join(" "),
    virtual_mailbox_maps: "static:inbox/",
    virtual_mailbox_base: join(folder, "mail"),
    virtual_uid_maps: `static:${await idOf("nobody")}`,
    virtual_gid_maps: `static:${await idOf("nobody")}`,
  }
}

/** What main.cf says of any Postfix that lives in a folder of its own: `spool`, `data` (of its user) and `etc`. */
export function baseSettings(folder: string): Readonly<Record<string, string>> {
  return {
    compatibility_level: "3.6",
    queue_directory: join(folder, "spool"),
    data_directory: join(folder, "data"),
    command_directory: "/usr/sbin",
    daemon_directory: "/usr/lib/postfix/sbin",
    mail_owner: "postfix",
    setgid_group: "postdrop",
    maillog_file: join(folder, "maillog"),
    maillog_file_prefixes: folder,
    mydestination: "",
    alias_maps: "",
  }
}

/** master.cf of a Postfix with these listeners. */
export function services(listeners: readonly string[]): string {
  return [
    ...listeners,
    "cleanup unix n - n - 0 cleanup",
    "qmgr unix n - n 300 1 qmgr",
    "rewrite unix - - n - - trivial-rewrite",
    "bounce unix - - n - 0 bounce",
    "defer unix - - n - 0 bounce",
    "trace unix - - n - 0 bounce",
    "smtp unix - - n - - smtp",
    "virtual unix - n n - - virtual",
    "tlsmgr unix - - n 1000? 1 tlsmgr",
    "proxymap unix - - n - - proxymap",
    "anvil unix - - n - 1 anvil",
    "scache unix - - n - 1 scache",
    "error unix - - n - - error",
    "retry unix - - n - - error",
    "showq unix n - n - - showq",
    "postlog unix-dgram n - n - 1 postlogd",
    "pickup unix n - n 60 1 pickup",
    "",
  ].join("\n")
}

function listenerOn(address: string): string {
  return `${address.includes(":") ? `[${address}]` : address}:25 inet n - n - - smtpd`
}
