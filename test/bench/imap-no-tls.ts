import type { Socket } from "node:net"

/** Stands in for node:tls in the proxy (imap-plain.ts): a TLS socket is the socket itself, is secure at once, and has resumed nothing. */
export * from "node:tls"

export class TLSSocket {
  constructor(socket: Socket) {
    setImmediate(() => socket.emit("secure"))
    // biome-ignore lint/correctness/noConstructorReturn: the proxy makes it with `new`, and nothing may stand in between
    return Object.assign(socket, { isSessionReused: () => false }) as unknown as TLSSocket
  }
}
