import { RecryptionStream } from "../../crypto/recryption/stream.ts"
import { GatewayError } from "../../errors.ts"
import { headerEnd } from "../../mime/header.ts"
import type { Client } from "../client.ts"
import type { Context } from "../context.ts"
import type { PendingCommand } from "../pending.ts"
import type { Append, AppendPlan } from "../ports.ts"
import type { Command, LiteralStart } from "../wire/command-reader.ts"
import { latin1, type Segment } from "../wire/tokens.ts"
import { enter, sendSegments } from "./forward.ts"

/** Below this a message is looked at whole before it is stored; above, at its head. */
const WHOLE_OCTETS = 1_048_576
/** Of the body, for a message that is too large to be held whole. */
const HEAD_BODY_OCTETS = 65_536

/**
 * APPEND (RFC 9051 §6.3.12) at the point where its message begins. The client's literal is taken by the proxy itself; what is
 * stored has another length, so upstream it is a literal of its own. Nothing goes upstream before it is known what is stored.
 * @throws PROTOCOL when the client goes away or sends several messages at once, LENGTH_MISMATCH when the stored form is not as long
 * as announced: the upstream connection must then be cut, since half an APPEND is on it
 */
export async function appendCommand(context: Context, command: Command, literal: LiteralStart): Promise<void> {
  const refusal = refusalOf(context, command, literal)
  if (refusal !== null) return refuse(context.client, command.tag, literal, refusal)
  context.client.reader.stream()
  if (literal.synchronizing) await context.client.say("+ OK")
  const restorer = new RecryptionStream(context.device.restorers)
  const upload = new UploadedMessage(context.client)
  const content = restored(upload, restorer)
  const { head, whole } = await takeHead(content)
  const append: Append = { head, whole, sizeOctets: literal.size, restored: restorer.counts.patched }
  const plan = await planOf(context, append)
  context.counters.add("postern_imap_appended_total", { outcome: plan.kind })
  context.log.debug("imap.append", { sizeOctets: literal.size, outcome: plan.kind, restored: append.restored })
  if (plan.kind === "refuse") {
    await upload.drain()
    await endOfCommand(context.client, command)
    return context.client.say(`${command.tag} NO ${oneLine(plan.text)}`)
  }
  await store(context, command, upload, storedAs(plan, continued(head, content), literal.size))
}

async function planOf(context: Context, append: Append): Promise<AppendPlan> {
  try {
    return await context.protection.plan(context.device.account, append)
  } catch (error) {
    context.log.error("imap.append.failed", { sizeOctets: append.sizeOctets }, error)
    return { kind: "refuse", text: "[SERVERBUG] message cannot be protected" }
  }
}

interface Stored {
  readonly sizeOctets: number
  readonly content: AsyncIterable<Uint8Array>
}

function storedAs(
  plan: Exclude<AppendPlan, { kind: "refuse" }>,
  message: AsyncIterable<Uint8Array>,
  sizeOctets: number,
): Stored {
  if (plan.kind === "asIs") return { sizeOctets, content: message }
  return { sizeOctets: plan.sizeOctets, content: plan.encrypt(message) }
}

/** The client's tag, mailbox, flags and date, and our literal. Waits for the upstream's `+`, so that a refusal costs nothing. */
async function store(context: Context, command: Command, upload: UploadedMessage, stored: Stored): Promise<void> {
  const { upstream, client } = context
  let answer: Uint8Array | null = null
  let complete = false
  const entry = await enter(context, {
    tag: command.tag,
    name: "APPEND",
    // Whatever the upstream says early waits until the client has sent its message to the end.
    intercept: (_status, line) => {
      answer = Buffer.concat([line, CRLF])
      if (complete) client.put(answer)
    },
  })
  const taken = await announce(context, entry, command, stored.sizeOctets)
  if (taken) await sendExactly(context, stored)
  await upload.drain()
  await endOfCommand(client, command)
  if (taken) upstream.write(CRLF)
  await upstream.flush()
  complete = true
  if (answer !== null) client.put(answer)
  await client.flush()
}

async function announce(context: Context, entry: PendingCommand, command: Command, size: number): Promise<boolean> {
  if (!(await sendSegments(context, entry, argumentSegments(command)))) return false
  context.upstream.write(`{${size}}\r\n`)
  await context.upstream.flush()
  return (await context.pending.continuation(entry)) === "continue"
}

