import type { Socket } from "node:net"
import type { Log } from "../log/log.ts"
import type { Visitor, Visitors } from "./ports.ts"

/**
 * Who is within a TLS handshake that comes before everything else, and has a place among those of its network already: else one address
 * that is silent in it could hold all connections that there are.
 */
export class Handshakes {
  readonly #visitors: Visitors | null
  readonly #log: Log
  /** By address and port of the other end, which are the same behind the handshake. */
  readonly #running = new Map<string, Visitor>()

  constructor(visitors: Visitors | null, log: Log) {
    this.#visitors = visitors
    this.#log = log
  }

  /** @returns false for one too many of a network, whose connection is closed: before the handshake nothing can be said to it */
  begin(socket: Socket): boolean {
    if (this.#visitors === null) return true
    const visitor = this.#visitors.connect(socket.remoteAddress ?? "unknown")
    if (visitor === null) {
      socket.on("error", (error) => this.#log.debug("smtp.connection-failed", { reason: error.message }))
      socket.destroy()
      return false
    }
    const key = keyOf(socket)
    this.#running.set(key, visitor)
    socket.once("close", () => {
      if (this.#running.delete(key)) visitor.leave()
    })
    return true
  }

  /** The place passes to who had the handshake; null: there was none. */
  end(socket: Socket): Visitor | null {
    const key = keyOf(socket)
    const visitor = this.#running.get(key) ?? null
    this.#running.delete(key)
    return visitor
  }
}

function keyOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}
