import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { randomOctets } from "../crypto/primitives/random.ts"
import {
  type Decapsulator,
  type Encapsulation,
  x25519Decapsulator,
  x25519Encapsulator,
} from "../crypto/primitives/seal-key.ts"
import { randomX25519Scalar, x25519PublicKey } from "../crypto/primitives/x25519.ts"
import { KEY_ID_OCTETS, type SealingKey } from "../crypto/seal/seal.ts"
import { GatewayError } from "../errors.ts"
import { destroyFile, makePrivateFolder, syncFolder, systemCode, writeDurably } from "./durable.ts"

/** A spool key is used for as long as this; what was sealed to it before stays closed to a thief once it is destroyed. */
const ROTATE_AFTER_MS = 24 * 3_600_000
/** A replaced key is kept for at least this: a slow client may still be sending a message that began under it. */
const KEEP_REPLACED_MS = 24 * 3_600_000
/** Who takes over a process that only accepts mail can open what it accepted in this time, and no more. */
const SHARED_FOR_MS = 1_000
/** Several processes seal at a time. */
const REMEMBERED = 8
/** How long the list of keys is trusted before the folder is read again. */
const LIST_FOR_MS = 5_000

/** The public halves: all that a process which only accepts mail has. */
export class SpoolPublicKeys {
  readonly #folder: string
  readonly #now: () => Date
  #listed: { readonly key: SealingKey; readonly atMs: number } | null = null

  /** `folder` is data/spool-keys. */
  constructor(folder: string, now: () => Date) {
    this.#folder = folder
    this.#now = now
  }

