import { spawn } from "node:child_process"
import { once } from "node:events"
import { appendFile, readFile, writeFile } from "node:fs/promises"
import { mustRun, peerPath, type TemporaryFolder, temporaryFolder } from "./peers.ts"
import { freePorts } from "./ports.ts"

/** A zone of the resolver's own. */
export interface ServedZone {
  /** Such as "signed.example"; "." for the root. */
  readonly name: string
  /** Records, one a line, names relative to the zone: "mx1 A 127.0.0.1". */
  readonly records: readonly string[]
  /** `signed`: with a trust anchor; `expired`: signatures that were good last year; `unsigned`: no anchor, so insecure. */
  readonly state: "signed" | "expired" | "unsigned"
}

/** What {@link startValidatingDns} needs of the machine. */
export const VALIDATING_DNS = ["unbound", "ldns-keygen", "ldns-signzone"] as const

/** Unbound on loopback: a validating resolver that holds these zones itself and asks nobody. */
export interface ValidatingDns extends AsyncDisposable {
  /** As `dns.servers` takes it. */
  readonly address: string
}

/** How it is run. */
export interface ValidatingDnsOptions {
  /** A free one unless given. */
  readonly port?: number
  /** What stands in front of the command, such as `Internet.inside`. */
  readonly within?: readonly string[]
}

export async function startValidatingDns(
  zones: readonly ServedZone[],
  { port: wanted, within = [] }: ValidatingDnsOptions = {},
): Promise<ValidatingDns> {
  const folder = await temporaryFolder()
  const [port = 0] = wanted === undefined ? await freePorts(1) : [wanted]
  await Promise.all(zones.map((zone) => writeZone(folder, zone)))
  await writeFile(folder.file("unbound.conf"), configuration(folder, port, zones))
  const [command = "", ...args] = [...within, "unbound", "-d", "-c", folder.file("unbound.conf")]
  const server = spawn(command, args, {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, PATH: peerPath() },
  })
  let said = ""
  const ready = new Promise<void>((resolve, reject) => {
    server.stderr.on("data", (octets: Buffer) => {
      said += octets.toString()
      if (said.includes("start of service")) resolve()
    })
    server.once("error", reject)
    server.once("exit", () => reject(new Error(`unbound ended: ${said}`)))
  })
  await ready
  return {
    address: `127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      const ended = once(server, "exit")
      server.kill("SIGTERM")
      await ended
      await folder[Symbol.asyncDispose]()
    },
  }
}

async function writeZone(folder: TemporaryFolder, { name, records, state }: ServedZone): Promise<void> {
  const head = [
    `$ORIGIN ${absolute(name)}`,
    "$TTL 60",
    "@ SOA ns postmaster 1 3600 600 86400 60",
    "@ NS ns",
    "ns A 127.0.0.1",
  ]
  const file = zoneFile(folder, name)
  await writeFile(file, `${[...head, ...records].join("\n")}\n`)
  if (state === "unsigned") return
  const options = { cwd: folder.path }
  const key = Buffer.from(await mustRun("ldns-keygen", ["-k", "-a", "ECDSAP256SHA256", name], options))
    .toString()
    .trim()
  const dates = state === "expired" ? ["-i", "20200101000000", "-e", "20200201000000"] : []
  await mustRun("ldns-signzone", ["-n", ...dates, "-f", file, file, key], options)
  await appendFile(folder.file("anchors"), await readFile(folder.file(`${key}.key`)))
}

function configuration(folder: TemporaryFolder, port: number, zones: readonly ServedZone[]): string {
  const anchored = zones.some(({ state }) => state !== "unsigned")
  return `
server:
  interface: 127.0.0.1@${port}
  access-control: 127.0.0.0/8 allow
  do-not-query-localhost: no
  use-syslog: no
  logfile: ""
  verbosity: 1
  username: ""
  chroot: ""
  pidfile: ""
  directory: "${folder.path}"
  module-config: "validator iterator"
  local-zone: "test." nodefault
  ${anchored ? `trust-anchor-file: "${folder.file("anchors")}"` : ""}
remote-control:
  control-enable: no
${zones.map(({ name }) => `auth-zone:\n  name: "${absolute(name)}"\n  zonefile: "${zoneFile(folder, name)}"\n  for-downstream: no\n  for-upstream: yes\n  fallback-enabled: no\n`).join("")}`
}

function absolute(name: string): string {
  return name === "." ? name : `${name}.`
}

function zoneFile(folder: TemporaryFolder, name: string): string {
  return folder.file(name === "." ? "root.zone" : `${name}.zone`)
}
