import { GatewayError } from "../errors.ts"
import { type Database, dateIn, numberIn, type Row, textIn } from "./database.ts"

/** A policy of MTA-STS (RFC 8461 §3.2) and when it was fetched. */
interface KeptPolicy {
  readonly id: string
  readonly policy: {
    readonly mode: "enforce" | "testing" | "none"
    readonly mx: readonly string[]
    readonly maxAgeSeconds: number
  }
  readonly fetchedAt: Date
}

/** Policies of other domains, so that one that is known still holds after a restart (RFC 8461 §5.1). */
export class KeptPolicies {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** @throws GatewayError STATE_CORRUPT, or SQLite's own error: then it is not known whether there is one */
  find(domain: string): KeptPolicy | null {
    const row = this.#database.sql.get`
      SELECT id, mode, mx, max_age, fetched_at FROM sts_policy WHERE domain = ${domain}`
    return row === undefined ? null : policyIn(row)
  }

  /** Takes the place of the one that was known. Those that are over are removed. */
  keep(domain: string, { id, policy, fetchedAt }: KeptPolicy): void {
    this.#database.transaction(() => {
      const nowMs = fetchedAt.getTime()
      this.#database.sql.run`DELETE FROM sts_policy WHERE fetched_at + max_age * 1000 < ${nowMs}`
      this.#database.sql.run`
        INSERT INTO sts_policy (domain, id, mode, mx, max_age, fetched_at, used_at)
        VALUES (${domain}, ${id}, ${policy.mode}, ${policy.mx.join(" ")}, ${policy.maxAgeSeconds}, ${nowMs}, ${nowMs})
        ON CONFLICT (domain) DO UPDATE SET id = excluded.id, mode = excluded.mode, mx = excluded.mx,
          max_age = excluded.max_age, fetched_at = excluded.fetched_at`
    })
  }

  /** Mail went there; written once a day. */
  used(domain: string, at: Date): void {
    const nowMs = at.getTime()
    this.#database.sql.run`
      UPDATE sts_policy SET used_at = ${nowMs} WHERE domain = ${domain} AND used_at < ${nowMs - USED_EVERY_MS}`
  }

  /** Domains that mail went to lately, and half of whose policy's time is over, but not all of it. */
  ageing(at: Date): readonly string[] {
    const nowMs = at.getTime()
    const rows = this.#database.sql.all`
      SELECT domain FROM sts_policy WHERE used_at > ${nowMs - USED_FOR_MS}
      AND fetched_at + max_age * 500 <= ${nowMs} AND fetched_at + max_age * 1000 > ${nowMs} ORDER BY fetched_at`
    return rows.map((row) => textIn(row, "domain"))
  }
}

const USED_EVERY_MS = 86_400e3
/** A domain that nobody has written to for so long is nobody's correspondent. */
const USED_FOR_MS = 60 * 86_400e3

function policyIn(row: Row): KeptPolicy {
  const mode = textIn(row, "mode")
  if (mode !== "enforce" && mode !== "testing" && mode !== "none")
    throw new GatewayError("STATE_CORRUPT", `sts_policy: mode ${mode}`)
  const mx = textIn(row, "mx")
  return {
    id: textIn(row, "id"),
    policy: { mode, mx: mx === "" ? [] : mx.split(" "), maxAgeSeconds: numberIn(row, "max_age") },
    fetchedAt: dateIn(row, "fetched_at"),
  }
}
