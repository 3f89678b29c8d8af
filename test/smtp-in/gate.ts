import { type Log, silentLog } from "../../src/log/log.ts"
import { createLog } from "../../src/log/written.ts"
import { type Address, addressKey, formatAddress } from "../../src/message/address.ts"
import { type SmtpInLimits, type SmtpInOptions, type SmtpListener, startSmtpIn } from "../../src/smtp-in/listener.ts"
import type { Acceptance, ArrivingEntry, Submitter, Submitters } from "../../src/smtp-in/ports.ts"
import { type TestCertificate, testCertificate } from "../harness/certificate.ts"

/** A message that a {@link MemoryAcceptance} took. */
export interface Accepted {
  readonly id: string
  readonly entry: ArrivingEntry
  readonly content: Buffer
}

/** Keeps accepted messages in memory, and counts those that broke off. */
class MemoryAcceptance implements Acceptance {
  readonly accepted: Accepted[] = []
  brokenOff = 0
  /** Called before the message is read. */
  before: () => Promise<void> | void = () => undefined

  async accept(entry: ArrivingEntry, content: AsyncIterable<Uint8Array>): Promise<string> {
    await this.before()
    const chunks: Uint8Array[] = []
    try {
      for await (const octets of content) chunks.push(octets)
    } catch (error) {
      this.brokenOff++
      throw error
    }
    const id = `Q${this.accepted.length + 1}`
    this.accepted.push({ id, entry, content: Buffer.concat(chunks) })
    return id
  }
}

/** alice (laptop, tablet read-only) and bob (desktop); the password is `secret-` and the device's name. */
class TestSubmitters implements Submitters {
  readonly revocation = new Map<string, AbortController>()

  async authenticate(username: string, password: string): Promise<Submitter | "limited" | null> {
    if (username === "broken@example.test") throw new Error("no database")
    if (username === "limited@example.test") return "limited"
    const device = DEVICES[password]
    if (!device || device.account !== username) return null
    const controller = this.revocation.get(device.name) ?? new AbortController()
    this.revocation.set(device.name, controller)
    const owns = (address: Address) => addressKey(address).replace(/\+.*@/, "@") === device.account
    return { account: device.account, device: device.name, readOnly: device.readOnly, owns, revoked: controller.signal }
  }
}

const DEVICES: Readonly<Record<string, { account: string; name: string; readOnly: boolean }>> = {
  "secret-laptop": { account: "alice@example.test", name: "laptop", readOnly: false },
  "secret-tablet": { account: "alice@example.test", name: "tablet", readOnly: true },
  "secret-desktop": { account: "bob@example.test", name: "desktop", readOnly: false },
}

const LOCAL = new Set(["alice", "bob", "postmaster", "müller", "a b", "a@b"])

/** example.test is ours, with a few people; `broken@` can't be told now. */
function resolve(address: Address): "local" | "unknown" | "foreign" {
  if (address.domain !== "example.test") return "foreign"
  if (address.localPart === "broken") throw new Error("no database")
  return LOCAL.has(address.localPart.toLowerCase().replace(/\+.*/, "")) ? "local" : "unknown"
}

export interface TestGate extends AsyncDisposable {
  readonly listener: SmtpListener
  readonly port: number
  readonly acceptance: MemoryAcceptance
  readonly submitters: TestSubmitters
  /** Log lines so far. */
  readonly log: string[]
  /** What was counted, each with the words of its labels. */
  readonly counted: string[]
}

let certificate: Promise<TestCertificate> | undefined
/** One certificate for the tests of a file: making it costs a process. */
function gateCertificate(): Promise<TestCertificate> {
  certificate ??= testCertificate()
  return certificate
}

/** A real listener on a free loopback port. */
export async function openGate(
  kind: SmtpInOptions["kind"],
  limits: Partial<SmtpInLimits> = {},
  more: Partial<SmtpInOptions> = {},
): Promise<TestGate> {
  const acceptance = new MemoryAcceptance()
  const submitters = new TestSubmitters()
  const log: string[] = []
  const counted: string[] = []
  const listener = await startSmtpIn({
    kind,
    host: "127.0.0.1",
    port: 0,
    hostname: "mx.example.test",
    postmasterDomain: "example.test",
    tls: await gateCertificate(),
    limits: {
      messageSizeOctets: 1_000_000,
      recipients: 5,
      connections: 50,
      authDelayMs: 1,
      greetingDelayMs: 0,
      ...limits,
    },
    recipients: { resolve },
    submitters,
    acceptance,
    counters: {
      add: (name, labels) => void counted.push(`${name} ${Object.values(labels ?? {}).join()}`),
      observe: (name) => void counted.push(name),
    },
    log: memoryLog(log),
    now: () => new Date("2026-01-02T03:04:05Z"),
    ...more,
  })
  const { port } = listener.address()
  return { listener, port, acceptance, submitters, log, counted, [Symbol.asyncDispose]: () => listener.close(0) }
}

function memoryLog(lines: string[]): Log {
  return lines ? createLog("debug", { write: (line) => void lines.push(line) }) : silentLog()
}

/** The recipients of a message, as text. */
export function recipientsOf(message: Accepted | undefined): string[] {
  return (message?.entry.envelope.recipients ?? []).map((recipient) => formatAddress(recipient.address))
}
