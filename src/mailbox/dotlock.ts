import { open, readFile, stat, unlink } from "node:fs/promises"
import { hostname } from "node:os"
import { setTimeout as delay } from "node:timers/promises"
import { GatewayError } from "../errors.ts"
import { isCode } from "./fs-errors.ts"

/** A lock is held for milliseconds; after this the mailbox is given up for now. */
const WAIT_MS = 30_000
/** Dovecot breaks its uidlist lock after two minutes without a change (maildir-uidlist.c). */
const STALE_MS = 120_000
const RETRY_MS = 10

/**
 * Runs `work` while `path` exists as Dovecot's dotlock (`pid:host`), which other processes honour.
 * @throws MAILBOX_BUSY when somebody else holds it too long
 */
export async function withDotlock<T>(path: string, work: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + WAIT_MS
  while (!(await take(path))) {
    if (await isStale(path, Date.now())) await unlink(path).catch(ignoreMissing)
    else if (Date.now() > deadline) throw new GatewayError("MAILBOX_BUSY", "mailbox: the uidlist stays locked")
    else await delay(RETRY_MS)
  }
  try {
    return await work()
  } finally {
    await unlink(path).catch(ignoreMissing)
  }
}

async function take(path: string): Promise<boolean> {
  try {
    await using file = await open(path, "wx", 0o600)
    await file.write(`${process.pid}:${hostname()}\n`)
    return true
  } catch (error) {
    if (isCode(error, "EEXIST")) return false
    throw error
  }
}

/** Its process is dead, or it is ours from before we started, or too old. An empty one is just being written. */
async function isStale(path: string, now: number): Promise<boolean> {
  try {
    const { mtimeMs } = await stat(path)
    const [pid = "", host = ""] = (await readFile(path, "latin1")).trim().split(":")
    if (now - mtimeMs > STALE_MS) return true
    if (host !== hostname() || !/^\d+$/.test(pid)) return false
    if (Number(pid) === process.pid) return mtimeMs < performance.timeOrigin - 1000
    return !isAlive(Number(pid))
  } catch (error) {
    if (isCode(error, "ENOENT")) return false
    throw error
  }
}

/** Whether a process with this id runs on this machine. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return !isCode(error, "ESRCH")
  }
}

function ignoreMissing(error: unknown): void {
  if (!isCode(error, "ENOENT")) throw error
}
