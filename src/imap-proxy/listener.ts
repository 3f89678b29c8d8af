import { createServer, type Server, type Socket } from "node:net"
import { GatewayError } from "../errors.ts"
import type { Counters } from "../log/counters.ts"
import { endStream } from "./octets.ts"
import type { Places, Refusal } from "./places.ts"

export interface ListenerOptions {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  readonly tlsMode: "starttls" | "implicit"
  /** Shared with other listeners: the limits hold for all together. */
  readonly places: Places
  readonly counters: Pick<Counters, "add">
}

/** One listening socket of the proxy. */
export interface ImapListener {
  address(): { readonly host: string; readonly port: number }
  /** Takes no new connections, ends the others when no command is in flight, and all of them after `graceMs`. */
  close(graceMs: number): Promise<void>
}

/** A socket that listens; whoever took its connections ends them. */
export interface Listening extends Pick<ImapListener, "address"> {
  /** Takes no new connections. */
  stop(): void
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
    const place = options.places.enter(socket.remoteAddress ?? "unknown")
    if (typeof place === "number") {
      options.counters.add("postern_imap_connections_total", { listener: options.tlsMode })
      take(socket, place)
    } else {
      options.counters.add("postern_imap_refused_total", { limit: place })
      refuse(socket, options.tlsMode, place)
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
    stop: () => void server.close(),
  }
}

function listening(server: Server, { host, port }: ListenerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause) =>
      reject(new GatewayError("LISTEN_FAILED", `imap: cannot listen on ${host}:${port}`, { cause })),
    )
    server.listen({ host, port, backlog: LISTEN_BACKLOG }, resolve)
  })
}

/** Says why where it can be said: a handshake only to say no would cost more than a session. */
export function refuse(socket: Socket, tlsMode: "starttls" | "implicit", refusal: Refusal | "no-process"): void {
  socket.on("error", () => socket.destroy())
  const line =
    refusal === "address" ? "[LIMIT] too many connections from your address" : "[UNAVAILABLE] too many connections"
  endStream(socket, tlsMode === "implicit" ? null : Buffer.from(`* BYE ${line}\r\n`), REFUSAL_MS)
}

/** trap: thousands of clients come back at once after a restart. */
const LISTEN_BACKLOG = 4096
/** For one line to somebody who is not served. */
const REFUSAL_MS = 1000
