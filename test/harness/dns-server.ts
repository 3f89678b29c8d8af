import { createSocket } from "node:dgram"
import { once } from "node:events"
import type { Zone } from "./zone.ts"

/** A DNS server on loopback that answers from a zone, over UDP (RFC 1035). Changing the zone changes its answers. */
export class DnsServer implements AsyncDisposable {
  /** Questions so far, as "name TYPE". */
  readonly asked: string[] = []
  zone: Zone = {}
  readonly #socket = createSocket("udp4")

  static async start(zone: Zone): Promise<DnsServer> {
    const server = new DnsServer()
    server.zone = zone
    server.#socket.on("message", (query, from) => {
      const reply = server.#reply(query)
      if (reply) server.#socket.send(reply, from.port, from.address)
    })
    server.#socket.bind(0, "127.0.0.1")
    await once(server.#socket, "listening")
    return server
  }

  /** As `dns.servers` takes it. */
  get address(): string {
    return `127.0.0.1:${this.#socket.address().port}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close()
  }

  #reply(query: Buffer): Buffer | null {
    const { name, type, end } = question(query)
    const key = `${name} ${type}`
    this.asked.push(key)
    const found = this.zone[key]
    if (found === "silence") return null
    const known = Object.keys(this.zone).some((one) => one.startsWith(`${name} `))
    const code = found === "SERVFAIL" ? SERVER_FAILURE : known ? 0 : NAME_ERROR
    const records = typeof found === "object" ? found.map((record) => answer(type, record)) : []
    const head = Buffer.alloc(12)
    query.copy(head, 0, 0, 2)
    head.writeUInt16BE(0x8180 | code, 2)
    head.writeUInt16BE(1, 4)
    head.writeUInt16BE(records.length, 6)
    return Buffer.concat([head, query.subarray(12, end), ...records])
  }
}

function question(query: Buffer): { name: string; type: string; end: number } {
  const labels: string[] = []
  let at = 12
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.subarray(at + 1, at + 1 + length).toString("latin1"))
    at += length + 1
  }
  return { name: labels.join(".").toLowerCase(), type: TYPES[query.readUInt16BE(at + 1)] ?? "?", end: at + 5 }
}

function answer(type: string, record: string | readonly string[]): Buffer {
  const strings = [record].flat().map((text) => Buffer.from(text, "latin1"))
  const octets =
    type === "A"
      ? Buffer.from(String(record).split(".").map(Number))
      : Buffer.concat(strings.flatMap((text) => [Buffer.from([text.length]), text]))
  const head = Buffer.alloc(12)
  // A pointer to the name in the question.
  head.writeUInt16BE(0xc00c, 0)
  head.writeUInt16BE(type === "A" ? 1 : 16, 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(octets.length, 10)
  return Buffer.concat([head, octets])
}

const TYPES: Readonly<Record<number, string>> = { 1: "A", 5: "CNAME", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA" }
const SERVER_FAILURE = 2
const NAME_ERROR = 3
