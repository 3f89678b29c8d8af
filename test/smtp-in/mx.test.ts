import { describe, expect, test } from "vitest"
import { MAX_HEADER_OCTETS } from "../../src/mime/header.ts"
import { MAX_COMMAND_OCTETS } from "../../src/smtp-in/connection.ts"
import type { Recipients } from "../../src/smtp-in/ports.ts"
import { openGate, recipientsOf } from "./gate.ts"
import { Wire } from "./wire.ts"

const MESSAGE = "From: a@b.example\r\nTo: alice@example.test\r\n\r\nHello\r\n"

async function greeted(port: number): Promise<Wire> {
  const wire = await Wire.open(port)
  await wire.say("EHLO client.example")
  return wire
}

test("a loop between two gateways ends", async () => {
  await using one = await openGate("mx")
  await using two = await openGate("mx", {}, { hostname: "mx.other.example" })
  const gates = [one, two]
  await using first = await greeted(one.port)
  await using second = await greeted(two.port)
  let message = MESSAGE
  let reply = "250"
  for (let hop = 0; reply.startsWith("250") && hop < 200; hop++) {
    reply = await (hop % 2 === 0 ? first : second).send("a@b.example", ["alice@example.test"], `${message}.\r\n`)
    const last = gates[hop % 2]?.acceptance.accepted.at(-1)
    message = `${last?.entry.received}${last?.content}`
  }
  expect(reply).toMatch(/^554 5\.4\.6 /)
  expect(gates.map(({ acceptance }) => acceptance.accepted.length)).toEqual([51, 50])
})

