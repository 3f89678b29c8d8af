import { randomOctets } from "../crypto/primitives/random.ts"
import { GatewayError, hasCode } from "../errors.ts"
import { type Database, numberIn, type State, textIn } from "./database.ts"
import { lifeOf, thisProcess } from "./process.ts"

/** Called with the new change sequence; the change is confirmed when what it returns resolves. */
export type ChangeListener = (sequence: number) => void | Promise<void>

/** What {@link Presence} needs to know. */
export interface PresenceOptions {
  readonly roles: readonly string[]
  /** The name of the queue that it works on; null, or not given: none, or it is nobody's business. */
  readonly queue?: string | null
  readonly now: () => Date
  /**
   * A listener failed: the change stays unconfirmed and is tried at the next poll. Or the state is away (STATE_AWAY), which is told once,
   * until it has come back.
   */
  readonly onError: (error: unknown) => void
  /** The state has come back. */
  readonly onReturn?: () => void
}

/** Half of what a revocation may take, twenty times a second, costs a fraction of a millisecond. */
const POLL_MS = 50
/** How often a process shows that it lives, to those which cannot see it. */
const BEAT_MS = 5_000
/** A process of another host that has not shown itself for this long is gone. */
const SILENT_MS = 20_000
const ACK_POLL_MS = 10

/** An entry among those that must hear of changes: a process has one for each of its threads that has something to forget. */
export class Presence implements Disposable {
  readonly #database: State
  readonly #options: PresenceOptions
  readonly #name: string
  readonly #listeners = new Set<ChangeListener>()
  readonly #doubters = new Set<() => void>()
  readonly #returned = new Set<() => void>()
  readonly #timer: NodeJS.Timeout
  #acknowledged: number
  #beatAtMs: number
  #connection: number
  #polling = false
  /** The state is away; whether what is known can be trusted still is another matter. */
  #away = false
  #doubted = false

  constructor(database: State, options: PresenceOptions) {
    this.#database = database
    this.#options = options
    const thread = Buffer.from(randomOctets(6)).toString("hex")
    this.#name = [thisProcess(), thread, options.queue ?? []].flat().join("/")
    this.#acknowledged = database.changeSequence()
    this.#connection = database.connection
    this.#beatAtMs = options.now().getTime()
    this.#write()
    this.#timer = setInterval(() => void this.#poll(), POLL_MS).unref()
  }

  /** @returns what ends the listening */
  onChange(listener: ChangeListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /**
   * `listener` is called when nobody can say any more whether something has changed: what is known may not be trusted from then on, and who
   * was let in by it must be let in anew. Others soon stop to wait for this process.
   */
  onDoubt(listener: () => void): void {
    this.#doubters.add(listener)
  }

  /** `listener` is called when the state was away, however shortly, and is back. */
  onReturn(listener: () => void): void {
    this.#returned.add(listener)
  }

  /** Nobody waits for this process any more. */
  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    if (!this.#database.isOpen) return
    try {
      this.#database.sql.run`DELETE FROM process WHERE name = ${this.#name}`
    } catch (error) {
      // Others will see that it is silent.
      if (!hasCode(error, "STATE_AWAY")) throw error
    }
  }

  async #poll(): Promise<void> {
    if (this.#polling || !this.#database.isOpen) return
    this.#polling = true
    try {
      await this.#confirm(this.#sequence())
      this.#beat()
      this.#greet()
    } catch (error) {
      if (!this.#away || !hasCode(error, "STATE_AWAY")) this.#options.onError(error)
      this.#away ||= hasCode(error, "STATE_AWAY")
    } finally {
      this.#polling = false
    }
  }

  #greet(): void {
    const { connection } = this.#database
    if (connection === 0 || connection === this.#connection) return
    this.#connection = connection
    for (const listener of this.#returned) listener()
  }

  #sequence(): number {
    try {
      const sequence = this.#database.changeSequence()
      this.#doubted = false
      return sequence
    } catch (error) {
      if (hasCode(error, "STATE_AWAY")) this.#doubt()
      throw error
    }
  }

  #doubt(): void {
    if (this.#doubted) return
    this.#doubted = true
    for (const doubter of this.#doubters) doubter()
  }

  async #confirm(sequence: number): Promise<void> {
    if (sequence === this.#acknowledged) return
    await Promise.all([...this.#listeners].map((listener) => listener(sequence)))
    if (!this.#database.isOpen) return
    this.#acknowledged = sequence
    this.#write()
  }

  #beat(): void {
    const nowMs = this.#options.now().getTime()
    if (!this.#database.isOpen || Math.abs(nowMs - this.#beatAtMs) < BEAT_MS) return
    this.#beatAtMs = nowMs
    this.#write()
  }

  /** The whole row: another host that heard nothing for too long may have removed it. */
  #write(): void {
    this.#database.sql.run`
      INSERT INTO process (name, roles, acknowledged, seen_at)
      VALUES (${this.#name}, ${this.#options.roles.join(",")}, ${this.#acknowledged}, ${this.#beatAtMs})
      ON CONFLICT (name) DO UPDATE SET roles = excluded.roles, acknowledged = excluded.acknowledged, seen_at = excluded.seen_at`
    if (this.#away) this.#options.onReturn?.()
    this.#away = false
  }
}

/** A process that has registered. */
export interface PresentProcess {
  /** `host/pid/start/thread`, and `/queue` where it has one. */
  readonly name: string
  readonly roles: readonly string[]
  /** The name of the queue that it works on; null: none, or it does not say. */
  readonly queue: string | null
  readonly acknowledged: number
}

/** The processes that must hear of changes; those that are gone are removed. */
export function presentProcesses(database: Database, now: Date): PresentProcess[] {
  const rows = database.sql.all`SELECT name, roles, acknowledged, seen_at FROM process ORDER BY name`
  return rows.flatMap((row) => {
    const name = textIn(row, "name")
    const life = lifeOf(name)
    const silent = now.getTime() - numberIn(row, "seen_at") > SILENT_MS
    if (life === "dead" || (life === "elsewhere" && silent)) {
      database.sql.run`DELETE FROM process WHERE name = ${name} AND seen_at = ${numberIn(row, "seen_at")}`
      return []
    }
    const [, , , , queue = null] = name.split("/")
    return [{ name, roles: textIn(row, "roles").split(","), queue, acknowledged: numberIn(row, "acknowledged") }]
  })
}

/**
 * Waits until every live process has reacted to the change `sequence`.
 * @throws GatewayError NOT_CONFIRMED naming those that have not within `timeoutMs`
 */
export async function waitForAcks(
  database: Database,
  sequence: number,
  timeoutMs: number,
  now: () => Date,
): Promise<void> {
  const startedMs = performance.now()
  for (;;) {
    const missing = presentProcesses(database, now()).filter((process) => process.acknowledged < sequence)
    if (missing.length === 0) return
    if (performance.now() - startedMs >= timeoutMs) throw notConfirmed(missing)
    await new Promise((resolve) => setTimeout(resolve, ACK_POLL_MS))
  }
}

function notConfirmed(missing: readonly PresentProcess[]): GatewayError {
  const names = missing.map(({ name, roles }) => {
    const [host, pid] = name.split("/")
    return `process ${pid} on ${host} (${roles.join(", ")})`
  })
  return new GatewayError("NOT_CONFIRMED", `change: not confirmed by ${names.join("; ")}`)
}
