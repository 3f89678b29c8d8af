import { once } from "node:events"
import { createServer } from "node:net"
import { TLSSocket } from "node:tls"
import { beforeAll, describe, expect, test } from "vitest"
import { silentLog } from "../../src/log/log.ts"
import { parseAddress } from "../../src/message/address.ts"
import { MAX_TARGETS } from "../../src/smtp-out/exchange.ts"
import type { ExchangeHop, HostHop, Resolver } from "../../src/smtp-out/hop.ts"
import { Relay, type RelayOptions } from "../../src/smtp-out/relay.ts"
import { type TestCertificate, testCertificate } from "../harness/certificate.ts"
import { openSmtpSink } from "../harness/smtp-sink.ts"
import { relayMessage } from "./message.ts"

let certificate: TestCertificate
beforeAll(async () => {
  certificate = await testCertificate("mx1.remote.example")
})

const never = new AbortController().signal

function makeRelay(options: Partial<RelayOptions> = {}): Relay {
  const timeouts = { connectMs: 2_000, greetingMs: 2_000, silenceMs: 2_000 }
  return new Relay({ hostname: "mx.example.test", log: silentLog(), timeouts, ...options })
}

function host(port: number, more: Partial<HostHop> = {}): HostHop {
  return { kind: "host", host: "127.0.0.1", port, tls: "opportunistic", ...more }
}

/** An RSA suite for a server whose certificate is ECDSA. */
const NO_SHARED_CIPHER = { maxVersion: "TLSv1.2", ciphers: "ECDHE-RSA-AES128-GCM-SHA256" } as const

const HELLO = "From: alice@example.test\r\n\r\nHello\r\n"

describe("octets", () => {
  const rows: [name: string, octets: string | Uint8Array][] = [
    ["plain", HELLO],
    ["dots at line starts", "A: b\r\n\r\n.\r\n..\r\n...a\r\n.\r\n"],
    ["a dot first", ".\r\n.\r\n"],
    ["long lines", `A: b\r\n\r\n${"x".repeat(100_000)}\r\n`],
    ["NUL and 8-bit", Buffer.from([65, 58, 32, 0, 255, 13, 10, 13, 10, 0, 128, 13, 10])],
  ]
  test.each(rows)("%s: reach the next hop as they are", async (_name, octets) => {
    await using sink = await openSmtpSink()
    await using relay = makeRelay()
    const outcome = await relay.relayMessage(relayMessage(octets), host(sink.port), never)
    expect(outcome.kind).toBe("relayed")
    expect(sink.messages[0]?.octets.equals(Buffer.from(octets))).toBe(true)
  })

  test("a message without a final line end gets exactly one", async () => {
    await using sink = await openSmtpSink()
    await using relay = makeRelay()
    await relay.relayMessage(relayMessage("A: b\r\n\r\nend"), host(sink.port), never)
    expect(sink.messages[0]?.octets.toString()).toBe("A: b\r\n\r\nend\r\n")
  })

  test("content that breaks off is not delivered, and its error is thrown", async () => {
    await using sink = await openSmtpSink()
    await using relay = makeRelay()
    const broken = relayMessage(HELLO, {
      content: async function* () {
        yield Buffer.from("From: a")
        throw new RangeError("spool")
      },
    })
    await expect(relay.relayMessage(broken, host(sink.port), never)).rejects.toThrow(RangeError)
    await expect(
      relay.relayMessage(relayMessage(HELLO, { sizeOctets: 99 }), host(sink.port), never),
    ).rejects.toMatchObject({
      code: "LENGTH_MISMATCH",
    })
    await relay.relayMessage(relayMessage(HELLO), host(sink.port), never)
    expect(sink.messages.map((one) => one.octets.toString())).toEqual([HELLO])
  })
})