/** Everything before the message. RFC 6855's `UTF8 (` is left out: what is stored goes as an ordinary literal. */
function argumentSegments(command: Command): readonly Segment[] {
  const last = command.segments.at(-1)
  if (command.open === 0 || last?.kind !== "text") return command.segments
  const text = latin1(last.octets).replace(/UTF8 \($/i, "")
  return [...command.segments.slice(0, -1), { kind: "text", octets: Buffer.from(text, "latin1") }]
}

/** @throws LENGTH_MISMATCH when the content is not as long as announced: the connection is then out of step */
async function sendExactly({ upstream }: Context, { sizeOctets, content }: Stored): Promise<void> {
  let left = sizeOctets
  for await (const octets of content) {
    left -= octets.length
    if (left < 0) break
    upstream.write(octets)
    await upstream.flush()
  }
  if (left !== 0) throw new GatewayError("LENGTH_MISMATCH", "append: stored form is not as long as announced")
}

/** What must stand behind the message: nothing, or the `)` of `UTF8 (~{n}`. */
async function endOfCommand(client: Client, command: Command): Promise<void> {
  const event = await client.next()
  const last = event?.kind === "command" ? event.command.segments.at(-1) : undefined
  const expected = command.open === 0 ? "" : ")"
  if (last?.kind !== "text" || latin1(last.octets) !== expected) {
    throw new GatewayError("PROTOCOL", "append: octets behind the message")
  }
}

/** Why this APPEND is answered without its message being read; null: go on. */
function refusalOf(context: Context, command: Command, literal: LiteralStart): string | null {
  if (!isWellFormed(command)) return "BAD APPEND takes a mailbox, flags, a date and one message"
  if (context.device.readOnly) return "NO [NOPERM] this device may only read"
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

async function refuse(client: Client, tag: string, literal: LiteralStart, answer: string): Promise<void> {
  if (literal.synchronizing) {
    client.reader.refuse()
    return client.say(`${tag} ${answer}`)
  }
  client.reader.discard()
  for (let event = await client.next(); event !== null; event = await client.next()) {
    if (event.kind !== "literal") break
    if (event.literal.synchronizing) {
      client.reader.refuse()
      break
    }
    client.reader.discard()
  }
  await client.say(`${tag} ${answer}`)
}

/** The client's literal: read piece by piece, and to its end in any case. */
class UploadedMessage implements AsyncIterable<Uint8Array> {
  readonly #client: Client
  #complete = false

  constructor(client: Client) {
    this.#client = client
  }

  /** @throws PROTOCOL when the client ends before its message does */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    while (!this.#complete) {
      const event = await this.#client.next()
      if (event?.kind !== "data") throw new GatewayError("PROTOCOL", "append: client went away within the message")
      this.#complete = event.last
      if (event.octets.length > 0) yield event.octets
    }
  }

  /** Takes what is left of it off the wire. */
  async drain(): Promise<void> {
    for await (const _ of this) {
      // Not wanted any more.
    }
  }
}

/** What is addressed to a device of the account becomes the account's again (recryption.md: the same map backwards). */
async function* restored(content: AsyncIterable<Uint8Array>, restorer: RecryptionStream): AsyncGenerator<Uint8Array> {
  for await (const octets of content) yield* restorer.push(octets)
  yield* restorer.end()
}

async function takeHead(content: AsyncIterator<Uint8Array>): Promise<{ head: Uint8Array; whole: boolean }> {
  const pieces: Uint8Array[] = []
  let size = 0
  for (;;) {
    const next = await content.next()
    if (next.done === true) return { head: Buffer.concat(pieces), whole: true }
    pieces.push(next.value)
    size += next.value.length
    if (size < WHOLE_OCTETS) continue
    const head = Buffer.concat(pieces)
    const end = headerEnd(head)
    if (end === null || size >= end + HEAD_BODY_OCTETS) return { head, whole: false }
  }
}

/** Head and rest as one content. */
async function* continued(head: Uint8Array, rest: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield head
  yield* rest
}

function oneLine(text: string): string {
  return text.replaceAll(/[\x00-\x1f\x7f]+/g, " ")
}

const CRLF = Buffer.from("\r\n")
