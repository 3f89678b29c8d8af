import { existsSync } from "node:fs"
import { join } from "node:path"
import { GatewayError } from "../errors.ts"
import { destroyFile, filePrint, makePrivateFolder, syncFolder, writeDurably } from "./durable.ts"
import {
  type Alone,
  base64Of,
  dateOf,
  manifestKeys,
  namesIn,
  octetsOf,
  readManifest,
  readSecret,
  writeManifest,
} from "./signing-folder.ts"

/** An authority of stand-ins (certificates of ours for people who have none), without its secret. */
export interface StandInAuthority {
  /** Hexadecimal, 16 characters. */
  readonly id: string
  /** DER, self-signed. */
  readonly certificate: Uint8Array
  /** What its serial numbers are known by; it stays when the secret is gone, so that what nobody can open any more is known for what it is. */
  readonly tagKey: Uint8Array
  /** Domains that it cannot certify mailboxes of: ours, when it was made. */
  readonly excluded: readonly string[]
  readonly madeAt: Date
  /** null: it makes certificates. From then on it only opens what was encrypted to those it made. */
  readonly retiredAt: Date | null
  /** null: its secret is there. */
  readonly destroyedAt: Date | null
}

/** `active`: it makes certificates. `retired`: it opens what comes to those it made. `destroyed`: that is held. */
export type StandInState = "active" | "retired" | "destroyed"

export function standInState({ retiredAt, destroyedAt }: StandInAuthority): StandInState {
  return destroyedAt !== null ? "destroyed" : retiredAt !== null ? "retired" : "active"
}

/** The authorities of an instance: `ID.key` (32 octets, for its owner only), and beside them keys.json, which says what each is doing. */
export class StandInAuthorities {
  readonly #folder: string
  readonly #alone: Alone

  /**
   * `folder` is secrets/stand-ins; made with the first authority.
   * @param alone keeps changes of several processes apart; for whoever only reads there is nothing to keep apart
   */
  constructor(folder: string, alone: Alone = (act) => act()) {
    this.#folder = folder
    this.#alone = alone
  }

  /**
   * Oldest first. [] when there are none.
   * @throws GatewayError STAND_INS_CORRUPT when there are some and nobody knows what they are doing
   */
  all(): readonly StandInAuthority[] {
    return readManifest(this.#manifestPath, {
      parse: parseAuthorities,
      hasSecrets: () => namesIn(this.#folder).some((name) => name.endsWith(".key")),
      code: "STAND_INS_CORRUPT",
    })
  }

  /**
   * Adds one, which makes certificates from now on.
   * @param replaces the one that did so until now retires
   * @throws GatewayError STAND_IN_STATE when there is one, and it is not to be replaced
   */
  add(
    made: Pick<StandInAuthority, "id" | "certificate" | "tagKey" | "excluded" | "madeAt">,
    secret: Uint8Array,
    replaces: boolean,
  ): StandInAuthority {
    return this.#alone(() => {
      const all = this.all()
      const active = all.find((one) => standInState(one) === "active")
      if (active !== undefined && !replaces)
        throw new GatewayError("STAND_IN_STATE", `stand-in authority ${active.id}: there is one already: replace it`)
      const authority: StandInAuthority = { ...made, retiredAt: null, destroyedAt: null }
      makePrivateFolder(this.#folder)
      writeDurably(this.#secretPath(made.id), secret)
      this.#write([...all.map((one) => (one === active ? { ...one, retiredAt: made.madeAt } : one)), authority])
      return authority
    })
  }

  /**
   * Destroys the secret of one; that it was there stays known.
   * @throws GatewayError STAND_IN_UNKNOWN
   */
  destroy(id: string, at: Date): StandInAuthority {
    return this.#alone(() => {
      const all = this.all()
      const found = all.find((one) => one.id === id)
      if (found === undefined)
        throw new GatewayError("STAND_IN_UNKNOWN", `stand-in authority ${id}: this server has none of that name`)
      const destroyed = { ...found, retiredAt: found.retiredAt ?? at, destroyedAt: found.destroyedAt ?? at }
      this.#write(all.map((one) => (one === found ? destroyed : one)))
      if (existsSync(this.#secretPath(id))) destroyFile(this.#secretPath(id))
      syncFolder(this.#folder)
      return destroyed
    })
  }

  /**
   * Reads the secret of one.
   * @throws GatewayError STAND_IN_UNUSABLE when others can read it, or it is not there or damaged
   */
  secret({ id }: StandInAuthority): Uint8Array {
    return readSecret(this.#secretPath(id), SECRET_OCTETS, unusable)
  }

  /** Changes whenever the authorities do. */
  print(): string {
    return filePrint(this.#manifestPath)
  }

  #write(authorities: readonly StandInAuthority[]): void {
    writeManifest(
      this.#manifestPath,
      authorities.map((one) => ({ ...one, certificate: base64Of(one.certificate), tagKey: base64Of(one.tagKey) })),
    )
  }

  get #manifestPath(): string {
    return join(this.#folder, "keys.json")
  }

  #secretPath(id: string): string {
    return join(this.#folder, `${id}.key`)
  }
}

/** Throws for what `#write` has not written. */
function parseAuthorities(text: string): StandInAuthority[] {
  return manifestKeys<RawAuthority>(text).map((raw) => {
    if (!ID.test(raw.id)) throw new Error("id")
    return {
      id: raw.id,
      certificate: octetsOf(raw.certificate),
      tagKey: octetsOf(raw.tagKey),
      excluded: raw.excluded.map(String),
      madeAt: dateOf(raw.madeAt),
      retiredAt: raw.retiredAt === null ? null : dateOf(raw.retiredAt),
      destroyedAt: raw.destroyedAt === null ? null : dateOf(raw.destroyedAt),
    }
  })
}

interface RawAuthority {
  readonly id: string
  readonly certificate: string
  readonly tagKey: string
  readonly excluded: readonly string[]
  readonly madeAt: string
  readonly retiredAt: string | null
  readonly destroyedAt: string | null
}

function unusable(path: string, what: string, cause?: unknown): GatewayError {
  return new GatewayError("STAND_IN_UNUSABLE", `stand-in authority ${path}: ${what}`, { cause })
}

const SECRET_OCTETS = 32
/** It is a file's name, too. */
const ID = /^[0-9a-f]{16}$/
