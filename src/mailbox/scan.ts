import { readdir, stat } from "node:fs/promises"
import { join } from "node:path"
import type { FoundFile } from "./message.ts"
import { baseOf, lettersOf } from "./paths.ts"

/** When the names of a folder last changed, in nanoseconds. */
export interface Stamps {
  readonly new: bigint
  readonly cur: bigint
}

/** Kernels stamp directories with the time of the last tick; a change within the same tick is not seen. */
const TICK_NS = 20_000_000n

/** The time stamps of new/ and cur/. */
export async function stamps(folder: string): Promise<Stamps> {
  const [fresh, current] = await Promise.all([
    stat(join(folder, "new"), { bigint: true }),
    stat(join(folder, "cur"), { bigint: true }),
  ])
  return { new: fresh.mtimeNs, cur: current.mtimeNs }
}

/** Whether names may have changed after `stamps` were taken at `takenMs` without changing them. */
export function isUncertain(taken: Stamps, takenMs: number): boolean {
  const takenNs = BigInt(Math.floor(takenMs)) * 1_000_000n
  return [taken.new, taken.cur].some((stamp) => stamp + TICK_NS > takenNs)
}

/** Every message file by its base. A file that moved from new/ to cur/ meanwhile is met in cur/. */
export async function scan(folder: string): Promise<Map<string, FoundFile>> {
  const found = new Map<string, FoundFile>()
  for (const place of ["new", "cur"] as const) {
    for (const name of await readdir(join(folder, place))) {
      if (name.startsWith(".")) continue
      found.set(baseOf(name), { place, name, letters: lettersOf(name) })
    }
  }
  return found
}

/** Up to so many new files their times are looked at; with more (a folder taken over) the names must do. */
const MAX_TIMED = 2000

/** File bases in the order of arrival: seconds of the name, then time of the file, then name. */
export async function inOrderOfArrival(folder: string, files: ReadonlyMap<string, FoundFile>): Promise<string[]> {
  const times = new Map<string, number>()
  if (files.size > 1 && files.size <= MAX_TIMED) {
    await Promise.all(
      Array.from(files, async ([base, { place, name }]) => times.set(base, await modified(join(folder, place, name)))),
    )
  }
  const key = (base: string): readonly [number, number] => [Number.parseInt(base, 10) || 0, times.get(base) ?? 0]
  const keyed = Array.from(files.keys(), (base) => ({ base, key: key(base) }))
  keyed.sort((a, b) => a.key[0] - b.key[0] || a.key[1] - b.key[1] || (a.base < b.base ? -1 : 1))
  return keyed.map(({ base }) => base)
}

async function modified(path: string): Promise<number> {
  // Moved or removed since the scan: its place among the others does not matter then.
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  )
}
