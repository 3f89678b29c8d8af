import { readFileSync } from "node:fs"
import { hostname } from "node:os"

/** Names one run of one process, also among containers that share a disk: `host/pid/start`. */
export type ProcessName = string

/** This process's name. */
export function thisProcess(): ProcessName {
  return `${hostname().replaceAll("/", "_")}/${process.pid}/${startOf(process.pid) ?? 0}`
}

/** Whether the process of that name still runs: "elsewhere" when only its own host could know. */
export function lifeOf(name: ProcessName): "alive" | "dead" | "elsewhere" {
  const [host, pid, start] = name.split("/")
  const [ownHost] = thisProcess().split("/")
  if (host !== ownHost) return "elsewhere"
  if (!exists(Number(pid))) return "dead"
  // The number may have been given to another process since.
  const startNow = startOf(Number(pid))
  return startNow === null || start === "0" || startNow === Number(start) ? "alive" : "dead"
}

/** Start time in clock ticks since boot, field 22 of proc_pid_stat(5); null where there is no /proc. */
function startOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1")
    // Field 2 is the program's name in parentheses and may hold anything.
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19])
  } catch {
    // Not Linux, or gone between two looks: the signal decides then.
    return null
  }
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // EPERM: it runs, under another user.
    return error instanceof Error && "code" in error && error.code === "EPERM"
  }
}
