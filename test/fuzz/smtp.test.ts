import { connect } from "node:net"
import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { GatewayError } from "../../src/errors.ts"
import { formatAddress, parseAddress } from "../../src/message/address.ts"
import { parseMailboxList } from "../../src/message/mailboxes.ts"
import { type ContentVerdict, inspectContent } from "../../src/smtp-in/content.ts"
import { parsePathCommand } from "../../src/smtp-in/path.ts"
import { openGate, type TestGate } from "../smtp-in/gate.ts"
import { Wire } from "../smtp-in/wire.ts"

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 500)
/** Each of these is a session over a socket. */
const SOCKET_RUNS = Math.min(RUNS, 3000) / 5

/** Line ends, dots and a few others: what framing mistakes are made of. */
const framing = fc.stringMatching(/^(?:\r\n|\r|\n|\.|\.\r\n|\n\.\r\n|\r\n\.|\x00|a|bc: d\r\n|\xff){0,40}$/)
const cuts = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 20 })

/** `whole` in pieces of these sizes, used in turn. */
function cut(whole: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0, turn = 0; at < whole.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1
    pieces.push(whole.subarray(at, at + size))
    at += size
  }
  return pieces
}

const BARE = /\r(?!\n)|(?<!\r)\n/

describe("parsers", () => {
  test("a path command is malformed or prints back what it parsed", () => {
    const verbs = fc.constantFrom("MAIL FROM:", "RCPT TO:", "mail from: ", "MAIL FROM :", "")
    const argument = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.stringMatching(/^<[ab"\\@<>:,. \u00fc\x00]{0,12}>( [A-Z=+0D;]{0,9}){0,3}$/),
    )
    fc.assert(
      fc.property(verbs, argument, (verb, text) => {
        const parsed = parsePathCommand("MAIL FROM", Buffer.from(`${verb}${text}`))
        if (!parsed?.path || parsed.path === "postmaster") return
        const printed = formatAddress(parsed.path)
        expect(parsePathCommand("MAIL FROM", Buffer.from(`MAIL FROM:<${printed}>`))?.path).toEqual(parsed.path)
        expect(JSON.stringify(parsed.args)).not.toMatch(/\\[rn]|\\u000/)
      }),
      { numRuns: RUNS },
    )
  })

  test("octets that are no UTF-8 are no path", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (octets) => {
        const parsed = parsePathCommand(
          "RCPT TO",
          Buffer.concat([Buffer.from("RCPT TO:<"), octets, Buffer.from("@b.example>")]),
        )
        if (parsed) expect(Buffer.from(Buffer.from(octets).toString("utf8")).equals(Buffer.from(octets))).toBe(true)
      }),
      { numRuns: RUNS },
    )
  })

  test("a mailbox list is malformed, or every address of it stands in the text's own words", () => {
    const text = fc.oneof(fc.string({ unit: "binary" }), fc.stringMatching(/^[ab"\\@<>(),. :;\u00fc]{0,30}$/))
    fc.assert(
      fc.property(text, (field) => {
        try {
          for (const address of parseMailboxList(field)) expect(parseAddress(formatAddress(address))).toEqual(address)
        } catch (error) {
          expect(error).toMatchObject({ code: "ADDRESS_SYNTAX" })
        }
      }),
      { numRuns: RUNS },
    )
  })

  test("a mailbox list reads back what was written, comments and names skipped", () => {
    const local = fc.stringMatching(/^[a-z"\\ @.<>,()]{1,12}$/).filter((text) => text.trim() !== "")
    const name = fc.constantFrom("", "Bob ", '"x@y.example, \\"" ', "(c (d@e.example)) ", "=?utf-8?Q?=00?= ")
    fc.assert(
      fc.property(fc.array(fc.tuple(name, local), { minLength: 1, maxLength: 5 }), (mailboxes) => {
        const quoted = mailboxes.map(([, part]) => `"${part.replace(/["\\]/g, "\\$&")}"@b.example`)
        const text = mailboxes.map(([given], index) => `${given}<${quoted[index]}>`).join(" , ")
        expect(parseMailboxList(text).map((address) => address.localPart)).toEqual(mailboxes.map(([, part]) => part))
      }),
      { numRuns: RUNS },
    )
  })

  test("content passes unchanged exactly when it has no bare CR or LF, however it is cut", async () => {
    await fc.assert(
      fc.asyncProperty(framing, cuts, async (text, sizes) => {
        const whole = Buffer.from(text, "latin1")
        const verdict: ContentVerdict = { complete: false, sizeOctets: 0, refusal: null }
        const out: Uint8Array[] = []
        const source = (async function* () {
          yield* cut(whole, sizes)
        })()
        try {
          for await (const octets of inspectContent(source, { maxOctets: 10_000 }, verdict)) out.push(octets)
          expect(Buffer.concat(out).equals(whole)).toBe(true)
        } catch (error) {
          expect(error).toBeInstanceOf(GatewayError)
        }
        expect(verdict.complete).toBe(!BARE.test(text))
      }),
      { numRuns: RUNS },
    )
  })
})

describe("over a socket", () => {
  let gate: TestGate
  beforeAll(async () => {
    gate = await openGate("mx")
  })
  afterAll(() => gate[Symbol.asyncDispose]())

  test("what is sent as one message is that message or none, never two", async () => {
    await using wire = await Wire.open(gate.port)
    await wire.say("EHLO fuzz.example")
    await fc.assert(
      fc.asyncProperty(framing, cuts, async (text, sizes) => {
        const content = text === "" || text.endsWith("\r\n") ? text : `${text}\r\n`
        // RFC 5321 §4.5.2, for lines as the server must see them: begun by CRLF and nothing else.
        const stuffed = content.replace(/(^|\r\n)\./g, "$1..")
        const before = gate.acceptance.accepted.length
        await wire.say("MAIL FROM:<a@b.example>")
        await wire.say("RCPT TO:<alice@example.test>")
        await wire.say("DATA")
        for (const piece of cut(Buffer.from(`${stuffed}.\r\n`, "latin1"), sizes)) wire.write(piece)
        const reply = await wire.reply()
        expect(reply).toMatch(BARE.test(content) ? /^550 5\.6\.0/ : /^250 2\.6\.0/)
        expect(await wire.say("NOOP")).toMatch(/^250 2\.0\.0/)
        const arrived = gate.acceptance.accepted.slice(before).map((message) => message.content.toString("latin1"))
        expect(arrived).toEqual(BARE.test(content) ? [] : [content])
      }),
      { numRuns: SOCKET_RUNS },
    )
  })

  test("nothing is accepted of a session cut before its final dot", async () => {
    const session =
      "EHLO x.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nA: b\r\n\r\nc\r\n.\r\n"
    const before = gate.acceptance.accepted.length
    await Promise.all(
      Array.from({ length: session.length }, (_, length) => sendAndLeave(gate.port, session.slice(0, length))),
    )
    expect(gate.acceptance.accepted.length).toBe(before)
  })

  test("noise does not end the server", async () => {
    const word = fc.constantFrom(
      "EHLO x\r\n",
      "MAIL FROM:<>\r\n",
      "RCPT TO:<alice@example.test>\r\n",
      "DATA\r\n",
      ".\r\n",
      "\r\n",
      "BDAT 9\r\n",
      "RSET\r\n",
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(word, fc.string({ unit: "binary", maxLength: 40 })), { maxLength: 20 }),
        async (words) => {
          await sendAndLeave(gate.port, words.join(""))
        },
      ),
      { numRuns: SOCKET_RUNS },
    )
    await using wire = await Wire.open(gate.port)
    expect(await wire.say("NOOP")).toMatch(/^250/)
  })
})

/** Waits for the greeting, sends, and ends; resolves when the server has ended, too. */
async function sendAndLeave(port: number, text: string): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const socket = connect({ port, host: "127.0.0.1" })
  socket.once("data", () => socket.end(Buffer.from(text, "utf8")))
  socket.resume()
  socket.on("error", () => undefined)
  socket.on("close", () => resolve())
  await promise
}
