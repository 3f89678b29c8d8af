import { createServer, type Server, type Socket } from "node:net"
import { GatewayError } from "../errors.ts"
import type { Counters } from "../log/counters.ts"
import { endStream } from "./octets.ts"
import type { Refusal, Seats } from "./places.ts"

interface ListenAt {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  /** Other processes listen there too, and the system gives each its share of the connections. */
  readonly sharesPort?: boolean
}

export interface ListenerOptions extends ListenAt {
  readonly tlsMode: "starttls" | "implicit"
  /** Shared with other listeners: the limits hold for all together. */
  readonly seats: Seats
  readonly counters: Pick<Counters, "add">
}

/** One listening socket of the proxy. */
export interface ImapListener {
  address(): { readonly host: string; readonly port: number }
  /**
   * Takes no new connections, ends the others when no command is in flight, and all of them after `graceMs`. With `spreadMs` they are told
   * one after the other within that time.
   */
  close(graceMs: number, spreadMs?: number): Promise<void>
}

/** A socket that listens; whoever took its connections ends them. */
export interface Listening extends Pick<ImapListener, "address"> {
  /** Takes no new connections; resolves when it does not. */
  stop(): Promise<void>
}

/**
 * Accepts connections and hands those for which there is a place to `take`, with the number of the place; nothing is read before.
 * @throws LISTEN_FAILED
 */
export async function listenForImap(
  options: ListenerOptions,
  take: (socket: Socket, place: number) => void,
): Promise<Listening> {
  // Half-open: a client may end its side behind LOGOUT and still wants its answers.
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
    const place = options.seats.enter(socket.remoteAddress ?? "unknown")
    if (typeof place === "number") {
      options.counters.add("postern_imap_connections_total", { listener: options.tlsMode })
      take(socket, place)
    } else {
      options.counters.add("postern_imap_refused_total", { limit: place })
      refuse(socket, options.tlsMode === "starttls", place)
    }
  })
  await listening(server, options)
  return {
    address: () => {
      const address = server.address()
      if (address === null || typeof address === "string")
        throw new GatewayError("LISTEN_FAILED", "imap: not listening")
      return { host: address.address, port: address.port }
    },
    stop: async () => {
      // Behind a look of the event loop at the socket: who had connected before would be cut off.
      await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
      server.close()
    },
  }
}

/** @throws LISTEN_FAILED */
function listening(server: Server, { host, port, sharesPort = false }: ListenAt): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const why = cause.code === "ENOTSUP" ? ": this system does not share a port among processes" : ""
      reject(new GatewayError("LISTEN_FAILED", `imap: cannot listen on ${host}:${port}${why}`, { cause }))
    })
    server.listen({ host, port, backlog: LISTEN_BACKLOG, reusePort: sharesPort }, resolve)
  })
}

/** Ends a connection, and says why where it can be said: a handshake only to say no would cost more than a session. */
export function refuse(socket: Socket, canSay: boolean, refusal: Refusal): void {
  socket.on("error", () => socket.destroy())
  const line =
    refusal === "address" ? "[LIMIT] too many connections from your address" : "[UNAVAILABLE] too many connections"
  endStream(socket, canSay ? Buffer.from(`* BYE ${line}\r\n`) : null, REFUSAL_MS)
}

/** trap: thousands of clients come back at once after a restart. */
const LISTEN_BACKLOG = 4096
/** For one line to somebody who is not served. */
const REFUSAL_MS = 1000
