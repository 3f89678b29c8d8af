import type { Command } from "commander"
import { GatewayError } from "../errors.ts"
import { formatAddress } from "../message/address.ts"
import { destinationsOf } from "../queue/open.ts"
import type { AuditRow, QueueAdministration, QueuedJob } from "../queue/queue.ts"
import { type Crowd, crowds } from "../queue/waiting.ts"
import type { SpoolEntry } from "../store/spool.ts"
import { duration, sizeText } from "./amounts.ts"
import { type OpenQueue, openQueue } from "./open-queue.ts"
import { registerQueueAudit } from "./queue-audit.ts"
import { type CommonOptions, configOf, optionsOf, print, printJson, type Shell } from "./shell.ts"

/** What an administrator can do to jobs. */
type Act = "retry" | "hold" | "release" | "drop"

const ACTS: readonly (readonly [act: Act, description: string])[] = [
  ["retry", "Try delayed jobs now."],
  ["hold", "Keep jobs until they are released; an attempt under way is finished."],
  ["release", "Let held jobs go on, now."],
  ["drop", "End jobs without delivering or telling the sender. The message is destroyed with its last job."],
]

/** `postern queue`. */
export function registerQueue(program: Command, shell: Shell): void {
  const queue = program.command("queue").description("Accepted mail that is on its way.")
  queue
    .command("list")
    .description("All jobs: one for each message and recipient.")
    .option("--json", "one JSON value on stdout")
    .action((_options: unknown, command: Command) => list(optionsOf(command)))
  queue
    .command("show <id>")
    .description("One job, or all of a message (by its spool id), with what became of its recipients.")
    .option("--json", "one JSON value on stdout")
    .action((id: string, _options: unknown, command: Command) => show(id, optionsOf(command)))
  for (const [act, description] of ACTS) {
    const command = queue
      .command(`${act} <id>`)
      .description(description)
      .option("--json", "one JSON value on stdout")
      .action((id: string, _options: unknown, invoked: Command) => administer(act, id, optionsOf(invoked)))
    if (act === "hold")
      command.option(
        "--reason <text>",
        `what the list tells (default: "${HELD}"; what is held already keeps its reason)`,
      )
    if (act === "release")
      command.option("--anyway", "what an alias sends on, in spite of suspicion or of an author nobody vouches for")
  }
  queue
    .command("stats")
    .description("How many jobs there are, and for how long.")
    .option("--json", "one JSON value on stdout")
    .action((_options: unknown, command: Command) => stats(optionsOf(command)))
  registerQueueAudit(queue, shell)
}

async function list(options: CommonOptions): Promise<void> {
  const config = configOf(options)
  await using open = await openQueue(config)
  const jobs = await open.queue.list()
  const views = await jobViews(jobs, open)
  if (options.json) {
    printJson(views)
    return
  }
  if (views.length === 0) print("the queue is empty")
  const now = Date.now()
  for (const view of views) for (const line of jobLines(view, now)) print(line)
  for (const crowd of crowds(jobs, destinationsOf(config))) print(crowdLine(crowd))
}

function crowdLine({ destination, worker, leased, waiting }: Crowd): string {
  return `${waiting} of ${leased} active ones for ${destination} wait for a place there (${worker})`
}

async function show(id: string, options: CommonOptions): Promise<void> {
  const config = configOf(options)
  await using open = await openQueue(config)
  const { jobs, audit } = await known(open.queue, id)
  const entry = await open.entry(jobs[0]?.spoolId ?? audit[0]?.spoolId ?? id)
  const views = await jobViews(jobs, open)
  const message = entry && messageView(entry)
  if (options.json) {
    printJson({ message, jobs: views, audit: audit.map(auditView) })
    return
  }
  if (message) for (const line of messageLines(message)) print(line)
  const now = Date.now()
  const { of } = destinationsOf(config)
  for (const view of views) for (const line of [...jobLines(view, now), ...workerLines(view, of(view))]) print(line)
  for (const row of audit) print(auditLine(row))
}

/** Options of single acts. */
interface ActOptions extends CommonOptions {
  readonly reason?: string
  readonly anyway?: true
}

