import type { Duplex } from "node:stream"
import { describe, expect, test } from "vitest"
import { BareClient } from "./client.ts"
import { HEX_HEAD, LAPTOP, READER, scripted, startRig } from "./rig.ts"

const hex = (text: string): string => HEX_HEAD + Buffer.from(text, "latin1").toString("hex")
const ONE = "a: b\r\n\r\nfirst\r\n"
const TWO = "a: b\r\n\r\nsecond {5}\r\n"

/** What an upstream got and what came of it: an APPEND as one text, its literals as they were. */
interface Store {
  readonly appended: string[]
  readonly capabilities: string
  /** An answer in place of the `+` for the literal of this number. */
  readonly refuseAt?: readonly [number, string]
  /** An answer while the literal of this number is still to come. */
  readonly early?: readonly [number, string]
  readonly stored?: string
  /** What a message of no octets is answered with. */
  readonly cancelled?: string
}

/** Plays the upstream by the grammar: text up to a literal, `+`, the literal, and so on to the end of the line. */
async function play(stream: Duplex, store: Store): Promise<void> {
  const lines = new Lines(stream)
  stream.write(`* PREAUTH [CAPABILITY IMAP4rev1 UIDPLUS ${store.capabilities}] ready\r\n`)
  for (;;) {
    let line = await lines.line()
    const tag = line.split(" ")[0] ?? ""
    if (!/^\S+ APPEND/.test(line)) {
      stream.write(`${tag} OK done\r\n`)
      continue
    }
    let text = ""
    let answer = `OK [APPENDUID 1 ${store.stored ?? "7"}] stored`
    for (let number = 1; ; number++) {
      const size = /\{(\d+)\}$/.exec(line)?.[1]
      text += line
      if (size === undefined) break
      if (size === "0") answer = store.cancelled ?? "NO cancelled"
      if (store.refuseAt?.[0] === number || (size === "0" && store.cancelled === undefined)) {
        stream.write(`${tag} ${store.refuseAt?.[0] === number ? store.refuseAt[1] : answer}\r\n`)
        text = ""
        break
      }
      stream.write("+ go\r\n")
      if (store.early?.[0] === number) stream.write(`${tag} ${store.early[1]}\r\n`)
      text += `\n${await lines.octets(Number(size))}\n`
      line = await lines.line()
      if (store.early?.[0] !== number) continue
      // It was answered: the rest of the line, whatever it is, is passed over.
      text = ""
      break
    }
    if (text === "") continue
    stream.write(`${tag} ${answer}\r\n`)
    if (answer.startsWith("OK")) store.appended.push(text)
  }
}

class Lines {
  readonly #source: AsyncIterator<Buffer>
  #text = ""

  constructor(stream: Duplex) {
    this.#source = stream[Symbol.asyncIterator]()
  }

  async line(): Promise<string> {
    while (!this.#text.includes("\r\n")) await this.#more()
    const end = this.#text.indexOf("\r\n")
    return this.#take(end + 2).slice(0, -2)
  }

  async octets(count: number): Promise<string> {
    while (this.#text.length < count) await this.#more()
    return this.#take(count)
  }

  #take(count: number): string {
    const taken = this.#text.slice(0, count)
    this.#text = this.#text.slice(count)
    return taken
  }

  async #more(): Promise<void> {
    const next = await this.#source.next()
    if (next.done === true) throw new Error("proxy left")
    this.#text += next.value.toString("latin1")
  }
}

