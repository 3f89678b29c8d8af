import { readdirSync, readFileSync } from "node:fs"

/** proc(5): times in /proc/PID/stat count USER_HZ, which is 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

/** CPU time that a process and its living descendants have used. */
export function cpuSeconds(root: number): number {
  const ticks = tree(root).reduce((sum, pid) => sum + (stat(pid)?.ticks ?? 0), 0)
  return ticks / TICKS_PER_SECOND
}

/** Proportional set size of a process and its descendants: what they share is counted once. */
export function pssKilobytes(root: number): number {
  return tree(root).reduce(
    (sum, pid) => sum + Number(/^Pss:\s+(\d+)/m.exec(file(pid, "smaps_rollup") ?? "")?.[1] ?? 0),
    0,
  )
}

/** A process and its descendants. */
export function tree(root: number): number[] {
  const children = new Map<number, number[]>()
  for (const name of readdirSync("/proc")) {
    const pid = Number(name)
    const parent = Number.isInteger(pid) ? stat(pid)?.parent : undefined
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), pid])
  }
  const found = [root]
  for (const pid of found) found.push(...(children.get(pid) ?? []))
  return found
}

/** proc(5): behind the name in brackets, which may itself hold brackets, come state and parent; utime and stime are fields 14 and 15. */
function stat(pid: number): { readonly parent: number; readonly ticks: number } | null {
  const text = file(pid, "stat")
  if (text === null) return null
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ")
  return { parent: Number(fields[1]), ticks: Number(fields[11]) + Number(fields[12]) }
}

/** null: the process has ended meanwhile. */
function file(pid: number, name: string): string | null {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "latin1")
  } catch {
    return null
  }
}
