import { connect, type Socket } from "node:net"
import { GatewayError } from "../errors.ts"
import { type Finding, told } from "./finding.ts"
import { Handing } from "./handing.ts"
import type { Program, Talk } from "./scanner.ts"

/** Where clamd listens. */
export type ClamdPlace =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string }

/** ClamAV's daemon. */
export function clamd(place: ClamdPlace): Program {
  return { name: "clamd", talk: () => new ClamdTalk(place) }
}

// zINSTREAM\0 *( <length: 4 octets, network order> <octets> ) <0: 4 octets>, then one reply that ends in NUL     clamd(8), INSTREAM
class ClamdTalk implements Talk {
  readonly #socket: Socket
  readonly #handing: Handing
  #reply = ""

  constructor(place: ClamdPlace) {
    this.#socket = place.kind === "unix" ? connect(place.path) : connect({ ...place, noDelay: true })
    this.#handing = new Handing(this.#socket)
    this.#socket.on("error", (error) => this.#handing.fail(error))
    this.#socket.on("close", () => this.#handing.closed())
    this.#socket.on("data", (octets) => this.#read(octets))
    this.#socket.write("zINSTREAM\0")
  }

  async push(octets: Uint8Array): Promise<Finding | null> {
    // A length of 0 would end the message.
    return octets.length === 0 ? null : this.#handing.write(length(octets.length), octets)
  }

  end(): Promise<Finding> {
    this.#socket.write(length(0))
    return this.#handing.answer()
  }

  cancel(): void {
    this.#socket.destroy()
  }

  #read(octets: Buffer): void {
    this.#reply += octets.toString("latin1")
    const end = this.#reply.indexOf("\0")
    if (end >= 0) this.#settle(this.#reply.slice(0, end))
    else if (this.#reply.length > MAX_REPLY_OCTETS)
      this.#handing.fail(new GatewayError("SCANNER_AWAY", `scan: clamd's reply is over ${MAX_REPLY_OCTETS} octets`))
  }

  #settle(reply: string): void {
    try {
      this.#handing.settle(readClamdReply(reply))
    } catch (error) {
      this.#handing.fail(error)
    }
  }
}

/**
 * Reads clamd's reply to INSTREAM, without its NUL.
 * @throws GatewayError SCANNER_AWAY for an error of clamd's, and for what is no reply
 */
export function readClamdReply(reply: string): Finding {
  if (reply === "stream: OK") return { outcome: "clean", because: "OK" }
  const name = /^stream: (.+) FOUND$/s.exec(reply)?.[1]
  if (name !== undefined) return { outcome: "virus", because: told(name) }
  if (/^INSTREAM size limit exceeded\. ERROR$/.test(reply))
    return { outcome: "tooLarge", because: "over its StreamMaxLength" }
  throw new GatewayError("SCANNER_AWAY", `scan: clamd says: ${told(reply)}`)
}

function length(octets: number): Uint8Array {
  const field = Buffer.alloc(4)
  field.writeUInt32BE(octets)
  return field
}

/** "stream: ", the name of a signature, " FOUND". */
const MAX_REPLY_OCTETS = 4096
