import type { Socket } from "node:net"

/**
 * Has the system ask an idle peer now and then whether it is still there (RFC 9293 §3.8.4), so that one that vanished is noticed, and
 * routers between us do not forget the connection. Not on this machine, where nobody vanishes unnoticed.
 *
 * Connections ask at times of their own. Clients come back all at once after a restart, and with one delay for all, ten thousand asked
 * within a second: more than Linux takes on loopback (net.core.netdev_max_backlog), and 266 of them were given up for lost.
 */
export function keepAlive(socket: Socket): void {
  const { remoteAddress, remotePort = 0, localPort = 0 } = socket
  if (remoteAddress === undefined || LOOPBACK.test(remoteAddress)) return
  // One of the two differs from connection to connection, and no other number is at hand that does.
  socket.setKeepAlive(true, FIRST_MS + ((remotePort + localPort) % SPREAD_S) * 1000)
}

/** As the system writes addresses: RFC 5952, and IPv4's also as IPv6's where a socket takes both. */
const LOOPBACK = /^(?:(?:::ffff:)?127\.|::1$)/
/** Routers forget idle connections after five minutes or more, some mobile networks after four. */
const FIRST_MS = 100_000
const SPREAD_S = 100
