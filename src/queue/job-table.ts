import type { DeliveryStatus } from "../message/status.ts"
import { type Database, dateIn, numberIn, optionalTextIn, type Row, textIn } from "../store/database.ts"
import { lifeOf } from "../store/process.ts"
import { AuditTable, statusIn } from "./audit-table.ts"
import { LONGEST_WAIT_MS } from "./backoff.ts"
import {
  type AuditRow,
  type Counts,
  type FinalOutcome,
  inSpiteOf,
  type Job,
  type Outcome,
  type QueuedJob,
} from "./queue.ts"
import { rankOf, STANDS_BEHIND_MS } from "./rank.ts"
import type { Settlement } from "./work-loop.ts"

/** Schema of data/queue.db. Times are milliseconds since 1970. Migrations are only ever added. */
export const QUEUE_MIGRATIONS = [
  `
  CREATE TABLE job (
    place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, spool_id TEXT NOT NULL, recipient TEXT NOT NULL,
    attempts INTEGER NOT NULL, queued_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'active', 'held')), due_at INTEGER NOT NULL,
    owner TEXT, lease_until INTEGER, last_status TEXT,
    after_attempt TEXT CHECK (after_attempt IN ('hold', 'drop')), hold_reason TEXT) STRICT;
  CREATE INDEX job_spool ON job (spool_id);
  CREATE INDEX job_due ON job (due_at) WHERE state = 'waiting';
  CREATE INDEX job_active ON job (owner, lease_until) WHERE state = 'active';

  CREATE TABLE audit (
    place INTEGER PRIMARY KEY, spool_id TEXT NOT NULL, recipient TEXT NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('done', 'failed', 'dropped', 'held', 'released')), status TEXT, at INTEGER NOT NULL) STRICT;
  CREATE INDEX audit_spool ON audit (spool_id);
  `,
  // 'queued' is an outcome, too: SQLite changes a CHECK by making the table anew.
  `
  CREATE TABLE audit_2 (
    place INTEGER PRIMARY KEY, spool_id TEXT NOT NULL, recipient TEXT NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('queued', 'done', 'failed', 'dropped', 'held', 'released')), status TEXT,
    at INTEGER NOT NULL) STRICT;
  INSERT INTO audit_2 SELECT * FROM audit;
  INSERT INTO audit_2 (spool_id, recipient, outcome, at) SELECT spool_id, recipient, 'queued', queued_at FROM job;
  DROP TABLE audit;
  ALTER TABLE audit_2 RENAME TO audit;
  CREATE INDEX audit_spool ON audit (spool_id);
  `,
  `
  ALTER TABLE job ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;
  UPDATE job SET rank = due_at;
  CREATE INDEX job_rank ON job (rank) WHERE state = 'waiting';
  `,
  "ALTER TABLE job ADD COLUMN anyway INTEGER NOT NULL DEFAULT 0",
  "CREATE INDEX job_behind ON job (rank) WHERE state = 'waiting' AND rank > due_at",
]