describe("a session", () => {
  test("accepts a message and names its queue id", async () => {
    await using gate = await openGate("mx")
    await using wire = await greeted(gate.port)
    expect(await wire.send("a@b.example", ["alice@example.test"], `${MESSAGE}.\r\n`)).toBe("250 2.6.0 accepted as Q1")
    const [message] = gate.acceptance.accepted
    expect(message?.content.toString()).toBe(MESSAGE)
    expect(recipientsOf(message)).toEqual(["alice@example.test"])
    expect(message?.entry.origin).toEqual({
      kind: "mx",
      account: null,
      device: null,
      remote: "127.0.0.1",
      helo: "client.example",
      tls: false,
    })
    expect(message?.entry.received.replace(/id \S+/, "id X")).toBe(
      [
        "Received: from client.example ([127.0.0.1])",
        "\tby mx.example.test",
        "\twith ESMTP",
        "\tid X",
        "\tfor <alice@example.test>;",
        "\tFri, 02 Jan 2026 03:04:05 +0000",
        "",
      ].join("\r\n"),
    )
  })

  test("offers what it can, and nothing else", async () => {
    await using gate = await openGate("mx")
    await using wire = await Wire.open(gate.port)
    const offered = (await wire.say("EHLO c.example")).split("\n").slice(1)
    expect(offered.map((line) => line.slice(4)).sort()).toEqual([
      "8BITMIME",
      "DSN",
      "ENHANCEDSTATUSCODES",
      "PIPELINING",
      "SIZE 1000000",
      "SMTPUTF8",
      "STARTTLS",
    ])
  })

  const rows: [line: string, reply: RegExp][] = [
    ["BDAT 10 LAST", /^502 5\.5\.1 /],
    ["AUTH PLAIN AGEAYg==", /^502 5\.5\.1 /],
    ["EXPN alice", /^502 5\.5\.1 /],
    ["WIZ", /^502 5\.5\.1 /],
    ["XCLIENT ADDR=1.2.3.4", /^502 5\.5\.1 /],
    ["NONSENSE", /^500 5\.5\.2 /],
    ["EHLO a\rX-Evil: b", /^501 /],
    ["HELO", /^501 /],
    ["VRFY alice", /^252 2\./],
    ["NOOP", /^250 2\./],
    ["RSET", /^250 2\./],
    ["DATA", /^503 5\.5\.1 /],
    ["RCPT TO:<alice@example.test>", /^503 5\.5\.1 /],
    ["MAIL FROM:<a@b.example> SIZE=1000001", /^552 5\.3\.4 /],
    ["MAIL FROM:<a@b.example> SIZE=1000000", /^250 2\.1\.0 /],
    ["MAIL FROM:<a@b.example> SIZE=x", /^501 5\.5\.4 /],
    ["MAIL FROM:<a@b.example> BODY=BINARYMIME", /^501 5\.5\.4 /],
    ["MAIL FROM:<a@b.example> FOO=1", /^555 5\.5\.4 /],
    ["MAIL FROM:<a@b.example> ENVID=a+0D+0Ab", /^501 5\.1\.7 /],
    ["MAIL FROM:<müller@b.example>", /^553 5\.6\.7 /],
    ["MAIL FROM:<müller@b.example> SMTPUTF8", /^250 2\.1\.0 /],
    ["MAIL FROM:a@b.example", /^501 5\.1\.7 /],
    ["MAIL FROM:<a@b@c>", /^501 5\.1\.7 /],
    [`NOOP ${"x".repeat(MAX_COMMAND_OCTETS)}`, /^500 5\.5\.2 /],
  ]
  test.each(rows)("%s", async (line, reply) => {
    await using gate = await openGate("mx")
    await using wire = await greeted(gate.port)
    expect(await wire.say(line)).toMatch(reply)
    expect(await wire.say("NOOP")).toMatch(/^250/)
  })

  test("ends after many stray commands", async () => {
    await using gate = await openGate("mx")
    await using wire = await greeted(gate.port)
    for (let count = 1; count < 10; count++) expect(await wire.say("BDAT 0 LAST")).toMatch(/^502/)
    expect(await wire.say("BDAT 0 LAST")).toMatch(/^421 4\.7\.0/)
    expect(await wire.rest()).toBe("")
  })

  test("does not carry plaintext commands into TLS", async () => {
    await using gate = await openGate("mx")
    await using wire = await greeted(gate.port)
    wire.write("STARTTLS\r\nMAIL FROM:<evil@b.example>\r\n")
    expect(await wire.reply()).toMatch(/^220/)
    expect(gate.acceptance.accepted).toEqual([])
  })

  test("Received says TLS, SMTPUTF8 and only a single recipient", async () => {
    await using gate = await openGate("mx")
    await using wire = await greeted(gate.port)
    await wire.startTls()
    await wire.say("EHLO client.example")
    await wire.send("a@b.example", ["alice@example.test", "bob@example.test"], `${MESSAGE}.\r\n`)
    await wire.send("a@b.example", ["müller@example.test"], `${MESSAGE}.\r\n`, " SMTPUTF8")
    const [two, utf8] = gate.acceptance.accepted.map((one) => one.entry.received)
    expect(two).toMatch(/\r\n\twith ESMTPS\r\n\ttls TLS_[A-Z0-9_]+\r\n/)
    expect(two).not.toContain("for <")
    expect(utf8).toMatch(/\twith UTF8SMTPS\r\n[\s\S]*\tfor <müller@example\.test>;/)
  })

  const helos: [helo: string, from: string][] = [
    ["[192.0.2.1]", "from [192.0.2.1] ([127.0.0.1])"],
    ["x)(;evil", "from [127.0.0.1] (helo=x???evil)"],
    ["DESKTOP_1", "from [127.0.0.1] (helo=desktop_1)"],
    ["mx.example.test", "from mx.example.test ([127.0.0.1])"],
    ["a;Fri,02Jan2026", "from [127.0.0.1] (helo=a?fri?02jan2026)"],
  ]
  test.each(helos)("HELO %s is harmless in Received", async (helo, from) => {
    await using gate = await openGate("mx")
    await using wire = await Wire.open(gate.port)
    await wire.say(`HELO ${helo}`)
    await wire.send("", ["alice@example.test"], `${MESSAGE}.\r\n`)
    expect(gate.acceptance.accepted[0]?.entry.received).toContain(`Received: ${from}\r\n`)
    expect(gate.acceptance.accepted[0]?.entry.received).toContain("with SMTP\r\n")
    expect(gate.acceptance.accepted[0]?.entry.envelope.sender).toBeNull()
  })
})

