import { spawn } from "node:child_process"
import { chmod, chown, mkdir, readFile, writeFile } from "node:fs/promises"
import { connect } from "node:net"
import { join } from "node:path"
import { setTimeout as delay } from "node:timers/promises"
import type { TestCertificate } from "../harness/certificate.ts"
import { freePorts } from "../harness/ports.ts"

/** A Dovecot with a master user, as a real deployment's store. */
export interface MasterDovecot extends AsyncDisposable {
  readonly port: number
  readonly log: () => Promise<string>
}

export const MASTER = { user: "postern", password: "master secret" }

/** Debian's and everybody's "nobody": Dovecot refuses to read mail as root. */
const NOBODY = 65_534

/** Starts Dovecot in `folder`; any account exists, but only the master user can log in. Needs to be root. */
export async function startMasterDovecot(folder: string, tls: TestCertificate): Promise<MasterDovecot> {
  const [port = 0] = await freePorts(1)
  for (const path of ["mail", "run"]) await mkdir(join(folder, path), { recursive: true })
  await chmod(folder, 0o755)
  await chown(join(folder, "mail"), NOBODY, NOBODY)
  await writeFile(join(folder, "master"), `${MASTER.user}:{PLAIN}${MASTER.password}\n`)
  await writeFile(join(folder, "tls.pem"), tls.certificate)
  await writeFile(join(folder, "tls.key"), tls.key)
  await writeFile(join(folder, "dovecot.conf"), settings(folder, port))
  const child = spawn("dovecot", ["-F", "-c", join(folder, "dovecot.conf")], { stdio: "ignore" })
  const ended = new Promise((resolve) => child.once("exit", resolve))
  await accepting(port)
  return {
    port,
    log: () => readFile(join(folder, "log"), "utf8"),
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM")
      await ended
    },
  }
}

function settings(folder: string, port: number): string {
  return `base_dir = ${folder}/run
state_dir = ${folder}/state
log_path = ${folder}/log
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <${folder}/tls.pem
ssl_key = <${folder}/tls.key
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_master_user_separator = *
auth_failure_delay = 0
default_login_user = nobody
default_internal_user = nobody
default_internal_group = nogroup
first_valid_uid = 0
mail_uid = ${NOBODY}
mail_gid = ${NOBODY}
mail_location = maildir:${folder}/mail/%u
passdb {
  driver = passwd-file
  args = ${folder}/master
  master = yes
}
passdb {
  driver = static
  args = password=nobody-logs-in-without-the-master
}
userdb {
  driver = static
  args = uid=${NOBODY} gid=${NOBODY} home=${folder}/mail/%u allow_all_users=yes
}
service imap-login {
  chroot =
  inet_listener imap {
    port = ${port}
  }
  inet_listener imaps {
    port = 0
  }
}
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service stats {
  chroot =
}
namespace inbox {
  inbox = yes
  separator = /
  mailbox Sent {
    auto = subscribe
    special_use = \\Sent
  }
}
`
}

/** Dovecot tells nobody when it is ready: asks until it is. */
async function accepting(port: number): Promise<void> {
  for (let attempt = 0; attempt < 400; attempt += 1) {
    const accepted = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => {
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
