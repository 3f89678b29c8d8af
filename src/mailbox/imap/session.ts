import type { Duplex } from "node:stream"
import { GatewayError } from "../../errors.ts"
import type { Command, CommandEvent } from "../../imap-proxy/wire/command-reader.ts"
import { append } from "./append.ts"
import { count } from "./arguments.ts"
import type { Context, Handler } from "./context.ts"
import { copy, expunge } from "./copy-commands.ts"
import { fetch } from "./fetch.ts"
import { store } from "./flag-commands.ts"
import { idle } from "./idle.ts"
import { listMailboxes, listSubscribed } from "./list.ts"
import { close, create, remove, rename, select, status, subscribe, unselect } from "./mailbox-commands.ts"
import { search } from "./search.ts"

/** What this server can do beyond RFC 3501. */
export const CAPABILITIES =
  "IMAP4rev1 LITERAL+ IDLE NAMESPACE ID ENABLE UNSELECT UIDPLUS MOVE CHILDREN SPECIAL-USE LIST-EXTENDED LIST-STATUS STATUS=SIZE"

/** RFC 3501 §5.4: at least 30 minutes; clients say something every 29. */
const IDLE_TIMEOUT_MS = 31 * 60_000

/** A client that says nothing right so often is none. */
const MAX_BAD_COMMANDS = 50

/** Reading all of a folder anew after each of many pipelined commands would cost more than they do. */
const FETCH_REFRESH_MS = 1000

/** Runs one pre-authenticated session (RFC 3501 §3.2) to its end: LOGOUT, the client leaving, or `signal`. */
export async function runSession(context: Context, stream: Duplex, signal: AbortSignal): Promise<void> {
  const { output } = context
  const timer = endWhenSilent(context, stream)
  const onAbort = (): void => farewell(stream)
  signal.addEventListener("abort", onAbort, { once: true })
  try {
    output.line(`* PREAUTH [CAPABILITY ${CAPABILITIES}] Postern ready`)
    await output.flush()
    for (let bad = 0; !context.ended && !signal.aborted && bad < MAX_BAD_COMMANDS; ) {
      const event = await context.input.next()
      if (event === null) return
      const answer = await answerTo(context, event)
      if (answer === null) return
      if (/^\S+ BAD /.test(answer)) bad += 1
      if (answer !== "") output.line(answer)
      await output.flush()
      if (context.view?.folder.lost) return await sayGoodbye(context, "The mailbox was deleted or renamed")
      if (bad === MAX_BAD_COMMANDS) return await sayGoodbye(context, "Too many bad commands")
    }
  } catch (error) {
    if (!(error instanceof GatewayError && error.code === "PROTOCOL")) throw error
    if (stream.writable) await sayGoodbye(context, error.message)
  } finally {
    signal.removeEventListener("abort", onAbort)
    clearInterval(timer)
    unselect(context)
    stream.end()
  }
}

/** Ends the connection when nothing was received or taken for a while: a slow transfer is no silence. */
function endWhenSilent({ input, output }: Context, stream: Duplex): NodeJS.Timeout {
  let before = 0
  return setInterval(() => {
    const octets = input.receivedOctets + output.writtenOctets
    if (octets === before) stream.destroy()
    before = octets
  }, IDLE_TIMEOUT_MS).unref()
}

/** @returns the tagged response, "" for none, null when the client left */
async function answerTo(context: Context, event: CommandEvent): Promise<string | null> {
  if (event.kind === "bad") return `${event.tag ?? "*"} BAD ${event.reason}`
  if (event.kind === "literal") return answerToLiteral(context, event)
  if (event.kind !== "command") return ""
  const answer = await run(context, event.command)
  if (answer === null) return null
  await report(context, event.command.name)
  return `${event.command.tag} ${answer}`
}

/** The message of APPEND is streamed; other literals are arguments. */
async function answerToLiteral(
  context: Context,
  { command, literal }: CommandEvent & { kind: "literal" },
): Promise<string | null> {
  const { input, output } = context
  if (command.name === "APPEND" && command.arguments.length > 0) {
    const answer = await guarded(context, command, () => append(context, command, literal))
    await report(context, command.name)
    return answer === null ? null : `${command.tag} ${answer}`
  }
  if (!input.reader.collectable) {
    if (literal.synchronizing) input.reader.refuse()
    else input.reader.discard()
    return literal.synchronizing ? `${command.tag} BAD Literal too large` : ""
  }
  if (literal.synchronizing) output.line("+ OK")
  input.reader.collect()
  return ""
}

