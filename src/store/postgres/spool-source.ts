import type { Pool } from "pg"
import { HEAD_OCTETS } from "../../crypto/seal/seal.ts"
import type { SealedSource } from "../sealed-message.ts"
import { rowsOf } from "./pool.ts"
import { PIECE_OCTETS } from "./spool-target.ts"

interface MessageRow {
  readonly head: Uint8Array
  /** null: all stands in `tail`. */
  readonly body: string | null
  readonly pieces: number
  readonly tail: Uint8Array
}

/**
 * The octets of a message: head, pieces and tail, of which one piece is in memory at a time, and no connection is held between two.
 * @returns null when there is no such message
 */
export async function messageSource(pool: Pool, id: string): Promise<SealedSource | null> {
  const [row] = await rowsOf<MessageRow>(pool, { name: "spool-open", text: OPEN, values: [id] })
  if (row === undefined) return null
  const sizeOctets = HEAD_OCTETS + row.pieces * PIECE_OCTETS + row.tail.length
  const pieces = new Pieces(pool, row)
  return {
    sizeOctets,
    at: (position, octets) =>
      position < HEAD_OCTETS
        ? row.head.subarray(position, position + octets)
        : pieces.at(position - HEAD_OCTETS, Math.min(octets, sizeOctets - position)),
    close: async () => {},
  }
}

/** What stands behind the head. */
class Pieces {
  readonly #pool: Pool
  readonly #row: MessageRow
  #last: { readonly place: number; readonly octets: Uint8Array } | null = null

  constructor(pool: Pool, row: MessageRow) {
    this.#pool = pool
    this.#row = row
  }

  async at(position: number, octets: number): Promise<Uint8Array> {
    const found: Uint8Array[] = []
    for (let place = Math.floor(position / PIECE_OCTETS); place * PIECE_OCTETS < position + octets; place++) {
      const from = place * PIECE_OCTETS
      const piece = await this.#piece(place)
      found.push(piece.subarray(Math.max(0, position - from), position + octets - from))
    }
    const [only] = found
    return only !== undefined && found.length === 1 ? only : Buffer.concat(found)
  }

  /** Empty when it is not there: the message was damaged, or removed meanwhile. */
  async #piece(place: number): Promise<Uint8Array> {
    const { body, pieces, tail } = this.#row
    if (place >= pieces) return tail
    if (this.#last?.place === place) return this.#last.octets
    const values = [body, place]
    const [row] = await rowsOf<{ octets: Uint8Array }>(this.#pool, { name: "spool-read", text: PIECE, values })
    const octets = row?.octets ?? new Uint8Array(0)
    this.#last = { place, octets }
    return octets
  }
}

const OPEN = "SELECT head, body, pieces, tail FROM spool_message WHERE id = $1"
const PIECE = "SELECT octets FROM spool_piece WHERE body = $1 AND place = $2"
