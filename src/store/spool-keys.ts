import { existsSync, readdirSync, readFileSync } from "node:fs"
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
/** How long the list of keys is trusted before it is read again. */
const LIST_FOR_MS = 5_000

/** Public halves of the spool's keys, by id in hex, wherever they rest. */
export interface PublicHalves {
  ids(): Promise<readonly string[]>
  /** @returns null when there is none of that id */
  read(id: string): Promise<Uint8Array | null>
  /** Resolves when it would survive a power cut. */
  add(id: string, point: Uint8Array): Promise<void>
  /** Takes the half away, whatever is sealed to it. */
  withdraw(id: string): Promise<void>
  /**
   * Takes away the halves that no message is sealed to, and lets none be sealed to them from then on.
   * @returns the ids that nothing is sealed to, whether or not the halves were still there
   */
  retire(ids: readonly string[]): Promise<readonly string[]>
  /** Runs `act` while no other process makes keys, as far as processes can know of one another. */
  alone<T>(act: () => Promise<T>): Promise<T>
}

/** The public halves: all that a process which only accepts mail has. */
export class SpoolPublicKeys {
  readonly #halves: PublicHalves
  readonly #now: () => Date
  #listed: { readonly key: Promise<SealingKey>; readonly atMs: number } | null = null

  constructor(halves: PublicHalves, now: () => Date) {
    this.#halves = halves
    this.#now = now
  }

  /**
   * The key that new messages are sealed to.
   * @throws GatewayError SPOOL_KEY_MISSING while no process with the private keys has made one
   */
  async current(): Promise<SealingKey> {
    const atMs = this.#now().getTime()
    const age = atMs - (this.#listed?.atMs ?? Number.NEGATIVE_INFINITY)
    if (this.#listed && age >= 0 && age < LIST_FOR_MS) return await this.#listed.key
    const listed = { key: this.#newest(), atMs }
    this.#listed = listed
    try {
      return await listed.key
    } catch (error) {
      if (this.#listed === listed) this.#listed = null
      throw error
    }
  }

  /** Asks again when the key is wanted next. */
  forget(): void {
    this.#listed = null
  }

  async #newest(): Promise<SealingKey> {
    const id = newest(await this.#halves.ids(), this.#now())
    const point = id === undefined ? null : await this.#halves.read(id)
    if (id === undefined || point === null)
      throw new GatewayError("SPOOL_KEY_MISSING", "spool keys: there is no public key yet")
    return { id: Buffer.from(id, "hex"), encapsulate: shared(x25519Encapsulator(point), this.#now) }
  }
}

/** Both halves; makes new keys and destroys old ones. Several processes may do so, on several machines. */
export class SpoolKeys {
  readonly #halves: PublicHalves
  readonly #secretFolder: string
  readonly #decapsulators = new Map<string, Decapsulator>()

  /** `secretFolder` is secrets/spool; made when absent. Machines that share the public halves share it, too. */
  constructor(halves: PublicHalves, secretFolder: string) {
    this.#halves = halves
    this.#secretFolder = secretFolder
    makePrivateFolder(secretFolder)
  }

  /** Makes a key when there is none, or none younger than a day. */
  async rotate(now: Date): Promise<void> {
    if (this.#isFresh(newest(await this.#halves.ids(), now), now)) return
    await this.#halves.alone(async () => {
      const id = newest(await this.#halves.ids(), now)
      // Another process may have made one meanwhile.
      if (this.#isFresh(id, now)) return
      await this.#make(now)
      // Without its private half a public key loses mail: it came back from a copy of data/, or secrets/ is another's.
      if (id !== undefined && !existsSync(this.#secretPath(id))) await this.#halves.withdraw(id)
    })
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
  async replaced(now: Date): Promise<string[]> {
    const ids = secretKeyIds(this.#secretFolder)
    const current = newest(await this.#halves.ids(), now)
    return ids.filter((id) => id !== current && madeAtMs(id) + ROTATE_AFTER_MS + KEEP_REPLACED_MS <= now.getTime())
  }

  /**
   * Makes what was sealed to these keys unreadable for ever. A key that a message has been sealed to meanwhile stays.
   * @returns the ids of those destroyed
   */
  async destroy(ids: readonly string[]): Promise<readonly string[]> {
    const retired = await this.#halves.retire(ids)
    for (const id of retired) {
      destroyIfThere(this.#secretPath(id))
      this.#decapsulators.delete(id)
    }
    syncFolder(this.#secretFolder)
    return retired
  }

  #isFresh(id: string | undefined, now: Date): boolean {
    if (id === undefined || !existsSync(this.#secretPath(id))) return false
    return Math.abs(now.getTime() - madeAtMs(id)) < ROTATE_AFTER_MS
  }

  async #make(now: Date): Promise<void> {
    const time = Buffer.alloc(8)
    time.writeBigUInt64BE(BigInt(now.getTime()))
    const id = Buffer.concat([time.subarray(2), randomOctets(KEY_ID_OCTETS - 6)]).toString("hex")
    const scalar = randomX25519Scalar()
    // The private half first: from the moment the public one has its name, mail is sealed to it.
    writeDurably(this.#secretPath(id), scalar)
    await this.#halves.add(id, x25519PublicKey(scalar))
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

/** Another machine may destroy the same key at this moment. */
function destroyIfThere(path: string): void {
  try {
    destroyFile(path)
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error
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

function secretKeyIds(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => /^([0-9a-f]{32})\.key$/.exec(name)?.[1] ?? [])
}