describe("recipients", () => {
  const rows: [path: string, reply: RegExp, recipient?: string][] = [
    ["<alice@example.test>", /^250 2\.1\.5/, "alice@example.test"],
    ["<ALICE+tag@EXAMPLE.test>", /^250/, "ALICE+tag@example.test"],
    ["<postmaster>", /^250/, "postmaster@example.test"],
    ["<PostMaster>", /^250/, "postmaster@example.test"],
    ["<postmaster@example.test>", /^250/, "postmaster@example.test"],
    ['<"a b"@example.test>', /^250/, '"a b"@example.test'],
    ['<"a@b"@example.test>', /^250/, '"a@b"@example.test'],
    ["<@relay.example,@x.example:alice@example.test>", /^250/, "alice@example.test"],
    ["<nobody@example.test>", /^550 5\.1\.1 /],
    ["<alice@other.example>", /^550 5\.7\.1 /],
    ["<alice%other.example@example.test>", /^550 5\.1\.1 /],
    ["<other.example!alice@example.test>", /^550 5\.1\.1 /],
    ['<"alice@other.example"@example.test>', /^550 5\.1\.1 /],
    ["<@example.test:alice@other.example>", /^550 5\.7\.1 /],
    ["<alice@[127.0.0.1]>", /^550 5\.7\.1 /],
    ["<broken@example.test>", /^451 4\.3\.0 /],
    ["<>", /^501 5\.1\.3 /],
    ["<alice>", /^501 5\.1\.3 /],
    ["<a..b@example.test>", /^501 5\.1\.3 /],
    [`<${"x".repeat(65)}@example.test>`, /^501 5\.1\.3 /],
    ["<alice\0@example.test>", /^501 5\.1\.3 /],
    ["<alice@example.test> NOTIFY=NEVER,DELAY", /^501 5\.5\.4 /],
    ["<alice@example.test> X=1", /^555 5\.5\.4 /],
    ["<alice@example.test> ORCPT=rfc822;a+0D+0AX-Evil:+20b", /^501 5\./],
    ["<alice@[IPv6:::1]>", /^550 5\.7\.1 /],
    [`<alice@${`${"x".repeat(62)}.`.repeat(4)}test>`, /^501 5\.1\.3 /],
  ]
  test.each(rows)("RCPT TO:%s", async (path, reply, recipient) => {
    await using gate = await openGate("mx")
    await using wire = await greeted(gate.port)
    await wire.say("MAIL FROM:<a@b.example>")
    expect(await wire.say(`RCPT TO:${path}`)).toMatch(reply)
    if (recipient === undefined) return
    await wire.say("DATA")
    wire.write(`${MESSAGE}.\r\n`)
    await wire.reply()
    expect(recipientsOf(gate.acceptance.accepted[0])).toEqual([recipient])
  })

  test("who is there for bounces only is asked for with the sender; what is kept has his address as it came", async () => {
    const recipients: Recipients = { resolve: (_, sender) => (sender === null ? "local" : "unknown") }
    await using gate = await openGate("mx", {}, { recipients })
    await using wire = await greeted(gate.port)
    const path = "RCPT TO:<SRS0=ABCDEFGH=AB=else.test=Carol@example.test>"
    await wire.say("MAIL FROM:<a@b.example>")
    expect(await wire.say(path)).toMatch(/^550 5\.1\.1 /)
    await wire.say("RSET")
    await wire.say("MAIL FROM:<>")
    expect(await wire.say(path)).toMatch(/^250 /)
    await wire.say("DATA")
    wire.write(`${MESSAGE}.\r\n`)
    await wire.reply()
    expect(recipientsOf(gate.acceptance.accepted[0])).toEqual(["SRS0=ABCDEFGH=AB=else.test=Carol@example.test"])
  })

  test("who is refused is counted, by reply code", async () => {
    await using gate = await openGate("mx")
    await using wire = await greeted(gate.port)
    await wire.say("MAIL FROM:<a@b.example>")
    for (const name of ["alice", "nobody", "broken"]) await wire.say(`RCPT TO:<${name}@example.test>`)
    expect(gate.counted).toEqual(["550", "451"].map((code) => `postern_smtp_refused_total mx,${code}`))
  })

  test("malformed UTF-8 is no address", async () => {
    await using gate = await openGate("mx")
    await using wire = await greeted(gate.port)
    await wire.say("MAIL FROM:<a@b.example> SMTPUTF8")
    wire.write(Buffer.from("RCPT TO:<m\xfcller@example.test>\r\n", "latin1"))
    expect(await wire.reply()).toMatch(/^501 5\.1\.3/)
  })

  test("named twice count once; too many are told to come again", async () => {
    await using gate = await openGate("mx")
    await using wire = await greeted(gate.port)
    await wire.say("MAIL FROM:<a@b.example>")
    for (let count = 0; count < 4; count++) await wire.say("RCPT TO:<alice@example.test>")
    await wire.say("RCPT TO:<ALICE@example.test>")
    for (let count = 0; count < 3; count++) await wire.say(`RCPT TO:<bob+${count}@example.test>`)
    expect(await wire.say("RCPT TO:<bob@example.test>")).toMatch(/^452 4\.5\.3 /)
    await wire.say("DATA")
    wire.write(`${MESSAGE}.\r\n`)
    expect(await wire.reply()).toMatch(/^250/)
    expect(recipientsOf(gate.acceptance.accepted[0])).toEqual([
      "ALICE@example.test",
      "bob+0@example.test",
      "bob+1@example.test",
      "bob+2@example.test",
    ])
  })

  test("DSN parameters reach the envelope", async () => {
    await using gate = await openGate("mx")
    await using wire = await greeted(gate.port)
    await wire.say("MAIL FROM:<a@b.example> RET=HDRS ENVID=QQ+2B314 BODY=8BITMIME")
    await wire.say("RCPT TO:<alice@example.test> NOTIFY=FAILURE,delay ORCPT=rfc822;Bob+40x@b.example")
    await wire.say("DATA")
    wire.write(`${MESSAGE}.\r\n`)
    await wire.reply()
    const envelope = gate.acceptance.accepted[0]?.entry.envelope
    expect(envelope).toMatchObject({ envelopeId: "QQ+314", returnContent: "HDRS" })
    expect(envelope?.recipients[0]).toMatchObject({
      notify: ["FAILURE", "DELAY"],
      originalRecipient: "rfc822;Bob@x@b.example",
    })
  })
})

