import { describe, expect, test } from "vitest"
import { hasCode } from "../../src/errors.ts"
import { OctetSource } from "../../src/imap-proxy/octets.ts"
import { masterLogins } from "../../src/imap-proxy/upstream/logins.ts"
import type { UpstreamLogins, UpstreamOptions } from "../../src/imap-proxy/upstream.ts"
import { testCertificate } from "../harness/certificate.ts"
import { eventually } from "../harness/instance.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { type ScriptedAnswer, scriptedServer } from "../harness/scripted-imap.ts"
import { upstreamAt } from "../harness/upstream.ts"

const MASTER = { user: "m", password: 'p"w\\', form: "separator" } as const
const CLIENT = { address: "::ffff:192.0.2.7", port: 40_001, localAddress: "::ffff:198.51.100.1", localPort: 993 }

function upstreamOf(port: number, security: "plain" | "starttls" = "plain", more: Partial<UpstreamOptions> = {}) {
  const endpoint = { kind: "tcp", host: "127.0.0.1", port, security } as const
  return upstreamAt(endpoint, { logins: masterLogins(MASTER), timeoutMs: 2000, ...more })
}

/** The first line of a connection. */
async function connect(...of: Parameters<typeof upstreamOf>): Promise<string> {
  const stream = await upstreamOf(...of).connect("a@b.example", CLIENT, new AbortController().signal)
  const octets = await new OctetSource(stream).read()
  stream.destroy()
  return Buffer.from(octets ?? []).toString("latin1")
}

const outcome = (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error)
const base64 = (text: string): string => Buffer.from(text).toString("base64")
const ready = "* OK ready\r\n"
const done = (command: string): string =>
  command === "CAPABILITY" ? "* CAPABILITY IMAP4rev1\r\n$ OK x\r\n" : "$ OK x\r\n"
/** A server with these capabilities, that answers everything else by `answer`. */
const offering =
  (capabilities: string, answer: (command: string) => ScriptedAnswer) =>
  (command: string): ScriptedAnswer =>
    command === "CAPABILITY" ? `* CAPABILITY IMAP4rev1 ${capabilities}\r\n$ OK x\r\n` : answer(command)

/** Bearer tokens, one after the other. */
function bearers(...tokens: readonly string[]): UpstreamLogins & { readonly refused: string[] } {
  const refused: string[] = []
  const next = () => ({ kind: "bearer", user: "a,b=c@x.example", token: tokens[refused.length] ?? "" }) as const
  return {
    refused,
    identity: async () => next(),
    another: async (_account, identity) => {
      refused.push(identity.kind === "bearer" ? identity.token : "")
      return next()
    },
  }
}

