import { once } from "node:events"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { Duplex } from "node:stream"
import { setImmediate as turn } from "node:timers/promises"
import { expect, test } from "vitest"
import { OctetSource } from "../../src/imap-proxy/octets.ts"
import type { Upstream } from "../../src/imap-proxy/ports.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { BareClient, literalOf } from "./client.ts"
import { MESSAGES, patched } from "./messages.ts"
import { ACCOUNT, embedded, PHONE, type Rig, startRig } from "./rig.ts"

/** The same stream, which gives and takes one octet at a time. */
function octetwise(inner: Duplex): Duplex {
  const source = new OctetSource(inner)
  let held: Uint8Array = new Uint8Array(0)
  const next = async (stream: Duplex): Promise<void> => {
    const octets = held.length > 0 ? held : await source.read()
    await turn()
    held = octets?.subarray(1) ?? held
    stream.push(octets === null ? null : octets.subarray(0, 1))
  }
  return new Duplex({
    readableHighWaterMark: 1,
    read() {
      void next(this)
    },
    write(octets: Uint8Array, _encoding, done) {
      for (const octet of octets) inner.write(Uint8Array.of(octet))
      done()
    },
    final(done) {
      inner.end(done)
    },
    destroy(error, done) {
      inner.destroy()
      done(error)
    },
  })
}

/** Sends what comes from one socket to the other, each octet in a segment of its own. */
async function drip(from: Socket, to: Socket): Promise<void> {
  const source = new OctetSource(from)
  for (let octets = await source.read(); octets !== null; octets = await source.read()) {
    for (const octet of octets) {
      if (to.writable) to.write(Uint8Array.of(octet))
      await turn()
    }
  }
  to.end()
}

/** The rig behind a wire that carries one octet at a time, both ways. */
async function dripping(rig: Rig): Promise<{ readonly rig: Rig } & AsyncDisposable> {
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (near) => {
    const far = connect({ port: rig.port, host: "127.0.0.1", noDelay: true, allowHalfOpen: true })
    for (const socket of [near, far]) socket.on("error", () => undefined)
    void drip(near, far)
    void drip(far, near)
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    rig: { ...rig, port: (server.address() as AddressInfo).port },
    [Symbol.asyncDispose]: async () => {
      server.close()
    },
  }
}

const smime = MESSAGES["smime"] ?? ""
const CLEAR = "Subject: in clear\r\n\r\nsecret\r\n"

type Send = (client: BareClient, text: string) => void

/** All a client sees of one session, from login to logout. */
async function session(rig: Rig, other: Rig, send: Send): Promise<string> {
  await using client = await BareClient.secure(rig)
  const seen: string[] = []
  const say = async (tag: string, text: string): Promise<void> => {
    send(client, `${tag} ${text}\r\n`)
    seen.push(await client.tagged(tag))
  }
  send(client, `a LOGIN "${ACCOUNT}" {${PHONE.length}}\r\n`)
  seen.push(await client.until("+ OK\r\n"))
  send(client, `${PHONE}\r\n`)
  seen.push(await client.tagged("a"))
  await say("b", `APPEND INBOX (\\Flagged) {${smime.length}+}\r\n${smime}`)
  await say("c", `APPEND INBOX {${CLEAR.length}+}\r\n${CLEAR}`)
  await say("d", "SELECT INBOX")
  await say("e", "UID FETCH 1:2 (FLAGS BODY.PEEK[TEXT]<300.200> BODY[] RFC822.SIZE)")
  send(client, "f IDLE\r\n")
  seen.push(await client.until(/\+ .*\r\n/))
  await using second = await BareClient.loggedIn(other, PHONE)
  await second.ok(`APPEND INBOX {${CLEAR.length}+}\r\n${CLEAR}`)
  seen.push(await client.until(/\* 3 EXISTS\r\n(?:\* .*\r\n)*/))
  send(client, "DONE\r\n")
  seen.push(await client.tagged("f"))
  send(client, "g LOGOUT\r\n")
  seen.push(await client.rest())
  return seen.join("").replaceAll(/(UIDVALIDITY|APPENDUID) \d+/g, "$1 x")
}

/** The same session, with the segments of both wires whole or of one octet. */
async function sessionOver(segments: "whole" | "octets"): Promise<string> {
  await using folder = await temporaryFolder()
  await using store = embedded(folder.path)
  const split: Upstream = { connect: async (...who) => octetwise(await store.upstream.connect(...who)) }
  await using direct = await startRig({ upstream: segments === "whole" ? store.upstream : split })
  if (segments === "whole") return await session(direct, direct, (client, text) => client.send(text))
  await using slow = await dripping(direct)
  return await session(slow.rig, direct, (client, text) => {
    for (const octet of text) client.send(octet)
  })
}

test("a session over segments of one octet, to the client and to the upstream, is the same as over whole ones", async () => {
  const whole = await sessionOver("whole")
  expect(literalOf(whole, "BODY[]")).toBe(patched(smime, "phone"))
  expect(whole).toMatch(/g OK [^\r]*\r\n$/)
  expect(await sessionOver("octets")).toBe(whole)
})
