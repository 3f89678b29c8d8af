import { sameOctets } from "../crypto/recryption/patch.ts"
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
  readonly integrity: "unchecked" | "holds" | "altered" | "none"
}

/**
 * Window records, bounded in octets. A key names everything a record depends on: device and its keys, mailbox, UIDVALIDITY, UID,
 * section. A record is a cache: what it says can be found again by reading the message.
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
  #hits = 0
  #misses = 0

  constructor(limitOctets: number) {
    this.#limitOctets = limitOctets
  }

  get octets(): number {
    return this.#young.octets + this.#old.octets
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

const INTEGRITIES: readonly WindowRecord["integrity"][] = ["unchecked", "holds", "altered", "none"]

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
  const spans = patches.flatMap((patch) => spanOf(patch, offset, octets.length) ?? [])
  // All are compared before any is written: what is not the same message stays as it is.
  for (const { start, original } of spans)
    if (!sameOctets(octets.subarray(start, start + original.length), original)) return null
  if (spans.length === 0) return octets
  const patched = overwrite ? octets : Uint8Array.from(octets)
  for (const { start, changed } of spans) patched.set(changed, start)
  return patched
}

/** The part of a patch that falls into so many octets from `offset`, which `start` counts from; null when none does. */
function spanOf(
  { offset: at, octets, original }: WindowPatch,
  offset: number,
  length: number,
): { readonly start: number; readonly changed: Uint8Array; readonly original: Uint8Array } | null {
  const start = Math.max(at, offset)
  const end = Math.min(at + octets.length, offset + length)
  if (start >= end) return null
  const [from, to] = [start - at, end - at]
  return { start: start - offset, changed: octets.subarray(from, to), original: original.subarray(from, to) }
}

/** An entry of a map and the heads of two strings. */
const RECORD_OVERHEAD_OCTETS = 100

function costOf(key: string, packed: string): number {
  return RECORD_OVERHEAD_OCTETS + key.length + packed.length
}
