import AggregatorRegistry from "prom-client/lib/cluster.js"
import Counter from "prom-client/lib/counter.js"
import Gauge from "prom-client/lib/gauge.js"
import Histogram from "prom-client/lib/histogram.js"
import Registry from "prom-client/lib/registry.js"

/** Names of everything that is counted, with the words its labels may take (labels never hold addresses or content). */
const COUNTERS = {
  postern_smtp_accepted_total: { help: "Messages answered 250.", labels: ["listener"] },
  postern_smtp_limited_total: {
    help: "Connections, messages and recipients that were one too many from a network or an account.",
    labels: ["limit"],
  },
  postern_http_limited_total: {
    help: "Questions for keys that were not answered, by the limit that was met.",
    labels: ["limit"],
  },
  postern_mesh_requests_total: {
    help: "Requests to the Mesh service, by what they came to.",
    labels: ["operation", "outcome"],
  },
  postern_smtp_refused_total: { help: "Messages and recipients refused, by reply code.", labels: ["listener", "code"] },
  postern_smtp_auth_total: {
    help: "Results of authenticating messages of other servers, by method.",
    labels: ["method", "result"],
  },
  postern_smtp_scanned_total: {
    help: "Messages shown to a scanner, by what it came to.",
    labels: ["scanner", "outcome"],
  },
  postern_deliveries_total: { help: "Attempts per recipient, by what became of them.", labels: ["outcome"] },
  postern_imap_connections_total: { help: "IMAP connections that were taken.", labels: ["listener"] },
  postern_imap_refused_total: {
    help: "IMAP connections and logins refused, by the limit that was met.",
    labels: ["limit"],
  },
  postern_imap_handshakes_total: { help: "TLS handshakes, by what became of them.", labels: ["outcome"] },
  postern_imap_logins_total: { help: "Attempts to log in, by what became of them.", labels: ["outcome"] },
  postern_imap_sessions_total: { help: "IMAP sessions that authenticated." },
  postern_imap_ended_total: { help: "IMAP sessions that ended, by why.", labels: ["reason"] },
  postern_imap_commands_total: { help: "IMAP commands of logged-in devices, by name.", labels: ["command"] },
  postern_imap_octets_total: { help: "Octets of IMAP sessions.", labels: ["side", "direction"] },
  postern_imap_upstream_failures_total: {
    help: "Logins at the mail store that failed, by error code.",
    labels: ["code"],
  },
  postern_imap_window_lookups_total: { help: "Look-ups of window records.", labels: ["outcome"] },
  postern_imap_worker_ends_total: { help: "IMAP processes that ended without being told to." },
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
  postern_acme_total: { help: "Attempts to get a certificate for the server (ACME).", labels: ["outcome"] },
  postern_config_reloads_total: {
    help: "Times the configuration was read again, by what became of it.",
    labels: ["outcome"],
  },
  postern_expiry_warnings_total: { help: "Warnings that a key ends, by whose it is.", labels: ["kind"] },
  postern_devices_revoked_total: { help: "Open connections ended by a revocation." },
  postern_state_lost_total: {
    help: "Times that a thread could not learn any more what changes, and let go of all it had let in.",
  },
} as const satisfies Readonly<Record<string, { help: string; labels?: readonly string[] }>>

/** Names of everything whose time is taken, seconds. */
const TIMES = {
  postern_smtp_scan_seconds: {
    help: "From the last octet of a message to what the scanners say of it.",
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
  },
  postern_imap_upstream_seconds: {
    help: "From a device's password to its session at the mail store.",
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  },
} as const

export type CounterName = keyof typeof COUNTERS
export type TimeName = keyof typeof TIMES

/** A count for hot paths: a number to raise, read when somebody asks for the metrics. */
export interface Tally {
  count: number
}

/** The metrics of one process, for another to add up. */
export type MetricsSnapshot = readonly object[]

type Labels = Readonly<Record<string, string>>
type ReadGauge = () => Readonly<Record<string, number>> | Promise<Readonly<Record<string, number>>>

