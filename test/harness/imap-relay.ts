import { once } from "node:events"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"

/** Stands between a client and a server, one rule after the other. */
export interface Relay extends AsyncDisposable {
  readonly port: number
  /** What the client said so far, one character per octet, over all connections. */
  readonly said: string
  /** From now on every connection goes through, as it is. */
  heal(): void
}

/** What a relay does to what passes. */
export interface RelayRules {
  /** Connections end when the client says, or the server answers, what matches; what matched is passed on first, or not. */
  readonly cut?: { readonly of: "client" | "server"; readonly at: RegExp; readonly passedOn: boolean }
  /** Instead of ending connections. */
  readonly onCut?: () => void
  /** The server's words changed. */
  readonly rewrite?: (text: string) => string
}

/** A relay to `serverPort` on a free port. After a cut nobody gets through until it is healed. */
export async function imapRelay(serverPort: number, rules: RelayRules): Promise<Relay> {
  let said = ""
  let isCut = false
  let active = rules
  const sockets = new Set<Socket>()
  const cut = () => {
    isCut = true
    active.onCut?.()
    for (const socket of sockets) socket.destroy()
  }
  const pass = (from: Socket, to: Socket, of: "client" | "server") => {
    // A match may come in two pieces.
    let tail = ""
    from.on("data", (octets: Buffer) => {
      const text = octets.toString("latin1")
      if (of === "client") said += text
      const matches = active.cut?.of === of && active.cut.at.test(tail + text)
      tail = (tail + text).slice(-200)
      const changed = of === "server" && active.rewrite ? active.rewrite(text) : text
      if (matches && active.cut?.passedOn !== true) return cut()
      to.write(Buffer.from(changed, "latin1"), () => {
        if (matches) cut()
      })
    })
    from.on("error", () => undefined)
    from.on("close", () => to.destroy())
  }
  const server = createServer((client) => {
    if (isCut) {
      client.destroy()
      return
    }
    const upstream = connect(serverPort, "127.0.0.1")
    for (const socket of [client, upstream]) sockets.add(socket)
    pass(client, upstream, "client")
    pass(upstream, client, "server")
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    port: (server.address() as AddressInfo).port,
    get said() {
      return said
    },
    heal() {
      isCut = false
      active = {}
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}
