import { once } from "node:events"
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http"
import { createServer as createHttpsServer } from "node:https"
import { createServer, type Server, type Socket } from "node:net"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { describe, expect, test } from "vitest"
import { clamd } from "../../src/scan/clamd.ts"
import type { Finding } from "../../src/scan/finding.ts"
import { hook } from "../../src/scan/hook.ts"
import { Inspection } from "../../src/scan/inspection.ts"
import { rspamd } from "../../src/scan/rspamd.ts"
import type { Program, Talk } from "../../src/scan/scanner.ts"
import { testCertificate } from "../harness/certificate.ts"
import { EICAR, FakeClamd } from "../harness/fake-clamd.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { freePorts } from "../harness/ports.ts"

setFlagsFromString("--expose-gc")
const collectGarbage: () => void = runInNewContext("gc")

const FACTS = { sender: null, recipients: [], remote: "192.0.2.1", helo: "c.test", account: null, id: "s.1" }
const LIMITS = { timeoutMs: 10_000, maxOctets: 1_000_000_000 }
const MESSAGE = Buffer.from("Subject: x\r\n\r\nthe text\r\n")

/** Pushes the message again and again until there is a finding, which is when the inspection lets go of the connection. */
async function pushedUntilSettled(talk: Talk): Promise<Finding> {
  let settled = false
  const inspection = new Inspection(
    {
      push: (octets) => talk.push(octets),
      end: () => talk.end(),
      cancel() {
        settled = true
        talk.cancel()
      },
    },
    LIMITS,
  )
  while (!settled) {
    await inspection.push(MESSAGE)
    await new Promise(setImmediate)
  }
  return await inspection.end()
}

/** Short where it is the time that runs out: only there is a slow machine no matter. */
function patience({ source }: RegExp): { readonly timeoutMs: number } {
  return { timeoutMs: source.includes("in time") ? 300 : 10_000 }
}

async function inspect(program: Program, pieces: readonly Uint8Array[], limits = {}): Promise<Finding> {
  const inspection = new Inspection(program.talk(FACTS), { ...LIMITS, ...limits })
  try {
    for (const piece of pieces) await inspection.push(piece)
    return await inspection.end()
  } finally {
    inspection.cancel()
  }
}

interface Listening extends AsyncDisposable {
  readonly port: number
}

