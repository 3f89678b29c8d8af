import type { Duplex } from "node:stream"
import { afterEach, describe, expect, test, vi } from "vitest"
import { hasCode } from "../../../src/errors.ts"
import { OctetSource } from "../../../src/imap-proxy/octets.ts"
import type { Upstream } from "../../../src/imap-proxy/ports.ts"
import type { KeepLimits } from "../../../src/imap-proxy/upstream/kept-connections.ts"
import { masterLogins } from "../../../src/imap-proxy/upstream/logins.ts"
import type { UpstreamOptions } from "../../../src/imap-proxy/upstream.ts"
import { eventually } from "../../harness/instance.ts"
import { type ScriptedAnswer, type ScriptedServer, scriptedServer } from "../../harness/scripted-imap.ts"
import { upstreamAt } from "../../harness/upstream.ts"

const HOME = { address: "192.0.2.7", port: 40_001, localAddress: "198.51.100.1", localPort: 993 }
const AWAY = { ...HOME, address: "203.0.113.9" }
const ALICE = "alice@example.test"
const KEEP: KeepLimits = { milliseconds: 60_000, connections: 10, perClient: 3 }
const LOGINS = masterLogins({ user: "m", password: "p", form: "separator" })

/** Lets everybody in, and answers OK to everything. */
const obliging = (command: string): ScriptedAnswer =>
  command === "CAPABILITY" ? "* CAPABILITY IMAP4rev1 MOVE\r\n$ OK x\r\n" : "$ OK x\r\n"

afterEach(() => void vi.restoreAllMocks())

/** An upstream that keeps, and its server. */
async function keeping(
  more: Partial<UpstreamOptions> = {},
  answer: (command: string) => ScriptedAnswer = obliging,
): Promise<Keeping & AsyncDisposable> {
  const server = await scriptedServer("* OK ready\r\n", answer)
  const endpoint = { kind: "tcp", host: "127.0.0.1", port: server.port, security: "plain" } as const
  const upstream = upstreamAt(endpoint, { logins: LOGINS, keep: KEEP, timeoutMs: 5_000, ...more })
  return {
    server,
    connect: (account = ALICE, client = HOME) => connected(upstream, account, client),
    keep: (stream) => upstream.keep?.(stream),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  }
}

interface Keeping {
  readonly server: ScriptedServer
  connect(account?: string, client?: typeof HOME): Promise<Duplex>
  keep(stream: Duplex): void
}

/** A connection whose greeting is read. */
async function connected(upstream: Upstream, account: string, client: typeof HOME): Promise<Duplex> {
  const stream = await upstream.connect(account, client, new AbortController().signal)
  const source = new OctetSource(stream)
  const greeting = Buffer.from((await source.read()) ?? []).toString("latin1")
  expect(greeting).toBe("* PREAUTH [CAPABILITY IMAP4rev1 MOVE] logged in\r\n")
  source.detach()
  return stream
}

