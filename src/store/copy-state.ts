import { isDeepStrictEqual } from "node:util"
import { GatewayError } from "../errors.ts"
import { type Database, numberIn, type Row, type SqlValue, type State } from "./database.ts"
import { presentProcesses } from "./presence.ts"

/** A table as it is copied: `place` is not among its columns, the order tells it. */
interface Table {
  readonly name: string
  readonly columns: readonly string[]
  readonly order: string
}

/** In an order in which nothing names what is not there yet. Processes belong to their own state. */
const TABLES: readonly Table[] = [
  table("setting", "name, value", "name"),
  table("account", "address, name, formats, root, intermediate, profile, added_at", "place"),
  table("account_key", "id, account, format, certificate, current, added_at", "place"),
  table(
    "device",
    "id, account, name, read_only, password, signing_certificate, login_key, login_until, added_at, revoked_at",
    "place",
  ),
  table("device_certificate", "device, certificate", "place"),
  table("recryption_key", "id, device, account_key, wrapped", "id"),
  table("alias_target", "alias, target, forward", "place"),
  table("return_path", "token, sender, used_at", "token"),
  table("return_alias", "name, alias, used_at", "name"),
  table("pinned_certificate", "address, format, certificate, added_at", "place"),
  table("upstream_credential", "account, id, key, sealed, set_at, asked_until", "account"),
  table("sts_policy", "domain, id, mode, mx, max_age, fetched_at, used_at", "domain"),
  table(
    "tls_result",
    "day, domain, policy, result, mx, address, reason, sessions",
    "day, domain, policy, result, mx, address, reason",
  ),
  table("applied_request", "id, account, applied_at", "id"),
  table("key_answer", "address, source, answer, asked_at", "address, source"),
  table("departure", "spool_id, recipient, sender, at, decision, facts", "spool_id, recipient"),
  table(
    "key_memory",
    "address, format, lineage, domain, source, trust, first_seen, last_seen, fingerprint, expires_at",
    "address, format, lineage",
  ),
  table("autocrypt_peer", "address, certificate, mutual, said_at, seen_at", "address"),
  table(
    "harvested_key",
    "address, format, digest, certificate, chain, capabilities, sent_at",
    "address, format, digest",
  ),
  table("signature_verdict", "spool_id, field, decided_at", "spool_id"),
  table("expiry_warning", "name, days, ends_at, told_at", "name"),
  table("profile_seen", "address, udf, issued_at, seen_at", "address, udf"),
  table("keyserver_request", "address, host, fingerprint, state, because, asked_at, changed_at", "address, host"),
  table("mesh_account", "account, name, profile, connection, activation, mail_profile", "account"),
  table("mesh_escrow", "account, envelope", "account"),
  table(
    "mesh_mail",
    "recipient, message_id, digest, sender, salt, payload_digest, accepted_at",
    "recipient, message_id",
  ),
  table("mesh_request", "digest, until", "digest"),
  table("mesh_store", "account, name, frames, octets, digest, links, dropped", "account, name"),
  table("mesh_delegate", "account, delegate, added_at", "account"),
]
/** Messages, which are too much to be held all at once: copied a page at a time. */
const PAGED: readonly Table[] = [
  table("mesh_frame", "account, store, number, entry, content_start, content_end, frame, added_at", "place"),
  table(
    "mesh_contact",
    "account, address, domain, udf, name, state, label, profile, message, service, introducer, decided_by, message_at, asked_at, changed_at, told_at",
    "place",
  ),
  table(
    "mesh_contact_post",
    "id, account, address, udf, kind, text, introduction, pin, response_id, message, state, reason, attempts, due_at, made_at",
    "place",
  ),
]
/** Of 33 KB at most each. */
const PAGE_ROWS = 200
/** A new state has one of its own. */
const MADE_ANEW = "setting"

/** How many rows there were of each table. */
export type Copied = Readonly<Record<string, number>>

/**
 * Copies everything of one state into another that is empty, in one transaction, and compares what is there then with what was to be copied.
 * The source stays as it is.
 * @throws GatewayError USAGE when a server uses one of them, or the target holds something; STATE_CORRUPT when the copy differs
 */
