import { ArmorTail } from "./armor-tail.ts"
import { Beginning } from "./beginning.ts"
import { BodySearch, type Found } from "./body-search.ts"
import { Candidate, type Verdict } from "./candidate.ts"
import { applyPatches, type Patch, type Span } from "./patch.ts"
import { type BlockPatching, patchesOf, type Recryptor } from "./recryptor.ts"
import { WrappedArmor } from "./wrapped-armor.ts"

/** What became of the encrypted blocks of a feed. */
export interface BlockCounts {
  /** Recrypted. */
  readonly patched: number
  /** For somebody else: unchanged. */
  readonly foreign: number
  /** Cut off, not to be read, or ours and not to be recrypted: unchanged. */
  readonly malformed: number
}

/** A change that was made, and what stood there before: as long as it does, the change can be made again. */
export interface MadePatch extends Patch {
  readonly original: Uint8Array
}

/** What a caller may want besides the recrypted octets. */
export interface RecryptionOptions {
  /**
   * Is given all octets, in pieces, those of the patch windows as zeros. Windows depend on the blocks alone, not on the recryptors:
   * the stored form and every device's form give the same octets, so that a MAC over them holds for all.
   */
  readonly onStable?: (octets: Uint8Array) => void
  /** The feed was taken out of base64 already: base64 in base64 is not looked into. */
  readonly wrapped?: boolean
}

/**
 * Recrypts message data as it streams by: a whole message, BODY[TEXT] or any one body, in pieces of any size. Blocks are found by
 * content. What comes out is as long as what went in, and the same outside the patches; the head of a block is held back until it is
 * known, at most some {@link MAX_HELD_OCTETS}.
 */
export class RecryptionStream {
  readonly #patching: BlockPatching
  readonly #onStable: ((octets: Uint8Array) => void) | null
  /** Somebody wants the windows, also where nothing changes. */
  readonly #watched: boolean
  readonly #search = new BodySearch()
  readonly #nested: boolean
  readonly #patches: MadePatch[] = []
  readonly #windows: Span[] = []
  readonly #counts: Record<keyof BlockCounts, number> = { patched: 0, foreign: 0, malformed: 0 }
  #state: State = SEARCHING
  /** Octets given out so far. */
  #offset = 0
  #out: Uint8Array[] = []
  readonly #beginning = new Beginning()
  #wholeBody = false
  /** So many octets belong to the block that began before: no other begins in them. */
  #insideOctets = 0
  #ended = false

  /** @param patching the recryptors, or who else says what changes in a block: asked once for each, in order */
  constructor(patching: readonly Recryptor[] | BlockPatching, options: RecryptionOptions = {}) {
    this.#patching = typeof patching === "function" ? patching : (block, head) => patchesOf(patching, block, head)
    this.#onStable = options.onStable ?? null
    this.#watched = options.onStable !== undefined || options.wrapped === true
    this.#nested = options.wrapped === true
  }

  /** The window record: what was overwritten, in coordinates of the feed, ascending. */
  get patches(): readonly MadePatch[] {
    return this.#patches
  }

  /** Where patches are or could be, ascending: the same for every device. */
  get windows(): readonly Span[] {
    return this.#windows
  }

  get counts(): BlockCounts {
    return this.#counts
  }

  /**
   * True when the window record is complete: the feed has ended, or what follows is the rest of the one CMS block that makes up the
   * body. False while a block is held, while an armor's CRC is to come, and while another block may follow.
   */
  get settled(): boolean {
    return this.#ended || (this.#wholeBody && this.#state.kind === "searching")
  }

  /** Takes octets and gives out those that are decided; possibly none. Views of `octets` may be among them. */
  push(octets: Uint8Array): Uint8Array[] {
    return this.#run(octets, false)
  }

  /** The feed ends: gives out what was held. */
  end(): Uint8Array[] {
    const out = this.#run(EMPTY, true)
    this.#ended = true
    return out
  }

  #run(octets: Uint8Array, ended: boolean): Uint8Array[] {
    this.#beginning.push(octets)
    const waiting = [octets]
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const last = ended && waiting.length === 0
      if (next.length > 0 || (last && this.#state.kind !== "searching")) waiting.push(...this.#step(next, last))
    }
    const out = this.#out
    this.#out = []
    return out
  }

