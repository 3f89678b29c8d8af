import { performance } from "node:perf_hooks"
import { pemDecode } from "../crypto/cms/pem.ts"
import { certificateEnd } from "../crypto/primitives/x509.ts"
import type { Counters } from "../log/counters.ts"
import type { ServerTls, TlsIdentity } from "./tls.ts"

/** What a process takes, beside what it counts. Over processes these stay apart by the name of the process. */
export function describeProcess(counters: Counters, name: string): void {
  const gauge = (metric: string, help: string, read: () => number): void =>
    counters.gauge(metric, help, "process", () => ({ [name]: read() }))
  gauge("postern_process_resident_octets", "Memory of the process.", () => process.memoryUsage.rss())
  gauge("postern_process_heap_octets", "JavaScript objects of the process.", () => process.memoryUsage().heapUsed)
  let before = performance.eventLoopUtilization()
  gauge("postern_process_busy_ratio", "Share of the time since the last reading in which the process worked.", () => {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, before)
    before = now
    return utilization
  })
}

/** How long what the listeners show holds still; a chain ends with the first of its certificates. */
export function describeCertificates(
  counters: Counters,
  hostname: string,
  shown: () => ServerTls,
  now: () => Date,
): void {
  const leftSeconds = ({ certificate }: TlsIdentity): number => {
    const ends = pemDecode("CERTIFICATE", certificate).map((der) => certificateEnd(der).getTime())
    return Math.floor((Math.min(...ends) - now().getTime()) / 1_000)
  }
  const help = "Until the certificate that is shown by this name ends."
  counters.gauge("postern_certificate_seconds_left", help, "name", () => {
    const { names, ...own } = shown()
    return Object.fromEntries([[hostname, own] as const, ...names].map(([name, one]) => [name, leftSeconds(one)]))
  })
}

/** What the connections of one process hold. */
export function describeConnections(
  counters: Counters,
  name: string,
  windows: { readonly octets: number },
  connections: () => readonly Held[],
): void {
  const gauge = (metric: string, help: string, read: (held: Held) => number): void =>
    counters.gauge(metric, help, "process", () => ({
      [name]: connections().reduce((sum, held) => sum + read(held), 0),
    }))
  gauge("postern_imap_connections", "IMAP connections now.", ({ count }) => count)
  gauge("postern_imap_buffered_octets", "Held for slow IMAP peers.", ({ bufferedOctets }) => bufferedOctets)
  gauge("postern_imap_handshakes_waiting", "Connections that wait for their TLS handshake.", ({ waiting }) => waiting)
  counters.gauge("postern_imap_window_octets", "Window records in memory.", "process", () => ({
    [name]: windows.octets,
  }))
}

interface Held {
  readonly count: number
  readonly bufferedOctets: number
  readonly waiting: number
}
