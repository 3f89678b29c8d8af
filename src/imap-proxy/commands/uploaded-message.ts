import { GatewayError } from "../../errors.ts"
import type { Client } from "../client.ts"
import type { Upload } from "../ports.ts"

/** A message in a literal of the client that is being streamed: read piece by piece, and to its end in any case. */
export class UploadedMessage implements Upload {
  readonly sizeOctets: number
  readonly #client: Client
  #complete = false

  constructor(client: Client, sizeOctets: number) {
    this.#client = client
    this.sizeOctets = sizeOctets
  }

  get content(): AsyncIterable<Uint8Array> {
    return this.#content()
  }

  /** Takes what is left of it off the wire. @throws PROTOCOL when the client ends before its message does */
  async drain(): Promise<void> {
    for await (const _ of this.#content()) {
      // Not wanted any more.
    }
  }

  async *#content(): AsyncGenerator<Uint8Array> {
    while (!this.#complete) {
      const event = await this.#client.next()
      if (event?.kind !== "data") throw new GatewayError("PROTOCOL", "append: client went away within the message")
      this.#complete = event.last
      if (event.octets.length > 0) yield event.octets
    }
  }
}
