import { getHeapStatistics, setFlagsFromString } from "node:v8"

const MEGABYTE = 1024 * 1024
/** Up to this size a heap is light: nobody holds thousands of connections. */
const LIGHT_OCTETS = 96 * MEGABYTE
/** What a heap may grow by between two major collections: a light one, and any other. */
const HEADROOM_OCTETS = { light: 256 * MEGABYTE, other: 64 * MEGABYTE }
/**
 * Each value of the flag is a compile cache of its own, since V8 takes code only from where all flags were the same: few values, or whatever
 * starts later (threads of a reloaded configuration) never finds itself compiled, and leaves another 5 MB on the disk. Below the least V8's
 * own judgement (0) of a large heap is the better one.
 */
const STEPS_PERCENT = [400, 200, 50, 25, 0]
/** A step is taken from 0.7 of it on: between two neighbours, by ratio. */
const ROUNDING = Math.SQRT2
const JUDGE_EVERY_MS = 10_000
/** So many sizes are looked back upon: the least of a minute is about what lives, the others have garbage in them. */
const REMEMBERED = 6

/**
 * Gives small heaps room, until disposed. V8 lets a heap of 20 MB grow by its third before it collects all of it, and a message leaves
 * 0.2 MB of short-lived objects and as much of buffers behind: it collected 20 times a second at 500 messages a second. Measured: 0.9 ms
 * of CPU for each message without this, 0.3 with 64 MB. The flag is one for all threads, and what is 256 MB for the main thread is a third of
 * that for one that delivers: with 64 MB it collected all of it once for 100 messages. Measured with signed mail: 2.05 ms of CPU for each
 * with 64 MB, 1.76 with 256, and 38 MB more of memory in 535.
 */
export function roomyHeap(): Disposable {
  const sizes: number[] = []
  const judge = () => {
    sizes.push(getHeapStatistics().used_heap_size)
    if (sizes.length > REMEMBERED) sizes.shift()
    // V8 reads this flag at each collection, so it can be set while it runs.
    setFlagsFromString(`--heap-growing-percent=${growthPercent(Math.min(...sizes))}`)
  }
  judge()
  const timer = setInterval(judge, JUDGE_EVERY_MS).unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}

/** @returns the step next to what {@link HEADROOM_OCTETS} is of what lives; 0 leaves it to V8 */
export function growthPercent(liveOctets: number): number {
  const { light, other } = HEADROOM_OCTETS
  const wanted = (100 * (liveOctets <= LIGHT_OCTETS ? light : other)) / liveOctets
  return STEPS_PERCENT.find((step) => step <= wanted * ROUNDING) ?? 0
}