  /** @returns what is to be looked at in the new state, last piece first */
  #step(octets: Uint8Array, ended: boolean): Uint8Array[] {
    const state = this.#state
    switch (state.kind) {
      case "searching":
        return this.#find(octets, ended)
      case "undecided":
        return this.#find(Buffer.concat([state.held, octets]), ended)
      case "candidate":
        return this.#examine(state.candidate, octets, ended)
      case "armor":
        return this.#follow(state.tail, state.held, octets, ended)
      case "wrapped":
        return this.#unwrap(state.armor, state.inner, octets, ended)
    }
    state satisfies never
  }

  #find(octets: Uint8Array, ended: boolean): Uint8Array[] {
    this.#state = SEARCHING
    if (this.#insideOctets > 0) {
      const inside = octets.subarray(0, this.#insideOctets)
      this.#insideOctets -= inside.length
      this.#pass(inside, [], [])
      return [octets.subarray(inside.length)]
    }
    const found = this.#search.find(octets, ended)
    if (found === null) {
      this.#give(octets, octets, [])
      return []
    }
    this.#pass(octets.subarray(0, found.at), [], [])
    const rest = octets.subarray(found.at)
    this.#state = this.#begin(found.encoding, rest)
    return this.#state.kind === "undecided" ? [] : [rest]
  }

  #begin(encoding: Found["encoding"], rest: Uint8Array): State {
    if (encoding === "undecided") return { kind: "undecided", held: new Uint8Array(rest) }
    // Base64 in base64 is not looked into: a candidate for CMS it is not, so it passes.
    if (encoding !== "wrapped" || this.#nested)
      return {
        kind: "candidate",
        candidate: new Candidate(encoding === "wrapped" ? "base64" : encoding, this.#patching),
      }
    const inner = new RecryptionStream(this.#patching, { wrapped: true })
    return { kind: "wrapped", armor: new WrappedArmor(inner), inner }
  }

  #unwrap(armor: WrappedArmor, inner: RecryptionStream, octets: Uint8Array, ended: boolean): Uint8Array[] {
    const { rest, ...released } = armor.push(octets, ended)
    this.#pass(released.octets, released.patches, released.windows)
    if (rest === null) return []
    this.#state = SEARCHING
    for (const outcome of ["patched", "foreign", "malformed"] as const) this.#count(outcome, inner.counts[outcome])
    // At least one octet is passed, or the same place would be found again for ever.
    return [this.#release(rest, 1)]
  }

  #examine(candidate: Candidate, octets: Uint8Array, ended: boolean): Uint8Array[] {
    const size = candidate.missingOctets
    const later = octets.subarray(size)
    const verdict = candidate.push(octets.subarray(0, size), ended && later.length === 0)
    if (verdict.kind === "more") return [later]
    this.#state = SEARCHING
    if (verdict.kind === "block") return [later, this.#giveHead(candidate, verdict)]
    if (verdict.kind === "malformed") this.#count("malformed")
    return [later, this.#release(candidate.held, verdict.passedOctets)]
  }

  /** A block's head goes out; what follows it is looked at again. */
  #giveHead({ held }: Candidate, block: Verdict & { kind: "block" }): Uint8Array {
    if (block.delta === null && this.#beginning.isFollowedBy(this.#offset)) this.#wholeBody = true
    this.#count(block.outcome)
    this.#pass(held.subarray(0, block.endOctets), block.patches, block.windows)
    this.#insideOctets = block.restOctets
    if (block.delta !== null && (block.patches.length > 0 || (this.#watched && block.windows.length > 0)))
      this.#state = { kind: "armor", tail: new ArmorTail(block.delta), held: EMPTY }
    return held.subarray(block.endOctets)
  }

  /** Octets that are not changed: some are passed, in the rest another block may begin. */
  #release(held: Uint8Array, passed: number): Uint8Array {
    this.#pass(held.subarray(0, passed), [], [])
    return held.subarray(passed)
  }

  #follow(tail: ArmorTail, held: Uint8Array, octets: Uint8Array, ended: boolean): Uint8Array[] {
    const all = held.length === 0 ? octets : Buffer.concat([held, octets])
    const step = tail.push(all, ended)
    if (step.kind === "hold") {
      this.#pass(all.subarray(0, step.at), [], [])
      this.#state = { kind: "armor", tail, held: new Uint8Array(all.subarray(step.at)) }
      return []
    }
    if (step.kind === "all") {
      this.#pass(all, [], [])
      this.#state = ended ? SEARCHING : { kind: "armor", tail, held: EMPTY }
      return []
    }
    this.#state = SEARCHING
    const { at, patches, windows } = step
    this.#pass(all.subarray(0, at), patches, windows)
    return [all.subarray(at)]
  }

  #pass(octets: Uint8Array, patches: readonly Patch[], windows: readonly Span[]): void {
    const stable = blanked(octets, windows)
    this.#search.pass(stable)
    for (const { start, end } of windows) this.#windows.push({ start: this.#offset + start, end: this.#offset + end })
    this.#give(octets, stable, patches)
  }

  #give(octets: Uint8Array, stable: Uint8Array, patches: readonly Patch[]): void {
    if (octets.length === 0) return
    for (const { offset, octets: changed } of patches) {
      const original = Buffer.from(octets.subarray(offset, offset + changed.length))
      this.#patches.push({ offset: this.#offset + offset, octets: changed, original })
    }
    this.#out.push(applyPatches(patches, 0, octets))
    this.#onStable?.(stable)
    this.#offset += octets.length
  }

  #count(outcome: keyof BlockCounts, blocks = 1): void {
    this.#counts[outcome] += blocks
  }
}

type State =
  | { readonly kind: "searching" }
  | { readonly kind: "undecided"; readonly held: Uint8Array }
  | { readonly kind: "candidate"; readonly candidate: Candidate }
  | { readonly kind: "armor"; readonly tail: ArmorTail; readonly held: Uint8Array }
  | { readonly kind: "wrapped"; readonly armor: WrappedArmor; readonly inner: RecryptionStream }

/** @returns the same view when there are no windows, else a copy */
function blanked(octets: Uint8Array, windows: readonly Span[]): Uint8Array {
  if (windows.length === 0) return octets
  const copy = Buffer.from(octets)
  for (const { start, end } of windows) copy.fill(0, start, end)
  return copy
}

const SEARCHING: State = { kind: "searching" }
const EMPTY = new Uint8Array(0)
