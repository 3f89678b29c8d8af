import { describe, expect, test } from "vitest"
import { OctetSource } from "../../src/imap-proxy/octets.ts"
import { CommandReader } from "../../src/imap-proxy/wire/command-reader.ts"
import { upstreamOf } from "./answering.ts"
import { BareClient, literalOf } from "./client.ts"
import { MESSAGES, patched } from "./messages.ts"
import { LAPTOP, type Rig, scripted, startRig } from "./rig.ts"

const smime = MESSAGES["smime"] ?? ""
const forLaptop = patched(smime, "laptop")

describe("commands", () => {
  test.each([
    ["octets over 127 in atoms and quoted strings", 'a LIST "" Gr\xfc\xdfe\r\nb STATUS "\xff\xfe" (UNSEEN)\r\n'],
    ["a literal with NUL and line ends", "a SEARCH TEXT {5+}\r\n\0\r\n\0x\r\nb NOOP\r\n"],
    ["a literal cut in its marker", "a SEARCH TEXT {1|0+|}\r|\nabcde|fghij BODY x\r\nb NOOP\r\n"],
    ["literals wherever a string may stand", "a RENAME {1+}\r\nx {0+}\r\n\r\nb ID ({1+}\r\na {1+}\r\nb)\r\n"],
    ["lower case", "a uid search uid 1\r\nb noop\r\n"],
    ["spaces in a section, quoted field names", 'a FETCH 1 BODY.PEEK[header.fields ("SUBJECT"  to )]\r\nb NOOP\r\n'],
    ["literals within a section", "a FETCH 1 BODY[HEADER.FIELDS ({2+}\r\nTO {2+}\r\nCC)]\r\nb NOOP\r\n"],
    ["CR and LF in different segments", "a NOOP\r|\nb NOOP\r|\n"],
    ["a set of 60 kB", `a UID FETCH ${oddNumbers(11_000)} (FLAGS)\r\nb NOOP\r\n`],
  ])("%s reach the upstream as they are", async (_name, segments) => {
    await using upstream = await recordingUpstream()
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    for (const segment of segments.split("|")) {
      client.send(segment)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await client.tagged("b")
    expect(upstream.received()).toBe(segments.replaceAll("|", ""))
  })

  test("a bare LF ends a command; upstream it is CRLF", async () => {
    await using upstream = await recordingUpstream()
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    client.send("a NOOP\nb SEARCH TEXT {3+}\nx\ny\nc NOOP\n")
    await client.tagged("c")
    expect(upstream.received()).toBe("a NOOP\r\nb SEARCH TEXT {3+}\r\nx\ny\r\nc NOOP\r\n")
  })

  test.each([
    ["NUL in a quoted string", 'a SEARCH SUBJECT "x\0y"\r\n', "quoted string is cut off"],
    ["a quoted string without its end", 'a SEARCH SUBJECT "x\r\n', "quoted string is cut off"],
    ["parentheses without their end", "a FETCH 1 (FLAGS\r\n", "unmatched ("],
    ["parentheses nested too deep", `a SEARCH ${"(".repeat(65)}ALL${")".repeat(65)}\r\n`, "nested deeper than 64"],
    ["no command", "a\r\n", "no command"],
    ["a literal over the limit", "a SEARCH TEXT {65537}\r\n", "literal too large"],
    ["octets that follow a literal over the limit", `a SEARCH TEXT {65537+}\r\n${"x".repeat(65_537)}\r\n`, "command"],
    ["a literal to a command that is not known", "a XYZZY {3}\r\n", "command not supported"],
  ])("%s is BAD, and the session goes on", async (_name, command, reason) => {
    await using upstream = await recordingUpstream()
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    client.send(command)
    expect(await client.tagged("a")).toContain(`a BAD ${reason}`)
    await client.ok("NOOP")
    expect(upstream.received()).toBe("t2 NOOP\r\n")
  })

  test("a line over 64 KiB ends the connection", async () => {
    await using upstream = await recordingUpstream()
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    client.send(`a SEARCH ${"x".repeat(70_000)}`)
    await client.rest()
    expect(upstream.received()).toBe("")
  })

  test("a pipeline is read as far as 256 commands are in flight, and the rest when answers come", async () => {
    await using upstream = await recordingUpstream({ answering: false })
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    const commands = Array.from({ length: 400 }, (_, index) => `n${index} NOOP\r\n`)
    client.send(commands.join(""))
    await upstream.until("n255 NOOP\r\n")
    expect(upstream.received()).toBe(commands.slice(0, 256).join(""))
    upstream.answerNow()
    await client.tagged("n399")
    expect(upstream.received()).toBe(commands.join(""))
  })

  test("IDLE that does not end with DONE: the upstream says BAD, what the client sent does not reach it", async () => {
    await using upstream = await upstreamOf((command) => (command === "IDLE" ? "+ idling" : idleEnd(command)))
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    client.send("a IDLE\r\n")
    await client.until("+ idling\r\n")
    client.send("b APPEND INBOX {100+}\r\n")
    expect(await client.tagged("a")).toContain("a BAD expected DONE")
  })
})

describe("responses", () => {
  const numbers = Array.from({ length: 300_000 }, (_, index) => index + 100_000).join(" ")

  test.each([
    ["SEARCH of 300,000 messages", `* SEARCH ${numbers}`],
    ["SORT", `* SORT ${numbers.slice(0, 1_500_000)}`],
    [
      "ESEARCH and VANISHED with long sets",
      `* ESEARCH (TAG "x") UID ALL ${numbers.slice(0, 1_200_000).replaceAll(" ", ",")}`,
    ],
    ["an envelope with 1,000 recipients", `* 1 FETCH (ENVELOPE (NIL "x" (${recipients(1000)}) NIL))`],
    ["a deep body structure", `* 1 FETCH (BODYSTRUCTURE ${"(".repeat(200)}"x" "]("${")".repeat(200)} UID 3)`],
    [
      "codes that we do not know",
      "* OK [X-NEW (a b)] text [with] brackets\r\n* NO [OVERQUOTA] full\r\n* BAD [CLIENTBUG] {3}",
    ],
    ["LIST of names as literals", "* LIST () {1}\r\n/ {5}\r\na{3}b\r\n* LIST (\\Remote) NIL x"],
    [
      "STATUS, QUOTA, ACL",
      '* STATUS {3}\r\na b (UIDNEXT 4)\r\n* QUOTA "" (STORAGE 1 2)\r\n* ACL INBOX a lr "b c" {1}\r\nl',
    ],
    ["METADATA and other responses that nobody asked for", '* METADATA "" (/a {3}\r\nBOD)\r\n* XGM x'],
    ["VANISHED (EARLIER)", "* VANISHED (EARLIER) 41,43:116,118"],
  ])("%s pass as they are", async (_name, told) => {
    await using upstream = await upstreamOf((command) => (command === "NOOP" ? `${told}\r\n$ OK done` : null))
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    expect((await client.ok("NOOP")) === `${told}\r\nt2 OK done\r\n`).toBe(true)
  })

  test.each([
    ["* NO [REFERRAL imap://user@other.test/] moved", "* NO moved"],
    ["* OK [referral IMAP://[2001:db8::1]/INBOX] x", "* OK x"],
    ["* NO [REFERRAL imap://[x] cut", "* NO cut"],
    ["* BYE [REFERRAL imap://other.test/] gone", "* BYE gone"],
  ])("%s leads nobody around the proxy", async (told, passed) => {
    await using upstream = await upstreamOf((command) => (command === "NOOP" ? `${told}\r\n$ OK done` : null))
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    expect(await client.ok("NOOP")).toBe(`${passed}\r\nt2 OK done\r\n`)
  })

  test("a referral in the answer to a command: only its text is left", async () => {
    await using upstream = await upstreamOf((command) =>
      command === "SELECT Away" ? "$ NO [REFERRAL imap://other.test/Away] somewhere else" : null,
    )
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    expect(await client.command("SELECT Away")).toBe("t2 NO somewhere else\r\n")
  })

  test("a line without message data over 1 MiB ends the connection", async () => {
    await using upstream = await upstreamOf((command) => (command === "NOOP" ? `* X ${"y".repeat(1_100_000)}` : null))
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    client.send("a NOOP\r\n")
    expect(await client.rest()).toBe("")
  })

  test("names of sections in another form than they were asked in, with literals in them", async () => {
    const items = `BODY[HEADER.FIELDS ("SUBJECT" {2}\r\nTO)] {4}\r\na\r\n\r body[] {${smime.length}}\r\n${smime} Rfc822.Size 5`
    await using upstream = await upstreamOf((command) =>
      command.startsWith("FETCH") ? `* 1 FETCH (${items})\r\n$ OK done` : null,
    )
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    const answer = await client.ok("FETCH 1 (BODY[HEADER.FIELDS (subject to)] BODY[] RFC822.SIZE)")
    expect(answer).toBe(`* 1 FETCH (${items.replace(smime, forLaptop)})\r\nt2 OK done\r\n`)
  })

  test("VANISHED moves message numbers: what is known of them is asked for again", async () => {
    await using upstream = await upstreamOf((command) => {
      if (command.startsWith("FETCH 2 (UID"))
        return `* 2 FETCH (UID 9 BODY[]<0> {${smime.length}}\r\n${smime})\r\n$ OK done`
      if (command.startsWith("FETCH")) return `* 2 FETCH (BODY[]<300> {100}\r\n${smime.slice(300, 400)})\r\n$ OK done`
      return command === "NOOP" ? "* VANISHED 4\r\n$ OK done" : null
    })
    await using client = await BareClient.loggedIn(upstream.rig, LAPTOP)
    await client.ok("SELECT INBOX")
    for (const _ of [1, 2]) {
      expect(literalOf(await client.ok("FETCH 2 BODY[]<300.100>"), "BODY[]<300>")).toBe(forLaptop.slice(300, 400))
      await client.ok("NOOP")
    }
    expect(upstream.commands.filter((command) => command.startsWith("FETCH 2 (UID"))).toHaveLength(2)
  })
})

function recipients(count: number): string {
  return Array.from({ length: count }, (_, index) => `("A \\"${index}\\" (x" NIL "user${index}" "example.test")`).join(
    "",
  )
}

function idleEnd(command: string): string | null {
  return command === "" ? "a BAD expected DONE" : null
}

function oddNumbers(count: number): string {
  return Array.from({ length: count }, (_, index) => 2 * index + 1).join(",")
}

interface RecordingUpstream extends AsyncDisposable {
  readonly rig: Rig
  /** Every octet that came. */
  received(): string
  /** Resolves when that came. */
  until(text: string): Promise<void>
  /** Answers what waits, and everything from now on. */
  answerNow(): void
}

/** An upstream that has LITERAL+, and answers every command OK, whatever is in it. */
async function recordingUpstream({ answering = true } = {}): Promise<RecordingUpstream> {
  let received = ""
  let answers = answering
  let wake = (): void => undefined
  const waiting: (() => void)[] = []
  const server = await scripted(async (stream) => {
    stream.write("* PREAUTH [CAPABILITY IMAP4rev1 LITERAL+ ID] ready\r\n")
    const source = new OctetSource(stream)
    const reader = new CommandReader()
    for (let octets = await source.read(); octets !== null; octets = await source.read()) {
      received += Buffer.from(octets).toString("latin1")
      reader.push(octets)
      for (let event = reader.next(); event !== null; event = reader.next()) {
        if (event.kind === "literal") reader.collect()
        if (event.kind !== "command") continue
        const answer = `${event.command.tag} OK done\r\n`
        if (answers) stream.write(answer)
        else waiting.push(() => stream.write(answer))
      }
      wake()
    }
  })
  const rig = await startRig({ upstream: server.upstream })
  return {
    rig,
    received: () => received,
    until: async (text) => {
      while (!received.endsWith(text))
        await new Promise<void>((resolve) => {
          wake = resolve
        })
    },
    answerNow: () => {
      answers = true
      for (const answer of waiting.splice(0)) answer()
    },
    [Symbol.asyncDispose]: async () => {
      await rig[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}
