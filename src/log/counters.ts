import { Counter, Gauge, Registry } from "prom-client"

/** Names of everything that is counted, with the words its labels may take (labels never hold addresses or content). */
const COUNTERS = {
  postern_smtp_accepted_total: { help: "Messages answered 250.", labels: ["listener"] },
  postern_smtp_refused_total: { help: "Messages and recipients refused, by reply code.", labels: ["listener", "code"] },
  postern_deliveries_total: { help: "Attempts per recipient, by what became of them.", labels: ["outcome"] },
  postern_protected_total: { help: "Messages stored, by what protects them.", labels: ["format", "by"] },
  postern_imap_sessions_total: { help: "IMAP sessions that authenticated." },
  postern_imap_patched_total: { help: "Blocks recrypted for a device." },
  postern_imap_foreign_total: { help: "Encrypted blocks addressed to somebody else, handed out unchanged." },
  postern_imap_malformed_total: { help: "Damaged blocks addressed to the account, handed out unchanged." },
  postern_imap_window_unfitting_total: { help: "Messages that the mail store had changed since they were first read." },
  postern_imap_marker_failed_total: { help: "Messages whose marker does not fit their ciphertext." },
  postern_imap_appended_total: { help: "Messages uploaded, by what was done.", labels: ["outcome"] },
  postern_logins_refused_total: {
    help: "Logins by password that were refused: wrong, or limited and not looked at.",
    labels: ["reason"],
  },
  postern_devices_revoked_total: { help: "Open connections ended by a revocation." },
} as const satisfies Readonly<Record<string, { help: string; labels?: readonly string[] }>>

export type CounterName = keyof typeof COUNTERS

/** Counts what happens; read at `/metrics` (Prometheus text format). */
export class Counters {
  readonly #registry = new Registry()
  readonly #counters = new Map<string, Counter>()

  constructor() {
    for (const [name, definition] of Object.entries(COUNTERS)) {
      const labelNames = "labels" in definition ? [...definition.labels] : []
      const counter = new Counter({ name, help: definition.help, labelNames, registers: [this.#registry] })
      if (labelNames.length === 0) counter.inc(0)
      this.#counters.set(name, counter)
    }
  }

  add(name: CounterName, labels: Readonly<Record<string, string>> = {}, count = 1): void {
    this.#counters.get(name)?.inc({ ...labels }, count)
  }

  /** A value asked for at the time of reading. */
  gauge(name: string, help: string, read: () => Promise<Readonly<Record<string, number>>>): void {
    new Gauge({
      name,
      help,
      labelNames: ["state"],
      registers: [this.#registry],
      async collect() {
        for (const [state, value] of Object.entries(await read())) this.set({ state }, value)
      },
    })
  }

  /** Prometheus text. */
  async text(): Promise<string> {
    return this.#registry.metrics()
  }
}
