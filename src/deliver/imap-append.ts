import type { Duplex } from "node:stream"
import { GatewayError } from "../errors.ts"
import { markerOf } from "../mime/compose.ts"
import { readHeader } from "../mime/header.ts"
import type { Mailboxes, Result } from "../pipeline/ports.ts"
import type { Prepared } from "../pipeline/prepared.ts"
import { deferred, failed, stored } from "../pipeline/settle.ts"

/** What one attempt came to. */
type AppendOutcome =
  | { readonly kind: "stored"; readonly diagnostic: string }
  | { readonly kind: "retry" | "failed"; readonly status: string; readonly diagnostic: string }

/** What is appended. */
interface AppendMessage {
  readonly message: Prepared
  readonly internalDate: Date
  /** Text of the marker that no other message has; looked for when an earlier attempt may have stored the message. */
  readonly unique: string | null
}

/** Opens a connection to the store, logged in as the account; its first line is `* PREAUTH`. */
export type Connect = (account: string) => Promise<Duplex>

/** Delivery by APPEND into somebody else's IMAP store. An attempt that may be a repeat looks for the message by its marker first. */
export function appendingMailboxes(connect: Connect): Mailboxes {
  return {
    async deliver(account, message, { receivedAt, repeated }) {
      try {
        const connection = await connect(account)
        const unique = repeated ? await markerText(message) : null
        return resultOf(account, await appendToInbox(connection, { message, internalDate: receivedAt, unique }))
      } catch (error) {
        if (!(error instanceof GatewayError)) throw error
        return deferred(account, "4.3.0", "the mail store is not available")
      }
    },
  }
}

function resultOf(recipient: string, outcome: AppendOutcome): Result {
  const { diagnostic } = outcome
  if (outcome.kind === "stored") return stored(recipient, diagnostic)
  return outcome.kind === "retry"
    ? deferred(recipient, outcome.status, diagnostic)
    : failed(recipient, outcome.status, diagnostic)
}

/** The MAC of the marker: different for every message. */
async function markerText(message: Prepared): Promise<string | null> {
  const octets = message.content()[Symbol.asyncIterator]()
  try {
    const marker = markerOf((await readHeader(octets)).header)
    return marker === null ? null : (/mac=(\S+)/.exec(marker)?.[1] ?? null)
  } finally {
    await octets.return?.()
  }
}

/** Longest wait for a line of the server. */
const SILENCE_MS = 120_000

/**
 * Puts a message into INBOX over a connection that is logged in (its first line is `* PREAUTH`), streaming (RFC 9051 §6.3.12).
 * The connection is used up.
 */
async function appendToInbox(
  connection: Duplex,
  { message, internalDate, unique }: AppendMessage,
): Promise<AppendOutcome> {
  const lines = new Lines(connection)
  try {
    await lines.until((line) => line.startsWith("* PREAUTH") || line.startsWith("* OK"))
    if (unique !== null && (await isThere(lines, unique)))
      return { kind: "stored", diagnostic: "stored by an earlier attempt" }
    await lines.say(`a APPEND INBOX "${dateTime(internalDate)}" {${message.sizeOctets}}`)
    const ready = await lines.until((line) => line.startsWith("+") || line.startsWith("a "))
    if (!ready.startsWith("+")) return refused(ready)
    for await (const octets of message.content()) await lines.write(octets)
    await lines.say("")
    const answer = await lines.until((line) => line.startsWith("a "))
    await lines.say("z LOGOUT")
    return answer.startsWith("a OK") ? { kind: "stored", diagnostic: answer.slice(2) } : refused(answer)
  } finally {
    connection.destroy()
  }
}

async function isThere(lines: Lines, marker: string): Promise<boolean> {
  await lines.say("s EXAMINE INBOX")
  if (!(await lines.until((line) => line.startsWith("s "))).startsWith("s OK")) return false
  await lines.say(`q UID SEARCH HEADER Postern-Encrypted "${marker}"`)
  const found: string[] = []
  await lines.until((line) => {
    if (/^\* SEARCH \d/.test(line)) found.push(line)
    return line.startsWith("q ")
  })
  return found.length > 0
}

/** RFC 5530 codes that no waiting mends; everything else may be better later. */
function refused(line: string): AppendOutcome {
  const final = /^a (?:NO|BAD) \[(?:CANNOT|LIMIT|NOPERM|NONEXISTENT|TOOBIG)\b/.test(line)
  const overQuota = /\[OVERQUOTA\]/.test(line)
  return {
    kind: final ? "failed" : "retry",
    status: overQuota ? "4.2.2" : final ? "5.2.0" : "4.2.0",
    diagnostic: line.slice(2, 300),
  }
}

/** RFC 9051 §9 date-time, in UTC. */
function dateTime(date: Date): string {
  const [, day, month, year, time] = /^\w+, (\d\d) (\w+) (\d+) ([\d:]+)/.exec(date.toUTCString()) ?? []
  return `${day}-${month}-${year} ${time} +0000`
}

/** Lines of a connection; literals do not occur in what is asked here. */
class Lines {
  readonly #connection: Duplex
  readonly #octets: AsyncIterator<Uint8Array>
  #held = ""

  constructor(connection: Duplex) {
    this.#connection = connection
    this.#octets = connection[Symbol.asyncIterator]()
  }

  say(line: string): Promise<void> {
    return this.write(Buffer.from(`${line}\r\n`, "latin1"))
  }

  write(octets: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) =>
      this.#connection.write(octets, (error) => (error ? reject(error) : resolve())),
    )
  }

  async until(wanted: (line: string) => boolean): Promise<string> {
    for (;;) {
      const end = this.#held.indexOf("\r\n")
      if (end >= 0) {
        const line = this.#held.slice(0, end)
        this.#held = this.#held.slice(end + 2)
        if (wanted(line)) return line
        continue
      }
      const next = await withTimeout(this.#octets.next(), SILENCE_MS)
      if (next.done) throw new GatewayError("UPSTREAM_UNAVAILABLE", "imap: connection ended")
      this.#held += Buffer.from(next.value).toString("latin1")
    }
  }
}

function withTimeout<T>(promise: Promise<T>, timeoutMs: number): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => reject(new GatewayError("UPSTREAM_UNAVAILABLE", `imap: no answer within ${timeoutMs} ms`)),
    timeoutMs,
  )
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}
