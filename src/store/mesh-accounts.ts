import { GatewayError } from "../errors.ts"
import { isNameOf, type ProfileUser, verifyProfileUser } from "../mesh/profile.ts"
import { addressKey, parseAddress, writtenKey } from "../message/address.ts"
import { changing, octetsIn, type Row, type State, textIn } from "./database.ts"
import { udfName } from "./udf-name.ts"

/** What is published of an account of ours that has a name in the Mesh: it takes part, or has left. */
export interface PublishedAccount {
  /** {@link file://./account.ts} Account.address. */
  readonly address: string
  readonly udf: string
  readonly profile: ProfileUser
  /** The signed mail profile of version 2, as published (docs/PROFILE.md). */
  readonly mailProfile: Uint8Array
}

/** An account of ours that takes part in the Mesh. Nothing in it is secret from this server; what only the person has is in the keyring. */
export interface MeshAccount extends PublishedAccount {
  /** ConnectionDevice: this gateway is a device of the account, and may send mail. */
  readonly connection: Uint8Array
  /** Encrypted to the gateway's device: what its key in the account is made of. */
  readonly activation: Uint8Array
}

/** What is kept of an account; the profile tells the rest. */
export interface MeshAccountRecord extends Pick<MeshAccount, "connection" | "activation" | "mailProfile"> {
  /** ProfileUser, in its envelope. */
  readonly profile: Uint8Array
}

/** The Mesh accounts of our people. Reads are cached until the change sequence moves. */
export class MeshAccounts {
  readonly #database: State
  #cache: { readonly sequence: number; readonly accounts: Map<string, PublishedAccount | MeshAccount> } | null = null

  constructor(database: State) {
    this.#database = database
  }

  /** @returns null: no such account, or it has no part in the Mesh. @throws GatewayError STATE_CORRUPT */
  of(address: string): MeshAccount | null {
    const account = this.publishedOf(address)
    return account !== null && "connection" in account ? account : null
  }

  /** @returns null: no such account, or it never had a part in the Mesh. @throws GatewayError STATE_CORRUPT */
  publishedOf(address: string): PublishedAccount | MeshAccount | null {
    const key = writtenKey(address)
    if (key === null) return null
    const { accounts } = this.#cached()
    const known = accounts.get(key)
    if (known !== undefined) return known
    const row = this.#database.sql.get`SELECT * FROM mesh_account WHERE account = ${key}`
    // Whom strangers ask for and nobody is: of those there is no end.
    if (row === undefined) return null
    const found = accountIn(row)
    accounts.set(key, found)
    return found
  }

  /** By the UDF of the profile, presented with 130 bits or more. @returns null: nobody here, or no UDF. @throws GatewayError STATE_CORRUPT */
  byUdf(presented: string): MeshAccount | null {
    const name = udfName(presented)
    if (name === null) return null
    const row = this.#database.sql.get`SELECT account FROM mesh_account WHERE name = ${name}`
    const account = row === undefined ? null : this.of(textIn(row, "account"))
    return account !== null && isNameOf(account.profile, presented) ? account : null
  }

  /** Whether any of our people takes part in the Mesh. */
  any(): boolean {
    return this.#database.sql.get`SELECT 1 FROM mesh_account WHERE length(connection) > 0 LIMIT 1` !== undefined
  }

  /**
   * Keeps what the account's owner has signed, in place of what was there.
   * @throws GatewayError ACCOUNT_UNKNOWN; MESH_UNTRUSTED, MESH_OBJECT_INVALID for no profile; ACCOUNT_EXISTS when another account has this UDF
   */
  put(record: MeshAccountRecord): void {
    this.#put(record)
  }

  /**
   * The account takes no part any more, whether it did or not: what is left of it is its mail profile. Its escrow and its stores stay.
   * @throws GatewayError as {@link put}
   */
  leave({ profile, mailProfile }: Pick<MeshAccountRecord, "profile" | "mailProfile">): void {
    this.#put({ profile, connection: NOTHING, activation: NOTHING, mailProfile })
  }