describe("replies", () => {
  const rows: [reply: string, kind: string, status: string][] = [
    ["450 4.2.1 mailbox busy", "retry", "4.2.1"],
    ["451 greylisted", "retry", "4.0.0"],
    ["550 5.1.1 no such user", "failed", "5.1.1"],
    ["552 too big", "failed", "5.0.0"],
    ["550 4.1.1 confused", "failed", "5.1.1"],
  ]
  test.each(rows)("RCPT %s: %s", async (reply, kind, status) => {
    await using sink = await openSmtpSink({ rcpt: () => reply })
    await using relay = makeRelay()
    const outcome = await relay.relayMessage(relayMessage(HELLO), host(sink.port), never)
    expect(outcome).toMatchObject({ kind, status: { status, recipient: "carol@remote.example", remote: "127.0.0.1" } })
    expect(outcome.status.diagnostic).toContain(reply)
    expect(sink.messages).toEqual([])
  })

  test.each(rows)("final dot %s: %s", async (reply, kind, status) => {
    await using sink = await openSmtpSink({ data: () => reply })
    await using relay = makeRelay()
    expect(await relay.relayMessage(relayMessage(HELLO), host(sink.port), never)).toMatchObject({
      kind,
      status: { status },
    })
  })

  test("a session goes on after a refusal", async () => {
    let refuse = true
    await using sink = await openSmtpSink({ rcpt: () => (refuse ? "550 5.1.1 no" : null) })
    await using relay = makeRelay()
    await relay.relayMessage(relayMessage(HELLO), host(sink.port), never)
    refuse = false
    expect((await relay.relayMessage(relayMessage(HELLO), host(sink.port), never)).kind).toBe("relayed")
    expect(sink.sessions).toBe(1)
  })

  test("421 on the message: retried later with what was said", async () => {
    await using sink = await openSmtpSink({ rcpt: () => "421 4.3.2 going down" })
    await using relay = makeRelay()
    const outcome = await relay.relayMessage(relayMessage(HELLO), host(sink.port), never)
    expect(outcome).toMatchObject({ kind: "retry", status: { status: "4.3.2" } })
  })

  test("a message larger than SIZE fails without being sent", async () => {
    await using sink = await openSmtpSink({ server: { size: 10 } })
    await using relay = makeRelay()
    const outcome = await relay.relayMessage(relayMessage(HELLO), host(sink.port), never)
    expect(outcome).toMatchObject({ kind: "failed", status: { status: "5.3.4" } })
  })

  test("nobody listens: retry", async () => {
    const sink = await openSmtpSink()
    await sink[Symbol.asyncDispose]()
    await using relay = makeRelay()
    const outcome = await relay.relayMessage(relayMessage(HELLO), host(sink.port), never)
    expect(outcome).toMatchObject({ kind: "retry", status: { status: "4.4.1", action: "delayed" } })
  })
})

describe("sessions", () => {
  test("are used again, at most as many as allowed", async () => {
    await using sink = await openSmtpSink()
    await using relay = makeRelay({ perHop: 2 })
    const all = Array.from({ length: 12 }, () => relay.relayMessage(relayMessage(HELLO), host(sink.port), never))
    expect((await Promise.all(all)).every((one) => one.kind === "relayed")).toBe(true)
    expect(sink.messages.length).toBe(12)
    expect(sink.sessions).toBe(2)
  })

  test("one that the server dropped while idle is replaced without a word", async () => {
    await using sink = await openSmtpSink()
    await using relay = makeRelay()
    await relay.relayMessage(relayMessage(HELLO), host(sink.port), never)
    sink.dropAll()
    expect((await relay.relayMessage(relayMessage(HELLO), host(sink.port), never)).kind).toBe("relayed")
    expect(sink.sessions).toBe(2)
  })

  test("an aborted attempt ends with the signal's reason", async () => {
    const stop = new AbortController()
    await using sink = await openSmtpSink({
      rcpt: () => {
        stop.abort(new Error("stopping"))
        return null
      },
    })
    await using relay = makeRelay()
    await expect(relay.relayMessage(relayMessage(HELLO), host(sink.port), stop.signal)).rejects.toThrow("stopping")
  })
})

