import { changing, type Database, dateIn, optionalDateIn, type Row, textIn } from "./database.ts"

/** A key that mail to an address is encrypted to. */
interface SeenKey {
  readonly format: string
  /** What stays when the key is renewed. */
  readonly lineage: string
  readonly source: string
  readonly trust: string
  /** Hexadecimal. Empty: of an earlier version, which did not keep it. */
  readonly fingerprint: string
  /** null: never, or of an earlier version. */
  readonly expiresAt: Date | null
}

interface RememberedRow extends SeenKey {
  readonly firstSeen: Date
  readonly lastSeen: Date
}

/** A key in use that is near its end. */
export interface EndingRow extends Pick<SeenKey, "format" | "source" | "fingerprint"> {
  readonly address: string
  readonly expiresAt: Date
}

/** Which addresses had keys: what is known once is missed when it is gone. */
export class KeptKeyMemory {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** Last seen first. */
  of(address: string): readonly RememberedRow[] {
    return this.#database.sql.all`
      SELECT format, lineage, source, trust, fingerprint, expires_at, first_seen, last_seen FROM key_memory WHERE address = ${address}
      ORDER BY last_seen DESC, format, lineage`.map(rememberedIn)
  }

  /** How far those were believed who gave keys of anybody at this domain, each once. */
  trustsOf(domain: string): readonly string[] {
    return this.#database.sql.all`SELECT DISTINCT trust FROM key_memory WHERE domain = ${domain} ORDER BY trust`.map(
      (row) => textIn(row, "trust"),
    )
  }

  /** Written once a day for a key that is known. */
  saw(address: string, keys: readonly SeenKey[], at: Date): void {
    const nowMs = at.getTime()
    const known = this.of(address)
    const isFresh = (key: SeenKey): boolean =>
      known.some(
        (one) =>
          one.format === key.format &&
          one.lineage === key.lineage &&
          one.source === key.source &&
          one.trust === key.trust &&
          one.fingerprint === key.fingerprint &&
          one.expiresAt?.getTime() === key.expiresAt?.getTime() &&
          nowMs - one.lastSeen.getTime() < WRITTEN_EVERY_MS,
      )
    const news = keys.filter((key) => !isFresh(key))
    if (news.length === 0) return
    this.#database.transaction(() => {
      for (const { format, lineage, source, trust, fingerprint, expiresAt } of news)
        this.#database.sql.run`
          INSERT INTO key_memory (address, format, lineage, domain, source, trust, fingerprint, expires_at, first_seen, last_seen)
          VALUES (${address}, ${format}, ${lineage}, ${domainOf(address)}, ${source}, ${trust}, ${fingerprint},
            ${expiresAt?.getTime() ?? null}, ${nowMs}, ${nowMs})
          ON CONFLICT (address, format, lineage) DO UPDATE SET
            source = excluded.source, trust = excluded.trust, fingerprint = excluded.fingerprint, expires_at = excluded.expires_at,
            last_seen = excluded.last_seen`
    })
  }

  /**
   * Keys that end within so many days, next end first, at most {@link MAX_ENDING}: those that were met within {@link LATELY_DAYS} days, and whose
   * place no other key of the address has taken.
   */
  endingLately(now: Date, days: number): readonly EndingRow[] {
    const nowMs = now.getTime()
    return this.#database.sql.all`
      SELECT address, format, source, fingerprint, expires_at FROM key_memory AS one
      WHERE expires_at > ${nowMs} AND expires_at <= ${nowMs + days * DAY_MS} AND last_seen >= ${nowMs - LATELY_DAYS * DAY_MS}
      AND last_seen > (SELECT MAX(last_seen) FROM key_memory AS other
        WHERE other.address = one.address AND other.format = one.format) - ${2 * WRITTEN_EVERY_MS}
      ORDER BY expires_at, address, format, lineage LIMIT ${MAX_ENDING}`.map((row) => ({
      address: textIn(row, "address"),
      format: textIn(row, "format"),
      source: textIn(row, "source"),
      fingerprint: textIn(row, "fingerprint"),
      expiresAt: dateIn(row, "expires_at"),
    }))
  }

  /** Whoever has looked the address up a moment ago hears of it. @returns how many keys were forgotten */
  forget(address: string): number {
    return changing(this.#database, () => {
      const { changes } = this.#database.sql.run`DELETE FROM key_memory WHERE address = ${address}`
      return Number(changes)
    })
  }
}

const DAY_MS = 86_400e3
const WRITTEN_EVERY_MS = DAY_MS
/** Whoever nobody wrote to for longer is no correspondent. */
const LATELY_DAYS = 30
/** Nobody reads of more; those that end next come first. */
const MAX_ENDING = 1_000

function domainOf(address: string): string {
  return address.slice(address.lastIndexOf("@") + 1)
}

function rememberedIn(row: Row): RememberedRow {
  return {
    format: textIn(row, "format"),
    lineage: textIn(row, "lineage"),
    source: textIn(row, "source"),
    trust: textIn(row, "trust"),
    fingerprint: textIn(row, "fingerprint"),
    expiresAt: optionalDateIn(row, "expires_at"),
    firstSeen: dateIn(row, "first_seen"),
    lastSeen: dateIn(row, "last_seen"),
  }
}
