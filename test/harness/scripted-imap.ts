import { once } from "node:events"
import { createServer, type Socket } from "node:net"
import { TLSSocket } from "node:tls"
import { OctetSource } from "../../src/imap-proxy/octets.ts"
import type { TestCertificate } from "./certificate.ts"

/** An IMAP server that a test plays. */
export interface ScriptedServer extends AsyncDisposable {
  readonly port: number
  /** What it received, over all connections. */
  readonly lines: string[]
  /** How many connections were made. */
  readonly connections: number
  /** Resolves when the first of them has ended. */
  readonly ended: Promise<void>
}

/** What is answered to a line: text (`$` is the tag), OK and TLS, or, with null, the end of the connection. */
export type ScriptedAnswer = string | { readonly tls: TestCertificate } | null

/** A server that greets, and answers each line; one without a tag is given whole. On a free port, or on a Unix socket at `path`. */
export async function scriptedServer(
  greeting: string,
  answer: (command: string) => ScriptedAnswer,
  path?: string,
): Promise<ScriptedServer> {
  const lines: string[] = []
  let connections = 0
  const ended = Promise.withResolvers<void>()
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    connections += 1
    socket.on("error", () => undefined).on("close", () => ended.resolve())
    socket.write(greeting)
    void serve(socket, lines, answer)
  })
  if (path === undefined) server.listen(0, "127.0.0.1")
  else server.listen(path)
  await once(server, "listening")
  const address = server.address()
  return {
    port: typeof address === "object" ? (address?.port ?? 0) : 0,
    lines,
    ended: ended.promise,
    get connections() {
      return connections
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

async function serve(socket: Socket, lines: string[], answer: (command: string) => ScriptedAnswer): Promise<void> {
  const source = new OctetSource(socket)
  let received = ""
  let last = ""
  for (let octets = await source.read(); octets !== null; octets = await source.read()) {
    received += Buffer.from(octets).toString("latin1")
    for (let end = received.indexOf("\r\n"); end >= 0; end = received.indexOf("\r\n")) {
      const line = received.slice(0, end)
      received = received.slice(end + 2)
      lines.push(line)
      const [, tag = "", command = line] = /^(p\d+) (.*)$/.exec(line) ?? []
      if (tag !== "") last = tag
      const said = answer(command)
      if (said === null) socket.destroy()
      else if (typeof said === "string") socket.write(Buffer.from(said.replaceAll("$", last), "latin1"))
      else {
        socket.write(`${last} OK go\r\n`)
        source.detach()
        const { key, certificate: cert } = said.tls
        return serve(new TLSSocket(socket, { isServer: true, key, cert }), lines, answer)
      }
    }
  }
}
