import { readdir, stat } from "node:fs/promises"
import { join } from "node:path"
import type { FoundFile } from "./message.ts"
import { baseOf, lettersOf } from "./paths.ts"

/** The two folders of a Maildir that hold messages. */
export const PLACES: readonly Place[] = ["new", "cur"]

export type Place = FoundFile["place"]

/** When the names of a folder last changed, in nanoseconds; null: not known for certain. */
export type Stamps = Readonly<Record<Place, bigint | null>>

/** Kernels stamp directories with the time of the last tick; a change within the same tick is not seen. */
const TICK_NS = 20_000_000n

/** The time stamps of new/ and cur/. */
export async function stamps(folder: string): Promise<Record<Place, bigint>> {
  const [fresh, current] = await Promise.all(PLACES.map((place) => stat(join(folder, place), { bigint: true })))
  return { new: fresh?.mtimeNs ?? 0n, cur: current?.mtimeNs ?? 0n }
}

/** Stamps taken at `takenMs`, without those that the names may have changed after, without changing them. */
export function certain(taken: Record<Place, bigint>, takenMs: number): Stamps {
  const takenNs = BigInt(Math.floor(takenMs)) * 1_000_000n
  const old = (stamp: bigint): bigint | null => (stamp + TICK_NS > takenNs ? null : stamp)
  return { new: old(taken.new), cur: old(taken.cur) }
}

/** Every message file of `places` by its base. A file that moved from new/ to cur/ meanwhile is met in cur/. */
export async function scan(folder: string, places = PLACES): Promise<Map<string, FoundFile>> {
  const found = new Map<string, FoundFile>()
  for (const place of places) {
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