describe("login", () => {
  test("AUTHENTICATE PLAIN with an initial response, and the capabilities that come with it", async () => {
    await using server = await scriptedServer(
      ready,
      offering("AUTH=PLAIN SASL-IR", () => "* OK unasked\r\n$ OK [CAPABILITY IMAP4rev1 MOVE] in\r\n"),
    )
    expect(await connect(server.port)).toBe("* PREAUTH [CAPABILITY IMAP4rev1 MOVE] logged in\r\n")
    expect(server.lines.at(-1)).toBe(`p2 AUTHENTICATE PLAIN ${base64(`\0a@b.example*m\0${MASTER.password}`)}`)
  })

  test("capabilities that come untagged before the OK, as Gmail's, are not asked for again", async () => {
    await using server = await scriptedServer(
      ready,
      offering("AUTH=PLAIN SASL-IR", () => "* CAPABILITY IMAP4rev1 X-GM-EXT-1\r\n$ OK in\r\n"),
    )
    expect(await connect(server.port)).toContain("[CAPABILITY IMAP4rev1 X-GM-EXT-1]")
    expect(server.lines).toHaveLength(2)
  })

  test("what comes right behind the OK is not lost", async () => {
    await using server = await scriptedServer(
      ready,
      offering("AUTH=PLAIN SASL-IR", () => "$ OK [CAPABILITY IMAP4rev1] in\r\n* OK [ALERT] half a li"),
    )
    expect(await connect(server.port)).toBe("* PREAUTH [CAPABILITY IMAP4rev1] logged in\r\n* OK [ALERT] half a li")
  })

  test("capabilities that the greeting tells are not asked for", async () => {
    await using server = await scriptedServer("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi\r\n", done)
    expect(await connect(server.port)).toContain("[CAPABILITY IMAP4rev1]")
    expect(server.lines).toEqual([expect.stringMatching(/^p1 AUTHENTICATE PLAIN /), "p2 CAPABILITY"])
  })

  test("LOGIN with a name and a password that no quoted string holds", async () => {
    const logins: UpstreamLogins = {
      identity: async () => ({ kind: "password", user: "jörg", password: "pässword", authorizeAs: "" }),
      another: async () => null,
    }
    await using server = await scriptedServer(ready, (command) =>
      /\{\d\}$/.test(command) ? "+ go\r\n" : done(command),
    )
    await connect(server.port, "plain", { logins })
    const latin1 = (text: string): string => Buffer.from(text).toString("latin1")
    expect(server.lines.slice(1, 4)).toEqual(["p2 LOGIN {5}", latin1("jörg {9}"), latin1("pässword")])
    await using refusing = await scriptedServer(ready, (command) =>
      /\{5\}$/.test(command) ? "$ BAD no\r\n" : done(command),
    )
    expect(hasCode(await outcome(connect(refusing.port, "plain", { logins })), "UPSTREAM_REFUSED")).toBe(true)
  })

  test("without SASL-IR the response waits for +", async () => {
    await using server = await scriptedServer(
      ready,
      offering("AUTH=PLAIN", (command) => (command === "AUTHENTICATE PLAIN" ? "+ \r\n" : "$ OK in\r\n")),
    )
    expect(await connect(server.port)).toContain("[CAPABILITY IMAP4rev1 AUTH=PLAIN]")
  })

  test("as another identity that may act as the account", async () => {
    const logins = masterLogins({ ...MASTER, form: "authzid" })
    await using server = await scriptedServer(ready, offering("AUTH=PLAIN SASL-IR", done))
    await connect(server.port, "plain", { logins })
    expect(server.lines[1]).toBe(`p2 AUTHENTICATE PLAIN ${base64(`a@b.example\0m\0${MASTER.password}`)}`)
    await using without = await scriptedServer(ready, done)
    expect(hasCode(await outcome(connect(without.port, "plain", { logins })), "UPSTREAM_REFUSED")).toBe(true)
    expect(without.lines).toEqual(["p1 CAPABILITY"])
  })

  test("LOGIN where there is no PLAIN, with quotes, unless the server forbids it", async () => {
    await using server = await scriptedServer(ready, done)
    await connect(server.port)
    expect(server.lines[1]).toBe('p2 LOGIN "a@b.example*m" "p\\"w\\\\"')
    await using closed = await scriptedServer(ready, offering("LOGINDISABLED", done))
    expect(hasCode(await outcome(connect(closed.port)), "UPSTREAM_REFUSED")).toBe(true)
    expect(closed.lines).toEqual(["p1 CAPABILITY"])
  })

  const sent = base64(`\0a@b.example*m\0${MASTER.password}`)
  test.each([
    ["NO [AUTHENTICATIONFAILED] no", "UPSTREAM_REFUSED", "login refused: NO [AUTHENTICATIONFAILED] no"],
    ["NO [ALERT] Application-specific password required", "UPSTREAM_REFUSED", "Application-specific"],
    ["NO [UNAVAILABLE] later", "UPSTREAM_UNAVAILABLE", "later"],
    ["NO [LIMIT] too many", "UPSTREAM_UNAVAILABLE", "too many"],
    ["NO [INUSE] locked", "UPSTREAM_UNAVAILABLE", "locked"],
    [`BAD what is ${MASTER.password}`, "UPSTREAM_REFUSED", "left out"],
    [`BAD what is AUTHENTICATE PLAIN ${sent}`, "UPSTREAM_REFUSED", "left out"],
    ["NO bell\x07", "UPSTREAM_REFUSED", "bell?"],
  ] as const)("%s", async (text, code, words) => {
    await using server = await scriptedServer(ready, (command) =>
      command.startsWith("LOGIN") ? `$ ${text}\r\n` : done(command),
    )
    const error = await outcome(connect(server.port))
    expect([hasCode(error, code), String(error)]).toEqual([true, expect.stringContaining(words)])
    expect(String(error)).not.toContain(MASTER.password)
    expect(String(error)).not.toContain(sent)
  })

  test("over a Unix socket", async () => {
    await using folder = await temporaryFolder()
    await using server = await scriptedServer(ready, offering("AUTH=PLAIN SASL-IR", done), folder.file("imap"))
    const upstream = upstreamAt({ kind: "unix", path: folder.file("imap") })
    const stream = await upstream.connect("a@b.example", CLIENT, new AbortController().signal)
    stream.destroy()
    expect(server.lines).toHaveLength(3)
  })

  test("a server that hangs up instead of answering", async () => {
    await using server = await scriptedServer(ready, (command) => (command.startsWith("LOGIN") ? null : done(command)))
    expect(hasCode(await outcome(connect(server.port)), "UPSTREAM_UNAVAILABLE")).toBe(true)
  })

  test("BYE instead of an answer", async () => {
    await using server = await scriptedServer(ready, (command) =>
      command.startsWith("LOGIN") ? "* BYE [UNAVAILABLE] shutting down\r\n" : done(command),
    )
    expect(await outcome(connect(server.port))).toMatchObject({
      code: "UPSTREAM_UNAVAILABLE",
      message: /shutting down/,
    })
  })
})

