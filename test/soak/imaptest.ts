import { mkdir, readdir, writeFile } from "node:fs/promises"
import { basename, join } from "node:path"
import type { AppendProtection } from "../../src/imap-proxy/ports.ts"
import { Dovecot } from "../harness/dovecot.ts"
import { run, temporaryFolder } from "../harness/peers.ts"
import { upstreamAt } from "../harness/upstream.ts"
import { MESSAGES } from "../imap-proxy/messages.ts"
import { ACCOUNT, PHONE, startRig, storedUpload } from "../imap-proxy/rig.ts"

/**
 * `node test/soak/imaptest.ts IMAPTEST GROUPS [SECONDS [CLIENTS]]`: runs Dovecot's tester against a Dovecot and against the proxy in
 * front of it: its scripted groups (GROUPS is its folder src/tests), one process each, then its random commands with state tracking
 * for SECONDS. Exit code 1 when the proxy fails where Dovecot does not. docs/IMAP.md says how the tester is built.
 */
const [imaptest, groups, seconds = "60", clients = "10"] = process.argv.slice(2)
if (imaptest === undefined || groups === undefined) {
  console.error("usage: node test/soak/imaptest.ts IMAPTEST GROUPS [SECONDS [CLIENTS]]")
  process.exit(2)
}

/** Where the tester logs in. */
interface Peer {
  readonly name: "direct" | "proxy"
  readonly login: readonly string[]
}

type Outcome = "passed" | "failed" | "skipped"

/** What the tester uploads has to come back as it was, so nothing is encrypted on its way in. */
const AS_IS: AppendProtection = {
  plan: async (_account, { sizeOctets, content }) => storedUpload("asIs", sizeOctets, content),
}

await using folder = await temporaryFolder()
await using dovecot = await Dovecot.start(folder.file("dovecot"), folder.file("mail"), { more: manyConnections() })
await using rig = await startRig({
  upstream: upstreamAt(
    { kind: "tcp", host: "127.0.0.1", port: dovecot.imapPort, security: "plain" },
    // Whoever logs in finds what another left.
    { keep: { milliseconds: 30_000, connections: 200, perClient: 200 } },
  ),
  tlsMode: "implicit",
  protection: AS_IS,
})
const peers: readonly Peer[] = [
  { name: "direct", login: [`port=${dovecot.imapPort}`, "pass=x"] },
  { name: "proxy", login: [`port=${rig.port}`, `pass=${PHONE}`, "ssl=any-cert"] },
]
const worse = [...(await scriptedGroups(imaptest, groups)), ...(await randomCommands(imaptest))]
process.exitCode = worse.length > 0 ? 1 : 0

/** @returns the groups that fail through the proxy and not without it */
async function scriptedGroups(tester: string, path: string): Promise<string[]> {
  const worse: string[] = []
  const counts: Record<string, number> = {}
  const entries = await readdir(path, { withFileTypes: true })
  const names = entries.filter((entry) => entry.isFile() && !/\.|^Makefile/.test(entry.name)).map(({ name }) => name)
  for (const name of names.sort()) {
    const outcomes: Outcome[] = []
    for (const peer of peers) outcomes.push(await oneGroup(tester, join(path, name), peer))
    const [direct = "failed", proxy = "failed"] = outcomes
    const line = `direct ${direct}, proxy ${proxy}`
    counts[line] = (counts[line] ?? 0) + 1
    if (direct !== proxy || direct === "failed") console.log(`${name}: ${line}`)
    if (direct !== "failed" && proxy === "failed") worse.push(name)
  }
  console.log(names.length, "groups:", counts)
  return worse
}

async function oneGroup(tester: string, path: string, peer: Peer): Promise<Outcome> {
  const { code, stdout, stderr } = await run(tester, [...common(peer), `test=${path}`], { timeoutMs: 60_000 })
  const said = Buffer.from(stdout).toString("latin1") + stderr
  const found = /1 test groups: (\d) failed, (\d) skipped/.exec(said)
  const outcome = found?.[2] === "1" ? "skipped" : found?.[1] === "0" && code === 0 ? "passed" : "failed"
  if (outcome === "failed") console.log(`--- ${basename(path)}, ${peer.name}, exit ${code}\n${said}`)
  return outcome
}

/** @returns the proxy when the tester found fault with it */
async function randomCommands(tester: string): Promise<string[]> {
  await mkdir(folder.file("random"))
  const mbox = folder.file("random/mbox")
  await writeFile(mbox, Object.values(MESSAGES).map(asMboxEntry).join(""))
  const worse: string[] = []
  for (const peer of peers) {
    const args = [`mbox=${mbox}`, `secs=${seconds}`, `clients=${clients}`, "msgs=40", "checkpoint=1", "seed=7"]
    const { code, stdout, stderr } = await run(tester, [...common(peer), ...args], {
      timeoutMs: 1000 * (Number(seconds) + 60),
      cwd: folder.file("random"),
    })
    const text = Buffer.from(stdout).toString("latin1")
    const faults = `${text}\n${stderr}`.split("\n").filter((line) => /^(?:Error|Panic|Fatal|Warning)/.test(line))
    console.log(`${peer.name}: exit ${code}, ${faults.length} faults\n${text.slice(text.indexOf("Totals:"))}`)
    for (const fault of faults.slice(0, 20)) console.log(fault)
    if (peer.name === "proxy" && (code !== 0 || faults.length > 0)) worse.push(peer.name)
  }
  return worse
}

function common({ login }: Peer): string[] {
  return ["host=127.0.0.1", `user=${ACCOUNT}`, ...login]
}

function asMboxEntry(message: string): string {
  return `From nobody@example.test  Tue Nov 24 10:00:00 2026\n${message.replaceAll("\r\n", "\n").replaceAll(/^From /gm, ">From ")}\n`
}

/** All clients of the tester are one user from one address. */
function manyConnections(): string {
  return "protocol imap {\n  mail_max_userip_connections = 1000\n}\n"
}
