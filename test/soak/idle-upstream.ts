/**
 * A process of its own: an IMAP server that lets everybody in and knows IDLE. It answers what the proxy and the clients of idle.ts
 * send and nothing else, so that ten thousand sessions take some 100 MB and no file watches.
 */
import { createServer, type Socket } from "node:net"
import type { FromPart, ToPart } from "./idle-parts.ts"

const idling = new Set<Socket>()
let exists = 3

const server = createServer({ noDelay: true, highWaterMark: 1024 }, (socket) => {
  socket.setEncoding("latin1")
  socket.on("error", () => socket.destroy())
  socket.on("close", () => idling.delete(socket))
  socket.write("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR IDLE LITERAL+] ready\r\n")
  let held = ""
  socket.on("data", (text: string) => {
    const lines = (held + text).split("\r\n")
    held = lines.pop() ?? ""
    for (const line of lines) answer(socket, line)
  })
})

function answer(socket: Socket, line: string): void {
  const [tag = "", name = ""] = line.split(" ")
  if (tag === "DONE") {
    idling.delete(socket)
    socket.write("i OK done\r\n")
  } else if (name === "IDLE") {
    idling.add(socket)
    socket.write("+ idling\r\n")
  } else if (name === "SELECT") {
    socket.write(`* ${exists} EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n${tag} OK [READ-WRITE] done\r\n`)
  } else if (name === "CAPABILITY") {
    socket.write(`* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR IDLE LITERAL+\r\n${tag} OK done\r\n`)
  } else {
    socket.write(`${tag} OK [CAPABILITY IMAP4rev1 IDLE LITERAL+] done\r\n`)
  }
}

function tell(message: FromPart): void {
  process.send?.(message)
}

process.on("message", (message: ToPart) => {
  if (message.kind !== "announce") return
  exists += 1
  for (const socket of idling) socket.write(`* ${exists} EXISTS\r\n`)
})
process.on("disconnect", () => process.exit())
server.listen(0, "127.0.0.1", 4096, () => {
  const address = server.address()
  if (address !== null && typeof address === "object") tell({ kind: "listening", port: address.port })
})
