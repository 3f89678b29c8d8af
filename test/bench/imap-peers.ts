import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { eventually } from "../harness/instance.ts"
import { freePorts } from "../harness/ports.ts"

/** A proxy of somebody else's before the same store. */
export class ProxyPeer implements AsyncDisposable {
  readonly name: string
  readonly plainPort: number
  readonly tlsPort: number
  readonly #folder: string
  readonly #process: ChildProcess

  private constructor(name: string, folder: string, ports: Ports, process: ChildProcess) {
    this.name = name
    this.#folder = folder
    this.plainPort = ports.plain
    this.tlsPort = ports.tls
    this.#process = process
  }

  /** nginx's mail proxy; it asks itself over loopback who may log in, and lets everybody. */
  static async nginx(storePort: number, tls: TlsFiles): Promise<ProxyPeer> {
    const [plain = 0, secure = 0, auth = 0] = await freePorts(3)
    const ports = { plain, tls: secure }
    const folder = peerFolder("nginx")
    writeFileSync(join(folder, "conf"), nginxConfiguration(folder, ports, auth, storePort, tls))
    return ProxyPeer.#start("nginx", folder, ports, ["nginx", "-p", folder, "-e", join(folder, "log"), "-c", "conf"])
  }

  /** Dovecot's login processes as a proxy. */
  static async dovecot(storePort: number, tls: TlsFiles): Promise<ProxyPeer> {
    const [plain = 0, secure = 0] = await freePorts(2)
    const ports = { plain, tls: secure }
    const folder = peerFolder("dovecot-proxy")
    writeFileSync(join(folder, "conf"), dovecotConfiguration(folder, ports, storePort, tls))
    return ProxyPeer.#start("Dovecot's proxy", folder, ports, ["dovecot", "-F", "-c", join(folder, "conf")])
  }

  static async #start(name: string, folder: string, ports: Ports, command: readonly string[]): Promise<ProxyPeer> {
    const [program = "", ...args] = command
    const peer = new ProxyPeer(name, folder, ports, spawn(program, args, { stdio: "ignore" }))
    try {
      for (const port of [ports.plain, ports.tls]) await eventually(`${name} accepts`, () => accepts(port))
    } catch (error) {
      const log = existsSync(join(folder, "log")) ? readFileSync(join(folder, "log"), "utf8") : ""
      await peer[Symbol.asyncDispose]()
      throw new Error(`${name} does not start: ${log}`, { cause: error })
    }
    return peer
  }

  get pid(): number {
    return this.#process.pid ?? 0
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const ended = once(this.#process, "exit")
      this.#process.kill("SIGTERM")
      await ended
    }
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

interface Ports {
  readonly plain: number
  readonly tls: number
}

/** Paths. */
export interface TlsFiles {
  readonly certificate: string
  readonly key: string
}

/** The mail module is a package of its own in some distributions. */
export function nginxCanProxyMail(): boolean {
  return existsSync(NGINX_MAIL_MODULE)
}

const NGINX_MAIL_MODULE = "/usr/lib/nginx/modules/ngx_mail_module.so"

function peerFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `postern-bench-${name}-`))
  // Their worker processes are other users.
  chmodSync(folder, 0o755)
  mkdirSync(join(folder, "tmp"))
  return folder
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1")
    socket.once("connect", () => resolve(true))
    socket.once("error", () => resolve(false))
    socket.once("connect", () => socket.destroy())
  })
}

function nginxConfiguration(folder: string, ports: Ports, auth: number, storePort: number, tls: TlsFiles): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `  ${name}_temp_path ${folder}/tmp/${name};`)
    .join("\n")
  return `load_module ${NGINX_MAIL_MODULE};
daemon off;
pid ${folder}/pid;
error_log ${folder}/log warn;
worker_processes 2;
worker_rlimit_nofile 20000;
events { worker_connections 9000; }
http {
  access_log off;
${temporary}
  server {
    listen 127.0.0.1:${auth} backlog=4096;
    location / {
      add_header Auth-Status OK;
      add_header Auth-Server 127.0.0.1;
      add_header Auth-Port ${storePort};
      return 200;
    }
  }
}
mail {
  auth_http 127.0.0.1:${auth}/auth;
  imap_capabilities IMAP4rev1 LITERAL+ IDLE UIDPLUS SASL-IR ID;
  imap_auth plain login;
  proxy on;
  proxy_pass_error_message on;
  proxy_timeout 1800s;
  timeout 1800s;
  server { listen 127.0.0.1:${ports.plain} backlog=4096; protocol imap; }
  server {
    listen 127.0.0.1:${ports.tls} ssl backlog=4096;
    protocol imap;
    ssl_certificate ${tls.certificate};
    ssl_certificate_key ${tls.key};
    ssl_protocols TLSv1.2 TLSv1.3;
  }
}
`
}

function dovecotConfiguration(folder: string, ports: Ports, storePort: number, tls: TlsFiles): string {
  return `base_dir = ${folder}/run
state_dir = ${folder}/state
log_path = ${folder}/log
instance_name = postern-bench-proxy
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <${tls.certificate}
ssl_key = <${tls.key}
disable_plaintext_auth = no
auth_mechanisms = plain login
mail_uid = 5000
mail_gid = 5000
mail_location = maildir:${folder}/nowhere
passdb {
  driver = static
  args = nopassword=y proxy=y host=127.0.0.1 port=${storePort}
}
userdb {
  driver = static
  args = uid=5000 gid=5000 home=${folder}/nowhere
}
service imap-login {
  inet_listener imap {
    port = ${ports.plain}
  }
  inet_listener imaps {
    port = ${ports.tls}
    ssl = yes
  }
  process_limit = 2
}
${MANY_CONNECTIONS}`
}

/** Dovecot's settings for more connections than its defaults allow: login processes that stay, one for each core, and no limit for one user. */
export const MANY_CONNECTIONS = `default_process_limit = 4000
default_client_limit = 20000
default_vsz_limit = 2G
mail_max_userip_connections = 0
service imap-login {
  service_count = 0
  process_min_avail = 2
  client_limit = 9000
}
service anvil {
  client_limit = 20000
}
service auth {
  client_limit = 20000
}
service stats {
  client_limit = 20000
}
`