/** Counts what happens; read at `/metrics` (Prometheus text format). */
export class Counters {
  readonly #registry = new Registry()
  readonly #tallies = new Map<string, Map<string, Tally & { readonly labels: Labels }>>()
  readonly #times = new Map<string, Histogram>()
  readonly #gauges = new Map<string, { read: ReadGauge }>()
  readonly #beforeReading = new Set<() => void>()
  readonly #sources = new Set<() => Promise<readonly MetricsSnapshot[]>>()
  /** Of processes that are gone: a count never goes down. */
  #past: MetricsSnapshot = []

  constructor() {
    for (const [name, definition] of Object.entries(COUNTERS)) {
      const labelNames: readonly string[] = "labels" in definition ? definition.labels : []
      const tallies = new Map<string, Tally & { readonly labels: Labels }>()
      this.#tallies.set(name, tallies)
      new Counter({
        name,
        help: definition.help,
        labelNames: [...labelNames],
        registers: [this.#registry],
        collect() {
          this.reset()
          for (const { labels, count } of tallies.values()) this.inc({ ...labels }, count)
        },
      })
      if (labelNames.length === 0) this.add(name as CounterName, {}, 0)
    }
    for (const [name, { help, buckets }] of Object.entries(TIMES))
      this.#times.set(name, new Histogram({ name, help, buckets: [...buckets], registers: [this.#registry] }))
  }

  add(name: CounterName, labels: Labels = {}, count = 1): void {
    this.tally(name, labels).count += count
  }

  /** The count of one combination of labels, to be kept by who raises it often. */
  tally(name: CounterName, labels: Labels = {}): Tally {
    const tallies = this.#tallies.get(name) ?? new Map<string, Tally & { readonly labels: Labels }>()
    let key = ""
    for (const name in labels) key += `${labels[name]}\n`
    const known = tallies.get(key)
    if (known !== undefined) return known
    const made = { labels, count: 0 }
    tallies.set(key, made)
    return made
  }

  observe(name: TimeName, seconds: number): void {
    this.#times.get(name)?.observe(seconds)
  }

  /**
   * Values asked for at the time of reading, by the word of one label. Over processes they are added up. Who says it again, after a reload
   * of the configuration, is asked from then on.
   */
  gauge(name: string, help: string, label: string, read: ReadGauge): void {
    const known = this.#gauges.get(name)
    if (known) {
      known.read = read
      return
    }
    const gauge = { read }
    this.#gauges.set(name, gauge)
    new Gauge({
      name,
      help,
      labelNames: [label],
      registers: [this.#registry],
      async collect() {
        this.reset()
        for (const [word, value] of Object.entries(await gauge.read())) this.set({ [label]: word }, value)
      },
    })
  }

  /** `act` brings counts up to date that are kept elsewhere. @returns what ends that, after a last time */
  beforeReading(act: () => void): () => void {
    this.#beforeReading.add(act)
    return () => {
      if (this.#beforeReading.delete(act)) act()
    }
  }

  /** Other processes, asked for their metrics when those of all are read. @returns what ends that */
  include(source: () => Promise<readonly MetricsSnapshot[]>): () => void {
    this.#sources.add(source)
    return () => this.#sources.delete(source)
  }

  /** For another process's text. */
  async snapshot(): Promise<MetricsSnapshot> {
    for (const act of this.#beforeReading) act()
    return this.#registry.getMetricsAsJSON()
  }

  /** What a process counted that is no more. */
  async keep(snapshot: MetricsSnapshot): Promise<void> {
    const counted = snapshot.filter((metric) => "type" in metric && metric.type !== "gauge")
    this.#past = await AggregatorRegistry.aggregate([this.#past, counted]).getMetricsAsJSON()
  }

  /** Prometheus text of this process and those {@link include}d, together. */
  async text(): Promise<string> {
    const others = await Promise.all([...this.#sources].map((source) => source()))
    return AggregatorRegistry.aggregate([await this.snapshot(), this.#past, ...others.flat()]).metrics()
  }
}
