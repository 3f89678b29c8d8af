import type { Pool } from "pg"
import type { DeliveryStatus } from "../../message/status.ts"
import type { AuditLog } from "../../queue/audit-log.ts"
import type { AuditRow, FinalOutcome, RecordedPair } from "../../queue/queue.ts"
import { AUDIT_MIGRATIONS } from "./audit-schema.ts"
import { connectionOptions, type PostgresStore } from "./connection.ts"
import { isDeadlock, openMigrated, query, rowsOf } from "./pool.ts"
import { Together } from "./together.ts"

const CONNECTIONS = 3
const STATEMENTS = 2
/** Rows that one statement writes, or messages that it asks for. */
const TOGETHER = 200
/** Messages. */
const PAGE = 500
/** Two that write the same pairs in another order wait for one another; the server ends one of them, and undoes what it did. */
const DEADLOCK_ATTEMPTS = 5

interface Row {
  readonly spool_id: string
  readonly recipient: string
  readonly outcome: AuditRow["outcome"]
  readonly status: string | null
  readonly at: string
}

interface PairRow {
  readonly spool_id: string
  readonly recipient: string
  readonly queued_at: string | null
  readonly finals: readonly FinalOutcome[]
}

type Settled = ReadonlyMap<string, ReadonlySet<string>>

/** The record of what became of mail, for all machines. It needs no queue: with Redis wiped, it is what keeps mail from being sent twice. */
export class PostgresAuditLog implements AuditLog {
  readonly #pool: Pool
  readonly #writes: Together<readonly AuditRow[], void>
  readonly #questions: Together<string, Settled>

  /** Its table is there. The pool is ended with the record. */
  constructor(pool: Pool) {
    this.#pool = pool
    const share = (rows: readonly AuditRow[]) => rows.length / TOGETHER
    this.#writes = new Together({ statements: STATEMENTS, share }, (calls) => write(pool, calls.flat()))
    const one = () => 1 / TOGETHER
    this.#questions = new Together({ statements: STATEMENTS, share: one }, (spoolIds) => settledOf(pool, spoolIds))
  }

  async write(...rows: readonly AuditRow[]): Promise<void> {
    if (rows.length > 0) await this.#writes.run(rows)
  }

  async settled(spoolId: string): Promise<ReadonlySet<string>> {
    return (await this.#questions.run(spoolId)).get(spoolId) ?? new Set()
  }

  async of(spoolId: string): Promise<AuditRow[]> {
    const text = "SELECT * FROM audit WHERE spool_id = $1 ORDER BY place"
    return (await rowsOf<Row>(this.#pool, { text, values: [spoolId] })).map(auditRowIn)
  }

  async failures(limit: number): Promise<AuditRow[]> {
    const text = "SELECT * FROM audit WHERE outcome = 'failed' ORDER BY place DESC LIMIT $1"
    return (await rowsOf<Row>(this.#pool, { text, values: [limit] })).map(auditRowIn)
  }

  async failed(): Promise<number> {
    const text = "SELECT count(*)::integer AS failed FROM audit WHERE outcome = 'failed'"
    const [row] = await rowsOf<{ readonly failed: number }>(this.#pool, { text })
    return row?.failed ?? 0
  }

  async prune(before: Date, living: ReadonlySet<string>): Promise<number> {
    return (await query(this.#pool, { text: PRUNE, values: [before.getTime(), [...living]] })).rowCount ?? 0
  }

  async *pairs(since: Date): AsyncIterable<RecordedPair> {
    for (let after = ""; ; ) {
      const rows = await rowsOf<PairRow>(this.#pool, { text: PAIRS, values: [after, since.getTime(), PAGE] })
      for (const row of rows) yield pairIn(row)
      const last = rows.at(-1)
      if (last === undefined) return
      after = last.spool_id
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.end()
  }
}

/**
 * Opens the record in PostgreSQL, and makes its table when it is not there.
 * @throws GatewayError STATE_AWAY, STATE_REFUSED, STATE_VERSION, STATE_CORRUPT, CONFIG_INVALID
 */
export async function openPostgresAuditLog(store: PostgresStore): Promise<PostgresAuditLog> {
  const pool = await openMigrated(connectionOptions(store, "audit"), CONNECTIONS, "audit", AUDIT_MIGRATIONS)
  return new PostgresAuditLog(pool)
}

async function write(pool: Pool, rows: readonly AuditRow[], attempts = DEADLOCK_ATTEMPTS): Promise<void> {
  const values = [
    rows.map(({ spoolId }) => spoolId),
    rows.map(({ recipient }) => recipient),
    rows.map(({ outcome }) => outcome),
    rows.map(({ status }) => status && JSON.stringify(status)),
    rows.map(({ at }) => at.getTime()),
  ]
  try {
    await query(pool, { name: "audit-write", text: WRITE, values })
  } catch (error) {
    if (attempts <= 1 || !isDeadlock(error)) throw error
    await write(pool, rows, attempts - 1)
  }
}

async function settledOf(pool: Pool, spoolIds: readonly string[]): Promise<Settled> {
  const settled = new Map<string, Set<string>>()
  for (const row of await rowsOf<Row>(pool, { name: "audit-settled", text: SETTLED, values: [spoolIds] })) {
    const recipients = settled.get(row.spool_id)
    if (recipients === undefined) settled.set(row.spool_id, new Set([row.recipient]))
    else recipients.add(row.recipient)
  }
  return settled
}

function auditRowIn({ spool_id: spoolId, recipient, outcome, status, at }: Row): AuditRow {
  // Written by us, from one.
  const parsed = status === null ? null : (JSON.parse(status) as DeliveryStatus)
  return { spoolId, recipient, outcome, status: parsed, at: new Date(Number(at)) }
}

function pairIn({ spool_id: spoolId, recipient, queued_at: queuedAt, finals }: PairRow): RecordedPair {
  return { spoolId, recipient, queuedAt: queuedAt === null ? null : new Date(Number(queuedAt)), finals }
}

const FINAL = "outcome IN ('done', 'failed', 'dropped')"
const WRITE = `
  INSERT INTO audit (spool_id, recipient, outcome, status, at)
  SELECT spool_id, recipient, outcome, status, at
  FROM set_config('synchronous_commit', 'on', true),
    unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[])
      WITH ORDINALITY AS line (spool_id, recipient, outcome, status, at, place)
  ORDER BY place ON CONFLICT DO NOTHING`
const SETTLED = `SELECT spool_id, recipient FROM audit WHERE spool_id = ANY($1::text[]) AND ${FINAL}`
const PRUNE = `
  DELETE FROM audit WHERE at < $1 AND spool_id <> ALL($2::text[])
    AND NOT EXISTS (SELECT FROM audit AS later WHERE later.spool_id = audit.spool_id AND later.at >= $1)`
const PAIRS = `
  SELECT spool_id, recipient, min(at) FILTER (WHERE outcome = 'queued') AS queued_at,
    coalesce(array_agg(outcome ORDER BY place) FILTER (WHERE ${FINAL}), '{}') AS finals
  FROM audit WHERE spool_id IN (
    SELECT DISTINCT spool_id FROM audit WHERE spool_id > $1 AND at >= $2 ORDER BY spool_id LIMIT $3)
  GROUP BY spool_id, recipient ORDER BY spool_id, recipient`
