import { readFileSync } from "node:fs"
import type { Config } from "../config/config.ts"

/** State, logs, listeners, folders that are looked at: what a process has open beside its connections. */
const OTHER_FILES = 200

/**
 * How many IMAP connections the limit of open files allows over so many processes: a client is one descriptor, an IMAP server behind
 * the proxy another. Node raises its soft limit to the hard one at its start; only the administrator can raise that.
 */
export function affordableConnections({ imap }: Config, processes: number): number {
  const each = imap.kind === "imap" ? 2 : 1
  return Math.max(1, Math.floor((openFilesLimit() - OTHER_FILES) / each)) * processes
}

/** RLIMIT_NOFILE of this process, proc_pid_limits(5); no limit where there is no /proc. */
function openFilesLimit(): number {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1]
    return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft)
  } catch {
    // Not Linux: the limit shows when it is met.
    return Number.POSITIVE_INFINITY
  }
}