describe("a connection that was logged out of", () => {
  test("serves the next login, again and again, without a word to the server", async () => {
    await using site = await keeping()
    const first = await site.connect()
    const said = site.server.lines.length
    for (let login = 0; login < 20; login++) {
      site.keep(first)
      expect(await site.connect()).toBe(first)
    }
    expect([site.server.connections, site.server.lines.length]).toEqual([1, said])
  })

  test("serves nobody else's account, and only one login at a time", async () => {
    await using site = await keeping()
    const hers = await site.connect()
    site.keep(hers)
    expect(await site.connect("bob@example.test")).not.toBe(hers)
    expect(await site.connect()).toBe(hers)
    expect(await site.connect()).not.toBe(hers)
  })

  test("serves another address only where the server was told of none", async () => {
    await using silent = await keeping()
    const anybodys = await silent.connect()
    silent.keep(anybodys)
    expect(await silent.connect(ALICE, AWAY)).toBe(anybodys)
    await using telling = await keeping({ clientAddress: "id" })
    const fromHome = await telling.connect()
    telling.keep(fromHome)
    expect(await telling.connect(ALICE, AWAY)).not.toBe(fromHome)
    expect(await telling.connect(ALICE, { ...HOME, port: 40_002 })).toBe(fromHome)
  })

  test("is ended when one would log in as somebody else now, or not at all", async () => {
    const passwords = ["old", "new"]
    const identity = async (): ReturnType<UpstreamOptions["logins"]["identity"]> => {
      const [password] = passwords
      if (password === undefined) throw new Error("no credential is stored")
      return { kind: "password", user: "a", password, authorizeAs: "" }
    }
    await using site = await keeping({ logins: { identity, another: async () => null } })
    const old = await site.connect()
    site.keep(old)
    passwords.shift()
    const fresh = await site.connect()
    expect([fresh === old, old.destroyed]).toEqual([false, true])
    site.keep(fresh)
    passwords.shift()
    await expect(site.connect()).rejects.toThrow("imap upstream: connection failed: no credential is stored")
    expect(fresh.destroyed).toBe(true)
  })

  test("is ended as soon as the server says something, or ends it", async () => {
    await using speaking = await keeping({}, (command) =>
      command === "SPEAK" ? "* BYE idle for too long\r\n" : obliging(command),
    )
    const told = await speaking.connect()
    told.write("SPEAK\r\n")
    speaking.keep(told)
    await eventually("it is ended", () => told.destroyed)
    expect(await speaking.connect()).not.toBe(told)
    await using ending = await keeping({}, (command) => (command === "LEAVE" ? null : obliging(command)))
    const left = await ending.connect()
    left.write("LEAVE\r\n")
    ending.keep(left)
    await eventually("it is ended", () => left.destroyed)
    expect(await ending.connect()).not.toBe(left)
  })

  test("after a second is asked whether it is one still", async () => {
    let away = false
    await using site = await keeping({}, (command) => (command === "NOOP" && away ? null : obliging(command)))
    const first = await site.connect()
    site.keep(first)
    const now = performance.now.bind(performance)
    vi.spyOn(performance, "now").mockImplementation(() => now() + 2_000)
    expect(await site.connect()).toBe(first)
    expect(site.server.lines.at(-1)).toBe("p1 NOOP")
    site.keep(first)
    vi.mocked(performance.now).mockImplementation(() => now() + 4_000)
    away = true
    expect(await site.connect()).not.toBe(first)
    expect([first.destroyed, site.server.connections]).toEqual([true, 2])
  })

  test("waits no longer than it may", async () => {
    await using site = await keeping({ keep: { ...KEEP, milliseconds: 20 } })
    const stream = await site.connect()
    site.keep(stream)
    await eventually("it is ended", () => stream.destroyed)
    await site.server.ended
  })

  test("gives way where more wait than may: the oldest first", async () => {
    await using site = await keeping({ keep: { milliseconds: 60_000, connections: 3, perClient: 2 } })
    const hers = [await site.connect(), await site.connect(), await site.connect()]
    for (const stream of hers) site.keep(stream)
    expect(hers.map(({ destroyed }) => destroyed)).toEqual([true, false, false])
    const others = [await site.connect("bob@example.test"), await site.connect("carol@example.test")]
    for (const stream of others) site.keep(stream)
    expect([...hers, ...others].map(({ destroyed }) => destroyed)).toEqual([true, true, false, false, false])
  })

  test.each([
    ["of its account", { connections: 10, perAccount: 1 }, ALICE],
    ["of all", { connections: 1, perAccount: 10 }, "bob@example.test"],
  ])("gives its place among the connections %s to one that is wanted", async (_of, limits, account) => {
    await using site = await keeping({ clientAddress: "id", limits: { connecting: 10, whenFull: "refuse", ...limits } })
    const idle = await site.connect()
    expect(hasCode(await site.connect(account, AWAY).catch((error: unknown) => error), "UPSTREAM_LIMIT")).toBe(true)
    site.keep(idle)
    const wanted = await site.connect(account, AWAY)
    expect([idle.destroyed, wanted.destroyed]).toEqual([true, false])
    expect(hasCode(await site.connect().catch((error: unknown) => error), "UPSTREAM_LIMIT")).toBe(true)
  })

  test("that is none of the upstream's is ended; where none is kept, there is nobody to take it", async () => {
    await using site = await keeping()
    await using without = await keeping({ keep: null })
    const strange = await without.connect()
    site.keep(strange)
    expect(strange.destroyed).toBe(true)
    const upstream = upstreamAt({ kind: "tcp", host: "127.0.0.1", port: 1, security: "plain" })
    expect(upstream.keep).toBeUndefined()
  })
})
