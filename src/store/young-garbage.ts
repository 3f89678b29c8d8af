import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

type Collect = (options: { readonly type: "minor" }) => void

let collector: Collect | null = null
let sinceOctets = 0

/** Collects what is young in this thread, and nothing else: a millisecond. What it takes is made when it is first wanted. */
export function collectYoung(): void {
  collector ??= makeCollector()
  collector?.({ type: "minor" })
}

/**
 * So many octets of a long message have gone through this thread, in buffers that are garbage by now. They are memory outside of the heap, of which V8 collects nothing before
 * there are 64 MB: so much a message of that length would take, and each thread that it goes through. Measured with 49 MB that arrive: 35 MB at the highest, 76 without.
 */
export function havePassed(octets: number): void {
  sinceOctets += octets
  if (sinceOctets < COLLECT_EVERY_OCTETS) return
  sinceOctets = 0
  collectYoung()
}

/**
 * Contexts that are made while the flag is set have the function; no other one gets it. The flag is one for all threads, and another that begins now may take it back
 * in between. @returns null: it did each time
 */
function makeCollector(): Collect | null {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    setFlagsFromString("--expose-gc")
    const collect = runInNewContext("globalThis.gc ?? null") as Collect | null
    setFlagsFromString("--no-expose-gc")
    if (collect !== null) return collect
  }
  return null
}

/** At the rate at which a gigabyte moves that is thirty times a second. */
const COLLECT_EVERY_OCTETS = 8_388_608
const MAX_TRIES = 20
