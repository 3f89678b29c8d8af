import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdir, writeFile } from "node:fs/promises"
import { connect } from "node:net"
import { testCertificate } from "./certificate.ts"
import { mustRun, peerPath, temporaryFolder } from "./peers.ts"
import { freePorts } from "./ports.ts"

/** What {@link startSlapd} needs of the machine. */
export const SLAPD = ["slapd", "slapadd"] as const

export const DIRECTORY_BASE = "dc=example,dc=test"
export const DIRECTORY_LOGIN = { dn: `cn=reader,${DIRECTORY_BASE}`, password: "reads-and-no-more" } as const

/** OpenLDAP on loopback, with the certificate of localhost; whoever is not logged in sees nothing below `ou=closed`. */
export interface Slapd extends AsyncDisposable {
  readonly port: number
  /** TLS from the start. */
  readonly tlsPort: number
  /** PEM: its own certificate, which is its only authority. */
  readonly authority: string
  stop(): Promise<void>
  /** On the same ports. */
  start(): Promise<void>
}

/** `entries`: LDIF of what is below the base, its `ou=people`, `ou=closed` and the reader. */
export async function startSlapd(entries: string): Promise<Slapd> {
  const folder = await temporaryFolder()
  const [port = 0, tlsPort = 0] = await freePorts(2)
  const { key, certificate } = await testCertificate("localhost")
  await mkdir(folder.file("db"))
  await writeFile(folder.file("key.pem"), key, { mode: 0o600 })
  await writeFile(folder.file("certificate.pem"), certificate)
  await writeFile(folder.file("pgp.schema"), PGP_SCHEMA)
  await writeFile(folder.file("slapd.conf"), configuration(folder.path))
  await mustRun("slapadd", ["-q", "-f", folder.file("slapd.conf")], { input: `${HEAD}\n${entries}\n` })
  let server: ReturnType<typeof spawn> | null = null
  const slapd: Slapd = {
    port,
    tlsPort,
    authority: certificate,
    async start() {
      const urls = `ldap://127.0.0.1:${port}/ ldaps://127.0.0.1:${tlsPort}/`
      const child = spawn("slapd", ["-d", "0", "-h", urls, "-f", folder.file("slapd.conf")], {
        stdio: ["ignore", "ignore", "pipe"],
        env: { ...process.env, PATH: peerPath() },
      })
      server = child
      let said = ""
      child.stderr.on("data", (octets: Buffer) => (said = (said + octets.toString()).slice(-4_096)))
      // It says that it is starting before it listens.
      while (!(await listens(port))) {
        if (child.exitCode !== null) throw new Error(`slapd ended: ${said}`)
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
    },
    async stop() {
      if (server === null) return
      const ended = once(server, "exit")
      server.kill("SIGTERM")
      await ended
      server = null
    },
    async [Symbol.asyncDispose]() {
      await slapd.stop()
      await folder[Symbol.asyncDispose]()
    },
  }
  await slapd.start()
  return slapd
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1")
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false))
    socket.once("connect", () => socket.destroy())
  })
}

function configuration(folder: string): string {
  return `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include ${folder}/pgp.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile ${folder}/pid
TLSCertificateFile ${folder}/certificate.pem
TLSCertificateKeyFile ${folder}/key.pem
referral ldap://elsewhere.example.test
allow bind_v2
database mdb
maxsize 16777216
suffix "${DIRECTORY_BASE}"
directory ${folder}/db
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="ou=closed,${DIRECTORY_BASE}" by dn.exact="${DIRECTORY_LOGIN.dn}" read by anonymous none
access to * by * read
`
}

const HEAD = `dn: ${DIRECTORY_BASE}
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,${DIRECTORY_BASE}
objectClass: organizationalUnit
ou: people

dn: ou=closed,${DIRECTORY_BASE}
objectClass: organizationalUnit
ou: closed

dn: ${DIRECTORY_LOGIN.dn}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: ${DIRECTORY_LOGIN.password}
`

/** What keyservers of PGP and GnuPG keep: the attributes that are looked at here. */
const PGP_SCHEMA = `
attributetype ( 1.3.6.1.4.1.3401.8.2.11 NAME 'pgpKey' EQUALITY caseExactIA5Match SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 )
attributetype ( 1.3.6.1.4.1.3401.8.2.16 NAME 'pgpUserID' EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.3401.8.2.12 NAME 'pgpCertID' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.3401.8.2.24 NAME 'pgpKeyInfo' SUP top STRUCTURAL MUST ( pgpCertID $ pgpKey ) MAY pgpUserID )
`
