import { createHash } from "node:crypto"
import { once } from "node:events"
import type { Duplex } from "node:stream"
import { setImmediate as turn } from "node:timers/promises"
import { connect as connectTls, type TLSSocket } from "node:tls"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { expect, test } from "vitest"
import { OctetSource } from "../../src/imap-proxy/octets.ts"
import { Lines } from "./answering.ts"
import { MESSAGES, patched } from "./messages.ts"
import { ACCOUNT, HEX_HEAD, PHONE, STREAMING_HEX_PROTECTION, scripted, startRig } from "./rig.ts"

const LINE = `${"Q".repeat(76)}\r\n`
const PIECE = Buffer.from(LINE.repeat(800))
const PIECES = 800
/** What is on its way within one process: buffers of both sockets and their streams, on both sides of the proxy. */
const MOST_OCTETS = 10_000_000
/** A message of 50 MB whose block is recrypted: more ciphertext behind a head of the vectors. */
const head = (MESSAGES["smime"] ?? "").trimEnd().concat("\r\n")
const seen = patched(head, "phone")

/** Memory in use, without what waits for the collector. */
class Memory {
  readonly #collect: () => void
  readonly #before: number
  mostOctets = 0

  constructor() {
    setFlagsFromString("--expose-gc")
    this.#collect = runInNewContext("gc")
    this.#before = this.#used()
  }

  look(): void {
    this.mostOctets = Math.max(this.mostOctets, this.#used() - this.#before)
  }

  #used(): number {
    // The first marks what the second has swept: buffers are given back in the background.
    this.#collect()
    this.#collect()
    const { heapUsed, external } = process.memoryUsage()
    return heapUsed + external
  }
}

async function write(stream: Duplex, octets: Uint8Array | string): Promise<void> {
  await new Promise<void>((resolve) => stream.write(octets, "latin1", () => resolve()))
}

/** Logged in over TLS; what is read next comes behind the login's answer. */
async function loggedIn(port: number, ca: string): Promise<{ socket: TLSSocket; source: OctetSource }> {
  const socket = connectTls({ port, host: "127.0.0.1", ca, servername: "localhost" })
  await once(socket, "secureConnect")
  const source = new OctetSource(socket)
  socket.write(`a LOGIN ${ACCOUNT} ${PHONE}\r\n`)
  for (let text = ""; !text.includes("a OK"); ) text += Buffer.from((await source.read()) ?? []).toString("latin1")
  return { socket, source }
}

test("a message of 50 MB goes to a slow reader in flat memory, and arrives as it should", async () => {
  const size = head.length + PIECES * PIECE.length
  await using server = await scripted(async (stream) => {
    stream.write("* PREAUTH [CAPABILITY IMAP4rev1] x\r\n")
    const commands = new Lines(stream)
    await commands.next()
    await write(stream, `* 1 FETCH (UID 7 BODY[] {${size}}\r\n${head}`)
    for (let piece = 0; piece < PIECES; piece += 1) await write(stream, PIECE)
    await write(stream, ")\r\nb OK done\r\n")
    await commands.next()
  })
  await using rig = await startRig({ upstream: server.upstream, tlsMode: "implicit" })
  const { socket, source } = await loggedIn(rig.port, rig.certificate.certificate)
  const memory = new Memory()
  socket.write("b FETCH 1 BODY[]\r\n")
  const expected = createHash("sha256").update(`* 1 FETCH (UID 7 BODY[] {${size}}\r\n${seen}`, "latin1")
  for (let piece = 0; piece < PIECES; piece += 1) expected.update(PIECE)
  expected.update(")\r\nb OK done\r\n")
  const total = `* 1 FETCH (UID 7 BODY[] {${size}}\r\n)\r\nb OK done\r\n`.length + size
  const served = createHash("sha256")
  let received = 0
  for (let sampled = 0; received < total; ) {
    const octets = await source.read()
    if (octets === null) throw new Error(`ended after ${received}`)
    served.update(octets)
    received += octets.length
    // Everybody else has several turns for each of the reader's.
    for (let turns = 0; turns < 2; turns += 1) await turn()
    if (received - sampled < 5_000_000) continue
    sampled = received
    memory.look()
  }
  socket.destroy()
  expect(served.digest("hex")).toBe(expected.digest("hex"))
  expect(memory.mostOctets).toBeLessThan(MOST_OCTETS)
})

test("an upload of 50 MB goes to a slow upstream in flat memory, protected", async () => {
  const clear = Buffer.from("Subject: large\r\n\r\n")
  const size = clear.length + PIECES * PIECE.length
  const memory: { current: Memory | null } = { current: null }
  const stored = createHash("sha256")
  let received = 0
  await using server = await scripted(async (stream) => {
    stream.write("* PREAUTH [CAPABILITY IMAP4rev1] x\r\n")
    const source = new OctetSource(stream)
    let command = ""
    while (!command.endsWith("}\r\n")) command += Buffer.from((await source.read()) ?? []).toString("latin1")
    stream.write("+ go\r\n")
    const announced = Number(/\{(\d+)\}/.exec(command)?.[1])
    for (let sampled = 0; received < announced + 2; ) {
      const octets = await source.read()
      if (octets === null) return
      stored.update(octets)
      received += octets.length
      for (let turns = 0; turns < 2; turns += 1) await turn()
      if (received - sampled < 10_000_000) continue
      sampled = received
      memory.current?.look()
    }
    await write(stream, "b OK done\r\n")
    await source.read()
  })
  await using rig = await startRig({
    upstream: server.upstream,
    tlsMode: "implicit",
    protection: STREAMING_HEX_PROTECTION,
  })
  const { socket, source } = await loggedIn(rig.port, rig.certificate.certificate)
  memory.current = new Memory()
  await write(socket, `b APPEND INBOX {${size}+}\r\n`)
  await write(socket, clear)
  for (let piece = 0; piece < PIECES; piece += 1) await write(socket, PIECE)
  socket.write("\r\n")
  expect(Buffer.from((await source.read()) ?? []).toString("latin1")).toBe("b OK done\r\n")
  socket.destroy()
  const expected = createHash("sha256").update(HEX_HEAD).update(clear.toString("hex"))
  const piece = PIECE.toString("hex")
  for (let count = 0; count < PIECES; count += 1) expected.update(piece)
  expect(stored.digest("hex")).toBe(expected.update("\r\n").digest("hex"))
  expect(memory.current.mostOctets).toBeGreaterThan(0)
  expect(memory.current.mostOctets).toBeLessThan(MOST_OCTETS)
})