describe("TLS", () => {
  test("opportunistic takes any certificate, and none", async () => {
    await using secure = await openSmtpSink({ tls: certificate })
    await using plain = await openSmtpSink()
    await using relay = makeRelay()
    await relay.relayMessage(relayMessage(HELLO), host(secure.port), never)
    await relay.relayMessage(relayMessage(HELLO), host(plain.port), never)
    expect([secure.messages[0]?.tls, plain.messages[0]?.tls]).toEqual([true, false])
  })

  test("opportunistic goes on in clear when the handshake fails", async () => {
    await using sink = await openSmtpSink({
      tls: certificate,
      server: NO_SHARED_CIPHER,
    })
    await using relay = makeRelay()
    expect((await relay.relayMessage(relayMessage(HELLO), host(sink.port), never)).kind).toBe("relayed")
    expect(sink.messages[0]?.tls).toBe(false)
  })

  test("required refuses a server without STARTTLS and an unverified certificate", async () => {
    await using secure = await openSmtpSink({ tls: certificate })
    await using plain = await openSmtpSink()
    await using relay = makeRelay()
    for (const sink of [secure, plain]) {
      const outcome = await relay.relayMessage(relayMessage(HELLO), host(sink.port, { tls: "required" }), never)
      expect(outcome).toMatchObject({ kind: "retry", status: { status: "4.7.4" } })
      expect(sink.messages).toEqual([])
    }
    const hop = host(secure.port, { tls: "required", authority: certificate.certificate })
    expect((await relay.relayMessage(relayMessage(HELLO), hop, never)).kind).toBe("relayed")
  })

  test("a peer of old versions only: in clear where nothing is demanded, else nothing", async () => {
    const old = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT:@SECLEVEL=0" } as const
    await using sink = await openSmtpSink({ tls: certificate, server: old })
    await using relay = makeRelay()
    for (const tls of ["required", "encrypted"] as const) {
      const outcome = await relay.relayMessage(
        relayMessage(HELLO),
        host(sink.port, { tls, authority: certificate.certificate }),
        never,
      )
      expect(outcome).toMatchObject({ kind: "retry", status: { status: "4.7.4" } })
    }
    expect(sink.messages).toEqual([])
    expect((await relay.relayMessage(relayMessage(HELLO), host(sink.port), never)).kind).toBe("relayed")
  })

  test("encrypted takes any certificate, and no clear text", async () => {
    await using secure = await openSmtpSink({ tls: certificate })
    await using plain = await openSmtpSink()
    await using relay = makeRelay()
    const outcomes = [secure, plain].map((sink) =>
      relay.relayMessage(relayMessage(HELLO), host(sink.port, { tls: "encrypted" }), never),
    )
    expect((await Promise.all(outcomes)).map(({ kind }) => kind)).toEqual(["relayed", "retry"])
    expect([secure.messages.length, plain.messages.length]).toEqual([1, 0])
  })

  test("what stands behind the reply to STARTTLS, still in clear, is not believed", async () => {
    const said: string[] = []
    await using server = await injecting("250-in.clear\r\n250 REQUIRETLS\r\n", said)
    await using relay = makeRelay()
    const hop = host(server.port, { tls: "required", authority: certificate.certificate })
    const outcome = await relay.relayMessage(relayMessage(HELLO, { requireTls: true }), hop, never)
    expect(outcome).toMatchObject({ kind: "failed", status: { status: "5.7.30" } })
    expect(said.slice(0, 3)).toEqual(["EHLO mx.example.test", "STARTTLS", "TLS: EHLO mx.example.test"])
  })

  test("implicit, with a password", async () => {
    await using sink = await openSmtpSink({ tls: certificate, implicit: true, password: "p" })
    await using relay = makeRelay()
    const hop = host(sink.port, { tls: "implicit", authority: certificate.certificate })
    await relay.relayMessage(relayMessage(HELLO), { ...hop, auth: { username: "u", password: "p" } }, never)
    expect(sink.messages[0]).toMatchObject({ tls: true, username: "u" })
    const wrong = await relay.relayMessage(
      relayMessage(HELLO),
      { ...hop, auth: { username: "v", password: "q" } },
      never,
    )
    expect(wrong).toMatchObject({ kind: "retry", status: { status: "4.7.0" } })
  })
})