describe("access tokens", () => {
  const xoauth2 = (token: string) => base64(`user=a,b=c@x.example\x01auth=Bearer ${token}\x01\x01`)

  test("XOAUTH2, with and without an initial response", async () => {
    await using initial = await scriptedServer(ready, offering("AUTH=XOAUTH2 AUTH=OAUTHBEARER SASL-IR", done))
    // Microsoft's tokens are this long.
    const long = "t".repeat(9_000)
    await connect(initial.port, "plain", { logins: bearers(long) })
    expect(initial.lines[1]).toBe(`p2 AUTHENTICATE XOAUTH2 ${xoauth2(long)}`)
    await using waiting = await scriptedServer(
      ready,
      offering("AUTH=XOAUTH2", (command) => (command === "AUTHENTICATE XOAUTH2" ? "+ \r\n" : "$ OK in\r\n")),
    )
    await connect(waiting.port, "plain", { logins: bearers("t1") })
    expect(waiting.lines.slice(1, 3)).toEqual(["p2 AUTHENTICATE XOAUTH2", xoauth2("t1")])
  })

  test("OAUTHBEARER where only that is offered, with the name escaped (RFC 5801)", async () => {
    await using server = await scriptedServer(ready, offering("AUTH=OAUTHBEARER SASL-IR", done))
    await connect(server.port, "plain", { logins: bearers("t1") })
    const response = `n,a=a=2Cb=3Dc@x.example,\x01host=127.0.0.1\x01port=${server.port}\x01auth=Bearer t1\x01\x01`
    expect(server.lines[1]).toBe(`p2 AUTHENTICATE OAUTHBEARER ${base64(response)}`)
  })

  test.each([
    ["XOAUTH2", ""],
    ["OAUTHBEARER", "AQ=="],
  ])(
    "%s: the challenge that tells of an error is answered, and another token is tried once",
    async (mechanism, dummy) => {
      await using server = await scriptedServer(
        ready,
        offering(`AUTH=${mechanism} SASL-IR`, (command) =>
          command === dummy ? "$ NO [AUTHENTICATIONFAILED] x\r\n" : `+ ${base64('{"status":"401"}')}\r\n`,
        ),
      )
      const logins = bearers("t1", "t2", "t3")
      expect(hasCode(await outcome(connect(server.port, "plain", { logins })), "UPSTREAM_REFUSED")).toBe(true)
      expect(logins.refused).toEqual(["t1"])
      expect(server.lines.filter((line) => line === dummy)).toHaveLength(2)
    },
  )

  test("a server that is busy is not asked with another token", async () => {
    await using server = await scriptedServer(
      ready,
      offering("AUTH=XOAUTH2 SASL-IR", () => "$ NO [LIMIT] x\r\n"),
    )
    const logins = bearers("t1", "t2")
    expect(hasCode(await outcome(connect(server.port, "plain", { logins })), "UPSTREAM_UNAVAILABLE")).toBe(true)
    expect(logins.refused).toEqual([])
  })

  test("a server that goes on asking, and one that knows no tokens", async () => {
    await using asking = await scriptedServer(
      ready,
      offering("AUTH=XOAUTH2 SASL-IR", () => "+ \r\n"),
    )
    const over = { logins: bearers("t1") }
    expect(hasCode(await outcome(connect(asking.port, "plain", over)), "PROTOCOL")).toBe(true)
    await using without = await scriptedServer(ready, offering("AUTH=PLAIN", done))
    expect(hasCode(await outcome(connect(without.port, "plain", over)), "UPSTREAM_REFUSED")).toBe(true)
    expect(without.lines).toEqual(["p1 CAPABILITY"])
  })
})

