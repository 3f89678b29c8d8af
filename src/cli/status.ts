import { connect } from "node:net"
import type { Command } from "commander"
import type { ListenAddress } from "../config/config.ts"
import { written } from "../config/values.ts"
import { correspondentEndings, isNear, NEAR_DAYS, peopleEndings, signerEndings } from "../identity/endings.ts"
import type { QueuedJob } from "../queue/queue.ts"
import { KeptKeyMemory } from "../store/key-memory.ts"
import { presentProcesses } from "../store/presence.ts"
import { serverCertificateView, viewLines } from "./acme-view.ts"
import { openQueue } from "./open-queue.ts"
import { ROLES } from "./serve.ts"
import { type CommonOptions, type OpenInstance, openInstance, optionsOf, print, printJson } from "./shell.ts"

/** A listener of our own machine that takes longer than this accepts nobody. */
const CONNECT_TIMEOUT_MS = 1_000
/** Errors that are shown; `queue list` and `queue show` have the rest. */
const LAST_ERRORS = 10

/** `postern status`. */
export function registerStatus(program: Command): void {
  program
    .command("status")
    .description("What runs, which listeners accept connections, the queue, the people, and the last errors.")
    .option("--json", "one JSON value on stdout")
    .action(async (_options: unknown, command: Command) => {
      const options = optionsOf(command)
      const status = await statusOf(options)
      if (options.json) printJson(status)
      else for (const line of statusLines(status)) print(line)
    })
}

type Status = Awaited<ReturnType<typeof statusOf>>

async function statusOf(options: CommonOptions) {
  using instance = openInstance(options)
  const { config } = instance
  await using open = await openQueue(config)
  const jobs = await open.queue.list()
  return {
    instance: config.file,
    hostname: config.hostname,
    domains: config.domains,
    processes: processesOf(instance),
    listeners: await Promise.all(
      Object.entries(config.listen).map(async ([name, address]) => listenerOf(name, address)),
    ),
    tls: serverCertificateView(config),
    queue: await open.queue.counts(),
    ...peopleOf(instance),
    ending: endingOf(instance, new Date()),
    errors: [...heldErrors(jobs), ...(await open.queue.failures(LAST_ERRORS)).map(failureError)],
  }
}

/** What runs, by process; each thread of one hears of changes by itself and so has a row of its own. */
function processesOf({ database }: OpenInstance) {
  const rows = presentProcesses(database, new Date())
  const processes = Map.groupBy(rows, ({ name }) => name.split("/").slice(0, 2).join("/"))
  return [...processes].map(([process, threads]) => {
    const [host = "", pid = ""] = process.split("/")
    // The one that has them all first: a hand names its own alone.
    const all = threads.toSorted((a, b) => b.roles.length - a.roles.length)
    const roles = new Set(all.flatMap((thread) => thread.roles))
    // One whose only role others play accepts their connections.
    roles.delete("")
    return { host, pid: Number(pid), roles: [...roles].toSorted((a, b) => ROLES.indexOf(a) - ROLES.indexOf(b)) }
  })
}

async function listenerOf(name: string, address: ListenAddress) {
  const reason = await whyClosed(address)
  return {
    name,
    address: written(address),
    ...(reason === null ? { accepts: true } : { accepts: false, reason }),
  }
}

/** @returns null when a connection is accepted */
function whyClosed({ host, port }: ListenAddress): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect({ host: reachable(host), port, timeout: CONNECT_TIMEOUT_MS })
    const finish = (reason: string | null) => {
      socket.destroy()
      resolve(reason)
    }
    socket.once("connect", () => finish(null))
    socket.once("timeout", () => finish("no answer"))
    socket.once("error", (error) => finish("code" in error ? String(error.code) : error.message))
  })
}

/** Where a listener on every address of the machine is reached. */
function reachable(host: string): string {
  if (host === "0.0.0.0") return "127.0.0.1"
  return host === "::" ? "localhost" : host
}

function peopleOf({ people }: OpenInstance) {
  const accounts = people.accounts()
  const devices = accounts.flatMap((account) => people.devices(account.address))
  return { accounts: accounts.length, devices: devices.filter((device) => device.revokedAt === null).length }
}

/** Keys that are near their end, the next first. */
function endingOf({ people, gatewayKeys, database }: OpenInstance, now: Date) {
  const endings = [
    ...peopleEndings(people),
    ...people.accounts().flatMap((account) => signerEndings(account, gatewayKeys.of(account.address))),
    ...correspondentEndings(new KeptKeyMemory(database).endingLately(now, NEAR_DAYS)),
  ]
  return endings
    .filter((ending) => isNear(ending, now))
    .toSorted((a, b) => a.until.getTime() - b.until.getTime())
    .map(({ about, fingerprint, until, remedy }) => ({ about, fingerprint, until: until.toISOString(), remedy }))
}

function heldErrors(jobs: readonly QueuedJob[]) {
  return jobs
    .filter((job) => job.state === "held")
    .slice(0, LAST_ERRORS)
    .map((job) => ({
      kind: "held" as const,
      id: job.id,
      recipient: job.recipient,
      at: job.queuedAt.toISOString(),
      text: job.holdReason ?? "held",
    }))
}

function failureError({
  spoolId,
  recipient,
  status,
  at,
}: {
  readonly spoolId: string
  readonly recipient: string
  readonly status: QueuedJob["lastStatus"]
  readonly at: Date
}) {
  const text = status === null ? "failed" : `${status.status} ${status.diagnostic}`
  return { kind: "failed" as const, id: spoolId, recipient, at: at.toISOString(), text }
}

function statusLines(status: Status): string[] {
  const { queue } = status
  const processes = status.processes.map(
    ({ pid, host, roles }) => `process ${pid} on ${host}: ${roles.join(", ") || "accepts connections for the others"}`,
  )
  return [
    `instance   ${status.instance} (${status.domains.join(", ")})`,
    ...labelled("running", processes.length > 0 ? processes : ["nothing that lets devices in"]),
    ...labelled(
      "listeners",
      status.listeners.map(
        ({ name, address, accepts, ...rest }) =>
          `${name.padEnd(12)} ${address.padEnd(22)} ${accepts ? "accepts" : `closed (${"reason" in rest ? rest.reason : "unknown"})`}`,
      ),
    ),
    ...labelled("tls", viewLines(status.tls)),
    `queue      ${queue.ready} ready, ${queue.delayed} delayed, ${queue.active} active, ${queue.held} held; ${queue.failed} failed`,
    `people     ${status.accounts} account${plural(status.accounts)}, ${status.devices} device${plural(status.devices)}`,
    ...labelled(
      "ending",
      status.ending.map(({ about, until, remedy }) => `${until}  ${about}: ${remedy}`),
    ),
    ...labelled(
      "errors",
      status.errors.length === 0
        ? ["none"]
        : status.errors.map(({ kind, id, recipient, at, text }) => `${at}  ${kind}  ${id} to ${recipient}: ${text}`),
    ),
  ]
}

/** The label before the first line, blanks before the others. */
function labelled(label: string, lines: readonly string[]): string[] {
  return lines.map((line, index) => `${(index === 0 ? label : "").padEnd(10)} ${line}`)
}

function plural(count: number): string {
  return count === 1 ? "" : "s"
}
