import { type Database, dateIn, type Row, textIn } from "./database.ts"

/** A key that mail to an address could be encrypted to. */
interface SeenKey {
  readonly format: string
  /** What stays when the key is renewed. */
  readonly lineage: string
  readonly source: string
  readonly trust: string
}

interface RememberedRow extends SeenKey {
  readonly firstSeen: Date
  readonly lastSeen: Date
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
      SELECT format, lineage, source, trust, first_seen, last_seen FROM key_memory WHERE address = ${address}
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
          nowMs - one.lastSeen.getTime() < WRITTEN_EVERY_MS,
      )
    const news = keys.filter((key) => !isFresh(key))
    if (news.length === 0) return
    this.#database.transaction(() => {
      for (const { format, lineage, source, trust } of news)
        this.#database.sql.run`
          INSERT INTO key_memory (address, format, lineage, domain, source, trust, first_seen, last_seen)
          VALUES (${address}, ${format}, ${lineage}, ${domainOf(address)}, ${source}, ${trust}, ${nowMs}, ${nowMs})
          ON CONFLICT (address, format, lineage) DO UPDATE SET
            source = excluded.source, trust = excluded.trust, last_seen = excluded.last_seen`
    })
  }

  /** Whoever has looked the address up a moment ago hears of it. @returns how many keys were forgotten */
  forget(address: string): number {
    return this.#database.transaction(() => {
      const { changes } = this.#database.sql.run`DELETE FROM key_memory WHERE address = ${address}`
      this.#database.sql.run`UPDATE change SET sequence = sequence + 1`
      return Number(changes)
    })
  }
}

const WRITTEN_EVERY_MS = 86_400e3

function domainOf(address: string): string {
  return address.slice(address.lastIndexOf("@") + 1)
}

function rememberedIn(row: Row): RememberedRow {
  return {
    format: textIn(row, "format"),
    lineage: textIn(row, "lineage"),
    source: textIn(row, "source"),
    trust: textIn(row, "trust"),
    firstSeen: dateIn(row, "first_seen"),
    lastSeen: dateIn(row, "last_seen"),
  }
}
