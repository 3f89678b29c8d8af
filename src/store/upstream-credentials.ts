import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { NONCE_OCTETS, openAes256Gcm, sealAes256Gcm } from "../crypto/primitives/aead.ts"
import { sha256 } from "../crypto/primitives/hash.ts"
import { randomOctets } from "../crypto/primitives/random.ts"
import { GatewayError } from "../errors.ts"
import { type Database, dateIn, octetsIn, type Row, textIn } from "./database.ts"
import { destroyFile, makePrivateFolder, syncFolder, writeDurably } from "./durable.ts"
import { checkCredential, decodeCredential, encodeCredential, type UpstreamCredential } from "./upstream-credential.ts"

/** A credential as it is kept. */
export interface StoredCredential {
  /** Of this very content: another one after every change. */
  readonly id: string
  readonly credential: UpstreamCredential
  /** When a person set it. */
  readonly setAt: Date
}

/**
 * Credentials of accounts at the IMAP server behind the proxy. The database holds each sealed under a key of its own, which is a file in
 * `secrets/upstream`: a copy of `data/` opens none, and one that was set anew or removed is worth nothing once that file is overwritten.
 * Every login reads its own from here, so that a change takes effect at once in every process.
 */
export class UpstreamCredentials {
  readonly #database: Database
  readonly #folder: string

  /** `folder` is secrets/upstream; made when the first credential is set. */
  constructor(database: Database, folder: string) {
    this.#database = database
    this.#folder = folder
  }

