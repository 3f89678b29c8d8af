import { once } from "node:events"
import { type AddressInfo, createServer, type Socket } from "node:net"
import { describe, expect, test } from "vitest"
import { hasCode } from "../../src/errors.ts"
import { OctetSource } from "../../src/imap-proxy/octets.ts"
import { externalUpstream } from "../../src/imap-proxy/upstream.ts"
import { silentLog } from "../../src/log/log.ts"

const MASTER = { user: "m", password: 'p"w\\' }

/** A server that greets, and answers each line by `answer` (`$` is its tag). */
async function serverOf(
  greeting: string,
  answer: (command: string) => string,
): Promise<{ port: number; lines: string[] } & AsyncDisposable> {
  const lines: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on("error", () => undefined)
    socket.write(greeting)
    void (async () => {
      const source = new OctetSource(socket)
      let received = ""
      for (let octets = await source.read(); octets !== null; octets = await source.read()) {
        received += Buffer.from(octets).toString("latin1")
        for (let end = received.indexOf("\r\n"); end >= 0; end = received.indexOf("\r\n")) {
          const line = received.slice(0, end)
          received = received.slice(end + 2)
          lines.push(line)
          const [tag = "", ...words] = line.split(" ")
          socket.write(Buffer.from(answer(words.join(" ")).replaceAll("$", tag), "latin1"))
        }
      }
    })()
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return {
    port: (server.address() as AddressInfo).port,
    lines,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

async function connect(port: number, security: "plain" | "starttls" = "plain", timeoutMs = 2000): Promise<string> {
  const upstream = externalUpstream({
    endpoint: { kind: "tcp", host: "127.0.0.1", port, security },
    master: MASTER,
    log: silentLog(),
    timeoutMs,
  })
  const stream = await upstream.connect("a@b.example", { address: "127.0.0.1" }, new AbortController().signal)
  const octets = await new OctetSource(stream).read()
  stream.destroy()
  return Buffer.from(octets ?? []).toString("latin1")
}

const outcome = (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)
const ready = "* OK ready\r\n"
const done = (command: string): string =>
  command === "CAPABILITY" ? "* CAPABILITY IMAP4rev1\r\n$ OK x\r\n" : "$ OK x\r\n"

describe("login", () => {
  test("AUTHENTICATE PLAIN with an initial response, and the capabilities that come with it", async () => {
    await using server = await serverOf(ready, (command) => {
      if (command === "CAPABILITY") return "* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\n$ OK x\r\n"
      return "* OK unasked\r\n$ OK [CAPABILITY IMAP4rev1 MOVE] in\r\n"
    })
    expect(await connect(server.port)).toBe("* PREAUTH [CAPABILITY IMAP4rev1 MOVE] logged in\r\n")
    const sent = Buffer.from(`\0a@b.example*m\0${MASTER.password}`).toString("base64")
    expect(server.lines.at(-1)).toBe(`p2 AUTHENTICATE PLAIN ${sent}`)
  })

  test("without SASL-IR the response waits for +", async () => {
    await using server = await serverOf(ready, (command) => {
      if (command === "CAPABILITY") return "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n$ OK x\r\n"
      return command === "AUTHENTICATE PLAIN" ? "+ \r\n" : "p2 OK in\r\n"
    })
    expect(await connect(server.port)).toContain("IMAP4REV1 AUTH=PLAIN")
  })

  test("LOGIN where there is no PLAIN, with quotes", async () => {
    await using server = await serverOf(ready, done)
    await connect(server.port)
    expect(server.lines[1]).toBe('p2 LOGIN "a@b.example*m" "p\\"w\\\\"')
  })

  test.each([
    ["NO [AUTHENTICATIONFAILED] no", "UPSTREAM_REFUSED"],
    ["NO [UNAVAILABLE] later", "UPSTREAM_UNAVAILABLE"],
  ] as const)("%s", async (text, code) => {
    await using server = await serverOf(ready, (command) =>
      command.startsWith("LOGIN") ? `$ ${text}\r\n` : done(command),
    )
    const error = await outcome(connect(server.port))
    expect(hasCode(error, code)).toBe(true)
    expect(String(error)).not.toContain(MASTER.password)
  })
})

describe("greetings and TLS", () => {
  test.each(["* BYE busy\r\n", "* PREAUTH welcome\r\n", "HTTP/1.1 400 x\r\n\r\n"])(
    "%j is not let in",
    async (greeting) => {
      await using server = await serverOf(greeting, done)
      const error = await outcome(connect(server.port, "plain", 300))
      expect(hasCode(error, "UPSTREAM_UNAVAILABLE")).toBe(true)
      expect(server.lines).toEqual([])
    },
  )

  test("octets behind STARTTLS's OK are an attack", async () => {
    await using server = await serverOf(ready, () => "$ OK go\r\n* CAPABILITY AUTH=PLAIN\r\n")
    expect(hasCode(await outcome(connect(server.port, "starttls")), "PROTOCOL")).toBe(true)
    expect(server.lines).toEqual(["p1 STARTTLS"])
  })

  test("a server without STARTTLS gets no password", async () => {
    await using server = await serverOf(ready, (command) => (command === "STARTTLS" ? "$ BAD what\r\n" : done(command)))
    expect(hasCode(await outcome(connect(server.port, "starttls")), "UPSTREAM_UNAVAILABLE")).toBe(true)
    expect(server.lines).toEqual(["p1 STARTTLS"])
  })

  test("a server that says nothing is given up", async () => {
    await using server = await serverOf("", done)
    expect(hasCode(await outcome(connect(server.port, "plain", 100)), "UPSTREAM_UNAVAILABLE")).toBe(true)
  })

  test("nobody there", async () => {
    expect(hasCode(await outcome(connect(1)), "UPSTREAM_UNAVAILABLE")).toBe(true)
  })
})
