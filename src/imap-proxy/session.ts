import { GatewayError, hasCode } from "../errors.ts"
import { ENABLED, offeredCapabilities } from "./capabilities.ts"
import { allowedCommand, type Treatment } from "./commands/allowed.ts"
import { appendCommand } from "./commands/append.ts"
import { fetchCommand } from "./commands/fetch.ts"
import { enter, forward } from "./commands/forward.ts"
import { logoutCommand, Traces } from "./commands/logout.ts"
import { refusedOption } from "./commands/options.ts"
import type { Context } from "./context.ts"
import { endStream } from "./octets.ts"
import type { PendingCommand } from "./pending.ts"
import { Responses } from "./responses.ts"
import type { Command, LiteralStart } from "./wire/command-reader.ts"
import { latin1, textOf } from "./wire/tokens.ts"

/** Why a session ended: the client went, the upstream went, or we ended it; `cut`: it could not be followed, or held too much. */
export type Ending = "client" | "upstream" | "revoked" | "doubted" | "shutdown" | "idle" | "cut"

/**
 * One logged-in connection: the client's commands go to the upstream (this file, then commands/), the upstream's responses to the
 * client (responses.ts), each direction in a loop of its own.
 *
 * What always holds:
 * - Tags, order, numbers, UIDs, sizes and flags are the upstream's. The only octets that differ are those of encrypted blocks, and
 *   lengths never change. The same message is the same octets for the same device, however it is fetched (commands/fetch.ts).
 * - Nothing in clear is stored: the only way in is APPEND, and it goes through AppendProtection (commands/append.ts).
 * - Only the command loop writes to the upstream. A command of our own is sent only while no command of the client is in flight,
 *   and its answer is not seen by the client.
 * - A line of ours stands between responses, never within one.
 * - When either direction cannot be followed, the connection is cut; octets never pass unread.
 * - Both sides end together, unless the upstream's is given back for another login; after a revocation no further octet goes out.
 */
export class Session {
  readonly #context: Context
  readonly #responses: Responses
  readonly #traces = new Traces()
  #closed = false
  #ending: Ending = "client"
  #draining = false
  #loggedOut = false
  /** A command of the client is being dealt with. */
  #busy = false
  /** The IDLE that the client's next line ends. */
  #idling: PendingCommand | null = null

  constructor(context: Context) {
    this.#context = context
    this.#responses = new Responses(context)
  }

