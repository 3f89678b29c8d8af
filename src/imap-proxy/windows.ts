import { sameOctets } from "../crypto/recryption/patch.ts"

/** Octets to overwrite, at an offset into a section as the store has it. */
export interface WindowPatch {
  readonly offset: number
  readonly octets: Uint8Array
  /** What they overwrite: a server that now has something else there has another message. */
  readonly original: Uint8Array
}

/** What is known of one section of one message, for one device. */
export interface WindowRecord {
  /** All that changes; empty: nothing does. */
  readonly patches: readonly WindowPatch[]
  /** For the whole message: whether it is what its marker vouches for (`none`: nobody does). It is looked at once. */
  readonly integrity: "unchecked" | "holds" | "altered" | "none"
}

/**
 * Window records, least recently used first, bounded in octets. A key names everything a record depends on: device and its keys,
 * mailbox, UIDVALIDITY, UID, section. A record is a cache: what it says can be found again by reading the message.
 */
export class WindowCache {
  readonly #limitOctets: number
  readonly #records = new Map<string, WindowRecord>()
  #octets = 0

  constructor(limitOctets: number) {
    this.#limitOctets = limitOctets
  }

  get octets(): number {
    return this.#octets
  }

  find(key: string): WindowRecord | null {
    const record = this.#records.get(key)
    if (record === undefined) return null
    this.#records.delete(key)
    this.#records.set(key, record)
    return record
  }

  add(key: string, record: WindowRecord): void {
    this.#drop(key)
    this.#records.set(key, record)
    this.#octets += costOf(key, record)
    for (const oldest of this.#records.keys()) {
      if (this.#octets <= this.#limitOctets) return
      this.#drop(oldest)
    }
  }

  /** Forgets a record that turned out not to fit. */
  forget(key: string): void {
    this.#drop(key)
  }

  /** Forgets what was learned for a device, when it is revoked. */
  dropPrefix(prefix: string): void {
    for (const key of [...this.#records.keys()]) if (key.startsWith(prefix)) this.#drop(key)
  }

  #drop(key: string): void {
    const record = this.#records.get(key)
    if (record === undefined) return
    this.#records.delete(key)
    this.#octets -= costOf(key, record)
  }
}

/**
 * `octets` from `offset` of a section, as the device sees them.
 * @param overwrite the octets are ours alone: the patch goes into them, instead of into a copy
 * @returns null when the message is not the one that the patches were made for
 */
export function applyWindow(
  octets: Uint8Array,
  offset: number,
  patches: readonly WindowPatch[],
  overwrite = false,
): Uint8Array | null {
  let patched = overwrite ? octets : null
  for (const { offset: at, octets: changed, original } of patches) {
    const start = Math.max(at, offset)
    const end = Math.min(at + changed.length, offset + octets.length)
    if (start >= end) continue
    if (!sameOctets(octets.subarray(start - offset, end - offset), original.subarray(start - at, end - at))) return null
    patched ??= Uint8Array.from(octets)
    patched.set(changed.subarray(start - at, end - at), start - offset)
  }
  return patched ?? octets
}

/** Measured on Node 24: a Map entry, an array and a patch object take some 200 octets beside their content. */
const RECORD_OVERHEAD_OCTETS = 200

function costOf(key: string, record: WindowRecord): number {
  return record.patches.reduce((sum, patch) => sum + 2 * patch.octets.length + 200, RECORD_OVERHEAD_OCTETS + key.length)
}