async function administer(act: Act, id: string, options: ActOptions): Promise<void> {
  await using open = await openQueue(configOf(options))
  const { queue } = open
  const { jobs } = await known(queue, id)
  const met = jobs.filter((job) => concerns(act, job) && (!options.anyway || job.state === "held"))
  if (met.length === 0) throw new GatewayError("JOB_STATE", `queue ${act} ${id}: ${whyNot(act, jobs)}`)
  if (options.anyway) await refuseOthers(id, met, open)
  // Job by job: a message that has jobs of both kinds is asked for those that the act is about.
  const done = new Map<string, number>()
  for (const job of met.filter((one) => !staysHeld(act, one, options)))
    done.set(job.id, await perform(queue, act, job.id, options))
  const { jobs: left } = await queue.show(id)
  const states = met.map(({ id: job, recipient }) => {
    const state = left.find((candidate) => candidate.id === job)?.state
    const gone = act === "drop" && done.get(job) === 1 ? ("dropped" as const) : ("settled" as const)
    return { id: job, recipient, state: state ?? gone }
  })
  if (options.json) {
    printJson({ act, jobs: states })
    return
  }
  for (const { id: job, recipient, state } of states) print(`${job} to ${recipient}: ${outcome(act, state)}`)
}

/** Whose spool keys are not here cannot be told what it is; it is tried, and held again where there is no such doubt. */
async function refuseOthers(id: string, met: readonly QueuedJob[], open: OpenQueue): Promise<void> {
  const entry = await open.entry(met[0]?.spoolId ?? id)
  if (entry === null || entry.origin.kind === "forward") return
  throw new GatewayError(
    "JOB_STATE",
    `queue release ${id}: --anyway is for what an alias sends on; without it, this is tried again`,
  )
}

function perform(
  queue: QueueAdministration,
  act: Act,
  id: string,
  { reason = HELD, anyway }: ActOptions,
): Promise<number> {
  switch (act) {
    case "retry":
      return queue.retry(id)
    case "hold":
      return queue.hold(id, reason)
    case "release":
      return queue.release(id, anyway)
    case "drop":
      return queue.drop(id)
    default:
      return act satisfies never
  }
}

/** Why it is held is worth more than that somebody wants it so. */
function staysHeld(act: Act, { state }: QueuedJob, { reason }: ActOptions): boolean {
  return act === "hold" && state === "held" && reason === undefined
}

function concerns(act: Act, { state, holdReason }: QueuedJob): boolean {
  if (act === "retry") return state === "delayed" || state === "ready"
  // Active ones may be about to be held.
  return act !== "release" || state === "held" || holdReason !== null
}

function whyNot(act: Act, jobs: readonly QueuedJob[]): string {
  if (jobs.length === 0) return "all its recipients are settled already"
  if (act === "release") return "no job of it is held"
  return jobs.some(({ state }) => state === "held") ? "held; release it" : "an attempt is under way"
}

/** `settled`: an attempt came to its end before the act. */
function outcome(act: Act, state: QueuedJob["state"] | "dropped" | "settled"): string {
  if (state === "dropped") return "dropped"
  if (state === "settled") return "settled meanwhile"
  if (state === "active")
    return act === "release" ? "goes on" : `an attempt is under way; ${act} takes effect when it fails`
  return state === "held" ? "held" : "is tried now"
}

async function stats(options: CommonOptions): Promise<void> {
  const config = configOf(options)
  await using open = await openQueue(config)
  const [counts, jobs] = [await open.queue.counts(), await open.queue.list()]
  const queuedAtMs = jobs.map((job) => job.queuedAt.getTime())
  const dueAtMs = jobs.flatMap((job) => (job.dueAt === null ? [] : [job.dueAt.getTime()]))
  const oldestMs = queuedAtMs.reduce((oldest, at) => Math.min(oldest, at), Number.POSITIVE_INFINITY)
  const nextMs = dueAtMs.reduce((next, at) => Math.min(next, at), Number.POSITIVE_INFINITY)
  const value = {
    ...counts,
    // Among the active ones.
    waiting: crowds(jobs, destinationsOf(config)).reduce((sum, { waiting }) => sum + waiting, 0),
    messages: new Set(jobs.map((job) => job.spoolId)).size,
    oldest: Number.isFinite(oldestMs) ? new Date(oldestMs).toISOString() : null,
    nextAttempt: Number.isFinite(nextMs) ? new Date(nextMs).toISOString() : null,
  }
  if (options.json) {
    printJson(value)
    return
  }
  for (const [name, count] of Object.entries(value)) print(`${name.padEnd(12)} ${count ?? "-"}`)
}

/** @throws GatewayError JOB_UNKNOWN */
async function known(queue: QueueAdministration, id: string): ReturnType<QueueAdministration["show"]> {
  const found = await queue.show(id)
  if (found.jobs.length > 0 || found.audit.length > 0) return found
  throw new GatewayError("JOB_UNKNOWN", `queue ${id}: no job and no message of this id`)
}

