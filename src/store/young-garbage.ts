import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

/** A collection of what is young, and of nothing else: a millisecond. */
export type CollectYoung = () => void

/**
 * Contexts that are made while the flag is set have the function; no other one gets it. The flag is one for all threads, and another that begins now may take it back
 * in between. @returns null: it did each time, and this thread does without
 */
export function youngCollector(): CollectYoung | null {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    setFlagsFromString("--expose-gc")
    const collect = runInNewContext("globalThis.gc ?? null") as ((options: { readonly type: "minor" }) => void) | null
    setFlagsFromString("--no-expose-gc")
    if (collect !== null) return () => collect({ type: "minor" })
  }
  return null
}

let collector: CollectYoung | null = null
let sinceOctets = 0

/**
 * So many octets of a long message have gone through this thread, in buffers that are garbage by now. They are memory outside of the heap, of which V8 collects nothing before
 * there are 64 MB: so much a message of that length would take, and each thread that it goes through. Measured with 49 MB that arrive: 35 MB at the highest, 76 without.
 */
export function havePassed(octets: number): void {
  sinceOctets += octets
  if (sinceOctets < COLLECT_EVERY_OCTETS) return
  sinceOctets = 0
  collector ??= youngCollector()
  collector?.()
}

/** At the rate at which a gigabyte moves that is thirty times a second. */
const COLLECT_EVERY_OCTETS = 8_388_608
const MAX_TRIES = 20
