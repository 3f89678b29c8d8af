import { latin1 } from "./wire/tokens.ts"

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
  readonly integrity: Integrity
}

export type Integrity = "unchecked" | "holds" | "altered" | "none"

/**
 * Window records, bounded in octets. A key names everything a record depends on: a place (device and its keys, mailbox, UIDVALIDITY),
 * UID, section. A record is a cache: what it says can be found again by reading the message.
 *
 * Two generations: what is used moves to the young one; when that is half of all, it becomes the old one and the old one goes. So a
 * record that is in use costs a look-up and nothing else (a list in order of use would cost two changes of a large map each time).
 *
 * Records are kept packed, as one string each: with their arrays, 16,000 of them had a third of the process's time go into marking and
 * sweeping what never changes.
 */
export class WindowCache {
  readonly #limitOctets: number
  #young = new Generation()
  #old = new Generation()
  /** Numbers of places, by scope and mailbox. A number is never used again. */
  #places = new Map<string, Map<string, number>>()
  #placesMade = 0
  #placesKept = 0
  #hits = 0
  #misses = 0

  constructor(limitOctets: number) {
    this.#limitOctets = limitOctets
  }

  get octets(): number {
    return this.#young.octets + this.#old.octets
  }

  /**
   * The number that stands in keys for a device's scope and a mailbox with its UIDVALIDITY: both are long, and would be hashed and
   * compared with each message.
   */
  place(scope: string, mailbox: string): number {
    return this.#places.get(scope)?.get(mailbox) ?? this.#newPlace(scope, mailbox)
  }

  find(key: string): WindowRecord | null {
    const packed = this.#young.records.get(key) ?? this.#moved(key)
    if (packed === null) {
      this.#misses += 1
      return null
    }
    this.#hits += 1
    return unpacked(packed)
  }

  /** Look-ups since the last time this was asked. */
  takeLookups(): { readonly hits: number; readonly misses: number } {
    const taken = { hits: this.#hits, misses: this.#misses }
    this.#hits = 0
    this.#misses = 0
    return taken
  }

  add(key: string, record: WindowRecord): void {
    this.#add(key, packedForm(record))
  }

  /** What {@link addVerdict} was told; not counted as a look-up. */
  verdict(key: string): Integrity | null {
    const packed = this.#young.records.get(key) ?? this.#moved(key)
    return packed === null ? null : (INTEGRITIES[Number(packed)] ?? null)
  }

  /** What a message as a whole came to, beside the records of devices and with their bound. */
  addVerdict(key: string, verdict: Integrity): void {
    this.#add(key, `${INTEGRITIES.indexOf(verdict)}`)
  }

  /** Forgets a record that turned out not to fit. */
  forget(key: string): void {
    this.#young.drop(key)
    this.#old.drop(key)
  }

  /** Forgets what was learned for a device, when it is revoked. */
  dropScope(scope: string): void {
    const places = new Set(this.#places.get(scope)?.values())
    this.#placesKept -= places.size
    this.#places.delete(scope)
    for (const { records } of [this.#young, this.#old])
      for (const key of [...records.keys()]) if (places.has(Number.parseInt(key, 10))) this.forget(key)
  }

  /** Of too many places all are forgotten: their records are not found any more, and go with their generation. */
  #newPlace(scope: string, mailbox: string): number {
    if (this.#placesKept === MAX_PLACES) {
      this.#places = new Map()
      this.#placesKept = 0
    }
    const ofScope = this.#places.get(scope) ?? new Map<string, number>()
    this.#places.set(scope, ofScope)
    ofScope.set(mailbox, ++this.#placesMade)
    this.#placesKept += 1
    return this.#placesMade
  }

  #moved(key: string): string | null {
    const packed = this.#old.records.get(key)
    if (packed === undefined) return null
    this.#add(key, packed)
    return packed
  }

  #add(key: string, packed: string): void {
    this.forget(key)
    this.#young.add(key, packed)
    if (2 * this.#young.octets <= this.#limitOctets) return
    this.#old = this.#young
    this.#young = new Generation()
  }
}

class Generation {
  readonly records = new Map<string, string>()
  octets = 0

  add(key: string, packed: string): void {
    this.records.set(key, packed)
    this.octets += costOf(key, packed)
  }

  drop(key: string): void {
    const packed = this.records.get(key)
    if (packed === undefined) return
    this.records.delete(key)
    this.octets -= costOf(key, packed)
  }
}

/** `integrity offset length original changed offset length …`, each number followed by a blank, octets as one character each. */
function packedForm({ patches, integrity }: WindowRecord): string {
  const pieces = patches.map(({ offset, octets, original }) => {
    return `${offset} ${octets.length} ${latin1(original)}${latin1(octets)}`
  })
  return flat(`${INTEGRITIES.indexOf(integrity)} ${pieces.join("")}`)
}

function unpacked(packed: string): WindowRecord {
  const patches: WindowPatch[] = []
  for (let at = 2; at < packed.length; ) {
    const offsetEnd = packed.indexOf(" ", at)
    const start = packed.indexOf(" ", offsetEnd + 1) + 1
    const length = Number(packed.slice(offsetEnd + 1, start - 1))
    const octets = Buffer.from(packed.slice(start, start + 2 * length), "latin1")
    patches.push({
      offset: Number(packed.slice(at, offsetEnd)),
      original: octets.subarray(0, length),
      octets: octets.subarray(length),
    })
    at = start + 2 * length
  }
  return { patches, integrity: INTEGRITIES[Number(packed[0])] ?? "unchecked" }
}

/** One piece in memory, instead of a tree of those it was made of. */
function flat(text: string): string {
  return Buffer.from(text, "latin1").toString("latin1")
}

const INTEGRITIES: readonly Integrity[] = ["unchecked", "holds", "altered", "none"]

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
  let meets = false
  // All are compared before any is written: what is not the same message stays as it is.
  for (const { offset: at, original } of patches) {
    const end = Math.min(at + original.length, offset + octets.length)
    for (let position = Math.max(at, offset); position < end; position++) {
      if (octets[position - offset] !== original[position - at]) return null
      meets = true
    }
  }
  if (!meets) return octets
  const patched = overwrite ? octets : Uint8Array.from(octets)
  for (const { offset: at, octets: changed } of patches) {
    const end = Math.min(at + changed.length, offset + octets.length)
    for (let position = Math.max(at, offset); position < end; position++)
      patched[position - offset] = changed[position - at] ?? 0
  }
  return patched
}

/** A place is a string of a mailbox name and an entry of a map, some 200 octets. */
const MAX_PLACES = 100_000
/** An entry of a map and the heads of two strings. */
const RECORD_OVERHEAD_OCTETS = 100

function costOf(key: string, packed: string): number {
  return RECORD_OVERHEAD_OCTETS + key.length + packed.length
}