function run(context: Context, command: Command): Promise<string | null> {
  const handler = HANDLERS[command.name]
  if (handler === undefined) return Promise.resolve("BAD Unknown command")
  return guarded(context, command, () => handler(context, command))
}

/** Errors as responses. Those of the connection itself end the session. */
async function guarded(context: Context, command: Command, work: () => Promise<string | null>): Promise<string | null> {
  try {
    return await work()
  } catch (error) {
    const code = error instanceof GatewayError ? error.code : null
    if (code === "PROTOCOL" && error instanceof GatewayError && context.input.reader.idle) return `BAD ${error.message}`
    if (code === "MAILBOX_UNKNOWN") return "NO [NONEXISTENT] There is no such mailbox"
    if (code === "MAILBOX_EXISTS") return "NO [ALREADYEXISTS] There is such a mailbox"
    if (code === "MAILBOX_NAME") return "NO [CANNOT] No mailbox can have this name"
    if (code === "MAILBOX_BUSY") return "NO [INUSE] The mailbox is locked, try later"
    context.log.error("mailbox.command-failed", { command: command.name }, error)
    // Within a FETCH response there is no place for an answer.
    if (code === "PROTOCOL" || command.name.endsWith("FETCH") || !context.input.reader.idle) throw error
    return "NO [SERVERBUG] The server failed, see its log"
  }
}

/** Untagged responses before the tagged one. No EXPUNGE in FETCH, STORE, SEARCH by sequence number (RFC 3501 §7.4.1). */
async function report(context: Context, name: string): Promise<void> {
  const { view } = context
  if (view === null || name === "SELECT" || name === "EXAMINE") return
  const byNumber = name === "FETCH" || name === "STORE" || name === "SEARCH"
  await view.folder.refresh(byNumber || name.startsWith("UID ") ? FETCH_REFRESH_MS : 0)
  view.report(context.output, !byNumber)
}

async function sayGoodbye({ output }: Context, why: string): Promise<void> {
  output.line(`* BYE ${why}`)
  await output.flush()
}

function farewell(stream: Duplex): void {
  if (stream.writable) stream.end("* BYE Connection is ended by the server\r\n")
  // Whoever does not read is not waited for.
  setTimeout(() => stream.destroy(), 500).unref()
}

const capability: Handler = async ({ output }) => {
  output.line(`* CAPABILITY ${CAPABILITIES}`)
  return "OK CAPABILITY completed"
}

const nothing: Handler = async ({ view }, command) => {
  count(command.arguments, 0)
  if (command.name === "CHECK" && view === null) return "BAD No mailbox is selected"
  return `OK ${command.name} completed`
}

const logout: Handler = async (context) => {
  context.ended = true
  unselect(context)
  context.output.line("* BYE Logging out")
  return "OK LOGOUT completed"
}

const namespace: Handler = async ({ output }) => {
  output.line('* NAMESPACE (("" ".")) NIL NIL')
  return "OK NAMESPACE completed"
}

const identify: Handler = async ({ output }) => {
  output.line('* ID ("name" "Postern")')
  return "OK ID completed"
}

const enable: Handler = async ({ output }, command) => {
  if (command.arguments.length === 0) return "BAD Capabilities expected"
  output.line("* ENABLED")
  return "OK ENABLE completed"
}

const authenticated: Handler = async () => "BAD Already authenticated"

const HANDLERS: Readonly<Record<string, (context: Context, command: Command) => Promise<string | null>>> = {
  __proto__: null as never,
  CAPABILITY: capability,
  NOOP: nothing,
  CHECK: nothing,
  LOGOUT: logout,
  ID: identify,
  ENABLE: enable,
  NAMESPACE: namespace,
  LOGIN: authenticated,
  AUTHENTICATE: authenticated,
  STARTTLS: authenticated,
  SELECT: select,
  EXAMINE: select,
  CLOSE: close,
  UNSELECT: close,
  CREATE: create,
  DELETE: remove,
  RENAME: rename,
  SUBSCRIBE: subscribe,
  UNSUBSCRIBE: subscribe,
  LIST: listMailboxes,
  LSUB: listSubscribed,
  STATUS: status,
  FETCH: fetch,
  "UID FETCH": fetch,
  STORE: store,
  "UID STORE": store,
  SEARCH: search,
  "UID SEARCH": search,
  COPY: copy,
  "UID COPY": copy,
  MOVE: copy,
  "UID MOVE": copy,
  EXPUNGE: expunge,
  "UID EXPUNGE": expunge,
  IDLE: idle,
}
