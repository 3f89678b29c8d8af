import type { DestinationLimit } from "./destinations.ts"
import type { QueuedJob } from "./queue.ts"

/** Jobs that one worker has leased for one destination, more than it makes attempts at. */
export interface Crowd {
  readonly destination: string
  readonly worker: string
  readonly leased: number
  /** So many of them wait for a place. Which ones, their worker alone knows. */
  readonly waiting: number
}

/** Finds where active jobs wait for a place at their destination: a lease says who has a job, and the limit how many of those are attempts. */
export function crowds(jobs: readonly QueuedJob[], { attempts, of }: DestinationLimit): Crowd[] {
  const leased = new Map<string, Crowd>()
  for (const job of jobs) {
    const [destination, worker] = [of(job), job.worker]
    if (destination === null || worker === null) continue
    const key = JSON.stringify([destination, worker])
    const count = (leased.get(key)?.leased ?? 0) + 1
    leased.set(key, { destination, worker, leased: count, waiting: Math.max(0, count - attempts) })
  }
  return [...leased.values()].filter(({ waiting }) => waiting > 0)
}
