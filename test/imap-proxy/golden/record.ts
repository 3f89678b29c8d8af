import { once } from "node:events"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { ResponseReader } from "../../../src/imap-proxy/wire/response-reader.ts"
import { temporaryFolder } from "../../harness/peers.ts"
import { ACCOUNT } from "../rig.ts"
import { fillInbox, goldenDovecot } from "./store.ts"

/**
 * `node test/imap-proxy/golden/record.ts`: a Dovecot with the mailbox of the transcripts, behind a tap. Says on which port (plain
 * IMAP; the account is alice@example.test, its password `x`); at SIGINT, prints what the clients that came sent as a transcript.
 */
await using folder = await temporaryFolder()
await using dovecot = await goldenDovecot(folder)
await fillInbox(dovecot, ACCOUNT)
const recordings: string[][] = []
const server = createServer((client) => {
  const recording: string[] = []
  recordings.push(recording)
  tap(client, connect(dovecot.imapPort, "127.0.0.1"), recording)
})
server.listen(Number(process.argv[2] ?? 0), "127.0.0.1")
await once(server, "listening")
console.error(`port ${(server.address() as AddressInfo).port}`)
await once(process, "SIGINT")
for (const recording of recordings) console.log(["---", ...recording].join("\n"))
server.close()

function tap(client: Socket, upstream: Socket, recording: string[]): void {
  let rest = ""
  const reader = new ResponseReader()
  let lineStart = true
  client.on("data", (octets: Buffer) => {
    upstream.write(octets)
    const lines = (rest + octets.toString("latin1")).split("\r\n")
    rest = lines.pop() ?? ""
    for (const line of lines) recording.push(`> ${withoutSecrets(line)}`)
  })
  upstream.on("data", (octets: Buffer) => {
    client.write(octets)
    reader.push(Buffer.from(octets))
    for (let event = reader.next(); event !== null; event = reader.next()) {
      const word = event.kind === "text" && lineStart ? event.text.split(" ")[0] : undefined
      if (word !== undefined && word !== "*") recording.push(`< ${word}`)
      lineStart = event.kind === "end"
    }
  })
  client.on("close", () => upstream.destroy()).on("error", () => undefined)
  upstream.on("close", () => client.destroy()).on("error", () => undefined)
}

/** Each peer of a replay has a password of its own. */
function withoutSecrets(line: string): string {
  const plain = (authzid: string): string => Buffer.from(`${authzid}\0${ACCOUNT}\0x`).toString("base64")
  return line
    .replace(plain(ACCOUNT), "{plain for oneself}")
    .replace(plain(""), "{plain}")
    .replace(/(LOGIN (\S+)) "?x"?$/i, '$1 "{password}"')
}