  /** Runs until the client or the upstream has gone, or the device is revoked. Never throws. */
  async run(): Promise<void> {
    const { client, device, log } = this.#context
    const revoke = (): void => {
      const doubted = hasCode(device.revoked.reason, "STATE_AWAY")
      if (!doubted) this.#context.counters.add("postern_devices_revoked_total")
      this.end(doubted ? "doubted" : "revoked")
    }
    device.revoked.addEventListener("abort", revoke, { once: true })
    if (device.revoked.aborted) revoke()
    // The command loop may be waiting for the upstream, and would not see it.
    const leave = (): void => this.end("client")
    client.stream.on("close", leave)
    const responses = this.#responses.run()
    try {
      await Promise.race([responses, this.#commands(responses)])
    } catch (error) {
      const reason = error instanceof GatewayError ? error.message : String(error)
      if (!this.#closed) log.warn("imap.cut", { reason })
      this.cut()
    } finally {
      device.revoked.removeEventListener("abort", revoke)
      client.stream.off("close", leave)
      this.end(this.#loggedOut || client.stream.readableEnded || client.stream.destroyed ? "client" : "upstream")
      await responses.catch(() => undefined)
    }
  }

  /** Why it ended. */
  get ending(): Ending {
    return this.#ending
  }

  /** Says BYE where it can be said at once, unless the upstream has said it already, and ends both sides. */
  end(ending: Ending): void {
    if (this.#closed) return
    this.#close(ending)
    const { client } = this.#context
    const bye =
      this.#responses.byeSeen || this.#context.upstream.released ? null : Buffer.from(`* BYE ${FAREWELLS[ending]}\r\n`)
    // Within a response, or behind octets the client has not taken, BYE would come late or be taken for content.
    if (!client.betweenResponses || client.stream.writableNeedDrain) client.stream.destroy()
    else endStream(client.stream, bye, BYE_GRACE_MS)
  }

  /** Ends both sides at once. */
  cut(): void {
    if (!this.#closed) this.#close("cut")
    this.#context.client.stream.destroy()
  }

  /** Ends the session when no command is in flight (IDLE does not count), nor one half sent. */
  async drain(): Promise<void> {
    const { pending, client } = this.#context
    this.#draining = true
    if (pending.count === 1 && pending.idling) return this.end("shutdown")
    await pending.below(1).catch(() => undefined)
    // What is being dealt with ends in the command loop, which comes back here.
    if (!this.#busy && client.reader.idle) this.end("shutdown")
  }

  #close(ending: Ending): void {
    this.#closed = true
    this.#ending = ending
    this.#context.pending.end()
    this.#context.upstream.destroy()
  }

  /** The client's direction, until the client ends its side: then the upstream's is ended, and may still answer. */
  async #commands(responses: Promise<void>): Promise<void> {
    const { client, upstream } = this.#context
    for (let event = await client.next(); event !== null; event = await client.next()) {
      this.#busy = true
      if (event.kind === "command") await this.#command(event.command)
      else if (event.kind === "literal") await this.#literal(event.command, event.literal)
      else if (event.kind === "line") await this.#endIdle(event.octets)
      else if (event.kind === "bad") await client.say(`${event.tag ?? "*"} BAD ${event.reason}`)
      else throw new GatewayError("PROTOCOL", `imap: ${event.kind} where a command was due`)
      this.#busy = false
      if (upstream.released) return
      if (this.#draining) await this.drain()
    }
    if (client.stream.destroyed || upstream.stream.destroyed) return
    upstream.stream.end()
    const timer = setTimeout(() => upstream.stream.destroy(), HALF_CLOSED_MS)
    await responses.finally(() => clearTimeout(timer))
  }

  /** A literal before the end of a command: APPEND's is a message and streams, others are small arguments. */
  async #literal(command: Command, literal: LiteralStart): Promise<void> {
    const { client } = this.#context
    const allowed = allowedCommand(command.name)
    if (allowed?.treatment === "append" && !isMailboxName(command))
      return appendCommand(this.#context, command, literal)
    if (allowed !== null && client.reader.collectable) {
      client.reader.collect()
      if (literal.synchronizing) await client.say("+ OK")
    } else if (literal.synchronizing) {
      client.reader.refuse()
      await client.say(`${command.tag} BAD ${allowed === null ? "command not supported" : "literal too large"}`)
    } else client.reader.discard()
  }

  async #command(command: Command): Promise<void> {
    const { client, device, meter } = this.#context
    const allowed = allowedCommand(command.name)
    const lost = command.segments.some((segment) => segment.kind === "literal" && segment.octets === null)
    meter.command(allowed === null ? null : command.name, sizeOf(command))
    if (allowed === null || lost) return client.say(`${command.tag} BAD command not supported`)
    if (refusedOption(command) !== null) return client.say(`${command.tag} BAD option not supported`)
    if (allowed.writes && device.readOnly) return client.say(`${command.tag} NO [NOPERM] this device may only read`)
    if (allowed.treatment === "logout") this.#loggedOut = true
    this.#traces.sent(command)
    await this.#treat(allowed.treatment, command)
  }

  #treat(treatment: Treatment, command: Command): Promise<void> {
    switch (treatment) {
      case "forward":
        return forward(this.#context, command)
      case "logout":
        return logoutCommand(this.#context, command, this.#traces)
      case "fetch":
        return fetchCommand(this.#context, command)
      case "select":
        return this.#select(command)
      case "idle":
        return this.#idle(command)
      case "enable":
        return this.#enable(command)
      case "id":
        return this.#id(command)
      case "capability":
        return this.#capability(command)
      case "append":
        return this.#context.client.say(`${command.tag} BAD APPEND takes a message`)
    }
  }

  /** SELECT, EXAMINE, CLOSE, UNSELECT. What is in flight ends first, so that every FETCH response has one mailbox. */
  async #select(command: Command): Promise<void> {
    const { pending, mailbox, device } = this.#context
    await pending.below(1)
    const before = mailbox.deselect()
    const name = textOf(command.arguments[0])
    await forward(this.#context, device.readOnly ? examined(command) : command, {
      // After NO nothing is selected, after BAD what was before (RFC 9051 §6.3.2).
      completed: (status) => {
        if (status === "OK" && UNSELECTING.includes(command.name)) this.#traces.unselected()
        const selected = status === "OK" && name !== null ? canonicalMailbox(name) : null
        if (selected !== null) mailbox.select(selected)
        else if (status === "BAD" && before !== null) mailbox.select(before)
      },
    })
  }

  /** RFC 9051 §6.3.13: the client's next line is DONE, once the upstream has taken the IDLE. */
  async #idle(command: Command): Promise<void> {
    const { client, upstream, pending } = this.#context
    const entry = await enter(this.#context, { tag: command.tag, name: "IDLE" })
    upstream.write(`${command.tag} IDLE\r\n`)
    await upstream.flush()
    if ((await pending.continuation(entry)) === "ended") return
    client.reader.expectLine()
    // Most connections wait here, some for days: nothing waits with them.
    this.#idling = entry
  }

  async #endIdle(line: Uint8Array): Promise<void> {
    const { upstream, pending } = this.#context
    const entry = this.#idling
    this.#idling = null
    const done = latin1(line).toUpperCase() === "DONE"
    if (entry !== null && pending.has(entry)) {
      // What is not DONE the upstream answers in its own words; it may be anything, so it is not sent on.
      upstream.write(done ? "DONE\r\n" : "NOT-DONE\r\n")
      await upstream.flush()
      return
    }
    // An upstream that ended the IDLE by itself waits for no DONE; a command in its place was taken for it, and is lost.
    if (!done) throw new GatewayError("PROTOCOL", "imap: IDLE ended without DONE")
  }

  /** RFC 5161: what is not offered is not enabled, whatever the upstream could do (UTF8=ACCEPT, IMAP4rev2). */
  async #enable(command: Command): Promise<void> {
    const words = command.arguments.map(textOf).filter((word) => word !== null)
    const kept = words.filter(
      (word) => ENABLED.includes(word.toUpperCase()) && this.#context.upstream.has(word.toUpperCase()),
    )
    if (kept.length > 0) return forward(this.#context, withText(command, `ENABLE ${kept.join(" ")}`))
    await this.#context.client.say("* ENABLED")
    await this.#context.client.say(`${command.tag} OK ENABLE completed`)
  }

  async #id(command: Command): Promise<void> {
    if (this.#context.upstream.has("ID")) return forward(this.#context, command)
    await this.#context.client.say('* ID ("name" "Postern")')
    await this.#context.client.say(`${command.tag} OK ID completed`)
  }

  async #capability(command: Command): Promise<void> {
    const { client, upstream } = this.#context
    await client.say(`* CAPABILITY ${offeredCapabilities(upstream.capabilities)}`)
    await client.say(`${command.tag} OK CAPABILITY completed`)
  }
}

/** `tag SELECT x` as `tag EXAMINE x`; others as they are. */
function examined(command: Command): Command {
  const [first, ...rest] = command.segments
  if (command.name !== "SELECT" || first?.kind !== "text") return command
  const text = latin1(first.octets).replace(/ SELECT/i, " EXAMINE")
  return { ...command, segments: [{ kind: "text", octets: Buffer.from(text, "latin1") }, ...rest] }
}

function withText(command: Command, text: string): Command {
  return { ...command, segments: [{ kind: "text", octets: Buffer.from(`${command.tag} ${text}`, "latin1") }] }
}

/** True when the literal is APPEND's mailbox name, not yet its message. */
function isMailboxName(command: Command): boolean {
  return command.arguments.length === 0
}

/** RFC 9051 §5.1: INBOX in any case is one mailbox. */
function canonicalMailbox(name: string): string {
  return name.toUpperCase() === "INBOX" ? "INBOX" : name
}

function sizeOf({ segments }: Command): number {
  return segments.reduce((sum, segment) => sum + (segment.kind === "text" ? segment.octets.length : segment.size), 0)
}

const UNSELECTING: readonly string[] = ["CLOSE", "UNSELECT"]
/** What the client is told of it. */
const FAREWELLS: Readonly<Record<Ending, string>> = {
  client: "logging out",
  upstream: "[UNAVAILABLE] upstream connection lost",
  revoked: "device revoked",
  doubted: "[UNAVAILABLE] log in again later",
  shutdown: "shutting down",
  idle: "idle for too long",
  cut: "[UNAVAILABLE] connection cut",
}
/** BYE is one small line; a client that does not take it in this time is not reading. */
const BYE_GRACE_MS = 200
/** For the answers to what a client sent before it ended its side. */
const HALF_CLOSED_MS = 30_000
