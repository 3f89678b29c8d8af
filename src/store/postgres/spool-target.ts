import type { Pool } from "pg"
import { randomOctets } from "../../crypto/primitives/random.ts"
import { HEAD_OCTETS, SEALED_CHUNK_OCTETS, type Sealer } from "../../crypto/seal/seal.ts"
import { GatewayError } from "../../errors.ts"
import { thisProcess } from "../process.ts"
import type { SealedTarget } from "../sealed-message.ts"
import { type Acceptances, keyNameOf } from "./acceptances.ts"
import { query } from "./pool.ts"

/** Octets of each piece of a large message but the last. Measured: smaller ones cost more statements, larger ones only memory. */
export const PIECE_OCTETS = 4 * SEALED_CHUNK_OCTETS

/** Takes a message into spool_message, and what does not fit there into pieces before. Throws GatewayError SPOOL_FULL. */
export class MessageTarget implements SealedTarget {
  readonly sealer: Sealer
  readonly fillToOctets = 0
  readonly #pool: Pool
  readonly #acceptances: Acceptances
  readonly #id: string
  readonly #keyName: string
  #gathered: Uint8Array[] = []
  #gatheredOctets = 0
  #headTaken = false
  /** null: no piece was written. */
  #body: string | null = null
  #pieces = 0
  #accepted = false

  constructor(pool: Pool, acceptances: Acceptances, id: string, sealer: Sealer) {
    this.#pool = pool
    this.#acceptances = acceptances
    this.#id = id
    this.sealer = sealer
    this.#keyName = keyNameOf(sealer.head)
  }

  async append(octets: Uint8Array): Promise<void> {
    this.#gather(octets)
    while (this.#gatheredOctets >= PIECE_OCTETS) await this.#writePiece(this.#take(PIECE_OCTETS))
  }

  async finish(octets: Uint8Array): Promise<void> {
    this.#gather(octets)
    while (this.#gatheredOctets > PIECE_OCTETS) await this.#writePiece(this.#take(PIECE_OCTETS))
    const tail = this.#take(this.#gatheredOctets)
    if (this.#body === null) await this.#acceptWhole(tail)
    else {
      const values = [this.#id, this.sealer.head, this.#body, this.#pieces, tail, this.#keyName]
      await this.#insert({ name: "spool-accept", text: ACCEPT, values })
    }
    this.#accepted = true
  }

  /** Takes back what was written, unless the message was accepted. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#accepted || this.#body === null) return
    try {
      await query(this.#pool, { text: "DELETE FROM spool_body WHERE id = $1", values: [this.#body] })
    } catch {
      // The database is away, or the answer to the commit was lost on the way: the sweep removes what is left over.
    }
  }

  async #acceptWhole(tail: Uint8Array): Promise<void> {
    const message = { id: this.#id, head: this.sealer.head, tail }
    const accepted = await this.#acceptances.accept(message).catch((cause: unknown) => {
      throw refused(cause)
    })
    if (!accepted) throw refused(null)
  }

  async #writePiece(octets: Uint8Array): Promise<void> {
    if (this.#body === null) {
      const body = Buffer.from(randomOctets(16)).toString("hex")
      const values = [body, this.sealer.head, thisProcess(), octets, this.#keyName]
      // Before the answer: who gets none takes back what may be there.
      this.#body = body
      await this.#insert({ name: "spool-first-piece", text: FIRST_PIECE, values })
    } else {
      const values = [this.#body, this.#pieces, octets]
      await this.#insert({ name: "spool-piece", text: NEXT_PIECE, values })
    }
    this.#pieces += 1
  }

  async #insert(statement: {
    readonly name: string
    readonly text: string
    readonly values: unknown[]
  }): Promise<void> {
    let rows: number
    try {
      rows = (await query(this.#pool, statement)).rowCount ?? 0
    } catch (cause) {
      throw refused(cause)
    }
    if (rows === 0) throw refused(null)
  }

  #gather(octets: Uint8Array): void {
    const body = this.#headTaken ? octets : octets.subarray(HEAD_OCTETS)
    this.#headTaken = true
    this.#gathered.push(body)
    this.#gatheredOctets += body.length
  }

  #take(octets: number): Uint8Array {
    const all = Buffer.concat(this.#gathered)
    this.#gathered = [all.subarray(octets)]
    this.#gatheredOctets -= octets
    return all.subarray(0, octets)
  }
}

/**
 * What the database refuses is what a full disk is to files: the client comes again.
 * @param cause null: the id is taken, or the key or a piece of the message is gone
 */
export function refused(cause: unknown): GatewayError {
  const why = cause === null ? ": its id is taken, or its key or a piece is gone" : ""
  return new GatewayError("SPOOL_FULL", `spool: the database does not take the message${why}`, { cause })
}

/*
 * The key must be there: it is destroyed when nothing is sealed to it, and from then on nothing may be. Pieces need not be on the disk
 * before the message is: the commit that accepts it takes them along, and counts them, for a server that crashed has lost some.
 */
const KEY_IS_THERE = (parameter: string) => `EXISTS (SELECT FROM spool_key WHERE id = ${parameter})`
const ACCEPT = `
  INSERT INTO spool_message (id, head, body, pieces, tail)
  SELECT $1::text, $2::bytea, $3::uuid, $4::integer, $5::bytea FROM set_config('synchronous_commit', 'on', true)
  WHERE ${KEY_IS_THERE("$6")} AND (SELECT count(*) FROM spool_piece WHERE body = $3::uuid) = $4::integer
  ON CONFLICT DO NOTHING`
const FIRST_PIECE = `
  WITH begun AS (
    INSERT INTO spool_body (id, head, writer)
    SELECT $1::uuid, $2::bytea, $3::text FROM set_config('synchronous_commit', 'off', true) WHERE ${KEY_IS_THERE("$5")} RETURNING id)
  INSERT INTO spool_piece (body, place, octets) SELECT id, 0, $4::bytea FROM begun`
const NEXT_PIECE = `
  INSERT INTO spool_piece (body, place, octets)
  SELECT $1::uuid, $2::integer, $3::bytea FROM set_config('synchronous_commit', 'off', true)`