describe("REQUIRETLS (RFC 8689)", () => {
  test("is offered within TLS only, and reaches the envelope", async () => {
    await using gate = await openGate("mx")
    await using wire = await Wire.open(gate.port)
    expect(await wire.say("EHLO c.example")).not.toContain("REQUIRETLS")
    expect(await wire.say("MAIL FROM:<a@b.example> REQUIRETLS")).toMatch(/^5\d\d 5\./)
    await wire.startTls()
    expect(await wire.say("EHLO c.example")).toContain("REQUIRETLS")
    expect(await wire.say("MAIL FROM:<a@b.example> REQUIRETLS=yes")).toMatch(/^501 5\.5\.4 /)
    expect(await wire.send("a@b.example", ["alice@example.test"], `${MESSAGE}.\r\n`, " REQUIRETLS")).toMatch(/^250/)
    expect(await wire.send("a@b.example", ["alice@example.test"], `${MESSAGE}.\r\n`)).toMatch(/^250/)
    const [asked, plain] = gate.acceptance.accepted.map(({ entry }) => entry.envelope)
    expect(asked?.requireTls).toBe(true)
    expect(plain).not.toHaveProperty("requireTls")
  })
})

describe("content", () => {
  const refused: [name: string, octets: string, reply: RegExp][] = [
    ["bare LF in the body", "A: b\r\n\r\na\nb\r\n.\r\n", /^550 5\.6\.0 /],
    ["bare CR in the body", "A: b\r\n\r\na\rb\r\n.\r\n", /^550 5\.6\.0 /],
    ["bare LF in the header", "A: b\nC: d\r\n\r\n.\r\n", /^550 5\.6\.0 /],
    ["LF dot LF", "A: b\r\n\r\na\n.\nMAIL FROM:<x@y.example>\r\n.\r\n", /^550 5\.6\.0 /],
    ["LF dot CRLF", "A: b\r\n\r\na\n.\r\nx\r\n.\r\n", /^550 5\.6\.0 /],
    ["CR dot CR", "A: b\r\n\r\na\r.\rx\r\n.\r\n", /^550 5\.6\.0 /],
    ["CRLF dot CR", "A: b\r\n\r\na\r\n.\rx\r\n.\r\n", /^550 5\.6\.0 /],
    ["CRLF NUL dot CRLF then LF", "A: b\r\n\r\na\r\n\0.\r\n\n\r\n.\r\n", /^550 5\.6\.0 /],
    ["CR CR LF", "A: b\r\n\r\na\r\r\n.\r\n", /^550 5\.6\.0 /],
    ["a hundred and one hops", `${"Received: x\r\n".repeat(101)}\r\nx\r\n.\r\n`, /^554 5\.4\.6 /],
    ["a header without end", `${`X: ${"x".repeat(995)}\r\n`.repeat(1100)}.\r\n`, /^552 5\.3\.4 /],
    ["more than SIZE", `A: b\r\n\r\n${`${"x".repeat(998)}\r\n`.repeat(2100)}.\r\n`, /^552 5\.3\.4 /],
  ]
  test.each(refused)("%s: refused, nothing kept, the session goes on", async (_name, octets, reply) => {
    await using gate = await openGate("mx", { messageSizeOctets: 2_000_000 })
    await using wire = await greeted(gate.port)
    expect(await wire.send("a@b.example", ["alice@example.test"], octets)).toMatch(reply)
    expect(gate.acceptance.accepted).toEqual([])
    expect(gate.acceptance.brokenOff).toBe(1)
    expect(gate.counted).toEqual([`postern_smtp_refused_total mx,${reply.source.slice(1, 4)}`])
    expect(await wire.send("a@b.example", ["alice@example.test"], `${MESSAGE}.\r\n`)).toMatch(/^250/)
  })

  const kept: [name: string, content: string][] = [
    ["empty", ""],
    ["only an empty line", "\r\n"],
    ["header only", "A: b\r\n"],
    ["NULs and 8-bit", "A: \0\xff\r\n\r\n\0\x80\xff\r\n"],
    ["dots", ".\r\n..\r\n.a\r\n\r\n...\r\n.\r\n"],
    ["a hundred hops", `${"Received: x\r\n".repeat(100)}\r\nx\r\n`],
    ["10,000 header lines", `${"X: y\r\n".repeat(10_000)}\r\nx\r\n`],
    ["a header of the largest size", `X: ${"x".repeat(MAX_HEADER_OCTETS - 7)}\r\n\r\nx\r\n`],
    [
      "lines of 998, 999, 1000 and 2000 octets",
      [998, 999, 1000, 2000].map((size) => `${"x".repeat(size)}\r\n`).join(""),
    ],
    ["one long line", `A: b\r\n\r\n${"x".repeat(500_000)}\r\n`],
  ]
  test.each(kept)("%s: kept octet for octet", async (_name, content) => {
    await using gate = await openGate("mx", { messageSizeOctets: 2_000_000 })
    await using wire = await greeted(gate.port)
    const stuffed = Buffer.from(`${content.replace(/^\./gm, "..")}.\r\n`, "latin1")
    expect(await wire.send("", ["alice@example.test"], stuffed)).toMatch(/^250 2\.6\.0/)
    expect(gate.acceptance.accepted[0]?.content.toString("latin1")).toBe(content)
  })

  test("a client that goes away leaves nothing", async () => {
    await using gate = await openGate("mx")
    const begun = Promise.withResolvers<void>()
    gate.acceptance.before = () => begun.resolve()
    const wire = await greeted(gate.port)
    await wire.say("MAIL FROM:<a@b.example>")
    await wire.say("RCPT TO:<alice@example.test>")
    await wire.say("DATA")
    wire.write("A: b\r\n\r\nhalf a message\r\n.\r")
    await begun.promise
    wire.destroy()
    await gate.listener.close(1000)
    expect(gate.acceptance).toMatchObject({ accepted: [], brokenOff: 1 })
    // Nobody heard a reply.
    expect(gate.counted).toEqual([])
  })

  test("a spool that is full or broken: try again later, and the rest is read", async () => {
    await using gate = await openGate("mx")
    gate.acceptance.before = () => {
      throw new Error("disk")
    }
    await using wire = await greeted(gate.port)
    const big = `A: b\r\n\r\n${`${"x".repeat(998)}\r\n`.repeat(500)}.\r\n`
    expect(await wire.send("a@b.example", ["alice@example.test"], big)).toMatch(/^451 4\.3\.0/)
    expect(await wire.say("NOOP")).toMatch(/^250/)
    expect(gate.log.join("")).toContain("smtp.not-accepted")
  })

  test("an acceptance that did not read to the end has not accepted", async () => {
    await using gate = await openGate("mx", {}, { acceptance: { accept: async () => "Q0" } })
    await using wire = await greeted(gate.port)
    expect(await wire.send("a@b.example", ["alice@example.test"], `${MESSAGE}.\r\n`)).toMatch(/^451 4\.3\.0/)
  })

  test("pipelined transactions in one segment", async () => {
    await using gate = await openGate("mx")
    await using wire = await greeted(gate.port)
    const one = `MAIL FROM:<a@b.example>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n${MESSAGE}.\r\n`
    wire.write(`${one}${one}QUIT\r\n`)
    expect((await wire.rest()).match(/^\d{3}/gm)).toEqual("250 250 354 250 250 250 354 250 221".split(" "))
    expect(gate.acceptance.accepted.length).toBe(2)
  })
})