/** A server that says `text` right behind its reply to STARTTLS; `said` gets what it hears. */
async function injecting(text: string, said: string[]) {
  const server = createServer((socket) => {
    socket.on("error", () => undefined)
    socket.write("220 mx\r\n")
    const hear = (octets: Buffer): void => {
      const line = octets.toString().trim()
      said.push(line)
      if (line !== "STARTTLS") return void socket.write("250-mx\r\n250 STARTTLS\r\n")
      socket.off("data", hear)
      socket.write(`220 go\r\n${text}`)
      const { key, certificate: cert } = certificate
      const secured = new TLSSocket(socket, { isServer: true, key, cert })
      secured.on("error", () => undefined)
      secured.on("data", (inner) => {
        said.push(`TLS: ${inner.toString().trim()}`)
        secured.write("250 mx\r\n")
      })
    }
    socket.on("data", hear)
  }).listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  if (address === null || typeof address === "string") throw new Error("no port")
  return {
    port: address.port,
    [Symbol.asyncDispose]: async () => void server.close(),
  }
}

describe("extensions", () => {
  test("SMTPUTF8 is declared when the message needs it, also for ASCII addresses", async () => {
    await using sink = await openSmtpSink()
    await using relay = makeRelay()
    await relay.relayMessage(relayMessage("Subject: ü\r\n\r\n", { smtpUtf8: true }), host(sink.port), never)
    await relay.relayMessage(
      relayMessage(HELLO, { recipient: parseAddress("müller@remote.example") }),
      host(sink.port),
      never,
    )
    await relay.relayMessage(relayMessage(HELLO), host(sink.port), never)
    expect(sink.messages.map((one) => one.smtpUtf8)).toEqual([true, true, false])
    expect(sink.messages[1]?.recipients).toEqual(["müller@remote.example"])
  })

  test("a next hop without SMTPUTF8 gets only what is ASCII", async () => {
    await using sink = await openSmtpSink({ server: { hideSMTPUTF8: true } })
    await using relay = makeRelay()
    const header = await relay.relayMessage(
      relayMessage("Subject: ü\r\n\r\n", { smtpUtf8: true }),
      host(sink.port),
      never,
    )
    const recipient = parseAddress("müller@remote.example")
    const address = await relay.relayMessage(relayMessage(HELLO, { recipient }), host(sink.port), never)
    for (const one of [header, address]) expect(one).toMatchObject({ kind: "failed", status: { status: "5.6.7" } })
    expect((await relay.relayMessage(relayMessage(HELLO, { smtpUtf8: true }), host(sink.port), never)).kind).toBe(
      "relayed",
    )
  })

  test("a next hop without 8BITMIME gets only 7-bit mail", async () => {
    await using sink = await openSmtpSink({ server: { hide8BITMIME: true } })
    await using relay = makeRelay()
    const eight = await relay.relayMessage(relayMessage("A: b\r\n\r\nü\r\n"), host(sink.port), never)
    expect(eight).toMatchObject({ kind: "failed", status: { status: "5.6.3" } })
    expect((await relay.relayMessage(relayMessage(HELLO), host(sink.port), never)).kind).toBe("relayed")
  })

  test("DSN parameters and the null sender are passed on", async () => {
    await using sink = await openSmtpSink({ server: { size: 1_000_000 } })
    await using relay = makeRelay()
    const dsn = { envelopeId: "QQ 314+", returnContent: "HDRS", notify: ["FAILURE", "DELAY"] } as const
    const originalRecipient = "rfc822;carol@example.test"
    const asking = relayMessage(HELLO, { ...dsn, originalRecipient, sender: null })
    expect(await relay.relayMessage(asking, host(sink.port), never)).toMatchObject({ kind: "relayed", notifies: true })
    expect(sink.messages[0]?.sender).toBe("")
    expect(sink.messages[0]?.mailParameters).toMatchObject({
      ENVID: "QQ 314+",
      RET: "HDRS",
      SIZE: String(HELLO.length),
    })
    expect(sink.messages[0]?.rcptParameters[0]).toMatchObject({ NOTIFY: "FAILURE,DELAY", ORCPT: originalRecipient })
    await using plain = await openSmtpSink({ server: { hideDSN: true } })
    expect(await relay.relayMessage(asking, host(plain.port), never)).not.toHaveProperty("notifies")
  })
})

