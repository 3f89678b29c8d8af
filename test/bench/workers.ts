import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { availableParallelism } from "node:os"
import { join } from "node:path"
import { Instance } from "../harness/instance.ts"
import { freePorts } from "../harness/ports.ts"
import { format, type Row } from "./report.ts"
import { ADMIN_OFFSET, GENERATED, round as send } from "./smtp.ts"

const PROGRAM = join(import.meta.dirname, "..", "..", "bin", "postern.js")
const ROUNDS = 5
const MESSAGES = 3_000
/** What is delivered before anything is measured, by both: their code is compiled by then. */
const WARM_UPS = 3
const ADDRESS = "alice@example.test"

/**
 * How two worker processes share the queue, spool and mailboxes of one instance: each has a core of its own (one process alone has a thread for each core). The queue is filled
 * while both stand still, so that nothing is measured but their work: 10 KB mail opened, encrypted with S/MIME, durable in the mailbox.
 */
export async function bench(): Promise<Row[]> {
  if (availableParallelism() < 2) throw new Error("workers: two processes want two cores")
  await using gateway = await Instance.create()
  await gateway.must("account", "add", ADDRESS)
  await gateway.serve({ args: ["--role", "mx"] })
  const ports = await freePorts(2)
  await using both = await Workers.start(gateway, ports)
  for (let count = 0; count < WARM_UPS; count++) await drained(gateway, both, 2)
  const rates = { one: [] as number[], two: [] as number[] }
  for (let round = 0; round < ROUNDS; round++) {
    rates.one.push(await drained(gateway, both, 1))
    rates.two.push(await drained(gateway, both, 2))
  }
  return [
    {
      name: "a full queue of 10 KB mail delivered by two worker processes, each with a core, against one with a core",
      unit: "messages/s",
      ours: rates.two,
      peer: { name: "one", values: rates.one },
      target: { kind: "ratio at least", value: 1.6 },
    },
  ]
}

/** Messages in a second, by so many of the workers. */
async function drained(gateway: Instance, workers: Workers, running: number): Promise<number> {
  workers.stop()
  const target = delivered(gateway) + MESSAGES
  await send(gateway.port, MESSAGES, () => true, GENERATED)
  const start = performance.now()
  workers.go(running)
  await left(gateway)
  const rate = (MESSAGES * 1000) / (performance.now() - start)
  if (delivered(gateway) !== target) throw new Error(`${delivered(gateway)} messages in the mailbox, not ${target}`)
  workers.go(2)
  return rate
}

/**
 * Waits until nothing is left in the spool, and looks seldom: both cores are the workers' when there are two of them, and to list a mailbox of 30,000 messages every 10 ms
 * took most of one.
 */
async function left(gateway: Instance): Promise<void> {
  const end = performance.now() + 120_000
  while (gateway.spooled() > 0) {
    if (performance.now() > end) throw new Error(`${gateway.spooled()} messages are still in the spool`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Processes with the role worker, the first on the first core, and so on. */
class Workers implements AsyncDisposable {
  readonly #processes: ChildProcess[] = []

  static async start(gateway: Instance, ports: readonly number[]): Promise<Workers> {
    const workers = new Workers()
    for (const [core, port] of ports.entries()) {
      // Their configurations differ in the port that tells how each of them is.
      const own = join(gateway.folder, `worker-${core}.toml`)
      const text = readFileSync(gateway.configuration, "utf8")
      writeFileSync(own, text.replace(`:${gateway.port + ADMIN_OFFSET}"`, `:${port}"`))
      const words = ["-c", String(core), process.execPath, PROGRAM, "serve", "--role", "worker", "--config", own]
      const child = spawn("taskset", words, { stdio: ["ignore", "pipe", "ignore"] })
      workers.#processes.push(child)
      await once(child.stdout, "data")
    }
    return workers
  }

  /** Nothing is leased by those that have nothing to do. */
  stop(): void {
    for (const one of this.#processes) one.kill("SIGSTOP")
  }

  go(count: number): void {
    for (const one of this.#processes.slice(0, count)) one.kill("SIGCONT")
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.go(this.#processes.length)
    for (const one of this.#processes) {
      const ended = once(one, "exit")
      one.kill("SIGKILL")
      await ended
    }
  }
}

function delivered(gateway: Instance): number {
  const inbox = join(gateway.maildir(ADDRESS), "new")
  return existsSync(inbox) ? readdirSync(inbox).length : 0
}

if (import.meta.main) for (const row of await bench()) console.log(format(row))
