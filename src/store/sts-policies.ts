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
        INSERT INTO sts_policy (domain, id, mode, mx, max_age, fetched_at)
        VALUES (${domain}, ${id}, ${policy.mode}, ${policy.mx.join(" ")}, ${policy.maxAgeSeconds}, ${nowMs})
        ON CONFLICT (domain) DO UPDATE SET id = excluded.id, mode = excluded.mode, mx = excluded.mx,
          max_age = excluded.max_age, fetched_at = excluded.fetched_at`
    })
  }
}

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