describe("mail exchangers", () => {
  const NO_RECORDS: Resolver = {
    mx: async () => ({ records: [], secure: false }),
    addresses: async (canonical) => ({ records: [], secure: false, canonical }),
    tlsa: async () => ({ records: [], secure: false }),
    isSecureAlias: async () => false,
    text: async () => [],
  }
  type Zone = Readonly<Record<string, { mx?: [number, string][]; a?: string[] }>>
  function domain(name: string, zone: Zone, port = 1): ExchangeHop {
    const resolver: Resolver = {
      ...NO_RECORDS,
      mx: async (asked) => ({
        records: (zone[asked]?.mx ?? []).map(([preference, exchange]) => ({ preference, exchange })),
        secure: false,
      }),
      addresses: async (asked) => ({ records: zone[asked]?.a ?? [], secure: false, canonical: asked }),
    }
    return { kind: "mx", domain: name, resolver, port, isOurs: (address) => address === "127.0.0.9" }
  }

  test("are tried by preference, the next when one is down", async () => {
    await using sink = await openSmtpSink()
    await using relay = makeRelay()
    const zone: Zone = {
      "remote.example": {
        mx: [
          [20, "mx1.remote.example"],
          [10, "mx2.remote.example"],
        ],
      },
      "mx1.remote.example": { a: ["127.0.0.1"] },
      "mx2.remote.example": { a: ["127.0.0.2"] },
    }
    const outcome = await relay.relayMessage(relayMessage(HELLO), domain("remote.example", zone, sink.port), never)
    expect(outcome).toMatchObject({ kind: "relayed", status: { remote: "mx1.remote.example" } })
  })

  test("without MX the address of the domain", async () => {
    await using sink = await openSmtpSink()
    await using relay = makeRelay()
    const zone: Zone = { "remote.example": { a: ["127.0.0.1"] } }
    const outcome = await relay.relayMessage(relayMessage(HELLO), domain("remote.example", zone, sink.port), never)
    expect(outcome.kind).toBe("relayed")
  })

  const rows: [name: string, zone: Zone, kind: string, status: string][] = [
    ["null MX", { d: { mx: [[0, ""]] } }, "failed", "5.1.10"],
    ["null MX as a dot", { d: { mx: [[0, "."]] } }, "failed", "5.1.10"],
    ["nothing", {}, "failed", "5.1.2"],
    ["MX without address", { d: { mx: [[10, "m"]] } }, "failed", "5.1.2"],
    ["our own address", { d: { mx: [[10, "m"]] }, m: { a: ["127.0.0.9"] } }, "failed", "5.4.6"],
    [
      "our own name",
      { d: { mx: [[10, "MX.example.test"]] }, "MX.example.test": { a: ["127.0.0.1"] } },
      "failed",
      "5.4.6",
    ],
    [
      "a backup behind us",
      {
        d: {
          mx: [
            [10, "mx.example.test"],
            [20, "m"],
          ],
        },
        m: { a: ["127.0.0.1"] },
      },
      "failed",
      "5.4.6",
    ],
    ["all down", { d: { mx: [[10, "m"]] }, m: { a: ["127.0.0.1"] } }, "retry", "4.4.1"],
  ]
  test.each(rows)("%s", async (_name, zone, kind, status) => {
    await using relay = makeRelay()
    expect(await relay.relayMessage(relayMessage(HELLO), domain("d", zone), never)).toMatchObject({
      kind,
      status: { status },
    })
  })

  test("a hundred exchangers get a few tries", async () => {
    await using relay = makeRelay()
    const mx = Array.from({ length: 100 }, (_, index): [number, string] => [index, `m${index}`])
    let asked = 0
    const hop = domain("d", { d: { mx } })
    const addresses = async () => {
      asked++
      return { records: ["127.0.0.1"], secure: false, canonical: "m" }
    }
    const outcome = await relay.relayMessage(
      relayMessage(HELLO),
      { ...hop, resolver: { ...hop.resolver, addresses } },
      never,
    )
    expect([outcome.kind, asked]).toEqual(["retry", MAX_TARGETS])
  })

  test("no answer is no verdict: retry", async () => {
    await using relay = makeRelay()
    const resolver: Resolver = { ...NO_RECORDS, mx: () => Promise.reject(new Error("SERVFAIL")) }
    const hop = { ...domain("d", {}), resolver }
    expect(await relay.relayMessage(relayMessage(HELLO), hop, never)).toMatchObject({
      kind: "retry",
      status: { status: "4.4.3" },
    })
  })
})
