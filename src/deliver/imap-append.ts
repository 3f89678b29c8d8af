import type { Duplex } from "node:stream"
import { GatewayError } from "../errors.ts"
import { markerOf } from "../mime/compose.ts"
import { firstField, parseFields, readHeader } from "../mime/header.ts"
import type { Mailboxes, Result } from "../pipeline/ports.ts"
import type { Prepared } from "../pipeline/prepared.ts"
import { deferred, failed, stored } from "../pipeline/settle.ts"
import { ImapLines } from "./imap-lines.ts"

/** Opens a connection to the store, logged in as the account; its first line is `* PREAUTH`. */
export type Connect = (account: string, signal: AbortSignal) => Promise<Duplex>

/**
 * Delivery by APPEND into somebody else's IMAP store (RFC 9051 §6.3.12). An attempt that may be a repeat looks first whether the
 * message is there already.
 */
export function appendingMailboxes(connect: Connect): Mailboxes {
  return {
    async deliver(account, message, { receivedAt, repeated, signal }) {
      try {
        const known = repeated ? await identityOf(message) : null
        using lines = new ImapLines(await connect(account, signal), signal)
        return await append(lines, account, message, receivedAt, known)
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof GatewayError && STORE_CODES.includes(error.code))
          return deferred(account, "4.3.0", `the mail store is not available: ${error.message}`)
        throw error
      }
    },
  }
}

const STORE_CODES: readonly string[] = [
  "UPSTREAM_UNAVAILABLE",
  "UPSTREAM_REFUSED",
  "UPSTREAM_LIMIT",
  "UPSTREAM_CONSENT",
  "PROTOCOL",
  "STATE_CORRUPT",
]

/** What no other message has: the marker's MAC, and the id of our trace field, since equal ciphertexts have equal markers. */
interface Identity {
  readonly mac: string
  readonly receivedId: string
}

async function identityOf(message: Prepared): Promise<Identity | null> {
  const octets = message.content()[Symbol.asyncIterator]()
  try {
    const { header } = await readHeader(octets)
    const mac = /mac=([\w-]+)/.exec(markerOf(header) ?? "")?.[1]
    const receivedId = /\sid ([\w.-]+)(?:;|\s+for )/.exec(firstField(parseFields(header), "received") ?? "")?.[1]
    return mac === undefined || receivedId === undefined ? null : { mac, receivedId }
  } finally {
    await octets.return?.()
  }
}

async function append(
  lines: ImapLines,
  account: string,
  message: Prepared,
  receivedAt: Date,
  known: Identity | null,
): Promise<Result> {
  await lines.until("* ")
  if (known !== null && (await isThere(lines, known, receivedAt)))
    return stored(account, "stored by an earlier attempt")
  await lines.say(`a APPEND INBOX "${dateTime(receivedAt)}" {${message.sizeOctets}}`)
  const ready = await lines.until("a ", "+")
  if (!ready.startsWith("+")) return refused(account, ready)
  await lines.literal(message)
  const answer = await lines.until("a ")
  await lines.say("z LOGOUT")
  return /^a OK/i.test(answer) ? stored(account, answer.slice(2)) : refused(account, answer)
}

/** Since our APPEND set the internal date, the store has to look at two days of mail only. */
async function isThere(lines: ImapLines, { mac, receivedId }: Identity, receivedAt: Date): Promise<boolean> {
  await lines.say("s EXAMINE INBOX")
  if (!/^s OK/i.test(await lines.until("s "))) return false
  const since = dateTime(new Date(receivedAt.getTime() - DAY_MS)).slice(0, 11)
  await lines.say(`q UID SEARCH SINCE ${since} HEADER Postern-Encrypted "${mac}" HEADER Received "${receivedId}"`)
  const found = await lines.until("q ", "* SEARCH ", "* ESEARCH ")
  if (found.startsWith("q ")) return false
  await lines.until("q ")
  return /^\* SEARCH \d/i.test(found)
}

/** RFC 5530 codes that no waiting mends; everything else may be better later. */
function refused(account: string, answer: string): Result {
  const diagnostic = answer.slice(2, 300)
  if (FINAL.test(answer)) return failed(account, "5.2.0", diagnostic)
  return deferred(account, /\[OVERQUOTA\]/i.test(answer) ? "4.2.2" : "4.2.0", diagnostic)
}

/** RFC 9051 §9: date-time, in UTC. */
export function dateTime(date: Date): string {
  const [, day, month, year, time] = /^\w+, (\d\d) (\w+) (\d+) ([\d:]+)/.exec(date.toUTCString()) ?? []
  return `${day}-${month}-${year} ${time} +0000`
}

const FINAL = /^a (?:NO|BAD) \[(?:CANNOT|LIMIT|NOPERM|NONEXISTENT|TOOBIG)\b/i
const DAY_MS = 86_400_000
