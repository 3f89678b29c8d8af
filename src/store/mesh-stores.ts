import { FrameWriter, type Tail } from "../crypto/dare/sequence/append.ts"
import { type Links, noLinks } from "../crypto/dare/sequence/linkage.ts"
import { base64UrlDecode, base64UrlEncode } from "../crypto/jsonb/base64url.ts"
import { joined } from "../crypto/primitives/joined.ts"
import { GatewayError } from "../errors.ts"
import { type Database, numberIn, octetsIn, type Row, textIn } from "./database.ts"

/** Where a store ends. */
export interface StoreEnd {
  readonly store: string
  /** How many frames it has, the first one, which is empty, included; 0: there is no such store yet. */
  readonly frames: number
  /** ApexDigest of the last frame, which binds all of them; zeros before the first. */
  readonly digest: Uint8Array
}

/** What is appended to one store. */
export interface StoreUpdate {
  readonly store: string
  /** Where the store has to end; null: wherever it does. */
  readonly expected: Pick<StoreEnd, "frames" | "digest"> | null
  readonly entries: readonly StoreEntry[]
}

/** The content of one frame: an envelope, kept as it came. */
export interface StoreEntry {
  /** What it is found by; several may have the same name, of which the newest counts. */
  readonly name: string
  readonly content: Uint8Array
}

/** What became of an append. It is all or nothing. */
export type AppendResult =
  | { readonly kind: "appended"; readonly stores: readonly StoreEnd[] }
  /** One of the stores is not where it was expected: where they are. */
  | { readonly kind: "conflict"; readonly stores: readonly StoreEnd[] }
  /** The account's stores would be longer than they may be. */
  | { readonly kind: "full" }

/** Some of a store's frames, in their order. */
export interface StoredFrames {
  /** Number of the first of them: a later one than was asked for where those before were dropped. */
  readonly first: number
  readonly frames: readonly Uint8Array[]
  /** There are more behind them. */
  readonly isPartial: boolean
}

/**
 * The stores of Mesh accounts: catalogs and spools, each a DARE sequence of type Merkle whose frames lie in the state one by one. Put together they are the
 * sequence as a file has it.
 */
export class MeshStores {
  readonly #database: Database
  readonly #maxOctets: number

  /** `maxOctets`: of all stores of one account. */
  constructor(database: Database, maxOctets: number) {
    this.#database = database
    this.#maxOctets = maxOctets
  }

