import { spawn } from "node:child_process"
import { chmod, chown, lchown, mkdir, readdir, writeFile } from "node:fs/promises"
import { type AddressInfo, createConnection, createServer } from "node:net"
import { join } from "node:path"
import { setTimeout as delay } from "node:timers/promises"

/** A Dovecot of its own on a free port; any password logs in `alice@example.test`. */
export interface Dovecot extends AsyncDisposable {
  readonly port: number
}

/** The user that Dovecot's mail processes run as; the Maildir must be this user's. */
export const MAIL_UID = 5000

/** Starts Dovecot over `<mailRoot>/<user>/Maildir`. Needs to be root. `folder` holds its configuration and run files. */
export async function startDovecot(folder: string, mailRoot: string): Promise<Dovecot> {
  const port = await freePort()
  await mkdir(folder, { recursive: true })
  for (const path of [folder, join(folder, "..")]) await chmod(path, 0o755)
  const configuration = join(folder, "dovecot.conf")
  await writeFile(configuration, settings(folder, mailRoot, port))
  const child = spawn("dovecot", ["-F", "-c", configuration], { stdio: "ignore" })
  const ended = new Promise((resolve) => child.once("exit", resolve))
  await untilAccepting(port)
  return {
    port,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM")
      await ended
    },
  }
}

/** Gives a tree to `uid`. */
export async function giveTo(path: string, uid: number): Promise<void> {
  await chown(path, uid, uid)
  for (const entry of await readdir(path, { recursive: true })) await lchown(join(path, entry), uid, uid)
}

function settings(folder: string, mailRoot: string, port: number): string {
  return `base_dir = ${folder}/run
state_dir = ${folder}/state
log_path = ${folder}/log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
mail_uid = ${MAIL_UID}
mail_gid = ${MAIL_UID}
first_valid_uid = 1
mail_location = maildir:${mailRoot}/%u/Maildir
passdb {
  driver = static
  args = password=x
}
userdb {
  driver = static
  args = uid=${MAIL_UID} gid=${MAIL_UID} home=${folder}/home/%u
}
namespace inbox {
  inbox = yes
}
service imap-login {
  inet_listener imap {
    port = ${port}
  }
  inet_listener imaps {
    port = 0
  }
}
`
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Dovecot tells nobody when it is ready. */
async function untilAccepting(port: number): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const accepted = await new Promise<boolean>((resolve) => {
      const socket = createConnection(port, "127.0.0.1", () => {
        socket.destroy()
        resolve(true)
      })
      socket.on("error", () => resolve(false))
    })
    if (accepted) return
    await delay(25)
  }
  throw new Error("dovecot does not accept connections")
}
