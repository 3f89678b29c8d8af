import { existsSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { join } from "node:path"
import { eventually, Instance } from "../harness/instance.ts"
import { mustRun } from "../harness/peers.ts"

/** What is sent. */
export interface Load {
  readonly messages: number
  /** How many of a hundred are large. */
  readonly largePercent: number
  readonly octets: number
  readonly largeOctets: number
}

/** What one tenth of the load came to. */
export interface Tenth {
  readonly seconds: number
  /** Median and highest resident memory of the gateway, in MiB. */
  readonly medianMib: number
  readonly peakMib: number
  /** The longest that any message was seen in the spool. */
  readonly oldestSeconds: number
}

export interface MailFigures {
  readonly tenths: readonly Tenth[]
  readonly arrived: number
}

const RECIPIENT = "alice@example.test"
const SAMPLE_MS = 500

/**
 * Mail and more mail through one gateway, ten connections at a time, small and large ones side by side; what has arrived is taken away. Each tenth ends when all
 * of it is in the mailbox.
 */
export async function soakMail(load: Load, onTenth: (tenth: Tenth) => void): Promise<MailFigures> {
  await using gateway = await Instance.create()
  await gateway.must("account", "add", RECIPIENT)
  await gateway.serve()
  const inbox = join(gateway.maildir(RECIPIENT), "new")
  const tenths: Tenth[] = []
  let arrived = 0
  for (let index = 0; index < 10; index++) {
    const start = performance.now()
    using watch = new Watch(gateway, () => {
      arrived += takeAway(inbox)
    })
    const large = Math.round((load.messages / 10) * (load.largePercent / 100))
    await Promise.all([
      send(gateway.port, load.messages / 10 - large, load.octets),
      send(gateway.port, large, load.largeOctets),
    ])
    await eventually("all has arrived", () => gateway.spooled() === 0, 600_000)
    watch.look()
    const tenth = { seconds: (performance.now() - start) / 1000, ...watch.figures() }
    tenths.push(tenth)
    onTenth(tenth)
  }
  return { tenths, arrived }
}

async function send(port: number, messages: number, octets: number): Promise<void> {
  if (messages === 0) return
  const args = [
    "-s",
    "5",
    "-d",
    "-m",
    String(messages),
    "-l",
    String(octets),
    "-f",
    "sender@soak.test",
    "-t",
    RECIPIENT,
  ]
  await mustRun("smtp-source", [...args, `127.0.0.1:${port}`], { timeoutMs: 3_600_000 })
}

/** @returns how many there were */
function takeAway(inbox: string): number {
  // The first message makes the mailbox.
  if (!existsSync(inbox)) return 0
  const names = readdirSync(inbox)
  for (const name of names) rmSync(join(inbox, name))
  return names.length
}

/** Looks at the gateway twice a second. */
class Watch {
  readonly #mib: number[] = []
  #oldestMs = 0
  readonly #timer: NodeJS.Timeout
  readonly #gateway: Instance
  readonly #also: () => void

  constructor(gateway: Instance, also: () => void) {
    this.#gateway = gateway
    this.#also = also
    this.#timer = setInterval(() => this.look(), SAMPLE_MS)
  }

  look(): void {
    this.#mib.push(residentMib(this.#gateway.pid))
    this.#oldestMs = Math.max(this.#oldestMs, oldestMs(join(this.#gateway.folder, "data", "spool")))
    this.#also()
  }

  figures(): Omit<Tenth, "seconds"> {
    const sorted = this.#mib.toSorted((a, b) => a - b)
    const medianMib = sorted[Math.floor(sorted.length / 2)] ?? 0
    return { medianMib, peakMib: sorted.at(-1) ?? 0, oldestSeconds: this.#oldestMs / 1000 }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}

function residentMib(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024
}

/** How long the oldest accepted message has been in the spool; what leaves meanwhile is not it. */
function oldestMs(spool: string): number {
  const now = Date.now()
  const ages = readdirSync(spool)
    .filter((name) => !name.startsWith("."))
    .map((name) => now - (statSync(join(spool, name), { throwIfNoEntry: false })?.mtimeMs ?? now))
  return Math.max(0, ...ages)
}
