import type { FetchMessageObject, FetchQueryObject, ImapFlow, ListResponse } from "imapflow"
import { GatewayError, hasCode } from "../errors.ts"
import type { Prepared } from "../pipeline/prepared.ts"
import { type Connect, dateTime } from "./imap-append.ts"
import { imapOver } from "./imap-bridge.ts"
import { ImapLines } from "./imap-lines.ts"

/** One FETCH of a part of a large message. */
const PART_OCTETS = 1_048_576

/** A mailbox: its name in Unicode, and as the server writes it. */
interface MailboxName {
  readonly name: string
  readonly wireName: string
}

/**
 * An account's mail on somebody else's IMAP server: imapflow lists, reads and changes it on one connection. Messages are appended on
 * a second one, since imapflow would hold each whole in memory for that.
 */
export class ImapStore implements AsyncDisposable {
  readonly capabilities: ReadonlySet<string>
  readonly #client: ImapFlow
  readonly #appends: Appends

  private constructor(client: ImapFlow, appends: Appends) {
    this.#client = client
    this.#appends = appends
    this.capabilities = new Set([...client.capabilities.keys()].map((name) => name.toUpperCase()))
  }

  /** `connect` is asked for a connection each time one is needed. @throws GatewayError UPSTREAM_UNAVAILABLE, UPSTREAM_REFUSED */
  static async open(connect: Connect, account: string, signal: AbortSignal): Promise<ImapStore> {
    const connection = await connect(account, signal)
    const client = await imapOver(connection).catch((error: unknown) => {
      throw translated(error)
    })
    return new ImapStore(client, new Appends(() => connect(account, signal), signal))
  }

