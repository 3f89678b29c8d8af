import { GatewayError } from "../errors.ts"

/** One row; read with {@link textIn} and its kin. */
export type Row = Readonly<Record<string, unknown>>

/** What a statement can be given. */
export type SqlValue = string | number | Uint8Array | null

/**
 * Statements as tagged templates; values are bound, never pasted: ``sql.get`SELECT … WHERE id = ${id}` ``. They are written so that
 * every driver runs the same text.
 */
export interface Sql {
  /** @returns undefined when there is no row */
  get(strings: TemplateStringsArray, ...values: readonly SqlValue[]): Row | undefined
  all(strings: TemplateStringsArray, ...values: readonly SqlValue[]): Row[]
  /** `changes`: rows inserted, altered or removed. */
  run(strings: TemplateStringsArray, ...values: readonly SqlValue[]): { readonly changes: number | bigint }
}

/**
 * When a commit is on the disk: `at once`, before it returns; `later`, with another one that is, or when somebody syncs. A power cut then
 * takes the last commits back, in order; the database stays whole. A crash of the process alone takes none.
 */
export type CommitsReachDisk = "at once" | "later"

/** A database that several processes share. */
export interface Database {
  readonly sql: Sql
  /**
   * Runs `act` as one transaction, of all writers alone from its start; an outer transaction is joined. `reachDisk` (`at once`): of this
   * commit, where the database is not `later` as a whole.
   */
  transaction<T>(act: () => T, reachDisk?: CommitsReachDisk): T
  /** False after {@link close}. */
  readonly isOpen: boolean
  close(): void
}

/** The database of people and devices; it tells when they change. */
export interface State extends Database {
  /** Moves when the database was away and is back; 0: it is away. */
  readonly connection: number
  /**
   * Moves with every change, in whatever process; cheap enough for every login and for a look twenty times a second.
   * @throws GatewayError STATE_AWAY when nobody can say it: then nothing that is cached may be trusted
   */
  changeSequence(): number
}

/** One transaction; the sequence moves, for every process. */
export function changing<T>(database: Database, act: () => T): T {
  return database.transaction(() => {
    const done = act()
    database.sql.run`UPDATE change SET sequence = sequence + 1`
    return done
  })
}

/** @throws GatewayError STATE_CORRUPT when the column holds no text */
export function textIn(row: Row | undefined, column: string): string {
  const value = row?.[column]
  if (typeof value !== "string") throw wrongType(column, "text")
  return value
}

/** @throws GatewayError STATE_CORRUPT when the column holds neither octets nor NULL */
export function optionalOctetsIn(row: Row | undefined, column: string): Uint8Array | null {
  return row?.[column] === null ? null : octetsIn(row, column)
}

/** @throws GatewayError STATE_CORRUPT when the column holds neither text nor NULL */
export function optionalTextIn(row: Row | undefined, column: string): string | null {
  return row?.[column] === null ? null : textIn(row, column)
}

/** @throws GatewayError STATE_CORRUPT when the column holds no number */
export function numberIn(row: Row | undefined, column: string): number {
  const value = row?.[column]
  if (typeof value !== "number") throw wrongType(column, "a number")
  return value
}

/** @throws GatewayError STATE_CORRUPT when the column holds no octets */
export function octetsIn(row: Row | undefined, column: string): Uint8Array {
  const value = row?.[column]
  if (!(value instanceof Uint8Array)) throw wrongType(column, "octets")
  return value
}

/** A time kept as milliseconds since 1970. */
export function dateIn(row: Row | undefined, column: string): Date {
  return new Date(numberIn(row, column))
}

/** The same, or NULL. */
export function optionalDateIn(row: Row | undefined, column: string): Date | null {
  return row?.[column] === null ? null : dateIn(row, column)
}

function wrongType(column: string, wanted: string): GatewayError {
  return new GatewayError("STATE_CORRUPT", `database: column ${column} is not ${wanted}`)
}
