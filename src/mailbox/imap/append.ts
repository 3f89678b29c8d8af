import { GatewayError } from "../../errors.ts"
import type { Command, LiteralStart } from "../../imap-proxy/wire/command-reader.ts"
import { textOf } from "../../imap-proxy/wire/tokens.ts"
import { writeMessage } from "../delivery.ts"
import { astring, bad, dateTime, flags, list, mailbox } from "./arguments.ts"
import type { Context } from "./context.ts"
import { lettersFor } from "./flag-commands.ts"

/** A protected 50 MB message has 75 MB; larger ones are no mail. */
export const MAX_APPEND_OCTETS = 200_000_000

/** What APPEND says before its message. */
interface Appending {
  readonly name: string
  readonly flags: readonly string[]
  readonly date: Date
}

/**
 * APPEND (RFC 3501 §6.3.11), called when the message's literal begins: streams it into the mailbox.
 * @returns the tagged response without the tag, or null when the client left
 */
export async function append(context: Context, command: Command, literal: LiteralStart): Promise<string | null> {
  const refusal = await refuse(context, command, literal)
  if (refusal !== null) return skip(context, literal, refusal)
  const { input, output, account } = context
  const appending = parseAppend(context, command)
  const folder = await account.open(appending.name)
  try {
    if (literal.synchronizing) {
      output.line("+ OK")
      await output.flush()
    }
    input.reader.stream()
    const written = await writeMessage(
      folder.path,
      {
        uniqueName: context.uniqueName(),
        seconds: Math.floor(context.now().getTime() / 1000),
        sizeOctets: literal.size,
        content: literalOctets(context),
        letters: await lettersFor(folder, appending.flags),
        internalDate: appending.date,
      },
      context.directories,
    )
    const [uid = 0] = await folder.adopt([written])
    return `OK [APPENDUID ${folder.uidValidity} ${uid}] APPEND completed`
  } finally {
    account.release(folder)
  }
}

/** Why this is not to be stored; null: it is. */
async function refuse(context: Context, command: Command, literal: LiteralStart): Promise<string | null> {
  try {
    const { name } = parseAppend(context, command)
    if (context.readOnly) return "NO [READ-ONLY] This device may only read"
    if (literal.size > MAX_APPEND_OCTETS) return "NO [TOOBIG] The message is too large"
    return (await context.account.exists(name)) ? null : "NO [TRYCREATE] There is no such mailbox"
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    return error.code === "MAILBOX_NAME" ? "NO [CANNOT] No mailbox can have this name" : `BAD ${error.message}`
  }
}

// append = "APPEND" SP mailbox [SP flag-list] [SP date-time] SP literal
function parseAppend({ now }: Context, command: Command): Appending {
  const [first, ...rest] = command.arguments
  if (command.open > 0) throw bad("unknown append data")
  const name = mailbox(first)
  const flagList = rest[0]?.kind === "list" ? rest.shift() : undefined
  const date = rest[0]?.kind === "quoted" ? rest.shift() : undefined
  if (rest.length > 0) throw bad(`unexpected ${textOf(rest[0])?.slice(0, 20) ?? "list"}`)
  return {
    name,
    flags: flagList === undefined ? [] : flags(list(flagList)),
    date: date === undefined ? now() : dateTime(astring(date)),
  }
}

/** Octets of a non-synchronizing literal come whatever we think of it. */
async function skip(context: Context, literal: LiteralStart, refusal: string): Promise<string | null> {
  const { reader } = context.input
  if (literal.synchronizing) {
    reader.refuse()
    return refusal
  }
  reader.stream()
  return (await untilEnd(context)) === null ? null : refusal
}

/** The message; it ends only where the command does, so that nothing is stored of one that was cut off or holds more. */
async function* literalOctets(context: Context): AsyncGenerator<Uint8Array> {
  for (;;) {
    const event = await context.input.next()
    if (event?.kind !== "data") throw left()
    if (event.octets.length > 0) yield event.octets
    if (event.last) break
  }
  const alone = await untilEnd(context)
  if (alone === null) throw left()
  if (!alone) throw bad("one message at a time, and nothing after it")
}

/** Reads to the end of the command, from within or behind a literal on. @returns whether nothing is there; null when the client left */
async function untilEnd({ input }: Context): Promise<boolean | null> {
  let alone = true
  for (;;) {
    const event = await input.next()
    if (event === null) return null
    if (event.kind !== "tail") continue
    if (event.literal === null) return alone && event.octets.length === 0
    alone = false
    if (event.literal.synchronizing) {
      input.reader.refuse()
      return false
    }
    input.reader.stream()
  }
}

function left(): GatewayError {
  return new GatewayError("PROTOCOL", "imap: the client left within a message")
}