  /** What LIST tells, with the number of messages in each. */
  async mailboxes() {
    const listed = await ask(this.#client, (client) => client.list({ statusQuery: { messages: true } }))
    return listed.filter((entry) => entry.listed).map(mailboxOf)
  }

  /** The mailbox selected; what the last call gave is of no use any more. */
  async select({ name, wireName }: MailboxName, access: "read" | "write") {
    const client = this.#client
    const appends = this.#appends
    const opened = await ask(client, () => client.mailboxOpen(name, { readOnly: access === "read" }))
    if (access === "write" && opened.readOnly === true)
      throw new GatewayError("UPSTREAM_REFUSED", "imap: the mailbox is read-only")
    return {
      uidValidity: opened.uidValidity,
      list: (fromUid: number, field: string) => list(client, fromUid, field),
      read: (uids: readonly number[]) => read(client, uids),
      stream: (uid: number) => stream(client, uid),
      flags: (uids: readonly number[]) => flagsOf(client, uids),
      changes: {
        append: (message: Prepared, flags: readonly string[], receivedAt: Date | null) =>
          appends.append(wireName, message, flags, receivedAt),
        changeFlags: (uid: number, change: FlagChange) => changeFlags(client, uid, change),
        flagDeleted: (uids: readonly number[]) =>
          done(client, () => client.messageFlagsAdd(uids.join(","), ["\\Deleted"], BY_UID)),
        expunge: (uids: readonly number[]) => expunge(client, uids),
      },
    }
  }

  /** Says good-bye where that is still possible. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#appends[Symbol.dispose]()
    if (this.#client.usable) await this.#client.logout().catch(() => undefined)
    this.#client.close()
  }
}

/** The connection for APPEND, made when the first message goes. */
class Appends implements Disposable {
  readonly #connect: () => ReturnType<Connect>
  readonly #signal: AbortSignal
  #lines: ImapLines | null = null
  #commands = 0

  constructor(connect: () => ReturnType<Connect>, signal: AbortSignal) {
    this.#connect = connect
    this.#signal = signal
  }

  /** RFC 9051 §6.3.12. */
  async append(wireName: string, message: Prepared, flags: readonly string[], receivedAt: Date | null): Promise<void> {
    try {
      const lines = await this.#opened()
      const tag = `a${++this.#commands}`
      const date = receivedAt === null ? "" : `"${dateTime(receivedAt)}" `
      await lines.say(`${tag} APPEND ${quoted(wireName)} (${flags.join(" ")}) ${date}{${message.sizeOctets}}`)
      const ready = await lines.until(`${tag} `, "+")
      if (!ready.startsWith("+")) throw refused(ready)
      await lines.literal(message)
      const answer = await lines.until(`${tag} `)
      if (!/^\S+ OK\b/i.test(answer)) throw refused(answer)
    } catch (error) {
      // After a refusal the server waits for a command; after anything else nobody knows for what.
      if (!hasCode(error, "UPSTREAM_REFUSED") && !hasCode(error, "MAILBOX_FULL")) this[Symbol.dispose]()
      throw error
    }
  }

  async #opened(): Promise<ImapLines> {
    if (this.#lines !== null) return this.#lines
    const lines = new ImapLines(await this.#connect(), this.#signal)
    this.#lines = lines
    await lines.until("* ")
    return lines
  }

  [Symbol.dispose](): void {
    this.#lines?.[Symbol.dispose]()
    this.#lines = null
  }
}

async function list(client: ImapFlow, fromUid: number, field: string) {
  // RFC 9051 §7.4.1: what is new is told at NOOP for sure.
  await ask(client, () => client.noop())
  if (client.mailbox !== false && client.mailbox.exists === 0) return []
  const query = { flags: true, size: true, internalDate: true, headers: [field] }
  const found = await fetched(client, `${fromUid}:*`, query)
  // RFC 9051 §9: a range has no direction, so that `9:*` is the last message at least.
  return found.filter(({ uid }) => uid >= fromUid).map(messageOf)
}

async function read(client: ImapFlow, uids: readonly number[]) {
  const found = await fetched(client, uids.join(","), { source: true })
  return new Map(found.flatMap(({ uid, source }) => (source === undefined ? [] : [[uid, source] as const])))
}

/** A part shorter than asked for is the last one (RFC 9051 §6.4.5). */
async function* stream(client: ImapFlow, uid: number): AsyncGenerator<Uint8Array> {
  for (let at = 0, last = false; !last; at += PART_OCTETS) {
    const [found] = await fetched(client, String(uid), { source: { start: at, maxLength: PART_OCTETS } })
    const part = found?.source
    if (part === undefined) throw new GatewayError("UPSTREAM_REFUSED", "imap: the message is gone")
    if (part.length > PART_OCTETS)
      throw new GatewayError("PROTOCOL", "imap: the server gives more of a message than was asked for")
    yield part
    last = part.length < PART_OCTETS
  }
}

/** Flags to set, and flags to clear. */
interface FlagChange {
  readonly add: readonly string[]
  readonly remove: readonly string[]
}

async function changeFlags(client: ImapFlow, uid: number, { add, remove }: FlagChange): Promise<void> {
  if (add.length > 0) await done(client, () => client.messageFlagsAdd(String(uid), [...add], BY_UID))
  if (remove.length > 0) await done(client, () => client.messageFlagsRemove(String(uid), [...remove], BY_UID))
}

async function flagsOf(client: ImapFlow, uids: readonly number[]) {
  const found = await fetched(client, uids.join(","), { flags: true })
  return new Map(found.map(({ uid, flags }) => [uid, settable(flags)] as const))
}

/** Without UIDPLUS it would be EXPUNGE, which takes everything that anybody has flagged \Deleted (RFC 9051 §6.4.3). */
async function expunge(client: ImapFlow, uids: readonly number[]): Promise<boolean> {
  if (!client.capabilities.has("UIDPLUS")) return false
  await done(client, () => client.messageDelete(uids.join(","), BY_UID))
  return true
}

/** FETCH by UID, in the order of UIDs; what the server tells of other messages on this occasion is left out. */
async function fetched(client: ImapFlow, set: string, query: FetchQueryObject): Promise<FetchMessageObject[]> {
  const found = await ask(client, () => client.fetchAll(set, { ...query, uid: true }, BY_UID))
  // imapflow answers as for an empty mailbox when none is selected.
  if (client.mailbox === false) throw lost()
  return found.sort((a, b) => a.uid - b.uid)
}

async function done(client: ImapFlow, act: () => Promise<boolean>): Promise<void> {
  if (!(await ask(client, act))) throw new GatewayError("UPSTREAM_REFUSED", "imap: the server refuses to change flags")
}

/** imapflow answers some calls with nothing when the connection is gone. */
async function ask<T>(client: ImapFlow, act: (client: ImapFlow) => Promise<T>): Promise<T> {
  try {
    if (!client.usable) throw lost()
    const answer = await act(client)
    if (!client.usable) throw lost()
    return answer
  } catch (error) {
    throw translated(error)
  }
}

function translated(error: unknown): GatewayError {
  if (error instanceof GatewayError) return error
  if (error instanceof Error && "responseStatus" in error) {
    const text = "responseText" in error ? String(error.responseText) : ""
    return refused(`- ${String(error.responseStatus)} ${text}`, error)
  }
  return lost(error)
}

function lost(cause?: unknown): GatewayError {
  return new GatewayError("UPSTREAM_UNAVAILABLE", "imap: connection lost", { cause })
}

/** A tagged NO or BAD, as text for the administrator. */
function refused(response: string, cause?: unknown): GatewayError {
  const words = response.slice(response.indexOf(" ") + 1, MAX_SAID).replaceAll(/[^\x20-\x7e]/g, "?")
  // RFC 5530: OVERQUOTA
  if (/\[OVERQUOTA\]/i.test(response)) return new GatewayError("MAILBOX_FULL", `imap: the mailbox is full: ${words}`)
  return new GatewayError("UPSTREAM_REFUSED", `imap: the server refuses: ${words}`, { cause })
}

function mailboxOf(entry: ListResponse) {
  return {
    name: entry.path,
    wireName: entry.pathAsListed,
    separator: entry.delimiter,
    attributes: [...entry.flags, ...(entry.specialUseSource === "extension" ? [entry.specialUse ?? ""] : [])],
    messages: entry.status?.messages ?? 0,
  }
}

function messageOf({ uid, size, flags, internalDate, headers }: FetchMessageObject) {
  const receivedAt = internalDate === undefined ? null : new Date(internalDate)
  return {
    uid,
    sizeOctets: size ?? 0,
    flags: settable(flags),
    receivedAt: receivedAt === null || Number.isNaN(receivedAt.getTime()) ? null : receivedAt,
    field: headers === undefined ? "" : Buffer.from(headers).toString("latin1").trim(),
  }
}

/** \Recent is the server's own (RFC 3501 §2.3.2). */
function settable(flags: ReadonlySet<string> | undefined): string[] {
  return [...(flags ?? [])].filter((flag) => flag.toLowerCase() !== "\\recent")
}

/** @throws GatewayError UPSTREAM_REFUSED for what no quoted string can hold (RFC 9051 §9) */
function quoted(name: string): string {
  if (/[^\x20-\x7e]/.test(name))
    throw new GatewayError("UPSTREAM_REFUSED", "imap: the mailbox's name is not in modified UTF-7")
  return `"${name.replaceAll(/["\\]/g, "\\$&")}"`
}

const BY_UID = { uid: true } as const
const MAX_SAID = 200