async function listening(server: Server, where: number | string = 0): Promise<Listening> {
  const sockets = new Set<Socket>()
  server.on("connection", (socket: Socket) => {
    sockets.add(socket)
    socket.on("error", () => undefined)
  })
  if (typeof where === "string") server.listen(where)
  else server.listen(where, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  return {
    port: address !== null && typeof address === "object" ? address.port : 0,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** A clamd that does with the connection what the test says. */
function tcp(serve: (socket: Socket) => void): Promise<Listening> {
  return listening(createServer(serve))
}

function http(serve: (request: IncomingMessage, response: ServerResponse) => void): Promise<Listening> {
  return listening(createHttpServer(serve))
}

const at = (port: number): Program => clamd({ kind: "tcp", host: "127.0.0.1", port })
const hookAt = (port: number): Program => hook(new URL(`http://127.0.0.1:${port}/scan?x=1`))

/** Answers when the whole request is there. */
function whole(answer: (body: Buffer, request: IncomingMessage, response: ServerResponse) => void) {
  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const pieces: Buffer[] = []
    for await (const piece of request) pieces.push(piece)
    answer(Buffer.concat(pieces), request, response)
  }
}

describe("clamd", () => {
  test("is shown the octets as they are, however they are cut", async () => {
    await using fake = await FakeClamd.start()
    const bytes = [...MESSAGE].map((octet) => Uint8Array.of(octet))
    for (const pieces of [[MESSAGE], bytes, [new Uint8Array(0), MESSAGE, new Uint8Array(0)], []])
      expect(await inspect(at(fake.port), pieces)).toEqual({ outcome: "clean", because: "OK" })
    expect(fake.messages.map(String)).toEqual([String(MESSAGE), String(MESSAGE), String(MESSAGE), ""])
  })

  test("finds a virus", async () => {
    await using fake = await FakeClamd.start()
    expect(await inspect(at(fake.port), [MESSAGE, Buffer.from(EICAR)])).toEqual({
      outcome: "virus",
      because: "Eicar-Test-Signature",
    })
  })

  test("listens on a Unix socket too", async () => {
    await using folder = await temporaryFolder()
    const path = folder.file("clamd.ctl")
    await using _server = await listening(
      createServer((socket) => socket.end("stream: OK FOUND\0")),
      path,
    )
    expect((await inspect(clamd({ kind: "unix", path }), [MESSAGE])).outcome).toBe("virus")
  })

  const rows: [name: string, serve: (socket: Socket) => void, want: RegExp][] = [
    ["silence", () => undefined, /^away: scan: no answer in time$/],
    ["half a reply", (socket) => socket.write("stream: OK"), /^away: scan: no answer in time$/],
    ["half a reply and the end", (socket) => socket.end("stream: OK"), /^away: /],
    ["the end at once", (socket) => socket.end(), /^away: /],
    ["a reset", (socket) => socket.resetAndDestroy(), /^away: /],
    ["a reply without an end", (socket) => socket.write("x".repeat(5000)), /^away: scan: clamd's reply is over 4096/],
    ["its limit", (socket) => socket.write("INSTREAM size limit exceeded. ERROR\0"), /^tooLarge: /],
    ["a virus before the end", (socket) => socket.write("stream: X FOUND\0"), /^virus: X$/],
    ["a reply in pieces", dripping("stream: X FOUND\0more"), /^virus: X$/],
    ["an error", (socket) => socket.write("stream: lstat() failed. ERROR\0"), /^away: scan: clamd says: stream: lstat/],
  ]
  for (const [name, serve, want] of rows)
    test(`${name} comes to ${want.source}`, async () => {
      await using server = await tcp((socket) => {
        socket.on("error", () => undefined)
        socket.resume()
        serve(socket)
      })
      const { outcome, because } = await inspect(at(server.port), [MESSAGE, MESSAGE], patience(want))
      expect(`${outcome}: ${because}`).toMatch(want)
    })

  test("who clears a message before its end has not seen it", async () => {
    await using server = await tcp((socket) => socket.resume().write("stream: OK\0"))
    expect(await pushedUntilSettled(at(server.port).talk(FACTS))).toEqual({
      outcome: "away",
      because: "scan: answered before the end of the message",
    })
  })

  test("nobody listens", async () => {
    const [port = 0] = await freePorts(1)
    expect(await inspect(at(port), [MESSAGE])).toEqual({
      outcome: "away",
      because: `connect ECONNREFUSED 127.0.0.1:${port}`,
    })
    const named = await inspect(clamd({ kind: "tcp", host: "localhost", port }), [MESSAGE])
    expect(named).toEqual({ outcome: "away", because: expect.stringContaining(`ECONNREFUSED 127.0.0.1:${port}`) })
    expect((await inspect(clamd({ kind: "unix", path: "/nowhere/clamd.ctl" }), [MESSAGE])).outcome).toBe("away")
  })
})

describe("rspamd and hooks", () => {
  test("get a POST in chunks with the envelope beside it", async () => {
    const seen: string[] = []
    await using server = await http(
      whole((body, { method, url, headers }, response) => {
        seen.push(`${method} ${url} ${headers["transfer-encoding"]} ${headers["ip"]} ${headers["helo"]} ${body}`)
        response.end(JSON.stringify({ action: "add header", score: 6.5, verdict: "quarantine", reason: "spam" }))
      }),
    )
    const url = new URL(`http://127.0.0.1:${server.port}`)
    expect(await inspect(rspamd(url), [MESSAGE])).toEqual({ outcome: "quarantine", because: "add header, score 6.5" })
    expect(await inspect(hookAt(server.port), [MESSAGE, MESSAGE])).toEqual({ outcome: "quarantine", because: "spam" })
    expect(seen).toEqual([
      `POST /checkv2 chunked 192.0.2.1 c.test ${MESSAGE}`,
      `POST /scan?x=1 chunked 192.0.2.1 c.test ${MESSAGE}${MESSAGE}`,
    ])
  })

  const good = '{"verdict":"accept"}'
  const rows: [name: string, serve: Parameters<typeof http>[0], want: RegExp][] = [
    ["silence", () => undefined, /^away: scan: no answer in time$/],
    ["a redirect", whole((_b, _q, r) => r.writeHead(302, { Location: "/other" }).end(good)), /^away: .*status 302$/],
    ["an error", whole((_b, _q, r) => r.writeHead(500).end(good)), /^away: .*status 500$/],
    ["no content", whole((_b, _q, r) => r.writeHead(204).end()), /^away: .*status 204$/],
    ["no JSON", whole((_b, _q, r) => r.end("accept")), /^away: scan: answer is no JSON$/],
    ["no UTF-8", whole((_b, _q, r) => r.end(Buffer.from([0x22, 0xff, 0x22]))), /^away: scan: answer is no JSON$/],
    ["an endless answer", whole((_b, _q, r) => endless(r)), /^away: scan: answer is over 1048576 octets$/],
    ["half an answer", whole((_b, _q, r) => void r.writeHead(200).write('{"verdict":')), /^away: .*in time$/],
    [
      "half an answer and the end",
      whole((_b, q, r) => {
        r.writeHead(200, { "Content-Length": "20" }).write('{"verdict":')
        setTimeout(() => q.socket.destroy(), 20)
      }),
      /^away: aborted$/,
    ],
    ["the end at once", (request) => request.socket.destroy(), /^away: /],
    ["a refusal before the end", (_q, r) => void r.end('{"verdict":"reject"}'), /^reject: reject$/],
  ]
  for (const [name, serve, want] of rows)
    test(`${name} comes to ${want.source}`, async () => {
      await using server = await http(serve)
      const { outcome, because } = await inspect(hookAt(server.port), [MESSAGE], patience(want))
      expect(`${outcome}: ${because}`).toMatch(want)
    })

  test("who clears a message before its end has not seen it", async () => {
    await using server = await http((request, response) => {
      request.resume()
      // The whole answer, without an end: at that the server would close the connection, and who still writes would fail of it.
      response.writeHead(200, { "Content-Length": good.length }).write(good)
    })
    expect(await pushedUntilSettled(hookAt(server.port).talk(FACTS))).toEqual({
      outcome: "away",
      because: "scan: answered before the end of the message",
    })
  })

  test("a certificate that nobody vouches for is shown nothing", async () => {
    const { key, certificate } = await testCertificate()
    let requests = 0
    await using server = await listening(createHttpsServer({ key, cert: certificate }, () => void requests++))
    const finding = await inspect(hook(new URL(`https://localhost:${server.port}/`)), [MESSAGE])
    expect(finding).toEqual({ outcome: "away", because: expect.stringContaining("self-signed certificate") })
    expect(requests).toBe(0)
  })
})

describe("limits", () => {
  test("what is larger than is shown is let go of at once", async () => {
    let opened = 0
    let closed = 0
    await using server = await tcp((socket) => {
      opened++
      socket.resume().on("close", () => closed++)
    })
    const inspection = new Inspection(at(server.port).talk(FACTS), { ...LIMITS, maxOctets: 30 })
    await inspection.push(MESSAGE)
    await expect.poll(() => opened).toBe(1)
    await inspection.push(MESSAGE)
    await inspection.push(MESSAGE)
    expect(await inspection.end()).toEqual({ outcome: "tooLarge", because: "over 30 octets" })
    await expect.poll(() => closed).toBe(1)
  })

  test("who is cancelled lets go of the connection", async () => {
    let open = 0
    await using server = await tcp((socket) => {
      open++
      socket.resume().on("close", () => open--)
    })
    const inspection = new Inspection(at(server.port).talk(FACTS), LIMITS)
    await inspection.push(MESSAGE)
    await expect.poll(() => open).toBe(1)
    inspection.cancel()
    await expect.poll(() => open).toBe(0)
  })

  const silent: [name: string, program: (port: number) => Program][] = [
    ["clamd", at],
    ["hook", hookAt],
  ]
  for (const [name, program] of silent)
    test(`${name}: who is cancelled waits no longer`, async () => {
      await using server = await tcp((socket) => void socket.resume())
      const inspection = new Inspection(program(server.port).talk(FACTS), LIMITS)
      await inspection.push(MESSAGE)
      const ending = inspection.end()
      inspection.cancel()
      expect((await ending).outcome).toBe("away")
    })

  test("all waits together are bounded: who reads by drips is away", async () => {
    await using server = await tcp((socket) => {
      socket.pause()
      const drip = setInterval(() => void socket.read(1000), 20)
      socket.on("close", () => clearInterval(drip))
    })
    const since = performance.now()
    const piece = Buffer.alloc(4_000_000)
    const finding = await inspect(at(server.port), Array(20).fill(piece), { timeoutMs: 300 })
    expect(finding).toEqual({ outcome: "away", because: "scan: no answer in time" })
    // At its own speed it would take half an hour.
    expect(performance.now() - since).toBeLessThan(30_000)
  })
})

describe("back-pressure", () => {
  const readers: [
    name: string,
    open: (hold: Promise<void>) => Promise<Listening>,
    program: (port: number) => Program,
  ][] = [
    [
      "clamd",
      (hold) =>
        tcp((socket) => {
          socket.pause()
          void hold.then(() => socket.resume())
        }),
      at,
    ],
    ["hook", (hold) => http((request) => void hold.then(() => request.resume())), hookAt],
  ]
  for (const [name, open, program] of readers)
    test(`${name}: nothing is taken that the scanner does not take`, async () => {
      const { promise: hold, resolve: release } = Promise.withResolvers<void>()
      await using server = await open(hold)
      const inspection = new Inspection(program(server.port).talk(FACTS), LIMITS)
      let pushed = 0
      const pushing = (async () => {
        for (; pushed < 500; pushed++) await inspection.push(Buffer.alloc(65_536))
      })()
      // The kernel takes some megabytes, and then nobody anything: 500 pieces would be 32 MB.
      let before = -1
      await expect.poll(() => before === (before = pushed) && pushed > 0, { interval: 100, timeout: 10_000 }).toBe(true)
      expect(pushed).toBeLessThan(300)
      release()
      await pushing
      expect(pushed).toBe(500)
      inspection.cancel()
    })

  const counting: [name: string, open: () => Promise<Listening>, program: (port: number) => Program][] = [
    [
      "clamd",
      () =>
        tcp((socket) => {
          let last = Buffer.alloc(0)
          socket.on("data", (octets) => {
            last = Buffer.concat([last, octets]).subarray(-4)
            if (last.equals(Buffer.alloc(4))) socket.end("stream: OK\0")
          })
        }),
      at,
    ],
    ["hook", () => http((request, response) => void request.resume().on("end", () => response.end(good()))), hookAt],
  ]
  for (const [name, open, program] of counting)
    test(`${name}: 50 MB pass in flat memory`, async () => {
      await using server = await open()
      const inspection = new Inspection(program(server.port).talk(FACTS), LIMITS)
      collectGarbage()
      const before = process.memoryUsage()
      let peak = 0
      for (let count = 0; count < 800; count++) {
        await inspection.push(Buffer.alloc(65_536, 97))
        if (count % 20 > 0) continue
        collectGarbage()
        const { arrayBuffers, heapUsed } = process.memoryUsage()
        peak = Math.max(peak, arrayBuffers - before.arrayBuffers + heapUsed - before.heapUsed)
      }
      expect((await inspection.end()).outcome).toBe("clean")
      expect(peak).toBeLessThan(10_000_000)
    })
})

function good(): string {
  return '{"verdict":"accept"}'
}

function dripping(text: string): (socket: Socket) => void {
  return async (socket) => {
    for (const letter of text) {
      socket.write(letter)
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
}

function endless(response: ServerResponse): void {
  response.writeHead(200)
  const more = (): void => {
    while (!response.destroyed && response.write(Buffer.alloc(65_536, 32)));
  }
  response.on("drain", more)
  response.on("error", () => undefined)
  more()
}
