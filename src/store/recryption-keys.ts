import {
  accessSync,
  appendFileSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
} from "node:fs"
import { join } from "node:path"
import { NONCE_OCTETS, openAes256Gcm, sealAes256Gcm } from "../crypto/primitives/aead.ts"
import { randomOctets } from "../crypto/primitives/random.ts"
import { GatewayError } from "../errors.ts"
import { type Database, octetsIn, type Row, textIn } from "./database.ts"
import { destroyFile, makePrivateFolder, syncFolder, systemCode, writeDurably } from "./durable.ts"

/** A recryption key of a device, named by the account key that it recrypts from. */
export interface RecryptionScalar {
  /** {@link AccountKey.id}. */
  readonly keyId: string
  readonly scalar: Uint8Array
}

/**
 * Recryption keys. The database holds each scalar wrapped under a key of its own, which is a file in `secrets/recryption`: a row that
 * lives on in a WAL, a backup or a flash cell is worth nothing once that file is overwritten.
 */
export class RecryptionKeys {
  readonly #database: Database
  readonly #folder: string

  /** `folder` is secrets/recryption; made when absent. */
  constructor(database: Database, folder: string) {
    this.#database = database
    this.#folder = folder
    makePrivateFolder(folder)
  }

  /** Wraps and keeps the scalars of a device. Call within a transaction. */
  add(device: string, scalars: readonly RecryptionScalar[]): void {
    for (const { keyId, scalar } of scalars) {
      const id = Buffer.from(randomOctets(16)).toString("hex")
      const wrappingKey = randomOctets(32)
      const wrapped = sealAes256Gcm(wrappingKey, ONLY_NONCE, scalar, boundTo(id, device, keyId))
      writeDurably(this.#path(id), wrappingKey)
      wrappingKey.fill(0)
      this.#database.sql.run`
        INSERT INTO recryption_key (id, device, account_key, wrapped) VALUES (${id}, ${device}, ${keyId}, ${wrapped})`
    }
  }

  /**
   * The device's scalars, in the order of the account's keys; fill them with zeros when done.
   * @throws GatewayError STATE_CORRUPT when a wrapping key is missing or does not fit
   */
  scalars(device: string): RecryptionScalar[] {
    return this.#database.sql.all`
      SELECT r.id, r.device, r.account_key, r.wrapped FROM recryption_key r JOIN account_key k ON k.id = r.account_key
      WHERE r.device = ${device} ORDER BY k.place`.map((row) => ({
      keyId: textIn(row, "account_key"),
      scalar: this.#unwrap(row),
    }))
  }

  /** Makes all scalars of the device unreadable for ever, then forgets them. Every step may be repeated after a crash. */
  destroy(device: string): void {
    this.#destroyRows(this.#database.sql.all`SELECT id FROM recryption_key WHERE device = ${device}`)
  }

  /**
   * Devices whose keys were being destroyed when a crash came, or that came back from an older copy of data/.
   * The record of destroyed keys is in `secrets/`, so that it does not go back in time with `data/`.
   */
  interrupted(): string[] {
    const gone = this.#destroyed()
    const rows = this.#database.sql.all`SELECT id, device FROM recryption_key`
    return [...new Set(rows.filter((row) => gone.has(textIn(row, "id"))).map((row) => textIn(row, "device")))]
  }

  /** Devices of whose keys one is not in `secrets/`, or is not to be read: those of another instance, or of none. */
  keyless(): ReadonlySet<string> {
    const rows = this.#database.sql.all`SELECT id, device FROM recryption_key`
    return new Set(rows.filter((row) => !isReadable(this.#path(textIn(row, "id")))).map((row) => textIn(row, "device")))
  }

  #destroyRows(rows: readonly Row[]): void {
    if (rows.length === 0) return
    const ids = rows.map((row) => textIn(row, "id"))
    // Intent first: whatever happens from here on, the next start finishes it.
    this.#record(ids)
    for (const id of ids) if (existsSync(this.#path(id))) destroyFile(this.#path(id))
    syncFolder(this.#folder)
    for (const id of ids) this.#database.sql.run`DELETE FROM recryption_key WHERE id = ${id}`
  }

  #unwrap(row: Row): Uint8Array {
    const id = textIn(row, "id")
    const bound = boundTo(id, textIn(row, "device"), textIn(row, "account_key"))
    try {
      const opened = openAes256Gcm(readFileSync(this.#path(id)), ONLY_NONCE, octetsIn(row, "wrapped"), bound)
      const scalar = new Uint8Array(opened)
      // Buffers this small come from a pool that the whole process shares.
      opened.fill(0)
      return scalar
    } catch (cause) {
      throw new GatewayError("STATE_CORRUPT", `recryption key ${id}: cannot be unwrapped`, { cause })
    }
  }

  #record(ids: readonly string[]): void {
    const file = openSync(join(this.#folder, DESTROYED), "a", 0o600)
    try {
      appendFileSync(file, ids.map((id) => `${id}\n`).join(""))
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    syncFolder(this.#folder)
  }

  #destroyed(): ReadonlySet<string> {
    try {
      return new Set(readFileSync(join(this.#folder, DESTROYED), "utf8").split("\n"))
    } catch (error) {
      if (systemCode(error) === "ENOENT") return new Set()
      throw error
    }
  }

  #path(id: string): string {
    return join(this.#folder, `${id}.key`)
  }
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK)
    return true
  } catch (error) {
    if (systemCode(error) === null) throw error
    return false
  }
}

/** Append-only list of the ids of destroyed keys. */
const DESTROYED = "destroyed"

// Each wrapping key seals one scalar, once.
const ONLY_NONCE = new Uint8Array(NONCE_OCTETS)

function boundTo(id: string, device: string, keyId: string): Uint8Array {
  return new TextEncoder().encode(`postern recryption key 1\0${id}\0${device}\0${keyId}`)
}
