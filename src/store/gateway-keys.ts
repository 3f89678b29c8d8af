import { existsSync, rmSync } from "node:fs"
import { join } from "node:path"
import { GatewayError } from "../errors.ts"
import type { Format } from "./account.ts"
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
  type SigningTimes,
  signingKeyState,
  writeManifest,
} from "./signing-folder.ts"

/** A key that signs for one account, made and held by this server. Without its secret. */
export interface GatewayKey extends SigningTimes {
  /** {@link Account.address}. */
  readonly account: string
  /** Hexadecimal: subject key identifier, or the subkey's key id. */
  readonly id: string
  readonly format: Format
  /** The uncompressed P-256 point; the body of the public subkey's packet (RFC 9580 §5.5.2). */
  readonly publicKey: Uint8Array
  readonly madeAt: Date
  /** By what its owner vouches for it: X.509 in DER; the subkey's packet with its binding. null: by nothing yet. */
  readonly certificate: Uint8Array | null
}

/**
 * The keys that sign for our people: `ADDRESS/ID.key` (32 octets, for its owner only), and beside them `ADDRESS/keys.json`, which says what each is doing.
 * A key is there when keys.json names it.
 */
export class GatewayKeys {
  readonly #folder: string
  readonly #alone: Alone

  /**
   * `folder` is secrets/signing; made with the first key.
   * @param alone keeps changes of several processes apart; for whoever only reads there is nothing to keep apart
   */
  constructor(folder: string, alone: Alone = (act) => act()) {
    this.#folder = folder
    this.#alone = alone
  }

  /**
   * The keys of an account, oldest first. [] when it has none.
   * @throws GatewayError GATEWAY_KEYS_CORRUPT when there are keys and nobody knows what they are doing
   */
  of(account: string): readonly GatewayKey[] {
    return readManifest(this.#manifestPath(account), {
      parse: (text) => parseKeys(account, text),
      hasSecrets: () => namesIn(this.#pathOf(account)).some((name) => name.endsWith(".key")),
      code: "GATEWAY_KEYS_CORRUPT",
    })
  }

  /** Adds a pending key. One of the format that was pending before is destroyed: nobody has certified it. */
  add(key: Pick<GatewayKey, "account" | "id" | "format" | "publicKey" | "madeAt">, secret: Uint8Array): GatewayKey {
    return this.#alone(() => {
      const made: GatewayKey = { ...key, certificate: null, activeAt: null, retiredAt: null }
      const [superseded, kept] = split(
        this.of(key.account),
        (other) => other.format === key.format && signingKeyState(other) === "pending",
      )
      makePrivateFolder(this.#pathOf(key.account))
      writeDurably(this.#secretPath(made), secret)
      this.#write(key.account, [...kept, made])
      for (const other of superseded) this.#destroy(other)
      return made
    })
  }