/** The queue's SQL. All methods are synchronous; those that write run in the caller's transaction. */
export class JobTable {
  readonly record: AuditTable
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
    this.record = new AuditTable(database)
  }

  /** `recipients`: jobs that its message is added with. */
  add(job: Job, recipients: number, now: Date): void {
    const { id, spoolId, recipient } = job
    const dueMs = Math.min(job.queuedAt.getTime(), now.getTime())
    const { changes } = this.#database.sql.run`
      INSERT INTO job (id, spool_id, recipient, attempts, queued_at, state, due_at, rank)
      SELECT ${id}, ${spoolId}, ${recipient}, ${job.attempt}, ${job.queuedAt.getTime()}, 'waiting', ${dueMs},
        ${rankOf(dueMs, job.attempt, recipients)}
      WHERE NOT EXISTS (SELECT 1 FROM audit WHERE spool_id = ${spoolId} AND recipient = ${recipient}
        AND outcome IN ('done', 'failed', 'dropped'))
      ON CONFLICT DO NOTHING`
    if (changes > 0) this.#write(job, "queued", null, now)
  }

  /** Milliseconds until a job is due: 0 or less when one is; null: none waits. */
  dueInMs(now: Date): number | null {
    const row = this.#database.sql.get`SELECT due_at FROM job WHERE state = 'waiting' ORDER BY due_at LIMIT 1`
    return row === undefined ? null : numberIn(row, "due_at") - now.getTime()
  }

  /** Leases up to `limit` due jobs, those of the lowest rank first. */
  claim(owner: string, now: Date, untilMs: number, limit: number): Job[] {
    const nowMs = now.getTime()
    const first = this.#database.sql.all`
      SELECT id, spool_id, recipient, attempts, queued_at, anyway FROM job
      WHERE state = 'waiting' AND rank <= ${nowMs} ORDER BY rank, place LIMIT ${limit}`
    // Of those that stand behind, and of no others: what was put off for a moment has such a rank, too, and may be thousands.
    const behind =
      first.length === limit
        ? []
        : this.#database.sql.all`
            SELECT id, spool_id, recipient, attempts, queued_at, anyway FROM job
            WHERE state = 'waiting' AND rank > due_at AND rank > ${nowMs} AND rank <= ${nowMs + STANDS_BEHIND_MS}
            ORDER BY rank, place LIMIT ${limit - first.length}`
    const rows = [...first, ...behind]
    for (const row of rows) {
      this.#database.sql.run`
        UPDATE job SET state = 'active', owner = ${owner}, lease_until = ${untilMs}, attempts = attempts + 1
        WHERE id = ${textIn(row, "id")}`
    }
    return rows.map(jobIn)
  }

  renew(owner: string, ids: readonly string[], untilMs: number): void {
    this.#database.sql.run`
      UPDATE job SET lease_until = ${untilMs}
      WHERE state = 'active' AND owner = ${owner} AND id IN (SELECT value FROM json_each(${JSON.stringify(ids)}))`
  }

  settle(job: Job, owner: string, outcome: Outcome, now: Date): Settlement {
    const row = this.#database.sql.get`
      SELECT after_attempt FROM job WHERE id = ${job.id} AND state = 'active' AND owner = ${owner}`
    if (row === undefined) return "lost"
    if (outcome.kind === "done" || outcome.kind === "failed") return this.end(job, outcome.kind, outcome.status, now)
    const after = optionalTextIn(row, "after_attempt")
    if (after === "drop") return this.end(job, "dropped", null, now)
    if (outcome.kind === "hold") this.#hold(job, outcome.reason, null, now)
    else if (after === "hold") this.#hold(job, null, outcome.status, now)
    else this.#wait(job, job.attempt + 1, outcome.at, outcome.status)
    return "more"
  }

  /** Gives back a job of which nothing was tried. */
  putOff(job: Job, owner: string, at: Date, now: Date): Settlement {
    const { changes } = this.#database.sql.run`
      UPDATE job SET attempts = attempts - 1 WHERE id = ${job.id} AND state = 'active' AND owner = ${owner}`
    const [queued] = changes === 0 ? [] : this.list(now, job.id)
    return queued === undefined ? "lost" : this.#leave(queued, at, now)
  }

  /** Ids of leased jobs whose worker is dead, or silent for too long, or `self` and has given them up: `busy` are those under way. */
  orphans(self: string, busy: readonly string[], now: Date): string[] {
    const owners = this.#database.sql.all`SELECT DISTINCT owner FROM job WHERE state = 'active' AND owner <> ${self}`
    const dead = owners.map((row) => textIn(row, "owner")).filter((owner) => lifeOf(owner) === "dead")
    const rows = this.#database.sql.all`
      SELECT id FROM job WHERE state = 'active'
        AND NOT (owner = ${self} AND id IN (SELECT value FROM json_each(${JSON.stringify(busy)})))
        AND (lease_until < ${now.getTime()} OR owner IN (SELECT value FROM json_each(${JSON.stringify(dead)})))`
    return rows.map((row) => textIn(row, "id"))
  }

  /** Makes orphaned jobs due now. @returns spool ids whose last job was to be dropped */
  takeOver(orphans: readonly string[], now: Date): string[] {
    const jobs = orphans.flatMap((id) => this.list(now, id)).filter((job) => job.state === "active")
    return jobs.filter((job) => this.#leave(job, now, now) === "emptied").map((job) => job.spoolId)
  }

  /** Marks what looks as if it was never tried: nobody knows. */
  suspectAttempts(): void {
    this.#database.sql.run`UPDATE job SET attempts = 1 WHERE attempts = 0`
  }

  /** Makes jobs due that a clock which ran ahead has put off. */
  mendDueTimes(now: Date): void {
    const latest = now.getTime() + LONGEST_WAIT_MS
    if (this.#database.sql.get`SELECT 1 FROM job WHERE state = 'waiting' AND due_at > ${latest} LIMIT 1`)
      this.#database.sql.run`
        UPDATE job SET due_at = ${now.getTime()}, rank = ${now.getTime()} WHERE state = 'waiting' AND due_at > ${latest}`
  }

  /** Takes the job out of the queue and writes down why. */
  end(job: Job, outcome: FinalOutcome, status: DeliveryStatus | null, now: Date): Settlement {
    this.#database.sql.run`DELETE FROM job WHERE id = ${job.id}`
    this.#write(job, outcome, status, now)
    const left = this.#database.sql.get`SELECT 1 FROM job WHERE spool_id = ${job.spoolId} LIMIT 1`
    return left === undefined ? "emptied" : "more"
  }

  /** Up to `limit` jobs behind `place`, in the order in which they were added. */
  page(place: number, limit: number): { readonly ids: readonly string[]; readonly place: number } {
    const rows = this.#database.sql.all`SELECT place, id FROM job WHERE place > ${place} ORDER BY place LIMIT ${limit}`
    return { ids: rows.map((row) => textIn(row, "id")), place: numberIn(rows.at(-1) ?? { place }, "place") }
  }

  counts(now: Date): Counts {
    const row = this.#database.sql.get`
      SELECT count(*) FILTER (WHERE state = 'waiting' AND due_at <= ${now.getTime()}) AS ready,
        count(*) FILTER (WHERE state = 'waiting' AND due_at > ${now.getTime()}) AS delayed,
        count(*) FILTER (WHERE state = 'active') AS active, count(*) FILTER (WHERE state = 'held') AS held,
        (SELECT count(*) FROM audit WHERE outcome = 'failed') AS failed FROM job`
    const count = (name: string) => numberIn(row, name)
    return {
      ready: count("ready"),
      delayed: count("delayed"),
      active: count("active"),
      held: count("held"),
      failed: count("failed"),
    }
  }

  /** All jobs, or those of `id` (a job's or a spool id), in the order in which they were added. */
  list(now: Date, id: string | null): QueuedJob[] {
    const rows =
      id === null
        ? this.#database.sql.all`SELECT * FROM job ORDER BY place`
        : this.#database.sql.all`SELECT * FROM job WHERE id = ${id} OR spool_id = ${id} ORDER BY place`
    return rows.map((row) => queuedJobIn(row, now))
  }

  /** Messages with a job stay whole: their settled recipients must not be tried again. */
  prune(before: Date): number {
    const { changes } = this.#database.sql.run`
      DELETE FROM audit WHERE spool_id IN (SELECT spool_id FROM audit GROUP BY spool_id HAVING max(at) < ${before.getTime()})
        AND NOT EXISTS (SELECT 1 FROM job WHERE job.spool_id = audit.spool_id)`
    return Number(changes)
  }

  /** An administrator's hold; `after` when an attempt is under way. */
  hold(job: QueuedJob, reason: string, now: Date): void {
    if (job.state === "active")
      this.#database.sql.run`UPDATE job SET after_attempt = 'hold', hold_reason = ${reason} WHERE id = ${job.id}`
    else this.#hold(job, reason, job.lastStatus, now)
  }

  release(job: QueuedJob, anyway: boolean, now: Date): void {
    if (job.state === "held") {
      if (anyway) this.#database.sql.run`UPDATE job SET anyway = 1 WHERE id = ${job.id}`
      this.#wait(job, 0, now, job.lastStatus)
      this.#write(job, "released", anyway ? inSpiteOf(job) : null, now)
    } else this.#database.sql.run`UPDATE job SET after_attempt = NULL, hold_reason = NULL WHERE id = ${job.id}`
  }

  retry(job: QueuedJob, now: Date): void {
    this.#database.sql.run`
      UPDATE job SET due_at = ${now.getTime()}, rank = ${now.getTime()} WHERE id = ${job.id} AND state = 'waiting'`
  }

  drop(job: QueuedJob, now: Date): Settlement {
    if (job.state !== "active") return this.end(job, "dropped", job.lastStatus, now)
    this.#database.sql.run`UPDATE job SET after_attempt = 'drop' WHERE id = ${job.id}`
    return "more"
  }

  /** What an attempt leaves that came to nothing, or was none. */
  #leave(job: QueuedJob, at: Date, now: Date): Settlement {
    const row = this.#database.sql.get`SELECT after_attempt FROM job WHERE id = ${job.id}`
    const after = optionalTextIn(row, "after_attempt")
    if (after === "drop") return this.end(job, "dropped", null, now)
    if (after === "hold") this.#hold(job, null, null, now)
    else this.#wait(job, job.attempt, at, job.lastStatus)
    return "more"
  }

  /** `reason` null: the one given when the hold was asked for. */
  #hold(job: Job, reason: string | null, status: DeliveryStatus | null, now: Date): void {
    this.#database.sql.run`
      UPDATE job SET state = 'held', hold_reason = coalesce(${reason}, hold_reason), after_attempt = NULL, owner = NULL, lease_until = NULL,
        last_status = coalesce(${status && JSON.stringify(status)}, last_status) WHERE id = ${job.id}`
    this.#write(job, "held", status, now)
  }

  #write({ spoolId, recipient }: Job, outcome: AuditRow["outcome"], status: DeliveryStatus | null, at: Date): void {
    this.record.write({ spoolId, recipient, outcome, status, at })
  }

  /** `attempt`: begun before the one that it waits for. */
  #wait({ id }: Job, attempt: number, at: Date, status: DeliveryStatus | null): void {
    this.#database.sql.run`
      UPDATE job SET state = 'waiting', due_at = ${at.getTime()}, rank = ${rankOf(at.getTime(), attempt, 1)}, owner = NULL, lease_until = NULL, after_attempt = NULL,
        hold_reason = NULL, last_status = ${status && JSON.stringify(status)} WHERE id = ${id}`
  }
}

function jobIn(row: Row): Job {
  return {
    id: textIn(row, "id"),
    spoolId: textIn(row, "spool_id"),
    recipient: textIn(row, "recipient"),
    attempt: numberIn(row, "attempts"),
    queuedAt: dateIn(row, "queued_at"),
    ...(numberIn(row, "anyway") === 1 ? { anyway: true } : {}),
  }
}

function queuedJobIn(row: Row, now: Date): QueuedJob {
  const state = textIn(row, "state")
  const dueAt = dateIn(row, "due_at")
  return {
    ...jobIn(row),
    worker: state === "active" ? optionalTextIn(row, "owner") : null,
    state: state === "active" || state === "held" ? state : dueAt > now ? "delayed" : "ready",
    dueAt: state === "waiting" ? dueAt : null,
    lastStatus: statusIn(row, "last_status"),
    holdReason: optionalTextIn(row, "hold_reason"),
  }
}
