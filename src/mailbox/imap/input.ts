import type { Duplex } from "node:stream"
import { type CommandEvent, CommandReader } from "../../imap-proxy/wire/command-reader.ts"

/** The client-to-server direction as command events. Nothing is read ahead of what is asked for. */
export class Input {
  readonly reader = new CommandReader()
  receivedOctets = 0
  readonly #chunks: AsyncIterator<Uint8Array>

  constructor(stream: Duplex) {
    this.#chunks = stream.iterator({ destroyOnReturn: false })
  }

  /** @returns null when the client has ended. @throws PROTOCOL when a line is too long */
  async next(): Promise<CommandEvent | null> {
    for (;;) {
      const event = this.reader.next()
      if (event !== null) return event
      const chunk = await this.#chunks.next()
      if (chunk.done) return null
      this.receivedOctets += chunk.value.length
      this.reader.push(chunk.value)
    }
  }
}
