import { createServer } from "node:net"
import type { ListenAddress } from "../config/config.ts"
import { written } from "../config/values.ts"
import { GatewayError } from "../errors.ts"
import { whyNotListening } from "../net/listening.ts"

/**
 * Whether several sockets may listen on a port, of which the system gives each its share of the connections (SO_REUSEPORT): those of
 * several processes, or of a gateway and its successor.
 */
export const SHARES_PORTS = process.platform === "linux" || process.platform === "freebsd"

/**
 * Makes sure that nobody listens there: who does would share the port with us, and get some of our connections.
 * @param held what we listen on already, as `written`
 * @returns the address; its port the free one that the system chose where it was 0
 * @throws GatewayError LISTEN_FAILED
 */
export async function claim(
  name: string,
  address: ListenAddress,
  held: ReadonlySet<string> = new Set(),
): Promise<ListenAddress> {
  if (!SHARES_PORTS || held.has(written(address))) return address
  const { host, port } = address
  const server = createServer((socket) => socket.destroy())
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => {
      const message = `${name}: cannot listen on ${written(address)}: ${whyNotListening(cause, port)}`
      reject(new GatewayError("LISTEN_FAILED", message, { cause }))
    })
    server.listen({ host, port }, resolve)
  })
  const bound = server.address()
  await new Promise((closed) => server.close(closed))
  return bound === null || typeof bound === "string" ? address : { host, port: bound.port }
}