export function copyState(source: State, target: State, now: Date): Copied {
  for (const state of [source, target]) refuseProcesses(state, now)
  const sequence = source.changeSequence()
  const rows = source.transaction(() => TABLES.map((one) => rowsOf(source, one)))
  return target.transaction(() => {
    for (const one of [...TABLES, ...PAGED]) refuseRows(target, one)
    run(target, [`DELETE FROM ${MADE_ANEW}`], [])
    for (const [index, one] of TABLES.entries()) copyRows(target, one, rows[index] ?? [])
    const paged = PAGED.map((one) => [one.name, copyPages(source, target, one)] as const)
    target.sql.run`UPDATE change SET sequence = sequence + ${sequence}`
    if (source.changeSequence() !== sequence)
      throw new GatewayError("USAGE", "store: somebody changed the source meanwhile: begin again")
    const counts = TABLES.map(({ name }, index) => [name, rows[index]?.length ?? 0] as const)
    return Object.fromEntries([...counts, ...paged])
  })
}

function refuseProcesses(state: State, now: Date): void {
  const [process] = presentProcesses(state, now)
  if (process === undefined) return
  const [host, pid] = process.name.split("/")
  throw new GatewayError("USAGE", `store: process ${pid} on ${host} (${process.roles.join(", ")}) runs: stop it first`)
}

function refuseRows(target: Database, { name }: Table): void {
  const [row] = all(target, [`SELECT count(*) AS rows FROM ${name}`], [])
  if (name !== MADE_ANEW && numberIn(row, "rows") > 0)
    throw new GatewayError("USAGE", `store: the target is not empty: it holds ${numberIn(row, "rows")} of ${name}`)
}

function rowsOf(state: Database, { name, columns, order }: Table): Row[] {
  const rows = all(state, [`SELECT ${columns.join(", ")} FROM ${name} ORDER BY ${order}`], [])
  return rows.map((row) => columnsOf(row, columns))
}

/** SQLite gives rows without a prototype. */
function columnsOf(row: Row, columns: readonly string[]): Row {
  return Object.fromEntries(columns.map((column) => [column, plain(row[column])]))
}

/** @returns how many rows there were */
function copyPages(source: Database, target: Database, one: Table): number {
  const insert = inserting(one)
  let count = 0
  for (const rows of pagesOf(source, one)) {
    for (const row of rows) insert(target, row)
    count += rows.length
  }
  const copied = pagesOf(target, one)
  for (const rows of pagesOf(source, one)) if (!isDeepStrictEqual(copied.next().value, rows)) throw differs(one)
  return count
}

/** In the order in which they came; the copies come in the same. */
function* pagesOf({ sql }: Database, { name, columns }: Table): Generator<readonly Row[]> {
  const statement = template([
    `SELECT place, ${columns.join(", ")} FROM ${name} WHERE place > `,
    ` ORDER BY place LIMIT ${PAGE_ROWS}`,
  ])
  for (let last = -1; ; ) {
    const rows = sql.all(statement, last)
    if (rows.length === 0) return
    yield rows.map((row) => columnsOf(row, columns))
    last = numberIn(rows.at(-1), "place")
  }
}

function copyRows(target: Database, one: Table, rows: readonly Row[]): void {
  const insert = inserting(one)
  for (const row of rows) insert(target, row)
  if (!isDeepStrictEqual(rowsOf(target, one), rows)) throw differs(one)
}

function inserting({ name, columns }: Table): (target: Database, row: Row) => void {
  const before = columns.map((_, index) =>
    index === 0 ? `INSERT INTO ${name} (${columns.join(", ")}) VALUES (` : ", ",
  )
  const statement = template([...before, ")"])
  return ({ sql }, row) => void sql.run(statement, ...columns.map((column) => row[column] as SqlValue))
}

function differs({ name }: Table): GatewayError {
  return new GatewayError("STATE_CORRUPT", `store: the copy of ${name} differs from what was copied`)
}

/** PostgreSQL keeps no NUL in text; what other servers said may hold one. */
function plain(value: unknown): unknown {
  return typeof value === "string" ? value.replaceAll("\0", "") : value
}

function all({ sql }: Database, statement: readonly string[], values: readonly SqlValue[]): Row[] {
  return sql.all(template(statement), ...values)
}

function run({ sql }: Database, statement: readonly string[], values: readonly SqlValue[]): void {
  sql.run(template(statement), ...values)
}

/** The parts of a statement between its values, which stand in this file only. */
function template(parts: readonly string[]): TemplateStringsArray {
  return Object.assign([...parts], { raw: parts })
}

function table(name: string, columns: string, order: string): Table {
  return { name, columns: columns.split(", "), order }
}
