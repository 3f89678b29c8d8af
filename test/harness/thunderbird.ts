import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Marionette } from "./marionette.ts"
import { run } from "./peers.ts"

/** What `postern device add` wrote, as a person would import it. */
export interface DeviceFiles {
  readonly folder: string
  readonly address: string
  readonly username: string
  readonly password: string
  readonly imapPort: number
  readonly smtpPort: number
  /** PKCS#12 files to import, with their password. */
  readonly pkcs12: readonly { readonly file: string; readonly password: string }[]
  readonly openpgp?: { readonly file: string; readonly password: string }
  readonly personalRoot: string
  readonly serverRoot: string
}

/** A real, unmodified Thunderbird with a profile of its own, in a virtual display. */
export class Thunderbird implements AsyncDisposable {
  readonly #profile: string
  readonly #processes: readonly ChildProcess[]
  readonly marionette: Marionette

  private constructor(profile: string, processes: readonly ChildProcess[], marionette: Marionette) {
    this.#profile = profile
    this.#processes = processes
    this.marionette = marionette
  }

  static async start(device: DeviceFiles): Promise<Thunderbird> {
    const profile = mkdtempSync(join(tmpdir(), "postern-thunderbird-"))
    await importCertificates(profile, device)
    const port = await freePort()
    writeFileSync(join(profile, "user.js"), preferences(port, device))
    const display = await startDisplay()
    const thunderbird = spawn(
      "thunderbird",
      ["--marionette", "-remote-allow-system-access", "--profile", profile, "--no-remote"],
      {
        env: { ...process.env, DISPLAY: display.name, HOME: profile, MOZ_CRASHREPORTER_DISABLE: "1" },
        stdio: "ignore",
      },
    )
    const started = new Thunderbird(profile, [thunderbird, display.process], await Marionette.connect(port, 90_000))
    await started.#login(device)
    return started
  }

  async #login(device: DeviceFiles): Promise<void> {
    await this.marionette.run(
      `const [user, password] = args;
       for (const host of ["imap://localhost", "smtp://localhost"]) {
         const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
         login.init(host, null, host, user, password, "", "");
         await Services.logins.addLoginAsync(login);
       }`,
      [device.username, device.password],
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.marionette[Symbol.dispose]()
    for (const child of this.#processes) {
      if (child.exitCode !== null || child.signalCode !== null) continue
      const ended = once(child, "exit")
      child.kill("SIGKILL")
      await ended
    }
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 10 })
  }
}

async function importCertificates(profile: string, device: DeviceFiles): Promise<void> {
  const database = `sql:${profile}`
  await must("certutil", ["-N", "-d", database, "--empty-password"])
  await must("certutil", ["-A", "-d", database, "-n", "postern-server", "-t", "C,,", "-i", device.serverRoot])
  await must("certutil", ["-A", "-d", database, "-n", "personal-root", "-t", ",C,", "-i", device.personalRoot])
  for (const { file, password } of device.pkcs12)
    await must("pk12util", ["-d", database, "-i", file, "-W", password, "-K", ""])
}

async function must(command: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await run(command, [...args])
  if (code !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`)
}

function preferences(marionettePort: number, device: DeviceFiles): string {
  const values: Record<string, string | number | boolean> = {
    "marionette.port": marionettePort,
    "datareporting.policy.dataSubmissionPolicyBypassNotification": true,
    "mail.provider.suppress_dialog_on_startup": true,
    "mailnews.start_page.enabled": false,
    "mail.rights.version": 1,
    "app.update.enabled": false,
    "mail.shell.checkDefaultClient": false,
    "mail.spotlight.firstRunDone": true,
    "mail.accountmanager.accounts": "account1",
    "mail.accountmanager.defaultaccount": "account1",
    "mail.account.account1.identities": "id1",
    "mail.account.account1.server": "server1",
    "mail.server.server1.type": "imap",
    "mail.server.server1.hostname": "localhost",
    "mail.server.server1.port": device.imapPort,
    "mail.server.server1.socketType": 3,
    "mail.server.server1.authMethod": 3,
    "mail.server.server1.userName": device.username,
    "mail.server.server1.name": device.address,
    "mail.server.server1.login_at_startup": false,
    "mail.server.server1.check_new_mail": false,
    "mail.identity.id1.useremail": device.address,
    "mail.identity.id1.fullName": "Alice Example",
    "mail.identity.id1.valid": true,
    "mail.identity.id1.smtpServer": "smtp1",
    "mail.identity.id1.fcc_folder": `imap://${encodeURIComponent(device.username)}@localhost/Sent`,
    "mail.smtpservers": "smtp1",
    "mail.smtp.defaultserver": "smtp1",
    "mail.smtpserver.smtp1.hostname": "localhost",
    "mail.smtpserver.smtp1.port": device.smtpPort,
    "mail.smtpserver.smtp1.try_ssl": 3,
    "mail.smtpserver.smtp1.authMethod": 3,
    "mail.smtpserver.smtp1.username": device.username,
  }
  return Object.entries(values)
    .map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`)
    .join("")
}

/** Xvfb chooses a free display itself and tells its number on file descriptor 3. */
async function startDisplay(): Promise<{ readonly name: string; readonly process: ChildProcess }> {
  const child = spawn("Xvfb", ["-displayfd", "3", "-screen", "0", "1280x900x24", "-nolisten", "tcp"], {
    stdio: ["ignore", "ignore", "ignore", "pipe"],
  })
  const pipe = child.stdio[3]
  if (!pipe) throw new Error("Xvfb: no pipe")
  const [octets] = await once(pipe, "data")
  return { name: `:${String(octets).trim()}`, process: child }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  server.close()
  if (address === null || typeof address === "string") throw new Error("no port")
  return address.port
}

/** The text of a file, for importing it into the program. */
export function textOf(file: string): string {
  return readFileSync(file, "utf8")
}
