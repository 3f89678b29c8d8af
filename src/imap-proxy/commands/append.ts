import { GatewayError, hasCode } from "../../errors.ts"
import type { Client } from "../client.ts"
import type { Context } from "../context.ts"
import type { UploadPlan } from "../ports.ts"
import { readAppendTail } from "../wire/append-tail.ts"
import type { Command, CommandEvent, LiteralStart } from "../wire/command-reader.ts"
import { latin1, type Segment } from "../wire/tokens.ts"
import { UploadedMessage } from "./uploaded-message.ts"
import { UpstreamAppend } from "./upstream-append.ts"

/**
 * APPEND (RFC 9051 §6.3.12, RFC 3502) at the point where its first message begins. The client's literals are taken by the proxy
 * itself; what is stored has another length, so upstream each is a literal of its own. Nothing of a message goes upstream before it is
 * known what is stored. All messages of the command are stored, or none; while one is being read, the client is not answered.
 * @throws PROTOCOL when the client goes away, or what was begun upstream cannot be taken back; LENGTH_MISMATCH, CLEAR_CONTENT,
 * DEVICE_REVOKED when a message is not what its beginning promised. The upstream connection must then be cut: half an APPEND is on it.
 */
export async function appendCommand(context: Context, command: Command, literal: LiteralStart): Promise<void> {
  const { client } = context
  const upstream = new UpstreamAppend(context, command.tag)
  let message: Announced = { before: argumentSegments(command), wrapped: command.open > 0 }
  let ahead: LiteralStart | null = literal
  let refusal = refusalOfCommand(context, command)
  while (ahead !== null && refusal === null && !upstream.answered) {
    refusal = refusalOfSize(context, ahead)
    if (refusal !== null) break
    refusal = await takeMessage(context, upstream, message, ahead)
    const tail = await tailOf(client)
    ahead = tail.literal
    const read = readAppendTail(tail.octets, message.wrapped, ahead !== null)
    if (read === null) refusal ??= SYNTAX
    else if (read.kind === "message") {
      upstream.mustTakeMore()
      message = { before: [{ kind: "text", octets: read.options }], wrapped: read.wrapped }
    }
  }
  await skip(client, ahead)
  if (refusal === null) return upstream.end()
  await upstream.cancel()
  await client.say(`${command.tag} ${refusal}`)
}

/** What stands before a message, as it goes upstream. */
interface Announced {
  readonly before: readonly Segment[]
  /** In `UTF8 (`, RFC 6855 §4. */
  readonly wrapped: boolean
}

/** Reads one message to its end, and stores it. @returns why it is not stored; null also when the upstream has refused it */
async function takeMessage(
  context: Context,
  upstream: UpstreamAppend,
  message: Announced,
  literal: LiteralStart,
): Promise<string | null> {
  const { client } = context
  client.reader.stream()
  if (literal.synchronizing) await client.say("+ OK")
  const upload = new UploadedMessage(client, literal.size)
  const plan = await planOf(context, upload)
  if (plan.kind === "refuse") {
    await upload.drain()
    return `NO ${oneLine(plan.text)}`
  }
  try {
    await upstream.store(message.before, plan)
  } finally {
    plan.release()
  }
  await upload.drain()
  return null
}

async function planOf(context: Context, upload: UploadedMessage): Promise<UploadPlan> {
  const { sizeOctets } = upload
  const plan = await protect(context, upload)
  const restored = plan.kind === "refuse" ? 0 : plan.restored
  context.counters.add("postern_imap_appended_total", { outcome: plan.kind })
  context.log.debug("imap.append", { sizeOctets, outcome: plan.kind, restored })
  return plan
}

async function protect({ protection, device, log }: Context, upload: UploadedMessage): Promise<UploadPlan> {
  try {
    return await protection.plan(device.account, upload)
  } catch (error) {
    if (hasCode(error, "PROTOCOL")) throw error
    log.error("imap.append.failed", { sizeOctets: upload.sizeOctets }, error)
    return { kind: "refuse", text: "[SERVERBUG] message cannot be protected" }
  }
}

async function tailOf(client: Client): Promise<CommandEvent & { kind: "tail" }> {
  const event = await client.next()
  if (event?.kind !== "tail") throw new GatewayError("PROTOCOL", "append: client went away within the command")
  return event
}

/** Takes the rest of a command that is refused off the wire, from a literal on that was not taken; null: it was read to its end. */
async function skip(client: Client, literal: LiteralStart | null): Promise<void> {
  for (let ahead = literal; ahead !== null; ahead = (await tailOf(client)).literal) {
    if (ahead.synchronizing) return client.reader.refuse()
    client.reader.stream()
    await new UploadedMessage(client, ahead.size).drain()
  }
}

/** Everything before the first message. RFC 6855's `UTF8 (` is left out: what is stored goes as an ordinary literal. */
function argumentSegments(command: Command): readonly Segment[] {
  const last = command.segments.at(-1)
  if (command.open === 0 || last?.kind !== "text") return command.segments
  const text = latin1(last.octets).replace(/UTF8 \($/i, "")
  return [...command.segments.slice(0, -1), { kind: "text", octets: Buffer.from(text, "latin1") }]
}

function refusalOfCommand(context: Context, command: Command): string | null {
  if (!isWellFormed(command)) return SYNTAX
  return context.device.readOnly ? "NO [NOPERM] this device may only read" : null
}

/** RFC 3502 §6.3.11: by a message of no octets a client cancels the whole. */
function refusalOfSize(context: Context, literal: LiteralStart): string | null {
  if (literal.size > context.limits.appendOctets) return "NO [TOOBIG] message too large"
  return literal.size === 0 ? "NO message is empty" : null
}

// append = "APPEND" SP mailbox [SP flag-list] [SP date-time] SP literal; RFC 6855 §4: or SP "UTF8" SP "(" literal8 ")"
function isWellFormed(command: Command): boolean {
  const shape = command.arguments
    .map((token) => (token.kind === "list" ? "(" : token.kind === "quoted" ? '"' : "a"))
    .join("")
  if (command.open === 0) return /^[a"]\(?"?$/.test(shape)
  const wrapper = command.arguments.at(-2)
  const utf8 = wrapper?.kind === "atom" && wrapper.text.toUpperCase() === "UTF8"
  const list = command.arguments.at(-1)
  return command.open === 1 && utf8 && list?.kind === "list" && list.items.length === 0 && /^[a"]\(?"?a\($/.test(shape)
}

function oneLine(text: string): string {
  return text.replaceAll(/[\x00-\x1f\x7f]+/g, " ")
}

const SYNTAX = "BAD APPEND takes a mailbox and messages, each with flags and a date before it"
