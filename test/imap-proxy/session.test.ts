import type { Duplex } from "node:stream"
import { setTimeout as delay } from "node:timers/promises"
import { describe, expect, test } from "vitest"
import { CAPABILITIES, Lines, upstreamOf } from "./answering.ts"
import { BareClient, literalOf } from "./client.ts"
import { MESSAGES, patched } from "./messages.ts"
import { LAPTOP, PHONE, scripted, startRig } from "./rig.ts"

/** Writes until the stream is gone. */
async function flood(stream: Duplex, octets: number, written?: (octets: number) => void): Promise<void> {
  const piece = Buffer.from("some content of a message\r\n".repeat(2000))
  for (let left = octets; left > 0 && !stream.destroyed; left -= piece.length) {
    await new Promise<void>((resolve) => stream.write(piece.subarray(0, left), () => resolve()))
    written?.(piece.length)
  }
}

const smime = MESSAGES["smime"] ?? ""
const forLaptop = patched(smime, "laptop")

describe("responses of any shape", () => {
  test("items in any order and case, UID last, literals before it, other literals in between", async () => {
    const fetched =
      `* 2 FETCH (ENVELOPE (NIL {3}\r\nabc NIL) body[TEXT]<0> "x" RFC822 {${smime.length}}\r\n${smime} ` +
      `X-NEW (a (b "(") {2}\r\n]]) FLAGS (\\Seen) UID 9)\r\n$ OK done`
    await using upstream = await upstreamOf((command) => (command.startsWith("FETCH") ? fetched : null))
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    await client.ok("SELECT INBOX")
    const answer = await client.ok("FETCH 2 RFC822")
    expect(answer).toBe(`${fetched.replace(smime, forLaptop).replace("$", "t3")}\r\n`)
  })

  test("message data as a quoted string, and NIL", async () => {
    const text = smime.slice(smime.indexOf("\r\n\r\n") + 4).replaceAll("\r\n", "")
    await using upstream = await upstreamOf((command) =>
      command.startsWith("FETCH")
        ? `* 2 FETCH (BODY[1] "${text}" BODY[2] NIL BODY[1.MIME] "a\\"b")\r\n$ OK done`
        : null,
    )
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    const answer = await client.ok("FETCH 2 (BODY[1] BODY[2] BODY[1.MIME])")
    expect(answer).toContain(`(BODY[1] "${patched(text, "laptop")}" BODY[2] NIL BODY[1.MIME] "a\\"b")`)
  })

  test("unsolicited message data is patched too", async () => {
    await using upstream = await upstreamOf((command) =>
      command === "NOOP" ? `* 1 FETCH (BODY[] {${smime.length}}\r\n${smime})\r\n$ OK done` : null,
    )
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    expect(literalOf(await client.ok("NOOP"), "BODY[]")).toBe(forLaptop)
  })

  test("what the server adds to the proxy's own FETCH reaches the client, in order, without the data", async () => {
    await using upstream = await upstreamOf((command) =>
      command.startsWith("FETCH 2 (UID")
        ? `* 4 EXISTS\r\n* 2 FETCH (UID 9 FLAGS (\\Deleted) BODY[]<0> {${smime.length}}\r\n${smime})\r\n$ OK done`
        : command.startsWith("FETCH")
          ? `* 2 FETCH (BODY[]<300> {100}\r\n${smime.slice(300, 400)})\r\n$ OK done`
          : null,
    )
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    await client.ok("SELECT INBOX")
    const answer = await client.ok("FETCH 2 BODY[]<300.100>")
    expect(answer).toBe(
      `* 4 EXISTS\r\n* 2 FETCH (UID 9 FLAGS (\\Deleted))\r\n* 2 FETCH (BODY[]<300> {100}\r\n${forLaptop.slice(300, 400)})\r\nt3 OK done\r\n`,
    )
    await client.ok("FETCH 2 BODY[]<300.100>")
    expect(upstream.commands.filter((command) => command.startsWith("FETCH 2 (UID"))).toHaveLength(1)
  })

  test("numbers that move by EXPUNGE keep their records", async () => {
    await using upstream = await upstreamOf((command) => {
      if (command.startsWith("FETCH 2 (UID"))
        return `* 2 FETCH (UID 9 BODY[]<0> {${smime.length}}\r\n${smime})\r\n$ OK done`
      const number = /^FETCH (\d)/.exec(command)?.[1]
      if (number !== undefined) return `* ${number} FETCH (BODY[]<300> {100}\r\n${smime.slice(300, 400)})\r\n$ OK done`
      return command === "EXPUNGE" ? "* 1 EXPUNGE\r\n$ OK done" : null
    })
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    await client.ok("SELECT INBOX")
    await client.ok("FETCH 2 BODY[]<300.100>")
    await client.ok("EXPUNGE")
    const answer = await client.ok("FETCH 1 BODY[]<300.100>")
    expect(literalOf(answer, "BODY[]<300>")).toBe(forLaptop.slice(300, 400))
    expect(upstream.commands.filter((command) => command.includes("(UID BODY.PEEK"))).toHaveLength(1)
  })

  test("referrals are stripped, alerts and other codes stay", async () => {
    await using upstream = await upstreamOf((command) =>
      command === "NOOP"
        ? "* OK [ALERT] listen\r\n* NO [REFERRAL imap://x/] away\r\n$ OK [REFERRAL imap://y/] done {5}"
        : null,
    )
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    expect(await client.ok("NOOP")).toBe("* OK [ALERT] listen\r\n* NO away\r\nt2 OK done {5}\r\n")
  })

  test("capabilities are filtered wherever they stand", async () => {
    await using upstream = await upstreamOf((command) =>
      command === "NOOP" ? `* CAPABILITY ${CAPABILITIES}\r\n$ OK [CAPABILITY ${CAPABILITIES}] done` : null,
    )
    await using client = await BareClient.secure(upstream.rig)
    const login = await client.ok('LOGIN alice@example.test "lap \\"top\\\\"')
    for (const line of [login, await client.ok("NOOP"), await client.ok("CAPABILITY")]) {
      expect(line).toContain("CAPABILITY IMAP4rev1 LITERAL+ IDLE UIDPLUS MULTIAPPEND")
      expect(line).not.toMatch(/COMPRESS|BINARY|CATENATE|NOTIFY|URLAUTH|REFERRALS/)
    }
  })

  test("a PREAUTH greeting without capabilities is asked for them", async () => {
    await using upstream = await upstreamOf(
      (command) => (command === "CAPABILITY" ? "* CAPABILITY IMAP4rev1 MOVE\r\n$ OK done" : null),
      "* PREAUTH ready\r\n",
    )
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    expect(await client.ok("CAPABILITY")).toContain("* CAPABILITY IMAP4rev1 LITERAL+ MOVE\r\n")
  })

  test("an upstream without LITERAL+ is waited for, and may refuse", async () => {
    await using upstream = await upstreamOf((command) => {
      if (command === "SEARCH TEXT {3}") return "+ go"
      // The literal's line: `abc` stands where a tag would.
      if (command === "") return "* SEARCH 4\r\na OK done"
      return command === "SEARCH TEXT {4}" ? "$ NO not that" : null
    })
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    expect(await client.command("SEARCH TEXT {4+}\r\nabcd")).toContain("NO not that")
    client.send("a SEARCH TEXT {3+}\r\nabc\r\n")
    expect(await client.tagged("a")).toBe("* SEARCH 4\r\na OK done\r\n")
    expect(upstream.commands).toEqual(["SEARCH TEXT {4}", "SEARCH TEXT {3}", ""])
  })
})

