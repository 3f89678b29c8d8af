/** Octets to overwrite, at an offset into a section as the store has it. */
export interface WindowPatch {
  readonly offset: number
  readonly octets: Uint8Array
}

/** All that changes in one section of one message for one device; no patches: nothing changes. */
export type WindowRecord = readonly WindowPatch[]

/**
 * Window records, least recently used first, bounded in octets. A key names everything a record depends on: connection (so device and
 * its keys), mailbox, UIDVALIDITY, UID, section. A record is a cache: what it says can be found again by reading the message.
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

  /** Forgets what a connection learned, when it ends. */
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

/** `octets` from `offset` of a section, as the device sees them: a copy where a patch falls in, else the same view. */
export function applyWindow(octets: Uint8Array, offset: number, record: WindowRecord): Uint8Array {
  let patched: Uint8Array | null = null
  for (const patch of record) {
    const start = Math.max(patch.offset, offset)
    const end = Math.min(patch.offset + patch.octets.length, offset + octets.length)
    if (start >= end) continue
    patched ??= Uint8Array.from(octets)
    patched.set(patch.octets.subarray(start - patch.offset, end - patch.offset), start - offset)
  }
  return patched ?? octets
}

/** Measured on Node 24: a Map entry, an array and a patch object take some 200 octets beside their content. */
const RECORD_OVERHEAD_OCTETS = 200

function costOf(key: string, record: WindowRecord): number {
  return record.reduce((sum, patch) => sum + patch.octets.length + 100, RECORD_OVERHEAD_OCTETS + key.length)
}