  /** Those that have been begun, by their names. */
  ends(account: string): StoreEnd[] {
    return this.#database.sql.all`
      SELECT name, frames, digest FROM mesh_store WHERE account = ${account} ORDER BY name`.map((row) => ({
      store: textIn(row, "name"),
      frames: numberIn(row, "frames"),
      digest: octetsIn(row, "digest"),
    }))
  }

  /** Where one of them ends. @throws GatewayError STATE_CORRUPT */
  end(account: string, store: string): StoreEnd {
    return endOf(store, this.#sequence(account, store))
  }

  /**
   * Appends to one store or several in one transaction, on the disk when it returns. The account has to be there.
   * @throws GatewayError STATE_CORRUPT
   */
  append(account: string, updates: readonly StoreUpdate[], at: Date): AppendResult {
    return this.#database.transaction(() => {
      const before = updates.map(({ store }) => this.#sequence(account, store))
      const ends = updates.map(({ store }, index) => endOf(store, before[index] ?? EMPTY))
      const isExpected = updates.every(({ expected }, index) => expected === null || isSame(expected, ends[index]))
      if (!isExpected) return { kind: "conflict", stores: ends }
      const after = updates.map((update, index) => written(update, before[index] ?? EMPTY))
      const grown = after.reduce((sum, one, index) => sum + one.tail.end - (before[index]?.tail.end ?? 0), 0)
      if (this.octets(account) + grown > this.#roomFor(updates)) return { kind: "full" }
      updates.forEach(({ store }, index) => {
        const one = after[index]
        if (one !== undefined) this.#keep(account, store, one, at)
      })
      return { kind: "appended", stores: updates.map(({ store }, index) => endOf(store, after[index] ?? EMPTY)) }
    })
  }

  /** What others send, which nobody says the place of, leaves room for the account's own: a device is revoked by one entry more. */
  #roomFor(updates: readonly StoreUpdate[]): number {
    return updates.some(({ expected }) => expected === null) ? this.#maxOctets * OTHERS_PART : this.#maxOctets
  }

  /** Octets of all stores of the account, without what was dropped. */
  octets(account: string): number {
    return numberIn(
      this.#database.sql
        .get`SELECT CAST(coalesce(sum(octets - dropped), 0) AS BIGINT) AS octets FROM mesh_store WHERE account = ${account}`,
      "octets",
    )
  }

  /**
   * Drops the frames that all accounts' stores of this name got before then, oldest first, and those that stand before them;
   * some `most` of them at once. Where a store ends, and what binds it, stays as it is. @returns true when more are due
   */
  drop(store: string, before: Date, most: number): boolean {
    return this.#database.transaction(() => {
      const { sql } = this.#database
      const due = sql.all`
        SELECT account, number FROM mesh_frame WHERE store = ${store} AND added_at < ${before.getTime()}
        ORDER BY added_at, place LIMIT ${most + 1}`.map((row) => ({
        account: textIn(row, "account"),
        number: numberIn(row, "number"),
      }))
      const last = new Map<string, number>()
      for (const { account, number } of due.slice(0, most)) last.set(account, Math.max(number, last.get(account) ?? 0))
      for (const [account, number] of last) {
        const dropped = sql.get`
          SELECT CAST(coalesce(sum(length(frame)), 0) AS BIGINT) AS octets FROM mesh_frame
          WHERE account = ${account} AND store = ${store} AND number <= ${number}`
        sql.run`DELETE FROM mesh_frame WHERE account = ${account} AND store = ${store} AND number <= ${number}`
        sql.run`
          UPDATE mesh_store SET dropped = dropped + ${numberIn(dropped ?? {}, "octets")}
          WHERE account = ${account} AND name = ${store}`
      }
      return due.length > most
    })
  }

  /** The frames from number `from` on that are there still: as many as `maxOctets` hold, and one at least where there is one. */
  frames(account: string, store: string, from: number, maxOctets: number): StoredFrames {
    const { sql } = this.#database
    const there = sql.all`
      SELECT number, length(frame) AS octets FROM mesh_frame WHERE account = ${account} AND store = ${store} AND number >= ${from}
      ORDER BY number LIMIT ${MAX_FRAMES + 1}`
    const sizes = there.map((row) => numberIn(row, "octets"))
    const first = there[0] === undefined ? from : numberIn(there[0], "number")
    const count = countWithin(sizes, maxOctets)
    const rows = sql.all`
      SELECT frame FROM mesh_frame
      WHERE account = ${account} AND store = ${store} AND number >= ${first} AND number < ${first + count} ORDER BY number`
    return { first, frames: rows.map((row) => octetsIn(row, "frame")), isPartial: count < sizes.length }
  }

  /** The content of the newest entry of this name. @returns null: there is none */
  newest(account: string, store: string, name: string): Uint8Array | null {
    const row = this.#database.sql.get`
      SELECT content_start, content_end, frame FROM mesh_frame WHERE account = ${account} AND store = ${store} AND entry = ${name}
      ORDER BY number DESC LIMIT 1`
    return row === undefined ? null : contentIn(row)
  }

  /** How many entries the store got since then. */
  countSince(account: string, store: string, since: Date): number {
    return numberIn(
      this.#database.sql.get`
        SELECT count(*) AS entries FROM mesh_frame
        WHERE account = ${account} AND store = ${store} AND number > 0 AND added_at >= ${since.getTime()}`,
      "entries",
    )
  }

  /** Ends all stores of the account, with what is in them. */
  remove(account: string): void {
    this.#database.sql.run`DELETE FROM mesh_store WHERE account = ${account}`
  }

  #sequence(account: string, store: string): Sequence {
    const row = this.#database.sql.get`
      SELECT octets, digest, links FROM mesh_store WHERE account = ${account} AND name = ${store}`
    if (row === undefined) return EMPTY
    const tail: Tail = { type: TYPE, end: numberIn(row, "octets"), links: linksIn(row) }
    return { tail, digest: octetsIn(row, "digest"), frames: [] }
  }

  #keep(account: string, store: string, { tail, digest, frames }: Sequence, at: Date): void {
    const { sql } = this.#database
    sql.run`
      INSERT INTO mesh_store (account, name, frames, octets, digest, links)
      VALUES (${account}, ${store}, ${tail.links.index}, ${tail.end}, ${digest}, ${printLinks(tail.links)})
      ON CONFLICT (account, name) DO UPDATE SET frames = excluded.frames, octets = excluded.octets, digest = excluded.digest,
        links = excluded.links`
    for (const { number, name, octets, start, end } of frames)
      sql.run`
        INSERT INTO mesh_frame (account, store, number, entry, content_start, content_end, frame, added_at)
        VALUES (${account}, ${store}, ${number}, ${name}, ${start}, ${end}, ${octets}, ${at.getTime()})`
  }
}

/** A store: its end, and the frames that have been written and not kept yet. */
interface Sequence {
  readonly tail: Tail
  readonly digest: Uint8Array
  readonly frames: readonly NewFrame[]
}

interface NewFrame {
  readonly number: number
  readonly name: string
  readonly octets: Uint8Array
  /** Where the content stands in the frame. */
  readonly start: number
  readonly end: number
}

/** The sequence with new entries behind it, and with its first frame, where that is missing. */
function written({ entries }: StoreUpdate, before: Sequence): Sequence {
  const first: StoreEntry = { name: "", content: new Uint8Array(0) }
  const all = before.tail.links.index === 0 ? [first, ...entries] : entries
  return all.reduce(withFrame, before)
}

function withFrame({ tail, frames }: Sequence, { name, content }: StoreEntry): Sequence {
  const writer = new FrameWriter(tail, content.length, { encryption: null })
  const { begin } = writer
  const octets = joined([begin, writer.update(content), writer.end()])
  const frame = { number: tail.links.index, name, octets, start: begin.length, end: begin.length + content.length }
  return {
    tail: writer.tail,
    digest: writer.apex,
    frames: [...frames, frame],
  }
}

function endOf(store: string, { tail, digest }: Sequence): StoreEnd {
  return { store, frames: tail.links.index, digest }
}

/** How many of the first fit, one at least. */
function countWithin(sizes: readonly number[], most: number): number {
  let sum = 0
  const count = sizes.findIndex((size, index) => {
    sum += size
    return index === MAX_FRAMES || (index > 0 && sum > most)
  })
  return count < 0 ? sizes.length : count
}

function isSame(expected: Pick<StoreEnd, "frames" | "digest">, end: StoreEnd | undefined): boolean {
  return expected.frames === end?.frames && Buffer.compare(expected.digest, end.digest) === 0
}

function contentIn(row: Row): Uint8Array {
  return octetsIn(row, "frame").subarray(numberIn(row, "content_start"), numberIn(row, "content_end"))
}

/** What appending needs of all frames before: JSON `[index, chain, [position, apex] or null, …]`. */
function printLinks({ index, chain, roots }: Links): string {
  const written = Array.from(roots, (root) => (root ? [root.position, base64UrlEncode(root.apex)] : null))
  return JSON.stringify([index, base64UrlEncode(chain), ...written])
}

function linksIn(row: Row): Links {
  const [index, chain, ...roots] = JSON.parse(textIn(row, "links")) as [number, string, ...([number, string] | null)[]]
  return {
    index,
    chain: digestIn(chain),
    roots: roots.map((root) => (root === null ? undefined : { position: root[0], apex: digestIn(root[1]) })),
  }
}

function digestIn(text: string): Uint8Array {
  const octets = base64UrlDecode(text)
  if (octets?.length !== 64) throw new GatewayError("STATE_CORRUPT", "mesh store: links are damaged")
  return octets
}

const TYPE = "Merkle"
const EMPTY: Sequence = { tail: { type: TYPE, end: 0, links: noLinks() }, digest: new Uint8Array(64), frames: [] }
const OTHERS_PART = 7 / 8
/** Given out at once; each has some 200 octets beside its content. */
const MAX_FRAMES = 256