describe("ends", () => {
  test.each([["* BYE busy\r\n"], ["* OK not logged in\r\n"], [""]])(
    "an upstream that greets with %j is UNAVAILABLE",
    async (greeting) => {
      const server = await scripted(async (stream) => {
        stream.end(greeting)
      })
      await using rig = await startRig({ upstream: server.upstream })
      await using client = await BareClient.secure(rig)
      expect(await client.command('LOGIN alice@example.test "phone"')).toContain("NO [UNAVAILABLE]")
      await server[Symbol.asyncDispose]()
    },
  )

  test("an upstream that dies between responses: BYE", async () => {
    await using upstream = await upstreamOf((command) => (command === "NOOP" ? "END" : null))
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    client.send("a NOOP\r\n")
    expect(await client.rest()).toBe("* BYE [UNAVAILABLE] upstream connection lost\r\n")
  })

  test("an upstream that dies within a literal: the client is cut, without a line that would be taken for content", async () => {
    const server = await scripted(async (stream) => {
      stream.write(`* PREAUTH [CAPABILITY IMAP4rev1] x\r\n`)
      await new Lines(stream).next()
      await new Promise<void>((resolve) => stream.write("* 1 FETCH (BODY[] {1000}\r\nabc", () => resolve()))
    })
    await using rig = await startRig({ upstream: server.upstream })
    await using client = await BareClient.loggedIn(rig, PHONE)
    client.send("a FETCH 1 BODY[]\r\n")
    expect(await client.rest()).toMatch(/^\* 1 FETCH \(BODY\[\] \{1000\}\r\n/)
    expect(await client.rest()).not.toContain("BYE")
    await server[Symbol.asyncDispose]()
  })

  test.each(["hello", "+ go on", "other OK done"])(
    "a response that cannot be followed (%s) cuts the connection",
    async (line) => {
      await using upstream = await upstreamOf((command) => (command === "NOOP" ? line : null))
      await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
      client.send("a NOOP\r\n")
      expect(await client.rest()).toBe("")
    },
  )

  test("a client line over 64 KiB cuts the connection", async () => {
    await using upstream = await upstreamOf(() => null)
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    client.send(`a SEARCH ${"x".repeat(70_000)}`)
    await client.rest()
  })

  test("a client that ends its side behind LOGOUT gets its answers", async () => {
    await using upstream = await upstreamOf((command) => (command === "LOGOUT" ? "* BYE x\r\n$ OK bye" : null))
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    client.send("a LOGOUT\r\n")
    client.end()
    expect(await client.rest()).toBe("* BYE x\r\na OK bye\r\n")
  })

  test("closing the listener says BYE to idle clients", async () => {
    await using upstream = await upstreamOf(() => null)
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    await upstream.rig.listener.close(1000)
    expect(await client.rest()).toBe("* BYE shutting down\r\n")
  })
})

/** A mailbox of one message, UID 7; `message` may be another one each time. */
async function oneMessage(message: () => string) {
  return scripted(async (stream) => {
    stream.write("* PREAUTH [CAPABILITY IMAP4rev1] x\r\n")
    const lines = new Lines(stream)
    for (;;) {
      const [tag = "", , ...words] = (await lines.next()).split(" ")
      const item = /RFC822\.TEXT|BODY(?:\.PEEK)?\[(?<section>[A-Z0-9]*)\](?:<(?<from>\d+)\.(?<count>\d+)>)?/.exec(
        words.join(" "),
      )
      if (item === null) {
        stream.write(`* OK [UIDVALIDITY 1] x\r\n${tag} OK x\r\n`)
        continue
      }
      const { section = item[0] === "RFC822.TEXT" ? "TEXT" : "", from = "0", count = "1000000" } = item.groups ?? {}
      const data = (section === "" ? message() : textOf(message())).slice(Number(from), Number(from) + Number(count))
      const partial = item.groups?.["from"] === undefined ? "" : `<${from}>`
      const name = item[0] === "RFC822.TEXT" ? item[0] : `BODY[${section}]${partial}`
      stream.write(Buffer.from(`* 1 FETCH (UID 7 ${name} {${data.length}}\r\n${data})\r\n${tag} OK x\r\n`, "latin1"))
    }
  })
}

const textOf = (message: string): string => message.slice(message.indexOf("\r\n\r\n") + 4)

/** Finds every message as it should be. */
const counting = (look: () => void) => () => ({
  push: () => undefined,
  end: () => {
    look()
    return "holds" as const
  },
})

describe("an altered message", () => {
  const altered = (onAltered: "report" | "refuse") => ({
    onAltered,
    check: () => ({ push: () => undefined, end: () => "altered" as const }),
  })

  test("is handed out, and counted once however often it is read", async () => {
    await using server = await oneMessage(() => smime)
    await using rig = await startRig({ upstream: server.upstream, markers: altered("report") })
    await using reader = await BareClient.loggedIn(rig, LAPTOP)
    await reader.ok("SELECT INBOX")
    for (const _ of [1, 2, 3]) expect(literalOf(await reader.ok("UID FETCH 7 BODY[]"), "BODY[]")).toBe(forLaptop)
    expect(rig.counted("postern_imap_marker_failed_total")).toBe(1)
  })

  test.each([
    ["report", 1],
    ["refuse", 2],
  ] as const)(
    "is looked at by the account's first device, where the policy is %s (looks: %i)",
    async (onAltered, looks) => {
      let looked = 0
      const markers = { onAltered, check: counting(() => looked++) }
      await using server = await oneMessage(() => smime)
      await using rig = await startRig({ upstream: server.upstream, markers })
      for (const [password, device] of [
        [LAPTOP, "laptop"],
        [PHONE, "phone"],
        [PHONE, "phone"],
      ] as const) {
        await using reader = await BareClient.loggedIn(rig, password)
        await reader.ok("SELECT INBOX")
        expect(literalOf(await reader.ok("UID FETCH 7 BODY[]"), "BODY[]")).toBe(patched(smime, device))
      }
      expect(looked).toBe(looks)
    },
  )

  test.each(["BODY[]", "BODY[TEXT]", "BODY.PEEK[]<0.100>", "BODY[1]", "RFC822.TEXT", "(FLAGS BODY[1]<5.20>)"])(
    "ends the connection where it is refused, before the last octets of %s",
    async (item) => {
      await using server = await oneMessage(() => smime)
      await using rig = await startRig({ upstream: server.upstream, markers: altered("refuse") })
      for (const _ of ["first", "known"]) {
        await using reader = await BareClient.loggedIn(rig, LAPTOP)
        await reader.ok("SELECT INBOX")
        reader.send(`a UID FETCH 7 ${item}\r\n`)
        expect(await reader.rest()).not.toContain(textOf(forLaptop).slice(-20))
      }
      expect(rig.counted("postern_imap_marker_failed_total")).toBe(1)
    },
  )
})

describe("what one connection learned", () => {
  test("holds for the device's next one: a block is recrypted once", async () => {
    await using server = await oneMessage(() => smime)
    await using rig = await startRig({ upstream: server.upstream })
    for (const password of [LAPTOP, LAPTOP, PHONE, LAPTOP]) {
      await using reader = await BareClient.loggedIn(rig, password)
      await reader.ok("SELECT INBOX")
      const expected = patched(smime, password === LAPTOP ? "laptop" : "phone")
      expect(literalOf(await reader.ok("UID FETCH 7 BODY[]"), "BODY[]")).toBe(expected)
    }
    expect(rig.counted("postern_imap_patched_total")).toBe(2)
  })

  test("is not applied to another message that the store has under the same UID", async () => {
    const other = `X-Other: longer\r\n${smime}`
    let stored = smime
    let looked = 0
    const markers = {
      onAltered: "report" as const,
      check: counting(() => looked++),
    }
    await using server = await oneMessage(() => stored)
    await using rig = await startRig({ upstream: server.upstream, markers })
    await using reader = await BareClient.loggedIn(rig, LAPTOP)
    await reader.ok("SELECT INBOX")
    await reader.ok("UID FETCH 7 BODY[]")
    stored = other
    expect(literalOf(await reader.ok("UID FETCH 7 BODY[]"), "BODY[]")).toBe(other)
    expect(rig.counted("postern_imap_window_unfitting_total")).toBe(1)
    expect(literalOf(await reader.ok("UID FETCH 7 BODY[]"), "BODY[]")).toBe(`X-Other: longer\r\n${forLaptop}`)
    expect(looked).toBe(2)
  })
})

describe("back-pressure", () => {
  test("a client that does not read holds the upstream back", async () => {
    let sent = 0
    await using server = await scripted(async (stream) => {
      stream.write("* PREAUTH [CAPABILITY IMAP4rev1] x\r\n")
      await new Lines(stream).next()
      stream.write("* 1 FETCH (BODY[] {100000000}\r\nSubject: x\r\n\r\n")
      await flood(stream, 100_000_000, (octets) => {
        sent += octets
      })
    })
    await using rig = await startRig({ upstream: server.upstream })
    await using client = await BareClient.loggedIn(rig, LAPTOP)
    client.pause()
    client.send("a FETCH 1 BODY[]\r\n")
    // Until nothing moves any more: what is on the way stands in the kernel's buffers, some MB on loopback.
    for (let before = -1; before !== sent || sent === 0; ) {
      before = sent
      await delay(200)
    }
    expect(sent).toBeLessThan(30_000_000)
  })
})

describe("revocation", () => {
  test("ends the device's connections at once, those in IDLE too; other devices notice nothing", async () => {
    await using upstream = await upstreamOf((command) => (command === "IDLE" ? "+ idling" : null))
    await using laptop = await BareClient.loggedIn(upstream.rig, LAPTOP)
    await using idle = await BareClient.loggedIn(upstream.rig, LAPTOP)
    await using phone = await BareClient.loggedIn(upstream.rig, PHONE)
    idle.send("a IDLE\r\n")
    await idle.until("+ idling\r\n")
    upstream.rig.revoke(LAPTOP)
    expect(await laptop.rest()).toBe("* BYE device revoked\r\n")
    expect(await idle.rest()).toBe("* BYE device revoked\r\n")
    await phone.ok("NOOP")
    await using again = await BareClient.secure(upstream.rig)
    expect(await again.command('LOGIN alice@example.test "lap \\"top\\\\"')).toContain("NO [AUTHENTICATIONFAILED]")
  })

  test("stops a literal in flight", async () => {
    const server = await scripted(async (stream) => {
      stream.write(`* PREAUTH [CAPABILITY IMAP4rev1] x\r\n`)
      await new Lines(stream).next()
      stream.write("* 1 FETCH (BODY[] {100000000}\r\nSubject: x\r\n\r\n")
      await flood(stream, 100_000_000)
    })
    await using rig = await startRig({ upstream: server.upstream })
    await using client = await BareClient.loggedIn(rig, PHONE)
    client.send("a FETCH 1 BODY[]\r\n")
    await client.until("content")
    rig.revoke(PHONE)
    const rest = await client.rest()
    expect(rest.length).toBeLessThan(100_000_000)
    expect(rest).not.toContain("BYE")
    await server[Symbol.asyncDispose]()
  })
})
