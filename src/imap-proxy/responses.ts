import { GatewayError } from "../errors.ts"
import { offeredCapabilities } from "./capabilities.ts"
import { FetchResponse } from "./commands/fetch-response.ts"
import { OwnFetchResponse } from "./commands/window-fetch.ts"
import type { Context } from "./context.ts"
import type { LineRoute } from "./line-route.ts"
import { mayHoldMessageData } from "./wire/fetch-scanner.ts"
import type { ResponseEvent } from "./wire/response-reader.ts"

/** The upstream's direction: every response goes to the client in order and at once, after its route has dealt with it. */
export class Responses {
  readonly #context: Context
  #route: LineRoute | null = null
  /** The upstream said goodbye. */
  #bye = false

  constructor(context: Context) {
    this.#context = context
  }

  get byeSeen(): boolean {
    return this.#bye
  }

  /** Runs until the upstream ends. @throws PROTOCOL when a response cannot be followed: nothing may pass unread */
  async run(): Promise<void> {
    // Behind the greeting, something may have come already.
    this.#follow()
    await this.#context.client.flush()
    // Not waited for here: of a function that waits for days, its frame is kept for each connection.
    return this.#context.upstream.feed((octets) => this.#take(octets))
  }

  #take(octets: Uint8Array): Promise<void> | null {
    const { upstream, client } = this.#context
    upstream.reader.push(octets)
    this.#follow()
    upstream.reader.keep()
    return client.flushLent()
  }

  #follow(): void {
    const { reader } = this.#context.upstream
    for (let event = reader.next(); event !== null; event = reader.next()) this.#event(event)
  }

  #event(event: ResponseEvent): void {
    switch (event.kind) {
      case "text":
        if (this.#route === null) this.#begin(event.octets, event.text)
        else this.#route.text(event.octets, event.text, 0)
        break
      case "literal":
        this.#route?.literal(event.size, event.marker)
        break
      case "data":
        this.#route?.data(event.octets, event.last)
        break
      case "end":
        this.#route?.end(event.lineEnd)
        this.#route = null
    }
  }

  /** Decides by the beginning of the line what it is (RFC 9051 §7). */
  #begin(octets: Uint8Array, text: string): void {
    if (text.startsWith("* ")) this.#route = STATUS.test(text) ? this.#status(text) : this.#untagged(octets, text)
    else if (text.startsWith("+")) this.#route = this.#continuation(octets)
    else if (STATUS.test(text)) this.#route = this.#status(text)
    else throw new GatewayError("PROTOCOL", "imap upstream: line is no response")
  }

  /** RFC 9051 §7.6: the client sees only those of its own IDLE; literals are asked for by the proxy. */
  #continuation(octets: Uint8Array): LineRoute {
    const command = this.#context.pending.proceed()
    if (command === null) throw new GatewayError("PROTOCOL", "imap upstream: continuation that nobody waits for")
    return command.name === "IDLE" ? this.#pass(octets) : SWALLOW
  }

  #untagged(octets: Uint8Array, text: string): LineRoute {
    const { mailbox, upstream } = this.#context
    const [start, number = "", name = ""] = /^\* (?:(\d{1,10}) )?([A-Z0-9.=-]+) ?/i.exec(text) ?? ["", "", ""]
    switch (name.toUpperCase()) {
      case "FETCH":
        return needsLook(text) ? this.#fetch(octets, text, Number(number), start.length) : this.#pass(octets)
      case "CAPABILITY":
        upstream.learnCapabilities(text.slice(start.length))
        return this.#pass(Buffer.from(`* CAPABILITY ${offeredCapabilities(upstream.capabilities)}`))
      case "EXPUNGE":
        mailbox.expunge(Number(number))
        return this.#pass(octets)
      case "VANISHED":
        mailbox.vanished()
        return this.#pass(octets)
      default:
        return this.#pass(octets)
    }
  }

  #fetch(octets: Uint8Array, text: string, number: number, from: number): LineRoute {
    const { ownFetch } = this.#context
    const own = ownFetch !== null && mayHoldMessageData(text) ? ownFetch : null
    const route =
      own === null ? new FetchResponse(this.#context, number) : new OwnFetchResponse(this.#context, own, number)
    route.text(octets, text, from)
    return route
  }

  /** `tag OK …`, `* NO …`, `* BYE …`: whole lines, since status responses hold no literals. */
  #status(line: string): LineRoute {
    const [, tag = "", status = "", code, text = ""] = STATUS_LINE.exec(line) ?? []
    const kept = code === undefined ? undefined : this.#code(code)
    const rewritten = Buffer.from(`${tag} ${status}${kept === undefined ? "" : ` [${kept}]`}${text}`, "latin1")
    if (tag === "*") {
      if (status.toUpperCase() === "BYE") this.#bye = true
      return this.#pass(rewritten)
    }
    const command = this.#context.pending.complete(tag)
    const outcome = outcomeOf(status)
    if (command === null || outcome === null) throw new GatewayError("PROTOCOL", "imap upstream: answer to no command")
    command.completed?.(outcome)
    if (command.intercept === undefined) return this.#pass(rewritten)
    command.intercept(outcome, rewritten)
    return SWALLOW
  }

  /** The response code to pass on; undefined when it must not reach the client (a referral leads around the proxy). */
  #code(code: string): string | undefined {
    const [word = "", rest = ""] = /^(\S+) ?(.*)$/s.exec(code)?.slice(1) ?? []
    switch (word.toUpperCase()) {
      case "REFERRAL":
        return undefined
      case "UIDVALIDITY":
        this.#context.mailbox.validity(rest)
        return code
      case "CAPABILITY":
        this.#context.upstream.learnCapabilities(rest)
        return `CAPABILITY ${offeredCapabilities(this.#context.upstream.capabilities)}`
      default:
        return code
    }
  }

  #pass(octets: Uint8Array): LineRoute {
    const { client } = this.#context
    client.relay(octets)
    return {
      text: (more) => client.relay(more),
      literal: (_size, marker) => client.relay(marker),
      data: (data) => client.relay(data),
      end: (lineEnd) => client.endResponse(lineEnd),
    }
  }
}

/** A FETCH line that ends in this piece and holds no message data passes as it is: a literal follows SP, `(` or `[`, never `)`. */
function needsLook(text: string): boolean {
  return text.at(-1) !== ")" || mayHoldMessageData(text)
}

function outcomeOf(status: string): "OK" | "NO" | "BAD" | null {
  const word = status.toUpperCase()
  return word === "OK" || word === "NO" || word === "BAD" ? word : null
}

const SWALLOW: LineRoute = {
  text: () => undefined,
  literal: () => undefined,
  data: () => undefined,
  end: () => undefined,
}
const STATUS = /^[^ ]{1,128} (?:OK|NO|BAD|BYE|PREAUTH)(?: |$)/i
// A URL in a code may hold brackets of its own (RFC 3986 §3.2.2).
const STATUS_LINE = /^([^ ]+) (OK|NO|BAD|BYE|PREAUTH)(?: \[((?:[^[\]]|\[[^[\]]*\])*|[^\]]*)\])?(.*)$/is