describe("limits", () => {
  test("one connection too many hears 421", async () => {
    await using gate = await openGate("mx", { connections: 1 })
    await using _first = await Wire.open(gate.port)
    await using second = Wire.connect(gate.port)
    expect(await second.rest()).toMatch(/^421 /)
  })

  test("silence ends with 421", async () => {
    await using gate = await openGate("mx", { idleMs: 150 })
    await using wire = await greeted(gate.port)
    expect(await wire.rest()).toMatch(/^421 4\.4\.2 /)
  })

  test("a command that drips ends with 421, and so does a message", async () => {
    await using gate = await openGate("mx", { commandMs: 200, dataMs: 300 })
    await using command = await greeted(gate.port)
    await using message = await greeted(gate.port)
    await message.say("MAIL FROM:<a@b.example>")
    await message.say("RCPT TO:<alice@example.test>")
    await message.say("DATA")
    const drip = setInterval(() => {
      command.write("N")
      message.write("x")
    }, 20)
    expect(await command.rest()).toMatch(/^421 4\.4\.2 /)
    expect(await message.rest()).toMatch(/^421 4\.4\.2 /)
    clearInterval(drip)
    expect(gate.acceptance).toMatchObject({ accepted: [], brokenOff: 1 })
  })

  test("closing ends idle sessions at once and lets a message finish", async () => {
    await using gate = await openGate("mx")
    await using idle = await greeted(gate.port)
    await using busy = await greeted(gate.port)
    await busy.say("MAIL FROM:<a@b.example>")
    await busy.say("RCPT TO:<alice@example.test>")
    await busy.say("DATA")
    const closed = gate.listener.close(5000)
    expect(await idle.rest()).toMatch(/^421 4\.3\.2 /)
    busy.write(`${MESSAGE}.\r\nNOOP\r\n`)
    expect(await busy.reply()).toMatch(/^250 2\.6\.0/)
    expect(await busy.rest()).toMatch(/^421 /)
    await closed
    expect(gate.acceptance.accepted.length).toBe(1)
  })

  test("a port that is taken is an error with a code", async () => {
    await using gate = await openGate("mx")
    await expect(openGate("mx", {}, { port: gate.port })).rejects.toMatchObject({ code: "LISTEN_FAILED" })
  })
})
