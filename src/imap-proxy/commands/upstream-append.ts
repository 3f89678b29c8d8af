import { GatewayError } from "../../errors.ts"
import type { Context } from "../context.ts"
import type { PendingCommand } from "../pending.ts"
import type { StoredUpload } from "../ports.ts"
import type { Segment } from "../wire/tokens.ts"
import { enter, sendSegments } from "./forward.ts"

/** One APPEND on its way to the upstream, message by message; its answer waits until the client has sent its command to the end. */
export class UpstreamAppend {
  readonly #context: Context
  readonly #tag: string
  #entry: PendingCommand | null = null
  #answer: { readonly status: "OK" | "NO" | "BAD"; readonly line: Uint8Array } | null = null
  /** A message was sent, and neither another nor the end of the command behind it. */
  #open = false
  #ended = false

  constructor(context: Context, tag: string) {
    this.#context = context
    this.#tag = tag
  }

  /** The upstream has refused a message, or all: nothing more is sent. */
  get answered(): boolean {
    return this.#answer !== null
  }

  /** Called when another message follows one that was sent. @throws PROTOCOL when the upstream takes one only */
  mustTakeMore(): void {
    if (this.#open && !this.#context.upstream.has("MULTIAPPEND"))
      throw new GatewayError("PROTOCOL", "append: several messages, which is not offered")
  }

  /**
   * Sends a message; `before` is what stands before its literal. Waits for the upstream's `+`, so that a refusal costs nothing.
   * @throws LENGTH_MISMATCH when the content is not as long as announced: the connection is then out of step
   */
  async store(before: readonly Segment[], { sizeOctets, content }: StoredUpload): Promise<void> {
    const { upstream, pending } = this.#context
    const entry = await this.#begun()
    this.#open = false
    if (!(await sendSegments(this.#context, entry, before))) return
    upstream.write(`{${sizeOctets}}\r\n`)
    await upstream.flush()
    if ((await pending.continuation(entry)) === "ended") return
    await this.#sendExactly(sizeOctets, content)
    this.#open = true
  }

  /** Ends the command; the client gets the upstream's answer when it comes. */
  async end(): Promise<void> {
    await this.#endLine()
    this.#ended = true
    if (this.#answer !== null) this.#context.client.put(this.#answer.line)
    await this.#context.client.flush()
  }

  /**
   * Ends the command so that nothing of it is stored; the upstream's answer is for nobody.
   * @throws PROTOCOL when that cannot be done, or was not: the connection must be cut
   */
  async cancel(): Promise<void> {
    const { upstream, pending } = this.#context
    const entry = this.#entry
    if (entry === null || !pending.has(entry)) return this.#endLine()
    if (!upstream.has("MULTIAPPEND")) throw new GatewayError("PROTOCOL", "append: cannot be taken back")
    // RFC 3502 §6.3.11: a message of no octets.
    upstream.write(" {0}\r\n")
    await upstream.flush()
    if ((await pending.continuation(entry)) === "continue") {
      await this.#endLine()
      if ((await pending.continuation(entry)) === "continue")
        throw new GatewayError("PROTOCOL", "append: upstream wants more of a cancelled command")
    }
    if (this.#answer?.status === "OK") throw new GatewayError("PROTOCOL", "append: upstream stored what was cancelled")
  }

  async #begun(): Promise<PendingCommand> {
    this.#entry ??= await enter(this.#context, {
      tag: this.#tag,
      name: "APPEND",
      intercept: (status, line) => {
        this.#answer = { status, line: Buffer.concat([line, CRLF]) }
        if (this.#ended) this.#context.client.put(this.#answer.line)
      },
    })
    return this.#entry
  }

  async #sendExactly(sizeOctets: number, content: AsyncIterable<Uint8Array>): Promise<void> {
    const { upstream } = this.#context
    let left = sizeOctets
    for await (const octets of content) {
      left -= octets.length
      if (left < 0) break
      upstream.write(octets)
      await upstream.flush()
    }
    if (left !== 0) throw new GatewayError("LENGTH_MISMATCH", "append: stored form is not as long as announced")
  }

  async #endLine(): Promise<void> {
    if (this.#open) this.#context.upstream.write(CRLF)
    this.#open = false
    await this.#context.upstream.flush()
  }
}

const CRLF = Buffer.from("\r\n")
