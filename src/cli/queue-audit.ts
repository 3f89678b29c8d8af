import { type Command, InvalidArgumentError } from "commander"
import { type AuditReport, audit } from "../queue/audit.ts"
import { AUDIT_KEPT_MS } from "../queue/sweep.ts"
import { openQueue } from "./open-queue.ts"
import { type CommonOptions, configOf, optionsOf, print, printJson, type Shell } from "./shell.ts"

/** `postern queue audit`. */
export function registerQueueAudit(queue: Command, shell: Shell): void {
  queue
    .command("audit")
    .description(
      "Show that every recipient of every accepted message was delivered to, bounced, dropped, or is held or queued; exit code 1 when one is not.",
    )
    .option("--since <day>", "YYYY-MM-DD (default: as far as the record goes, 30 days)", readDay)
    .option("--json", "one JSON value on stdout")
    .action(async (_options: unknown, command: Command) => {
      const options = optionsOf<{ readonly since?: Date }>(command)
      const report = await look(options)
      if (options.json) printJson(report)
      else for (const line of lines(report)) print(line)
      if (report.faults.length > 0) shell.exitWith(1)
    })
}

async function look(
  options: CommonOptions & { readonly since?: Date },
): Promise<AuditReport & { readonly since: Date }> {
  await using open = await openQueue(configOf(options))
  const since = options.since ?? new Date(Date.now() - AUDIT_KEPT_MS)
  return { since, ...(await audit(open.queue, () => open.spooled(), since)) }
}

function lines({ since, messages, recipients, unknown, faults }: AuditReport & { readonly since: Date }): string[] {
  const count = Object.values(recipients).reduce((sum, one) => sum + one, 0) + faults.length
  const places = Object.entries(recipients).filter(([, number]) => number > 0)
  return [
    `since ${since.toISOString().slice(0, 10)}: ${messages} messages, ${count} recipients`,
    ...places.map(([place, number]) => `${String(number).padStart(8)}  ${place}`),
    ...unknown.map((id) => `    next  ${id}: in the spool, and not queued yet; the next sweep queues it`),
    ...faults.map(({ spoolId, recipient, kind }) => `   wrong  ${spoolId} for ${recipient}: ${kind}`),
    faults.length === 0 ? "each of them is in one place" : `${faults.length} are not in one place`,
  ]
}

function readDay(text: string): Date {
  const day = new Date(`${text}T00:00:00Z`)
  if (!/^\d{4}-\d\d-\d\d$/.test(text) || Number.isNaN(day.getTime()))
    throw new InvalidArgumentError("must be a day such as 2026-11-26")
  return day
}
