import { join } from "node:path"
import { type HmacKey, hmacKey, hmacSha256 } from "../crypto/primitives/hash.ts"
import { base32Encode } from "../crypto/udf/base32.ts"
import { GatewayError } from "../errors.ts"
import { type Address, formatAddress, parseAddress } from "../message/address.ts"
import {
  readSrs,
  SRS_DAYS,
  SRS_NAME_CHARACTERS,
  type SrsMeaning,
  type SrsMeans,
  srsAddress,
  srsToken,
} from "../message/srs.ts"
import { type State, textIn } from "./database.ts"
import { secret, secretMade } from "./secrets.ts"

/** What {@link ReturnPaths} needs to know besides the state. */
export interface ReturnPathOptions {
  /** Our domains, as A-labels. */
  readonly domains: readonly string[]
  /** The folder of secrets. `srs/key` in it is made with the first alias that leads elsewhere, and shared by all machines. */
  readonly secrets: string
}

/** Whom a bounce is for, and what it is a bounce of. */
export interface CameBack {
  /** Who had written, or an address of another forwarder's that leads to him. */
  readonly sender: Address
  /** To which he had; null: nobody knows any more. */
  readonly alias: Address | null
  /** The alias's. */
  readonly domain: string
  /** On which it was sent on (UTC); null: nobody knows, since the address is one of another forwarder's. */
  readonly day: Date | null
}

/** Reverse-paths of mail that is forwarded, and whom a bounce to one is for. */
export class ReturnPaths {
  readonly #state: State
  readonly #options: ReturnPathOptions
  #key: HmacKey | null = null

  constructor(state: State, options: ReturnPathOptions) {
    this.#state = state
    this.#options = options
  }

  /** The reverse-path with which mail of `sender` leaves that came for `alias`, in a domain of ours. A sender in a domain of ours stays. */
  forwarded(sender: Address, alias: Address, at: Date): Address {
    if (this.#options.domains.includes(sender.domain)) return sender
    const means = { key: this.#madeKey(), now: at }
    const cameFor = this.#keepAlias(alias, means)
    const { domain } = alias
    return (
      srsAddress(sender, domain, cameFor, means) ?? srsToken(this.#keepSender(sender, means), domain, cameFor, means)
    )
  }

  /**
   * Whom a bounce is for that came `at` for this address of ours.
   * @returns null when it is none that was made here within {@link SRS_DAYS} days before
   * @throws GatewayError RETURN_PATHS_KEYLESS when nobody can say: the secret is not where this process looks for it
   */
  original(address: Address, at: Date): CameBack | null {
    const { localPart, domain } = address
    if (!LOOKS_MADE.test(localPart) || !this.#options.domains.includes(domain)) return null
    const key = this.#knownKey()
    const meaning = key && readSrs(address, { key, now: at })
    if (meaning === null) return null
    if (meaning.kind === "forwarder") {
      // What came round by a forwarder elsewhere was made here twice.
      const { sender } = meaning
      return this.original(sender, at) ?? { sender, alias: null, domain, day: null }
    }
    const sender = this.#senderOf(meaning)
    return sender && { sender, alias: this.#aliasOf(meaning), domain, day: meaning.day }
  }

  #senderOf(meaning: Exclude<SrsMeaning, { readonly kind: "forwarder" }>): Address | null {
    if (meaning.kind === "sender") return meaning.sender
    const row = this.#state.sql.get`SELECT sender FROM return_path WHERE token = ${meaning.token}`
    return row === undefined ? null : parseAddress(textIn(row, "sender"))
  }

  #aliasOf({ cameFor }: { readonly cameFor: string | null }): Address | null {
    if (cameFor === null) return null
    const row = this.#state.sql.get`SELECT alias FROM return_alias WHERE name = ${cameFor}`
    return row === undefined ? null : parseAddress(textIn(row, "alias"))
  }

  /** For a sender that is too long to stand within an address, as many of those are that name a recipient. */
  #keepSender(sender: Address, { key, now }: SrsMeans): string {
    const written = formatAddress(sender)
    const token = nameOf(`return path ${written}`, key, TOKEN_CHARACTERS)
    const atMs = now.getTime()
    const { sql } = this.#state
    const known = sql.get`SELECT token FROM return_path WHERE token = ${token} AND used_at > ${atMs - DAY_MS}`
    if (known !== undefined) return token
    this.#state.transaction(() => {
      sql.run`DELETE FROM return_path WHERE used_at < ${atMs - KEPT_MS}`
      sql.run`
        INSERT INTO return_path (token, sender, used_at) VALUES (${token}, ${written}, ${atMs})
        ON CONFLICT (token) DO UPDATE SET used_at = excluded.used_at`
    })
    return token
  }

  /** As its sender wrote it, since what he hears of must be what he knows. @returns its name; null: another alias has it */
  #keepAlias(alias: Address, { key, now }: SrsMeans): string | null {
    const written = formatAddress(alias)
    const name = nameOf(`return alias ${written}`, key, SRS_NAME_CHARACTERS)
    const atMs = now.getTime()
    const { sql } = this.#state
    const holder = () => {
      const row = sql.get`SELECT alias FROM return_alias WHERE name = ${name} AND used_at > ${atMs - DAY_MS}`
      return row && textIn(row, "alias")
    }
    const keep = () => {
      sql.run`DELETE FROM return_alias WHERE used_at < ${atMs - KEPT_MS}`
      sql.run`
        INSERT INTO return_alias (name, alias, used_at) VALUES (${name}, ${written}, ${atMs})
        ON CONFLICT (name) DO UPDATE SET used_at = excluded.used_at WHERE return_alias.alias = excluded.alias`
      return holder()
    }
    return (holder() ?? this.#state.transaction(keep)) === written ? name : null
  }

  #madeKey(): HmacKey {
    this.#key ??= makeReturnPathKey(this.#options.secrets)
    return this.#key
  }

  /** null: nothing was ever forwarded. Whoever takes mail from others may have none of our secrets, and must not make another. */
  #knownKey(): HmacKey | null {
    if (this.#key !== null) return this.#key
    const made = secretMade(folderIn(this.#options.secrets), NAME)
    if (made !== null) this.#key = hmacKey(made)
    else if (this.#state.sql.get`SELECT target FROM alias_target WHERE forward <> ''` !== undefined)
      throw new GatewayError(
        "RETURN_PATHS_KEYLESS",
        `${join(folderIn(this.#options.secrets), NAME)}: is not there, and aliases lead elsewhere: is it mounted?`,
      )
    return this.#key
  }
}

function nameOf(what: string, key: HmacKey, characters: number): string {
  const digest = hmacSha256(key).update(new TextEncoder().encode(what)).digest()
  return base32Encode(digest).slice(0, characters).toLowerCase()
}

/** The secret by which we know reverse-paths of what we have forwarded; made where there is none. */
export function makeReturnPathKey(secrets: string): HmacKey {
  return hmacKey(secret(folderIn(secrets), NAME))
}

/**
 * Whether it has been made.
 * @throws GatewayError STATE_CORRUPT
 */
export function hasReturnPathKey(secrets: string): boolean {
  return secretMade(folderIn(secrets), NAME) !== null
}

/** A folder of its own: with roles in containers it is all that mx needs of the secrets. */
function folderIn(secrets: string): string {
  return join(secrets, "srs")
}

const NAME = "key"
const LOOKS_MADE = /^SRS[01]=/i
const DAY_MS = 86_400_000
/** For as long as a bounce may come, and then be tried. */
const KEPT_MS = (SRS_DAYS + 9) * DAY_MS
/** 120 bits. */
const TOKEN_CHARACTERS = 24
