import { type Database, dateIn, numberIn, octetsIn, type Row, textIn } from "./database.ts"

/** What is remembered of an address that sent Autocrypt fields. */
interface PeerRow {
  readonly isMutual: boolean
  readonly certificate: Uint8Array
  readonly saidAt: Date
  readonly seenAt: Date
}

/** A key that came with mail. */
interface HarvestedRow {
  readonly format: string
  /** Hexadecimal SHA-256 of the certificate. */
  readonly digest: string
  readonly certificate: Uint8Array
  /** DER of certificates, one behind the other. */
  readonly chain: Uint8Array
  /** Empty: none came along. */
  readonly capabilities: Uint8Array
  /** When the newest message that brought it was written. */
  readonly sentAt: Date
}

/** Keys that came with authenticated mail. */
export class MailKeys {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  peer(address: string): PeerRow | null {
    const row = this.#database.sql.get`
      SELECT certificate, mutual, said_at, seen_at FROM autocrypt_peer WHERE address = ${address}`
    return row === undefined ? null : peerIn(row)
  }

  /** @param change from what is known now, which nobody else changes meanwhile; null: nothing */
  changePeer(address: string, change: (known: PeerRow | null) => PeerRow | null): void {
    // Most mail changes nothing, and nobody has to wait for that.
    if (change(this.peer(address)) === null) return
    this.#database.transaction(() => {
      const peer = change(this.peer(address))
      if (peer === null) return
      const { certificate, isMutual, saidAt, seenAt } = peer
      this.#database.sql.run`
        INSERT INTO autocrypt_peer (address, certificate, mutual, said_at, seen_at)
        VALUES (${address}, ${certificate}, ${isMutual ? 1 : 0}, ${saidAt.getTime()}, ${seenAt.getTime()})
        ON CONFLICT (address) DO UPDATE SET certificate = excluded.certificate, mutual = excluded.mutual,
          said_at = excluded.said_at, seen_at = excluded.seen_at`
    })
  }

  /** Newest first. */
  harvested(address: string): readonly HarvestedRow[] {
    return this.#database.sql.all`
      SELECT format, digest, certificate, chain, capabilities, sent_at FROM harvested_key WHERE address = ${address}
      ORDER BY sent_at DESC, format, digest`.map(harvestedIn)
  }

  /** Written once a day for a key that is known; of each format the newest stay. */
  harvest(address: string, key: HarvestedRow): void {
    const { format, digest, certificate, chain, capabilities, sentAt } = key
    const sent = sentAt.getTime()
    const known = this.harvested(address).find((one) => one.format === format && one.digest === digest)
    if (known !== undefined && sent - known.sentAt.getTime() < WRITTEN_EVERY_MS) return
    this.#database.transaction(() => {
      this.#database.sql.run`
        INSERT INTO harvested_key (address, format, digest, certificate, chain, capabilities, sent_at)
        VALUES (${address}, ${format}, ${digest}, ${certificate}, ${chain}, ${capabilities}, ${sent})
        ON CONFLICT (address, format, digest) DO UPDATE SET
          chain = excluded.chain, capabilities = excluded.capabilities, sent_at = excluded.sent_at`
      const old = this.harvested(address).filter((one) => one.format === format)
      for (const one of old.slice(MAX_HARVESTED))
        this.#database.sql.run`
          DELETE FROM harvested_key WHERE address = ${address} AND format = ${format} AND digest = ${one.digest}`
    })
  }

  /** An administrator wants nothing of an address to be known. @returns how many keys were forgotten */
  forget(address: string): number {
    return this.#database.transaction(() => {
      const peers = this.#database.sql.run`DELETE FROM autocrypt_peer WHERE address = ${address}`
      const keys = this.#database.sql.run`DELETE FROM harvested_key WHERE address = ${address}`
      return Number(peers.changes) + Number(keys.changes)
    })
  }
}

/** What was found of the signatures of messages: a repeated delivery tells the same. */
export class KeptVerdicts {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  find(spoolId: string): string | null {
    const row = this.#database.sql.get`SELECT field FROM signature_verdict WHERE spool_id = ${spoolId}`
    return row === undefined ? null : textIn(row, "field")
  }

  /** @returns what holds: of two that decide at the same time, what the first one found */
  keep(spoolId: string, field: string, at: Date): string {
    return this.#database.transaction(() => {
      const nowMs = at.getTime()
      this.#database.sql.run`DELETE FROM signature_verdict WHERE decided_at < ${nowMs - VERDICTS_MS}`
      this.#database.sql.run`
        INSERT INTO signature_verdict (spool_id, field, decided_at) VALUES (${spoolId}, ${field}, ${nowMs})
        ON CONFLICT (spool_id) DO NOTHING`
      return this.find(spoolId) ?? field
    })
  }
}

function peerIn(row: Row): PeerRow {
  return {
    certificate: octetsIn(row, "certificate"),
    isMutual: numberIn(row, "mutual") === 1,
    saidAt: dateIn(row, "said_at"),
    seenAt: dateIn(row, "seen_at"),
  }
}

function harvestedIn(row: Row): HarvestedRow {
  return {
    format: textIn(row, "format"),
    digest: textIn(row, "digest"),
    certificate: octetsIn(row, "certificate"),
    chain: octetsIn(row, "chain"),
    capabilities: octetsIn(row, "capabilities"),
    sentAt: dateIn(row, "sent_at"),
  }
}

const WRITTEN_EVERY_MS = 86_400_000
/** Of an address and format: who changes keys has two for a while. */
const MAX_HARVESTED = 3
/** Longer than anything is tried; what is held longer and released is looked at anew. */
const VERDICTS_MS = 60 * 86_400_000