describe("the client's address", () => {
  test("by ID before login, where the server has it", async () => {
    await using server = await scriptedServer(ready, offering("ID AUTH=PLAIN SASL-IR", done))
    await connect(server.port, "plain", { clientAddress: "id" })
    expect(server.lines.slice(1)).toEqual([
      'p2 ID ("x-originating-ip" "192.0.2.7" "x-originating-port" "40001" ' +
        '"x-connected-ip" "198.51.100.1" "x-connected-port" "993" "x-proxy-ttl" "5")',
      expect.stringContaining("p3 AUTHENTICATE"),
      "p4 CAPABILITY",
    ])
    await using without = await scriptedServer(ready, offering("AUTH=PLAIN SASL-IR", done))
    await connect(without.port, "plain", { clientAddress: "id" })
    expect(without.lines[1]).toContain("AUTHENTICATE")
  })

  test("not for connections of our own", async () => {
    await using server = await scriptedServer(ready, offering("ID AUTH=PLAIN SASL-IR", done))
    const upstream = upstreamOf(server.port, "plain", { clientAddress: "id" })
    const stream = await upstream.connect("a@b.example", null, new AbortController().signal)
    stream.destroy()
    expect(server.lines.join()).not.toContain("ID (")
  })
})

describe("greetings and TLS", () => {
  test.each(["* BYE busy\r\n", "* PREAUTH welcome\r\n", "HTTP/1.1 400 x\r\n\r\n"])(
    "%j is not let in",
    async (greeting) => {
      await using server = await scriptedServer(greeting, done)
      const error = await outcome(connect(server.port, "plain", { timeoutMs: 300 }))
      expect(hasCode(error, "UPSTREAM_UNAVAILABLE")).toBe(true)
      expect(server.lines).toEqual([])
    },
  )

  test("octets behind STARTTLS's OK are an attack", async () => {
    await using server = await scriptedServer(ready, () => "$ OK go\r\n* CAPABILITY AUTH=PLAIN\r\n")
    expect(hasCode(await outcome(connect(server.port, "starttls")), "PROTOCOL")).toBe(true)
    expect(server.lines).toEqual(["p1 STARTTLS"])
  })

  test("what the greeting told before TLS is forgotten", async () => {
    const tls = await testCertificate()
    await using server = await scriptedServer("* OK [CAPABILITY AUTH=PLAIN SASL-IR STARTTLS] hi\r\n", (command) =>
      command === "STARTTLS" ? { tls } : done(command),
    )
    await connect(server.port, "starttls", { authority: tls.certificate })
    expect(server.lines).toEqual(["p1 STARTTLS", "p1 CAPABILITY", expect.stringMatching(/^p2 LOGIN/), "p3 CAPABILITY"])
  })

  test("a server without STARTTLS gets no password", async () => {
    await using server = await scriptedServer(ready, (command) =>
      command === "STARTTLS" ? "$ BAD what\r\n" : done(command),
    )
    expect(hasCode(await outcome(connect(server.port, "starttls")), "UPSTREAM_UNAVAILABLE")).toBe(true)
    expect(server.lines).toEqual(["p1 STARTTLS"])
  })

  test("a server that says nothing is given up", async () => {
    await using server = await scriptedServer("", done)
    expect(hasCode(await outcome(connect(server.port, "plain", { timeoutMs: 100 })), "UPSTREAM_UNAVAILABLE")).toBe(true)
  })

  test("nobody there", async () => {
    expect(await outcome(connect(1))).toMatchObject({ code: "UPSTREAM_UNAVAILABLE", message: /ECONNREFUSED/ })
  })
})

