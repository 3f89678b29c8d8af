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
 * Window records, bounded in octets. A key names everything a record depends on: device and its keys, mailbox, UIDVALIDITY, UID,
 * section. A record is a cache: what it says can be found again by reading the message.
 *
 * Two generations: what is used moves to the young one; when that is half of all, it becomes the old one and the old one goes. So a
 * record that is in use costs a look-up and nothing else (a list in order of use would cost two changes of a large map each time).
 */
export class WindowCache {
  readonly #limitOctets: number
  #young = new Generation()
  #old = new Generation()

  constructor(limitOctets: number) {
    this.#limitOctets = limitOctets
  }

  get octets(): number {
    return this.#young.octets + this.#old.octets
  }

  find(key: string): WindowRecord | null {
    const young = this.#young.records.get(key)
    if (young !== undefined) return young
    const old = this.#old.records.get(key)
    if (old === undefined) return null
    this.add(key, old)
    return old
  }

  add(key: string, record: WindowRecord): void {
    this.forget(key)
    this.#young.add(key, record)
    if (2 * this.#young.octets <= this.#limitOctets) return
    this.#old = this.#young
    this.#young = new Generation()
  }

  /** Forgets a record that turned out not to fit. */
  forget(key: string): void {
    this.#young.drop(key)
    this.#old.drop(key)
  }

  /** Forgets what was learned for a device, when it is revoked. */
  dropPrefix(prefix: string): void {
    for (const { records } of [this.#young, this.#old])
      for (const key of [...records.keys()]) if (key.startsWith(prefix)) this.forget(key)
  }
}

class Generation {
  readonly records = new Map<string, WindowRecord>()
  octets = 0

  add(key: string, record: WindowRecord): void {
    this.records.set(key, record)
    this.octets += costOf(key, record)
  }

  drop(key: string): void {
    const record = this.records.get(key)
    if (record === undefined) return
    this.records.delete(key)
    this.octets -= costOf(key, record)
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
