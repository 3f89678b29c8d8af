import type { Counters, Tally } from "../log/counters.ts"
import type { Log } from "../log/log.ts"

/** What is counted of all sessions of a process. Hot paths raise numbers; nothing is looked up for a chunk of data. */
export class Meter {
  readonly octets: Readonly<Record<"fromClient" | "toClient" | "fromUpstream" | "toUpstream", Tally>>
  readonly #counters: Pick<Counters, "tally">
  readonly #commands = new Map<string, Tally>()

  constructor(counters: Pick<Counters, "tally">) {
    this.#counters = counters
    const octets = (side: string, direction: string): Tally =>
      counters.tally("postern_imap_octets_total", { side, direction })
    this.octets = {
      fromClient: octets("client", "in"),
      toClient: octets("client", "out"),
      fromUpstream: octets("upstream", "in"),
      toUpstream: octets("upstream", "out"),
    }
  }

  /** `name` is one of the commands that are let through: what a client makes up must not become a label. */
  command(name: string): void {
    let tally = this.#commands.get(name)
    if (tally === undefined) {
      tally = this.#counters.tally("postern_imap_commands_total", { command: name })
      this.#commands.set(name, tally)
    }
    tally.count += 1
  }
}

/** What one session tells of its commands: names, sizes and times, never what they say. */
export class SessionMeter {
  commands = 0
  readonly #meter: Meter
  readonly #log: Log

  constructor(meter: Meter, log: Log) {
    this.#meter = meter
    this.#log = log
  }

  /** A command came; null: one that is not let through. */
  command(name: string | null, sizeOctets: number): void {
    this.commands += 1
    this.#meter.command(name ?? "other")
    this.#log.debug("imap.command", { name: name ?? "other", sizeOctets })
  }

  /** The upstream has answered one. */
  completed(name: string, sinceMs: number): void {
    this.#log.debug("imap.completed", { name, ms: Math.round(performance.now() - sinceMs) })
  }
}