  #put({ profile, connection, activation, mailProfile }: MeshAccountRecord): void {
    const { udf, address: written } = verifyProfileUser(profile, null)
    const address = addressKey(parseAddress(written))
    const name = udfName(udf) ?? udf
    this.#change(() => {
      const { sql } = this.#database
      if (sql.get`SELECT 1 FROM account WHERE address = ${address}` === undefined)
        throw new GatewayError("ACCOUNT_UNKNOWN", `account ${address}: unknown`)
      if (sql.get`SELECT 1 FROM mesh_account WHERE name = ${name} AND account <> ${address}` !== undefined)
        throw new GatewayError("ACCOUNT_EXISTS", `mesh account ${udf}: is another account's here`)
      sql.run`
        INSERT INTO mesh_account (account, name, profile, connection, activation, mail_profile)
        VALUES (${address}, ${name}, ${profile}, ${connection}, ${activation}, ${mailProfile})
        ON CONFLICT (account) DO UPDATE SET name = excluded.name, profile = excluded.profile, connection = excluded.connection,
          activation = excluded.activation, mail_profile = excluded.mail_profile`
    })
  }

  /** The mail profile alone. @throws GatewayError ACCOUNT_UNKNOWN */
  republish(address: string, mailProfile: Uint8Array): void {
    this.#change(() => {
      const { changes } = this.#database.sql
        .run`UPDATE mesh_account SET mail_profile = ${mailProfile} WHERE account = ${writtenKey(address)}`
      if (changes === 0) throw unknown(address)
    })
  }

  /** Ends the account's part in the Mesh; its escrow goes with it. @returns false when it had none */
  remove(address: string): boolean {
    return this.#change(() => {
      const { changes } = this.#database.sql.run`DELETE FROM mesh_account WHERE account = ${writtenKey(address)}`
      return changes > 0
    })
  }

  /** What the owner has left with us for the day that the keyring is lost: nobody here can open it. @returns null: nothing */
  escrow(address: string): Uint8Array | null {
    const row = this.#database.sql.get`SELECT envelope FROM mesh_escrow WHERE account = ${writtenKey(address)}`
    return row === undefined ? null : octetsIn(row, "envelope")
  }

  /** @throws GatewayError ACCOUNT_UNKNOWN */
  putEscrow(address: string, envelope: Uint8Array): void {
    const key = writtenKey(address)
    this.#database.transaction(() => {
      if (this.#database.sql.get`SELECT 1 FROM mesh_account WHERE account = ${key}` === undefined)
        throw unknown(address)
      this.#database.sql.run`
        INSERT INTO mesh_escrow (account, envelope) VALUES (${key}, ${envelope})
        ON CONFLICT (account) DO UPDATE SET envelope = excluded.envelope`
    })
  }

  /** One transaction; the sequence moves, here and for every other process. */
  #change<T>(act: () => T): T {
    try {
      return changing(this.#database, act)
    } finally {
      this.#cache = null
    }
  }

  #cached() {
    const sequence = this.#database.changeSequence()
    if (this.#cache?.sequence !== sequence) this.#cache = { sequence, accounts: new Map() }
    return this.#cache
  }
}

function accountIn(row: Row): PublishedAccount | MeshAccount {
  const address = textIn(row, "account")
  try {
    const profile = verifyProfileUser(octetsIn(row, "profile"), null)
    const published = { address, udf: profile.udf, profile, mailProfile: octetsIn(row, "mail_profile") }
    const connection = octetsIn(row, "connection")
    return connection.length === 0 ? published : { ...published, connection, activation: octetsIn(row, "activation") }
  } catch (cause) {
    throw new GatewayError("STATE_CORRUPT", `mesh account of ${address}: damaged`, { cause })
  }
}

/** A row without a connection is of an account that has left. */
const NOTHING = new Uint8Array(0)

function unknown(address: string): GatewayError {
  return new GatewayError("ACCOUNT_UNKNOWN", `account ${address}: has no part in the Mesh`)
}