  /**
   * Makes a key sign what is accepted from `at` on; the one of the same format that signed until then retires. An active key's certificate is replaced.
   * @throws GatewayError GATEWAY_KEY_UNKNOWN, GATEWAY_KEY_STATE when it is retired
   */
  certify(account: string, id: string, certificate: Uint8Array, at: Date): GatewayKey {
    return this.#alone(() => {
      const keys = this.of(account)
      const key = known(keys, account, id)
      if (signingKeyState(key) === "retired")
        throw new GatewayError("GATEWAY_KEY_STATE", `gateway key ${id} of ${account}: is retired`)
      const certified = { ...key, certificate, activeAt: key.activeAt ?? at }
      const isSuperseded = (other: GatewayKey) => other.format === key.format && signingKeyState(other) === "active"
      this.#write(
        account,
        keys.map((other) => (other === key ? certified : isSuperseded(other) ? { ...other, retiredAt: at } : other)),
      )
      return certified
    })
  }

  /**
   * Destroys a key and forgets it, in whatever state.
   * @throws GatewayError GATEWAY_KEY_UNKNOWN
   */
  remove(account: string, id: string): GatewayKey {
    return this.#alone(() => {
      const keys = this.of(account)
      const key = known(keys, account, id)
      this.#write(
        account,
        keys.filter((other) => other !== key),
      )
      this.#destroy(key)
      return key
    })
  }

  /** Destroys every key of an account, also those that nobody knows any more. */
  removeAll(account: string): void {
    this.#alone(() => {
      const folder = this.#pathOf(account)
      for (const name of namesIn(folder)) destroyFile(join(folder, name))
      rmSync(folder, { recursive: true, force: true })
      if (existsSync(this.#folder)) syncFolder(this.#folder)
    })
  }

  /**
   * Reads the secret of a key: the scalar, or the seed of Ed25519.
   * @throws GatewayError GATEWAY_KEY_UNUSABLE when others can read it, or it is damaged
   */
  secret(key: GatewayKey): Uint8Array {
    return readSecret(this.#secretPath(key), SECRET_OCTETS, unusable)
  }

  /** Changes whenever the keys of an account do. */
  print(account: string): string {
    return filePrint(this.#manifestPath(account))
  }

  #write(account: string, keys: readonly GatewayKey[]): void {
    const written = keys.map(({ account: _account, ...key }) => ({
      ...key,
      publicKey: base64Of(key.publicKey),
      certificate: key.certificate === null ? null : base64Of(key.certificate),
    }))
    writeManifest(this.#manifestPath(account), written)
  }

  #destroy(key: GatewayKey): void {
    if (existsSync(this.#secretPath(key))) destroyFile(this.#secretPath(key))
    syncFolder(this.#pathOf(key.account))
  }

  #pathOf(account: string): string {
    return join(this.#folder, encodeURIComponent(account))
  }

  #manifestPath(account: string): string {
    return join(this.#pathOf(account), "keys.json")
  }

  #secretPath({ account, id }: GatewayKey): string {
    return join(this.#pathOf(account), `${id}.key`)
  }
}

function known(keys: readonly GatewayKey[], account: string, id: string): GatewayKey {
  const key = keys.find((one) => one.id === id)
  if (key === undefined)
    throw new GatewayError("GATEWAY_KEY_UNKNOWN", `gateway key ${id} of ${account}: this server has none of that name`)
  return key
}

function split<T>(all: readonly T[], isFirst: (one: T) => boolean): readonly [T[], T[]] {
  return [all.filter(isFirst), all.filter((one) => !isFirst(one))]
}

/** Throws for what `#write` has not written. */
function parseKeys(account: string, text: string): GatewayKey[] {
  return manifestKeys<RawKey>(text).map((raw) => {
    if (!ID.test(raw.id) || !FORMATS.includes(raw.format)) throw new Error("id or format")
    return {
      account,
      id: raw.id,
      format: raw.format,
      publicKey: octetsOf(raw.publicKey),
      madeAt: dateOf(raw.madeAt),
      certificate: raw.certificate === null ? null : octetsOf(raw.certificate),
      activeAt: raw.activeAt === null ? null : dateOf(raw.activeAt),
      retiredAt: raw.retiredAt === null ? null : dateOf(raw.retiredAt),
    }
  })
}

interface RawKey {
  readonly id: string
  readonly format: Format
  readonly publicKey: string
  readonly madeAt: string
  readonly certificate: string | null
  readonly activeAt: string | null
  readonly retiredAt: string | null
}

function unusable(path: string, what: string, cause?: unknown): GatewayError {
  return new GatewayError("GATEWAY_KEY_UNUSABLE", `gateway key ${path}: ${what}`, { cause })
}

/** P-256 and Ed25519 alike. */
const SECRET_OCTETS = 32
/** It is a file's name, too. */
const ID = /^[0-9a-f]{16,40}$/
const FORMATS: readonly string[] = ["smime", "openpgp"] satisfies Format[]