describe("limits", () => {
  const limits = { connections: 3, perAccount: 2, connecting: 10, whenFull: "refuse" } as const
  const signal = new AbortController().signal

  test("an account has so many connections, all together so many, and a closed one makes room", async () => {
    await using server = await scriptedServer(ready, done)
    const upstream = upstreamOf(server.port, "plain", { limits })
    const first = await upstream.connect("a", CLIENT, signal)
    const second = await upstream.connect("a", CLIENT, signal)
    expect(await outcome(upstream.connect("a", CLIENT, signal))).toMatchObject({
      code: "UPSTREAM_LIMIT",
      message: "imap upstream: all 2 connections of a are in use",
    })
    const third = await upstream.connect("b", CLIENT, signal)
    expect(await outcome(upstream.connect("c", CLIENT, signal))).toMatchObject({
      code: "UPSTREAM_LIMIT",
      message: "imap upstream: all 3 connections are in use",
    })
    await closed(first)
    const fourth = await upstream.connect("a", CLIENT, signal)
    await Promise.all([second, third, fourth].map(closed))
  })

  test("failed attempts leave no place taken", async () => {
    await using server = await scriptedServer("* BYE no\r\n", done)
    const upstream = upstreamOf(server.port, "plain", { limits })
    for (let times = 0; times < 5; times++)
      expect(hasCode(await outcome(upstream.connect("a", CLIENT, signal)), "UPSTREAM_UNAVAILABLE")).toBe(true)
  })

  test("of a server that says nothing only so many connections are waited for at once", async () => {
    await using server = await scriptedServer("", done)
    const upstream = upstreamOf(server.port, "plain", {
      limits: { ...limits, connections: 9, perAccount: 9, connecting: 2 },
    })
    const leaving = new AbortController()
    const attempts = Array.from({ length: 8 }, () => outcome(upstream.connect("a", CLIENT, leaving.signal)))
    await eventually("two are waiting", () => server.connections === 2)
    leaving.abort()
    for (const error of await Promise.all(attempts)) expect(hasCode(error, "UPSTREAM_UNAVAILABLE")).toBe(true)
    expect(server.connections).toBe(2)
  })

  test("who leaves while waiting is not waited for; deliveries wait for their turn", async () => {
    await using server = await scriptedServer(ready, done)
    const upstream = upstreamOf(server.port, "plain", { limits: { ...limits, perAccount: 1, whenFull: "wait" } })
    const first = await upstream.connect("a", null, signal)
    const leaving = new AbortController()
    const left = outcome(upstream.connect("a", null, leaving.signal))
    const second = upstream.connect("a", null, signal)
    leaving.abort()
    expect(hasCode(await left, "UPSTREAM_LIMIT")).toBe(true)
    await closed(first)
    await closed(await second)
  })
})

/** Closes a connection. */
function closed(stream: { destroy(): unknown; once(event: "close", act: () => void): unknown }): Promise<void> {
  return new Promise((resolve) => {
    stream.once("close", resolve)
    stream.destroy()
  })
}
