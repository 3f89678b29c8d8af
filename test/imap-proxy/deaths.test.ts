import { once } from "node:events"
import { readdirSync } from "node:fs"
import { type AddressInfo, createServer, type Socket } from "node:net"
import { describe, expect, test } from "vitest"
import type { AppendProtection } from "../../src/imap-proxy/ports.ts"
import { eventually } from "../harness/instance.ts"
import { upstreamAt } from "../harness/upstream.ts"
import { Lines } from "./answering.ts"
import { BareClient } from "./client.ts"
import { MESSAGES } from "./messages.ts"
import { ACCOUNT, HEX_PROTECTION, LAPTOP, PHONE, type Rig, STREAMING_HEX_PROTECTION, startRig } from "./rig.ts"

const smime = MESSAGES["smime"] ?? ""

/** Behind login: what an upstream does with one connection. It ends, by reset, when this does. */
type Life = (commands: Lines, socket: Socket) => Promise<void>

interface Site extends AsyncDisposable {
  readonly rig: Rig
  /** Connections that the upstream still has. */
  readonly open: number
}

/** A proxy in front of an upstream that has one connection for each account, so that one that is not given back is missed. */
async function siteOf(life: Life, protection?: AppendProtection): Promise<Site> {
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on("error", () => undefined).on("close", () => sockets.delete(socket))
    void loggedIn(socket, life).finally(() => socket.destroy())
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo
  const limits = { connections: 1, perAccount: 1, connecting: 1, whenFull: "refuse" } as const
  const upstream = upstreamAt({ kind: "tcp", host: "127.0.0.1", port, security: "plain" }, { limits })
  const rig = await startRig({ upstream, ...(protection ? { protection } : {}) })
  return {
    rig,
    get open() {
      return sockets.size
    },
    [Symbol.asyncDispose]: async () => {
      await rig[Symbol.asyncDispose]()
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

async function loggedIn(socket: Socket, life: Life): Promise<void> {
  const commands = new Lines(socket)
  socket.write("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready\r\n")
  const [tag] = (await commands.next().catch(() => "")).split(" ")
  socket.write(`${tag} OK [CAPABILITY IMAP4rev1 UIDPLUS] in\r\n`)
  // Ends with the client's connection, which is no failure here.
  await life(commands, socket).catch(() => undefined)
}

/** Everything is given back: the upstream has no connection, the account may have one again, and no descriptor is left. */
async function nothingIsLeft(site: Site, descriptorsBefore: number): Promise<void> {
  await eventually("the account may have a connection again", async () => {
    await using again = await BareClient.secure(site.rig)
    return / OK /.test(await again.command(`LOGIN ${ACCOUNT} ${PHONE}`))
  })
  await eventually("the upstream has no connection", () => site.open === 0)
  await site.rig.listener.close(1000)
  await eventually("no descriptor is left but the upstream's listener", () => descriptors() <= descriptorsBefore + 1)
}

const SAID_OR_CUT = /^(?:\* BYE \[UNAVAILABLE\] [^\r]*\r\n)?$/

/** Sockets of this process, those that listen as well. */
function descriptors(): number {
  return readdirSync("/proc/self/fd").length
}

const written = (socket: Socket, text: string): Promise<void> =>
  new Promise((resolve) => socket.write(text, "latin1", () => resolve()))

describe("an upstream that dies", () => {
  const half = smime.slice(0, smime.length / 2)
  const literal = `* 1 FETCH (UID 7 BODY[] {${smime.length}}\r\n${half}`
  const rows: readonly [where: string, command: string, life: Life, seen: RegExp][] = [
    [
      "within the literal of a FETCH",
      "FETCH 1 BODY[]",
      async (_commands, socket) => written(socket, literal),
      /^\* 1 FETCH \(UID 7 BODY\[\] \{\d+\}\r\n/,
    ],
    [
      "within the proxy's own FETCH",
      "FETCH 1 BODY[]<300.100>",
      async (_commands, socket) => written(socket, literal.replace("[]", "[]<0>")),
      /^\* BYE \[UNAVAILABLE\] [^\r]*\r\n$/,
    ],
    ["before it takes an APPEND", `APPEND INBOX {${smime.length}+}\r\n${smime}`, async () => undefined, SAID_OR_CUT],
    [
      "within the literal of an APPEND",
      `APPEND INBOX {4000000+}\r\n${"Subject: x\r\n\r\n".padEnd(4_000_000, "clear\r\n")}`,
      async (commands, socket) => {
        socket.write("+ go\r\n")
        await commands.next()
      },
      SAID_OR_CUT,
    ],
    [
      "behind the literal of an APPEND",
      `APPEND INBOX {${smime.length}+}\r\n${smime}`,
      async (commands, socket) => {
        socket.write("+ go\r\n")
        for (const _ of smime.split("\r\n")) await commands.next()
      },
      SAID_OR_CUT,
    ],
  ]
  for (const end of ["closes", "resets"] as const)
    test.each(rows)(
      `%s (${end}): the client is told or cut, and nothing is left`,
      async (_where, command, life, seen) => {
        const before = descriptors()
        await using site = await siteOf(async (commands, socket) => {
          const [tag] = (await commands.next()).split(" ")
          socket.write(`* OK [UIDVALIDITY 1] ready\r\n${tag} OK done\r\n`)
          await commands.next()
          await life(commands, socket)
          if (end === "resets") socket.resetAndDestroy()
        })
        await using client = await BareClient.loggedIn(site.rig, LAPTOP)
        await client.ok("SELECT INBOX")
        client.send(`a ${command}\r\n`)
        const rest = await client.rest()
        expect(rest).toMatch(seen)
        // Half a message is less than was announced, and has no end; half an APPEND was not stored.
        expect(rest).not.toMatch(/a OK/)
        if (rest.includes("FETCH")) expect(rest).not.toContain("BYE")
        await nothingIsLeft(site, before)
      },
    )
})

describe("a client that dies", () => {
  test.each([
    [3_000_000, 2_000_000, STREAMING_HEX_PROTECTION],
    [500_000, 400_000, HEX_PROTECTION],
  ])(
    "within its APPEND of %i octets, %i of them sent: no upstream takes it for whole",
    async (size, sent, protection) => {
      const before = descriptors()
      let announced = 0
      let received = (): number => 0
      await using site = await siteOf(async (commands, socket) => {
        const command = await commands.next()
        if (!command.includes("APPEND")) return
        announced = Number(/\{(\d+)\}$/.exec(command)?.[1])
        const taken = socket.bytesRead
        received = () => socket.bytesRead - taken
        socket.write("+ go\r\n")
        await commands.next()
      }, protection)
      for (const end of ["closes", "resets"] as const) {
        announced = 0
        received = () => 0
        const client = await BareClient.loggedIn(site.rig, LAPTOP)
        client.send(`a APPEND INBOX {${size}+}\r\n${"Subject: x\r\n\r\n".padEnd(sent, "clear\r\n")}`)
        if (protection === STREAMING_HEX_PROTECTION) await eventually("upstream, part of it", () => received() > 0)
        if (end === "closes") client.end()
        else client.reset()
        await eventually("the upstream has no connection", () => site.open === 0)
        expect(received()).toBeLessThanOrEqual(announced === 0 ? 0 : announced - 1)
      }
      await nothingIsLeft(site, before)
    },
  )

  test.each(["IDLE", "FETCH 1 BODY[]<300.100>", `APPEND INBOX {${smime.length}+}\r\n${smime}`])(
    "while the proxy waits for an upstream that says nothing to %s",
    async (command) => {
      const before = descriptors()
      const heard = Promise.withResolvers<void>()
      await using site = await siteOf(async (commands, socket) => {
        const [tag, name] = (await commands.next()).split(" ")
        if (name !== "SELECT") return
        socket.write(`* OK [UIDVALIDITY 1] ready\r\n${tag} OK done\r\n`)
        for (;;) {
          await commands.next()
          heard.resolve()
        }
      })
      const client = await BareClient.loggedIn(site.rig, LAPTOP)
      await client.ok("SELECT INBOX")
      client.send(`a NOOP\r\nb ${command}\r\n`)
      await heard.promise
      client.reset()
      await nothingIsLeft(site, before)
    },
  )

  test("within the literal of a FETCH: the upstream's connection ends", async () => {
    const before = descriptors()
    await using site = await siteOf(async (commands, socket) => {
      if (!(await commands.next()).includes("FETCH")) return
      socket.write("* 1 FETCH (UID 7 BODY[] {100000000}\r\nSubject: x\r\n\r\n")
      while (!socket.destroyed) await written(socket, "some content of a message\r\n".repeat(2000))
    })
    const client = await BareClient.loggedIn(site.rig, LAPTOP)
    client.send("a FETCH 1 BODY[]\r\n")
    await client.until("some content")
    client.reset()
    await eventually("the upstream has no connection", () => site.open === 0)
    await nothingIsLeft(site, before)
  })
})