  /**
   * The key that new messages are sealed to.
   * @throws GatewayError SPOOL_KEY_MISSING while no process with the private keys has made one
   */
  current(): SealingKey {
    const atMs = this.#now().getTime()
    const age = atMs - (this.#listed?.atMs ?? Number.NEGATIVE_INFINITY)
    if (this.#listed && age >= 0 && age < LIST_FOR_MS) return this.#listed.key
    const id = newest(publicKeyIds(this.#folder), this.#now())
    if (id === undefined) throw new GatewayError("SPOOL_KEY_MISSING", "spool keys: there is no public key yet")
    const encapsulate = x25519Encapsulator(readFileSync(publicPath(this.#folder, id)))
    const key = { id: Buffer.from(id, "hex"), encapsulate: shared(encapsulate, this.#now) }
    this.#listed = { key, atMs }
    return key
  }
}

/** Both halves; makes new keys and destroys old ones. */
export class SpoolKeys {
  readonly #publicFolder: string
  readonly #secretFolder: string
  readonly #decapsulators = new Map<string, Decapsulator>()

  /** `publicFolder` is data/spool-keys, `secretFolder` secrets/spool; made when absent. */
  constructor(publicFolder: string, secretFolder: string) {
    this.#publicFolder = publicFolder
    this.#secretFolder = secretFolder
    makePrivateFolder(publicFolder)
    makePrivateFolder(secretFolder)
  }

  /** Makes a key when there is none, or none younger than a day. */
  rotate(now: Date): void {
    const id = newest(publicKeyIds(this.#publicFolder), now)
    // Without its private half a public key loses mail: it came back from a copy of data/, or secrets/ is another's.
    const usable = id !== undefined && existsSync(this.#secretPath(id))
    if (usable && Math.abs(now.getTime() - madeAtMs(id)) < ROTATE_AFTER_MS) return
    for (const stale of usable || id === undefined ? [] : [id])
      rmSync(publicPath(this.#publicFolder, stale), { force: true })
    this.#make(now)
  }

  /**
   * The private half, kept in memory.
   * @throws GatewayError SPOOL_KEY_MISSING
   */
  decapsulator(keyId: Uint8Array): Decapsulator {
    const id = Buffer.from(keyId).toString("hex")
    const decapsulator = this.#decapsulators.get(id) ?? this.#read(id)
    this.#decapsulators.set(id, decapsulator)
    return decapsulator
  }

  /** Forgets the private halves in memory; those that are still there are read again when they are needed. */
  forget(): void {
    this.#decapsulators.clear()
  }

  /** Ids, in hex, of the keys that were replaced long enough ago to be destroyed if nothing uses them. */
  replaced(now: Date): string[] {
    const ids = secretKeyIds(this.#secretFolder)
    const current = newest(publicKeyIds(this.#publicFolder), now)
    return ids.filter((id) => id !== current && madeAtMs(id) + ROTATE_AFTER_MS + KEEP_REPLACED_MS <= now.getTime())
  }

  /** Makes what is sealed to these keys unreadable for ever. */
  destroy(ids: readonly string[]): void {
    for (const id of ids) rmSync(publicPath(this.#publicFolder, id), { force: true })
    syncFolder(this.#publicFolder)
    for (const id of ids) {
      if (existsSync(this.#secretPath(id))) destroyFile(this.#secretPath(id))
      this.#decapsulators.delete(id)
    }
    syncFolder(this.#secretFolder)
  }

  #make(now: Date): void {
    const time = Buffer.alloc(8)
    time.writeBigUInt64BE(BigInt(now.getTime()))
    const id = Buffer.concat([time.subarray(2), randomOctets(KEY_ID_OCTETS - 6)]).toString("hex")
    const scalar = randomX25519Scalar()
    // The private half first: from the moment the public one has its name, mail is sealed to it.
    writeDurably(this.#secretPath(id), scalar)
    writeDurably(publicPath(this.#publicFolder, id), x25519PublicKey(scalar))
    scalar.fill(0)
  }

  #read(id: string): Decapsulator {
    try {
      const scalar = readFileSync(this.#secretPath(id))
      const decapsulator = remembering(x25519Decapsulator(scalar))
      scalar.fill(0)
      return decapsulator
    } catch (cause) {
      if (systemCode(cause) !== "ENOENT") throw cause
      throw new GatewayError("SPOOL_KEY_MISSING", `spool key ${id}: no private key`, { cause })
    }
  }

  #secretPath(id: string): string {
    return join(this.#secretFolder, `${id}.key`)
  }
}

/** One encapsulation for the messages of a moment: it takes as long as everything else that sealing a small one does. */
function shared(encapsulate: () => Encapsulation, now: () => Date): () => Encapsulation {
  let last: { readonly encapsulation: Encapsulation; readonly atMs: number } | null = null
  return () => {
    const atMs = now().getTime()
    if (last === null || Math.abs(atMs - last.atMs) >= SHARED_FOR_MS) last = { encapsulation: encapsulate(), atMs }
    return last.encapsulation
  }
}

/** The other side of {@link shared}: most messages are opened right after they were sealed. */
function remembering(decapsulate: Decapsulator): Decapsulator {
  const known = new Map<string, Uint8Array>()
  return (encapsulated) => {
    const name = Buffer.from(encapsulated).toString("latin1")
    const secret = known.get(name) ?? decapsulate(encapsulated)
    known.delete(name)
    known.set(name, secret)
    for (const oldest of known.keys()) {
      if (known.size <= REMEMBERED) break
      known.delete(oldest)
    }
    return secret
  }
}

/** Ids begin with the time, so that the greatest is the newest; one from a clock that ran ahead does not count. */
function newest(ids: readonly string[], now: Date): string | undefined {
  const believable = ids.filter((id) => madeAtMs(id) <= now.getTime() + ROTATE_AFTER_MS)
  return (believable.length > 0 ? believable : ids).toSorted().at(-1)
}

function madeAtMs(id: string): number {
  return Number.parseInt(id.slice(0, 12), 16)
}

function publicPath(folder: string, id: string): string {
  return join(folder, `${id}.pub`)
}

function publicKeyIds(folder: string): string[] {
  return idsIn(folder, /^([0-9a-f]{32})\.pub$/)
}

function secretKeyIds(folder: string): string[] {
  return idsIn(folder, /^([0-9a-f]{32})\.key$/)
}

function idsIn(folder: string, pattern: RegExp): string[] {
  try {
    return readdirSync(folder).flatMap((name) => pattern.exec(name)?.[1] ?? [])
  } catch (error) {
    if (systemCode(error) === "ENOENT") return []
    throw error
  }
}
