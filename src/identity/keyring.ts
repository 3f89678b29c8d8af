import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { NONCE_OCTETS, openAes256Gcm, sealAes256Gcm } from "../crypto/primitives/aead.ts"
import { randomOctets } from "../crypto/primitives/random.ts"
import { INTERACTIVE_COST, type ScryptCost, scryptKey } from "../crypto/primitives/scrypt.ts"
import { GatewayError, hasCode } from "../errors.ts"
import { destroyFile, makePrivateFolder, syncFolder, writeDurably } from "../store/durable.ts"
import { formatJson, type JsonObject, parseJsonObject } from "./json.ts"
import { PERSON_VERSION, type Person, parsePerson } from "./person.ts"

/** Octets of the salt of scrypt. */
const SALT_OCTETS = 16

/**
 * A folder with one file for each person, sealed with a passphrase (scrypt, AES-256-GCM), or unsealed when there is none.
 * Files are replaced whole and are on the disk when a call returns.
 */
export class Keyring {
  readonly folder: string
  readonly #passphrase: string | null

  /** `passphrase` null: files are written unsealed, and sealed ones cannot be opened. */
  constructor(folder: string, passphrase: string | null) {
    this.folder = folder
    this.#passphrase = passphrase
  }

  /** Where the file of this address (in its stored form) is. */
  pathOf(address: string): string {
    return join(this.folder, `${safeName(address)}.json`)
  }

  has(address: string): boolean {
    return existsSync(this.pathOf(address))
  }

  /** False also when there is nothing of this address. */
  isSealed(address: string): boolean {
    return this.has(address) && this.#read(address).has("sealed")
  }

  /** Takes the file away again: for an account that the server did not take. */
  remove(address: string): void {
    destroyFile(this.pathOf(address))
    syncFolder(this.folder)
  }

  /** @throws GatewayError KEYRING_MISSING, KEYRING_LOCKED (no passphrase, or a wrong one) */
  async open(address: string): Promise<Person> {
    const path = this.pathOf(address)
    const file = this.#read(address)
    try {
      return parsePerson(
        file.has("sealed") ? await this.#unseal(file.object("sealed"), address, path) : file.text("unsealed"),
      )
    } catch (cause) {
      throw damaged(cause, path)
    }
  }

  /** Writes or replaces the person's file, mode 0600. */
  async save(person: Person): Promise<void> {
    const content = formatJson(person)
    const body =
      this.#passphrase === null ? { unsealed: content } : { sealed: await this.#seal(content, person.address) }
    makePrivateFolder(this.folder)
    const file = { version: PERSON_VERSION, address: person.address, ...body }
    writeDurably(this.pathOf(person.address), new TextEncoder().encode(`${formatJson(file, 2)}\n`))
  }

  #read(address: string): JsonObject {
    const path = this.pathOf(address)
    if (!existsSync(path))
      throw new GatewayError("KEYRING_MISSING", `keyring ${this.folder}: has nothing of ${address}`)
    try {
      const file = parseJsonObject(readFileSync(path, "utf8"), "keyring")
      if (file.number("version") === PERSON_VERSION) return file
    } catch (cause) {
      throw damaged(cause, path)
    }
    throw new GatewayError("STATE_VERSION", `keyring ${path}: was written by another version of postern`)
  }

  async #seal(content: string, address: string): Promise<unknown> {
    const [salt, nonce] = [randomOctets(SALT_OCTETS), randomOctets(NONCE_OCTETS)]
    const key = await scryptKey(this.#passphrase ?? "", salt)
    const sealed = sealAes256Gcm(key, nonce, new TextEncoder().encode(content), boundTo(address))
    key.fill(0)
    return { method: "scrypt aes-256-gcm", ...INTERACTIVE_COST, salt, nonce, ciphertext: sealed }
  }

  async #unseal(sealed: JsonObject, address: string, path: string): Promise<string> {
    if (this.#passphrase === null)
      throw new GatewayError(
        "KEYRING_LOCKED",
        `keyring ${path}: sealed, and no passphrase was given (--passphrase-file)`,
      )
    sealed.word("method", ["scrypt aes-256-gcm"])
    const key = await scryptKey(this.#passphrase, sealed.octets("salt"), costOf(sealed))
    try {
      const content = openAes256Gcm(key, sealed.octets("nonce"), sealed.octets("ciphertext"), boundTo(address))
      return new TextDecoder().decode(content)
    } catch (cause) {
      throw new GatewayError("KEYRING_LOCKED", `keyring ${path}: wrong passphrase`, { cause })
    } finally {
      key.fill(0)
    }
  }
}

/** A file name for an address: characters with a meaning in paths as %XX, of their UTF-8. */
export function safeName(address: string): string {
  const safe = encodeURIComponent(address)
    .replace(/%40/g, "@")
    .replace(/%2B/g, "+")
    .replace(/[*'()!]/g, percent)
  return safe.startsWith(".") ? `%2E${safe.slice(1)}` : safe
}

function percent(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`
}

function damaged(cause: unknown, path: string): unknown {
  return hasCode(cause, "REQUEST_INVALID")
    ? new GatewayError("STATE_CORRUPT", `keyring ${path}: damaged`, { cause })
    : cause
}

function costOf(sealed: JsonObject): ScryptCost {
  return {
    logN: sealed.number("logN"),
    blockSize: sealed.number("blockSize"),
    parallelization: sealed.number("parallelization"),
  }
}

function boundTo(address: string): Uint8Array {
  return new TextEncoder().encode(`postern keyring ${PERSON_VERSION}\0${address}`)
}