/** A proxy before a store that tells what it was sent. */
async function inFrontOf(options: Partial<Store> = {}, password = LAPTOP) {
  const store: Store = { appended: [], capabilities: "MULTIAPPEND", ...options }
  const server = await scripted((stream) => play(stream, store))
  const rig = await startRig({ upstream: server.upstream, limits: { appendOctets: 1_000 } })
  const client = await BareClient.loggedIn(rig, password)
  return {
    client,
    appended: store.appended,
    async [Symbol.asyncDispose]() {
      client.destroy()
      await rig[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}

const literal = (text: string, sign = "+", binary = ""): string => `${binary}{${text.length}${sign}}\r\n${text}`

describe("several messages in one APPEND", () => {
  const stored = `a APPEND Sent (\\Seen) "d" {${hex(ONE).length}}\n${hex(ONE)}\n (\\Draft) {${hex(TWO).length}}\n${hex(TWO)}\n`
  test.each([
    ["non-synchronizing", `a APPEND Sent (\\Seen) "d" ${literal(ONE)} (\\Draft) ${literal(TWO)}\r\n`],
    ["literal8", `a APPEND Sent (\\Seen) "d" ${literal(ONE, "+", "~")} (\\Draft) ${literal(TWO, "+", "~")}\r\n`],
    [
      "in UTF8 (",
      `a APPEND Sent (\\Seen) "d" UTF8 (${literal(ONE, "+", "~")}) (\\Draft) UTF8 (${literal(TWO, "+", "~")})\r\n`,
    ],
    ["mixed", `a APPEND Sent (\\Seen) "d" ${literal(ONE)} (\\Draft) UTF8 (${literal(TWO, "+", "~")})\r\n`],
  ])("are stored by one command, each protected: %s, whole and octet by octet", async (_name, command) => {
    await using rig = await inFrontOf({ stored: "7:8" })
    for (const pieces of [[command], command]) {
      for (const piece of pieces) rig.client.send(piece)
      expect(await rig.client.tagged("a")).toBe("a OK [APPENDUID 1 7:8] stored\r\n")
      expect(rig.appended.pop()).toBe(stored)
    }
  })

  test("by synchronizing literals: each is asked for in its turn", async () => {
    await using rig = await inFrontOf()
    rig.client.send(`a APPEND Sent {${ONE.length}}\r\n`)
    await rig.client.until("+ OK\r\n")
    rig.client.send(`${ONE} ${literal(TWO)} {${ONE.length}}\r\n`)
    await rig.client.until("+ OK\r\n")
    rig.client.send(`${ONE}\r\n`)
    expect(await rig.client.tagged("a")).toContain("a OK")
    expect(rig.appended[0]?.match(/\{\d+\}/g)).toHaveLength(3)
  })

  test("a thousand, in no more memory than one", async () => {
    await using rig = await inFrontOf()
    rig.client.send(`a APPEND Sent${` (\\Seen) "17-Jul-1996 02:44:25 -0700" ${literal(ONE)}`.repeat(1_000)}\r\n`)
    expect(await rig.client.tagged("a")).toContain("a OK")
    expect(rig.appended[0]?.match(/\{\d+\}/g)).toHaveLength(1_000)
  })

  const refusals: [name: string, second: string, answer: RegExp][] = [
    ["too large", literal("x".repeat(1_001)), /^a NO \[TOOBIG\]/],
    ["too large, and not sent", "{1001}\r\n", /^a NO \[TOOBIG\]/],
    ["refused by the plan", literal("a: b\r\n\r\nrefuse me"), /^a NO not this one/],
    ["empty, by which the client cancels", literal(""), /^a NO message is empty/],
    ["behind something else", `INBOX ${literal(TWO)}`, /^a BAD/],
    ["followed by something else", `${literal(TWO)} x`, /^a BAD/],
    [
      "followed by one that is refused",
      `${literal(TWO)} ${literal("x".repeat(1_001))} ${literal(ONE)}`,
      /^a NO \[TOOBIG\]/,
    ],
  ]
  for (const [name, second, answer] of refusals) {
    test.each([
      ["refuses", undefined],
      ["asks for it", "NO cancelled"],
      ["calls it an error", "BAD empty literal"],
    ])(
      `one ${name}: none is stored, and the session goes on, when the upstream %s the empty message`,
      async (_n, cancelled) => {
        await using rig = await inFrontOf(cancelled === undefined ? {} : { cancelled })
        rig.client.send(
          `a APPEND Sent ${literal(ONE)} ${second}${second.endsWith("1001}\r\n") ? "" : "\r\n"}b NOOP\r\n`,
        )
        const answers = await rig.client.tagged("b")
        expect(answers).toMatch(answer)
        expect(answers.match(/^\w (?:OK|NO|BAD)/gm)).toHaveLength(2)
        expect(rig.appended).toEqual([])
        rig.client.send(`c APPEND Sent ${literal(ONE)}\r\n`)
        expect(await rig.client.tagged("c")).toContain("c OK")
      },
    )
  }

  test("an upstream that stores what was cancelled is not answered for: both sides are cut", async () => {
    await using rig = await inFrontOf({ cancelled: "OK stored" })
    rig.client.send(`a APPEND Sent ${literal(ONE)} ${literal("")}\r\n`)
    expect(await rig.client.rest()).not.toMatch(/^a /m)
  })

  test.each([
    ["the first", 1],
    ["the second", 2],
  ])("%s refused by the upstream in place of `+`: the client is told when it has sent all", async (_name, number) => {
    await using rig = await inFrontOf({ refuseAt: [number, "NO [OVERQUOTA] full"] })
    rig.client.send(`a APPEND Sent ${literal(ONE)} ${literal(TWO)} ${literal(ONE)}\r\nb NOOP\r\n`)
    expect(await rig.client.tagged("b")).toBe("a NO [OVERQUOTA] full\r\nb OK done\r\n")
    expect(rig.appended).toEqual([])
  })

  test("refused by the upstream while a message is on its way: nothing more is sent than the end of the command", async () => {
    await using rig = await inFrontOf({ early: [1, "NO [OVERQUOTA] full"] })
    rig.client.send(`a APPEND Sent ${literal(ONE)} `)
    rig.client.send(`${literal(TWO)}\r\nb NOOP\r\n`)
    expect(await rig.client.tagged("b")).toBe("a NO [OVERQUOTA] full\r\nb OK done\r\n")
    expect(rig.appended).toEqual([])
  })

  test("a device that may only read is refused, whatever it sends", async () => {
    await using rig = await inFrontOf({}, READER)
    rig.client.send(`a APPEND Sent ${literal(ONE)} ${literal(TWO)} {5}\r\nb NOOP\r\n`)
    expect(await rig.client.tagged("b")).toMatch(/^a NO \[NOPERM\].*\r\nb OK/)
  })

  test("is not offered, and cut, where the upstream takes one only", async () => {
    await using rig = await inFrontOf({ capabilities: "" })
    expect(await rig.client.ok("CAPABILITY")).not.toContain("MULTIAPPEND")
    rig.client.send(`a APPEND Sent ${literal(ONE)} ${literal(TWO)}\r\n`)
    expect(await rig.client.rest()).not.toMatch(/^a /m)
    expect(rig.appended).toEqual([])
  })
})
