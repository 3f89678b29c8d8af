import { addressKey, parseAddress } from "../message/address.ts"
import { type Format, formatIn } from "./account.ts"
import { changing, dateIn, octetsIn, type Row, type State, textIn } from "./database.ts"

/** A certificate of somebody else that an administrator vouches for. */
export interface PinnedCertificate {
  /** As `addressKey` gives it; `*@DOMAIN` for everybody of a domain. */
  readonly address: string
  readonly format: Format
  /** DER, or a binary OpenPGP certificate. */
  readonly certificate: Uint8Array
  readonly addedAt: Date
}

/** Certificates of other people that an administrator vouches for. Who keeps what was found hears of a change by the change sequence. */
export class PinnedCertificates {
  readonly #database: State

  constructor(database: State) {
    this.#database = database
  }

  /** Adding one again changes nothing. @throws GatewayError ADDRESS_SYNTAX */
  add(address: string, format: Format, certificate: Uint8Array, at: Date): void {
    const key = addressKey(parseAddress(address))
    changing(
      this.#database,
      () => this.#database.sql.run`
        INSERT INTO pinned_certificate (address, format, certificate, added_at) VALUES (${key}, ${format}, ${certificate}, ${at.getTime()})
        ON CONFLICT DO NOTHING`,
    )
  }

  /** Newest first. @param address as `addressKey` gives it */
  of(address: string): PinnedCertificate[] {
    return this.#database.sql.all`
      SELECT address, format, certificate, added_at FROM pinned_certificate WHERE address = ${address} ORDER BY place DESC`.map(
      pinnedIn,
    )
  }

  /** All, by address, newest first. */
  all(): PinnedCertificate[] {
    return this.#database.sql
      .all`SELECT address, format, certificate, added_at FROM pinned_certificate ORDER BY address, place DESC`.map(
      pinnedIn,
    )
  }

  /** @param format null: of whatever format. @returns how many there were */
  remove(address: string, format: Format | null): number {
    return changing(this.#database, () => {
      const { sql } = this.#database
      const { changes } =
        format === null
          ? sql.run`DELETE FROM pinned_certificate WHERE address = ${address}`
          : sql.run`DELETE FROM pinned_certificate WHERE address = ${address} AND format = ${format}`
      return Number(changes)
    })
  }
}

function pinnedIn(row: Row): PinnedCertificate {
  return {
    address: textIn(row, "address"),
    format: formatIn(row),
    certificate: octetsIn(row, "certificate"),
    addedAt: dateIn(row, "added_at"),
  }
}
