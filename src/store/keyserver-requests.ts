import { type Database, dateIn, type Row, textIn } from "./database.ts"

/** What a keyserver was asked: to let a certificate be found by an address. */
interface KeyserverRequest {
  /** As `addressKey` writes it; an account's. */
  readonly address: string
  /** "host" or "host:port". */
  readonly host: string
  /** Lower case hexadecimal. */
  readonly fingerprint: string
}

/** What became of it. `because`: for people; empty unless it failed. */
export interface KeptRequest extends KeyserverRequest {
  /** `asked`: its mail is waited for. `followed`: the link in it was followed, and nobody has told yet what came of that. */
  readonly state: "asked" | "followed" | "published" | "failed"
  readonly because: string
  readonly askedAt: Date
  readonly changedAt: Date
}

/** What keyservers were asked for our people, so that their mail is answered once, and only where it was asked for. */
export class KeyserverRequests {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** Every one of the address, whatever became of it. */
  of(address: string): readonly KeptRequest[] {
    return this.#database.sql.all`
      SELECT address, host, fingerprint, state, because, asked_at, changed_at FROM keyserver_request
      WHERE address = ${address} ORDER BY host`.map(requestIn)
  }

  /** Those whose mail is waited for. */
  pending(address: string, at: Date): readonly KeptRequest[] {
    return this.of(address).filter((request) => isPending(request, at))
  }

  /** Takes the place of what the same keyserver was asked before. */
  ask({ address, host, fingerprint }: KeyserverRequest, at: Date): void {
    this.#database.sql.run`
      INSERT INTO keyserver_request (address, host, fingerprint, state, because, asked_at, changed_at)
      VALUES (${address}, ${host}, ${fingerprint}, 'asked', '', ${at.getTime()}, ${at.getTime()})
      ON CONFLICT (address, host) DO UPDATE SET fingerprint = excluded.fingerprint, state = excluded.state,
        because = excluded.because, asked_at = excluded.asked_at, changed_at = excluded.changed_at`
  }

  /** Its mail will be answered now, by the caller and nobody else. False: it is not waited for any more. */
  claim({ address, host, fingerprint, askedAt }: KeptRequest, at: Date): boolean {
    const { changes } = this.#database.sql.run`
      UPDATE keyserver_request SET state = 'followed', changed_at = ${at.getTime()}
      WHERE address = ${address} AND host = ${host} AND fingerprint = ${fingerprint} AND asked_at = ${askedAt.getTime()}
        AND state = 'asked'`
    return Number(changes) === 1
  }

  /** `because` null: the certificate is found by the address. What was asked of another certificate stays. */
  settle({ address, host, fingerprint }: KeyserverRequest, because: string | null, at: Date): void {
    this.#database.sql.run`
      UPDATE keyserver_request SET state = ${because === null ? "published" : "failed"}, because = ${because ?? ""},
        changed_at = ${at.getTime()}
      WHERE address = ${address} AND host = ${host} AND fingerprint = ${fingerprint}`
  }
}

/** Whether the mail of a request is waited for; a clock that was put back far does not make it wait for longer. */
export function isPending({ state, askedAt }: Pick<KeptRequest, "state" | "askedAt">, at: Date): boolean {
  return state === "asked" && Math.abs(at.getTime() - askedAt.getTime()) < PENDING_MS
}

/** Mail that is put off for longer than this (greylisting, a night without a server) is answered by whoever reads it. */
export const PENDING_MS = 3 * 86_400e3

function requestIn(row: Row): KeptRequest {
  return {
    address: textIn(row, "address"),
    host: textIn(row, "host"),
    fingerprint: textIn(row, "fingerprint"),
    state: STATES.find((state) => state === textIn(row, "state")) ?? "failed",
    because: textIn(row, "because"),
    askedAt: dateIn(row, "asked_at"),
    changedAt: dateIn(row, "changed_at"),
  }
}

const STATES = ["asked", "followed", "published", "failed"] as const