  /** Accounts that have one, by address. */
  accounts(): string[] {
    return this.#database.sql.all`SELECT account FROM upstream_credential ORDER BY account`.map((row) =>
      textIn(row, "account"),
    )
  }

  /**
   * @returns null when the account has none
   * @throws GatewayError STATE_CORRUPT when its key is missing or does not fit, as after going back to an older copy of data/
   */
  read(account: string): StoredCredential | null {
    for (let failed: unknown, before: string | null = null; ; ) {
      const row = this.#database.sql
        .get`SELECT id, key, sealed, set_at FROM upstream_credential WHERE account = ${account}`
      if (row === undefined) return null
      const id = textIn(row, "id")
      // Another process may replace it between the row and the key; twice the same row is no such race.
      if (id === before) throw unreadable(account, failed)
      try {
        return { id, credential: this.#open(account, row), setAt: dateIn(row, "set_at") }
      } catch (error) {
        failed = error
        before = id
      }
    }
  }

  /**
   * Keeps `credential` as the account's only one.
   * @throws GatewayError USAGE for what could not be sent, ACCOUNT_UNKNOWN
   */
  set(account: string, credential: UpstreamCredential, at: Date): void {
    checkCredential(credential)
    this.#database.transaction(() => {
      if (this.#database.sql.get`SELECT 1 FROM account WHERE address = ${account}` === undefined)
        throw new GatewayError("ACCOUNT_UNKNOWN", `account ${account}: unknown`)
      const name = randomName()
      const key = randomOctets(KEY_OCTETS)
      makePrivateFolder(this.#folder)
      // Within the transaction: whoever destroys keys of the account waits until the row names this one.
      writeDurably(this.#path(account, name), key)
      const sealed = seal(key, credential, boundTo(account, name))
      key.fill(0)
      this.#database.sql.run`
        INSERT INTO upstream_credential (account, id, key, sealed, set_at, asked_until)
        VALUES (${account}, ${randomName()}, ${name}, ${sealed}, ${at.getTime()}, 0)
        ON CONFLICT (account) DO UPDATE SET id = excluded.id, key = excluded.key, sealed = excluded.sealed,
          set_at = excluded.set_at, asked_until = 0`
    })
    this.#destroyOthers(account)
  }

  /**
   * Puts `credential` in place of the content named `id`, under the same key: a refresh token that was rotated, an access token.
   * @returns false when somebody was faster, and nothing changed
   */
  replace(account: string, id: string, credential: UpstreamCredential): boolean {
    return this.#database.transaction(() => {
      const row = this.#database.sql.get`SELECT key FROM upstream_credential WHERE account = ${account} AND id = ${id}`
      if (row === undefined) return false
      const name = textIn(row, "key")
      const key = readFileSync(this.#path(account, name))
      const sealed = seal(key, credential, boundTo(account, name))
      key.fill(0)
      this.#database.sql.run`
        UPDATE upstream_credential SET id = ${randomName()}, sealed = ${sealed}, asked_until = 0 WHERE account = ${account}`
      return true
    })
  }

  /** Destroys the account's credential. @returns false when there was none */
  remove(account: string): boolean {
    return this.#database.transaction(() => {
      this.#destroy(account, null)
      return this.#database.sql.run`DELETE FROM upstream_credential WHERE account = ${account}`.changes > 0
    })
  }

  /**
   * Claims the right to ask the token endpoint for the content named `id`, for all processes: a refresh token that is used twice may
   * count as stolen. The claim ends with {@link replace}, {@link endClaim}, or `lifetimeMs` later. One that would last beyond that was
   * made before the clock was put back, and is void; `now` is asked while nobody else can claim, or a claim of the last moment would be.
   * @returns the end of the claim; null when somebody else holds one, or the content changed
   */
  claim(account: string, id: string, now: () => Date, lifetimeMs: number): Date | null {
    return this.#database.transaction(() => {
      const nowMs = now().getTime()
      const untilMs = nowMs + lifetimeMs
      const { changes } = this.#database.sql.run`
        UPDATE upstream_credential SET asked_until = ${untilMs}
        WHERE account = ${account} AND id = ${id} AND asked_until NOT BETWEEN ${nowMs + 1} AND ${untilMs}`
      return changes > 0 ? new Date(untilMs) : null
    })
  }

  /** Ends a claim that led to nothing. */
  endClaim(account: string, until: Date): void {
    this.#database.sql.run`
      UPDATE upstream_credential SET asked_until = 0 WHERE account = ${account} AND asked_until = ${until.getTime()}`
  }

  #open(account: string, row: Row): UpstreamCredential {
    const name = textIn(row, "key")
    const key = readFileSync(this.#path(account, name))
    const sealed = octetsIn(row, "sealed")
    const bound = boundTo(account, name)
    const clear = openAes256Gcm(key, sealed.subarray(0, NONCE_OCTETS), sealed.subarray(NONCE_OCTETS), bound)
    key.fill(0)
    try {
      return decodeCredential(clear)
    } finally {
      clear.fill(0)
    }
  }

  /** Keys of the account that its row does not name, those that a crash left among them. */
  #destroyOthers(account: string): void {
    this.#database.transaction(() => {
      const row = this.#database.sql.get`SELECT key FROM upstream_credential WHERE account = ${account}`
      this.#destroy(account, row === undefined ? null : textIn(row, "key"))
    })
  }

  #destroy(account: string, except: string | null): void {
    if (!existsSync(this.#folder)) return
    const prefix = prefixOf(account)
    const keep = except === null ? null : fileName(account, except)
    const doomed = readdirSync(this.#folder).filter((name) => name.startsWith(prefix) && name !== keep)
    for (const name of doomed) destroyFile(join(this.#folder, name))
    if (doomed.length > 0) syncFolder(this.#folder)
  }

  #path(account: string, key: string): string {
    return join(this.#folder, fileName(account, key))
  }
}

function unreadable(account: string, cause: unknown): GatewayError {
  return new GatewayError("STATE_CORRUPT", `upstream credential of ${account}: cannot be opened, set it again`, {
    cause,
  })
}

/** Nonce and ciphertext. A key seals what is written once an hour: random nonces do not repeat. */
function seal(key: Uint8Array, credential: UpstreamCredential, bound: Uint8Array): Uint8Array {
  const nonce = randomOctets(NONCE_OCTETS)
  const clear = encodeCredential(credential)
  const sealed = sealAes256Gcm(key, nonce, clear, bound)
  clear.fill(0)
  return Buffer.concat([nonce, sealed])
}

function boundTo(account: string, key: string): Uint8Array {
  return new TextEncoder().encode(`postern upstream credential 1\0${key}\0${account}`)
}

function randomName(): string {
  return Buffer.from(randomOctets(16)).toString("hex")
}

const KEY_OCTETS = 32

/** Addresses hold what no file name may. */
function prefixOf(account: string): string {
  return `${Buffer.from(sha256(new TextEncoder().encode(account))).toString("hex", 0, 16)}-`
}

function fileName(account: string, key: string): string {
  return `${prefixOf(account)}${key}.key`
}