/** A job as `--json` shows it. */
interface JobView {
  readonly id: string
  readonly spoolId: string
  readonly state: QueuedJob["state"]
  /** Who has an active one. */
  readonly worker: string | null
  /** Without value: the spool's secret keys are not here. `<>` is the null reverse-path. */
  readonly sender: string | null
  readonly recipient: string
  readonly sizeOctets: number | null
  readonly queuedAt: string
  /** Attempts begun. */
  readonly attempts: number
  readonly dueAt: string | null
  readonly lastStatus: QueuedJob["lastStatus"]
  readonly holdReason: string | null
  /** Released by an administrator with `--anyway`. */
  readonly anyway: boolean
}

async function jobViews(jobs: readonly QueuedJob[], open: OpenQueue): Promise<JobView[]> {
  // Jobs of a message share its entry: each message is opened once.
  const entries = new Map<string, SpoolEntry | null>()
  for (const { spoolId } of jobs) if (!entries.has(spoolId)) entries.set(spoolId, await open.entry(spoolId))
  return jobs.map((job) => jobView(job, entries.get(job.spoolId) ?? null))
}

function jobView(job: QueuedJob, entry: SpoolEntry | null): JobView {
  return {
    id: job.id,
    spoolId: job.spoolId,
    state: job.state,
    worker: job.worker,
    sender: entry && senderOf(entry),
    recipient: job.recipient,
    sizeOctets: entry?.sizeOctets ?? null,
    queuedAt: job.queuedAt.toISOString(),
    attempts: job.attempt,
    dueAt: job.dueAt?.toISOString() ?? null,
    lastStatus: job.lastStatus,
    holdReason: job.holdReason,
    anyway: job.anyway ?? false,
  }
}

function jobLines(view: JobView, nowMs: number): string[] {
  const age = duration(nowMs - Date.parse(view.queuedAt))
  const size = view.sizeOctets === null ? "" : `, ${sizeText(view.sizeOctets)}`
  const attempts = `${view.attempts} attempt${view.attempts === 1 ? "" : "s"}`
  const next = view.dueAt === null ? "" : `, next ${inTime(Date.parse(view.dueAt) - nowMs)}`
  return [
    `${view.id}  ${view.state}  ${view.sender ?? "?"} -> ${view.recipient}  ${age}${size}, ${attempts}${next}`,
    ...(view.anyway ? ["    released by an administrator, anyway"] : []),
    ...(view.holdReason === null ? [] : [`    held: ${view.holdReason}`]),
    ...(view.lastStatus === null ? [] : [`    last: ${view.lastStatus.status} ${view.lastStatus.diagnostic}`]),
  ]
}

/** Whether a leased job is being tried, its worker alone knows: a note for each attempt would cost more than it tells. */
function workerLines({ worker }: JobView, destination: string | null): string[] {
  if (worker === null) return []
  const orWaits = destination === null ? "" : `, or waits for a place at ${destination}`
  return [`    with ${worker}: is being tried${orWaits}`]
}

function messageView(entry: SpoolEntry) {
  const { envelope, origin, receivedAt, sizeOctets } = entry
  return {
    sender: senderOf(entry),
    recipients: envelope.recipients.map(({ address }) => formatAddress(address)),
    receivedAt: receivedAt.toISOString(),
    sizeOctets,
    origin: { ...origin, ...(origin.alias ? { alias: formatAddress(origin.alias) } : {}) },
  }
}

function messageLines(message: ReturnType<typeof messageView>): string[] {
  const { origin } = message
  const by = origin.account === null ? "" : ` by ${origin.account}, device ${origin.device ?? "?"}`
  const how = origin.alias === undefined ? "" : `forwarded for ${origin.alias}; `
  const over = origin.kind === "forward" ? "" : ` over ${origin.kind}`
  return [
    `from ${message.sender}, ${sizeText(message.sizeOctets)}, accepted ${message.receivedAt}`,
    `to ${message.recipients.join(", ")}`,
    `${how}came in${over}${by} from ${origin.remote || "this gateway"} (${origin.helo})${origin.tls ? ", TLS" : ""}`,
  ]
}

function auditView({ spoolId, recipient, outcome: became, status, at }: AuditRow) {
  return { spoolId, recipient, outcome: became, status, at: at.toISOString() }
}

function auditLine({ recipient, outcome: became, status, at }: AuditRow): string {
  const said = status === null ? "" : `: ${status.status} ${status.diagnostic}`
  return `${at.toISOString()}  ${became}  ${recipient}${said}`
}

function senderOf({ envelope }: SpoolEntry): string {
  return envelope.sender === null ? "<>" : formatAddress(envelope.sender)
}

function inTime(ms: number): string {
  return ms <= 0 ? "now" : `in ${duration(ms)}`
}

const HELD = "held by an administrator"
