import { once } from "node:events"
import type { Duplex } from "node:stream"
import { setTimeout as delay } from "node:timers/promises"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { AppendProtection } from "../../src/imap-proxy/ports.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { BareClient, literalOf } from "./client.ts"
import { MESSAGES, patched } from "./messages.ts"
import { embedded, HEX_HEAD, LAPTOP, PHONE, type Rig, scripted, startRig, storedUpload } from "./rig.ts"

let folder: TemporaryFolder
let store: ReturnType<typeof embedded>
let rig: Rig

beforeAll(async () => {
  folder = await temporaryFolder()
  store = embedded(folder.path)
  rig = await startRig({ upstream: store.upstream, limits: { appendOctets: 3_000_000 } })
})

afterAll(async () => {
  await rig[Symbol.asyncDispose]()
  await store[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

const CLEAR = "Subject: secret\r\n\r\nin clear\r\n"
const hex = (text: string): string => HEX_HEAD + Buffer.from(text, "latin1").toString("hex")

/** What the store holds of the newest message of `mailbox`, seen without the proxy's patches. */
async function newest(client: BareClient, mailbox: string): Promise<{ text: string; answer: string }> {
  await client.ok(`SELECT ${mailbox}`)
  const answer = await client.ok("FETCH * (FLAGS INTERNALDATE BODY.PEEK[])")
  return { text: literalOf(answer, "BODY[]") ?? "", answer }
}

describe("a clear message is protected on its way in", () => {
  test("with a synchronizing literal, flags and date", async () => {
    await using client = await BareClient.loggedIn(rig, LAPTOP)
    client.send(`a APPEND Sent (\\Seen \\Flagged) " 1-Feb-2024 03:04:05 +0000" {${CLEAR.length}}\r\n`)
    await client.until("+ OK\r\n")
    client.send(`${CLEAR}\r\n`)
    expect(await client.tagged("a")).toMatch(/a OK \[APPENDUID \d+ \d+\]/)
    const { text, answer } = await newest(client, "Sent")
    expect(text).toBe(hex(CLEAR))
    expect(answer).toMatch(/\\Flagged/)
    expect(answer).toMatch(/"[ 0]1-Feb-2024 03:04:05 \+0000"/)
  })

  test.each([
    ["a non-synchronizing literal", `APPEND Sent {${CLEAR.length}+}\r\n${CLEAR}`],
    ["a mailbox name as literal", `APPEND {4+}\r\nSent {${CLEAR.length}+}\r\n${CLEAR}`],
    ["literal8", `APPEND Sent ~{${CLEAR.length}+}\r\n${CLEAR}`],
    ["Thunderbird's UTF8 (~{n+}", `APPEND "Sent" (\\Seen) UTF8 (~{${CLEAR.length}+}\r\n${CLEAR})`],
  ])("with %s", async (_name, command) => {
    await using client = await BareClient.loggedIn(rig, LAPTOP)
    await client.ok(command)
    expect((await newest(client, "Sent")).text).toBe(hex(CLEAR))
  })

  test("octet by octet", async () => {
    await using client = await BareClient.loggedIn(rig, LAPTOP)
    for (const octet of `a APPEND Sent {${CLEAR.length}+}\r\n${CLEAR}\r\n`) client.send(octet)
    await client.tagged("a")
    expect((await newest(client, "Sent")).text).toBe(hex(CLEAR))
  })

  test("larger than what is looked at as a whole", async () => {
    await using client = await BareClient.loggedIn(rig, LAPTOP)
    const large = `Subject: large\r\n\r\n${"0123456789abcdef\r\n".repeat(80_000)}`
    client.send(`a APPEND Sent {${large.length}+}\r\n${large}\r\n`)
    expect(await client.tagged("a")).toContain("a OK")
    expect((await newest(client, "Sent")).text).toBe(hex(large))
  })

  test("several in flight are answered in order", async () => {
    await using client = await BareClient.loggedIn(rig, LAPTOP)
    const one = (tag: string): string => `${tag} APPEND Drafts {${CLEAR.length}+}\r\n${CLEAR}\r\n`
    client.send(`${one("a")}b NOOP\r\n${one("c")}${one("d")}`)
    expect((await client.tagged("d")).match(/^\w (?:OK|NO|BAD)/gm)).toEqual(["a OK", "b OK", "c OK", "d OK"])
  })
})

describe("an encrypted message", () => {
  test("stays as it is", async () => {
    await using client = await BareClient.loggedIn(rig, PHONE)
    const pgp = MESSAGES["pgp"] ?? ""
    await client.ok(`APPEND Archive {${pgp.length}+}\r\n${pgp}`)
    expect((await newest(client, "Archive")).text).toBe(pgp)
  })

  test.each(["laptop", "phone"] as const)("that was patched for the %s comes back to the account", async (device) => {
    const stored = MESSAGES["smime"] ?? ""
    await using laptop = await BareClient.loggedIn(rig, LAPTOP)
    const upload = patched(stored, device)
    await laptop.ok(`APPEND Archive {${upload.length}+}\r\n${upload}`)
    // Both devices can read it: so it is the account's again.
    await using phone = await BareClient.loggedIn(rig, PHONE)
    expect((await newest(laptop, "Archive")).text).toBe(patched(stored, "laptop"))
    expect((await newest(phone, "Archive")).text).toBe(patched(stored, "phone"))
  })
})

describe("refused", () => {
  const rows: [name: string, start: string, message: string, answer: RegExp][] = [
    ["by the plan", "APPEND Sent", "a: b\r\n\r\nrefuse me", /NO not this one/],
    ["by the store", "APPEND Nowhere", CLEAR, /NO .*TRYCREATE/],
    ["too large", "APPEND Sent", "x".repeat(3_000_001), /NO \[TOOBIG\]/],
    ["empty", "APPEND Sent", "", /NO message is empty/],
    ["CATENATE", "APPEND Sent CATENATE (TEXT", CLEAR, /BAD/],
  ]
  for (const [name, start, message, answer] of rows) {
    test(`${name}: answered with the client's tag behind its message, and the session goes on`, async () => {
      await using client = await BareClient.loggedIn(rig, LAPTOP)
      const close = start.includes("(") ? ")" : ""
      client.send(`a ${start} {${message.length}+}\r\n${message}${close}\r\nb NOOP\r\n`)
      const answers = await client.tagged("b")
      expect(answers).toMatch(answer)
      expect(answers.match(/^\w (?:OK|NO|BAD)/gm)).toEqual([
        `a ${answer.source.startsWith("B") ? "BAD" : "NO"}`,
        "b OK",
      ])
    })
  }

  test("too large with a synchronizing literal: it is not asked for", async () => {
    await using client = await BareClient.loggedIn(rig, LAPTOP)
    client.send("a APPEND Sent {3000001}\r\nb NOOP\r\n")
    expect(await client.tagged("b")).toMatch(/^a NO \[TOOBIG\].*\r\nb OK/)
  })

  test("several messages in one APPEND end the connection, and nothing is stored", async () => {
    await using client = await BareClient.loggedIn(rig, LAPTOP)
    const before = await client.ok("STATUS Trash (MESSAGES)")
    client.send(`a APPEND Trash {${CLEAR.length}+}\r\n${CLEAR} {${CLEAR.length}+}\r\n${CLEAR}\r\n`)
    expect(await client.rest()).not.toContain("a OK")
    await using again = await BareClient.loggedIn(rig, LAPTOP)
    expect((await again.ok("STATUS Trash (MESSAGES)")).split("\r\n")[0]).toBe(before.split("\r\n")[0])
  })

  test("a client that goes away within its message stores nothing", async () => {
    await using client = await BareClient.loggedIn(rig, LAPTOP)
    const before = await client.ok("STATUS Junk (MESSAGES)")
    client.send(`a APPEND Junk {${CLEAR.length}+}\r\n${CLEAR.slice(0, 10)}`)
    client.end()
    await client.rest()
    await using again = await BareClient.loggedIn(rig, LAPTOP)
    expect((await again.ok("STATUS Junk (MESSAGES)")).split("\r\n")[0]).toBe(before.split("\r\n")[0])
  })

  test("a protection that fails is NO, and nothing is stored", async () => {
    await using broken = await startRig({
      upstream: store.upstream,
      protection: { plan: async () => Promise.reject(new Error("no key")) },
    })
    await using client = await BareClient.loggedIn(broken, LAPTOP)
    expect(await client.command(`APPEND Sent {${CLEAR.length}+}\r\n${CLEAR}`)).toContain("NO [SERVERBUG]")
    await client.ok("NOOP")
  })

  test("a stored form of another length than announced cuts both sides", async () => {
    await using broken = await startRig({
      upstream: store.upstream,
      protection: { plan: async (_account, { content }) => storedUpload("encrypt", 5, content) },
    })
    await using client = await BareClient.loggedIn(broken, LAPTOP)
    client.send(`a APPEND Sent {${CLEAR.length}+}\r\n${CLEAR}\r\n`)
    expect(await client.rest()).not.toContain("a OK")
  })
})

describe("a message streams", () => {
  /** Passes what is uploaded on as it comes, and counts it. */
  function passing(): { readonly protection: AppendProtection; taken(): number } {
    let taken = 0
    async function* counted(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
      for await (const octets of content) {
        taken += octets.length
        yield octets
      }
    }
    const plan: AppendProtection["plan"] = async (_account, { sizeOctets, content }) =>
      storedUpload("asIs", sizeOctets, counted(content))
    return { protection: { plan }, taken: () => taken }
  }

  /** An upstream that asks for the literal and does with it what `then` does. */
  const asking = (then: (stream: Duplex) => Promise<void>) =>
    scripted(async (stream) => {
      stream.write("* PREAUTH [CAPABILITY IMAP4rev1] x\r\n")
      await once(stream, "data")
      stream.pause()
      stream.write("+ go\r\n")
      await then(stream)
    })

  test("an upstream that does not read holds the client back, and then gets all of it", async () => {
    const { promise: opened, resolve: open } = Promise.withResolvers<void>()
    let got = 0
    await using server = await asking(async (stream) => {
      await opened
      for await (const octets of stream) {
        got += octets.length
        if (got === 40_000_000 + 2) stream.write("a OK stored\r\n")
      }
    })
    const { protection, taken } = passing()
    await using slow = await startRig({ upstream: server.upstream, protection })
    await using client = await BareClient.loggedIn(slow, LAPTOP)
    client.send(`a APPEND Sent {40000000+}\r\n${"x".repeat(40_000_000)}\r\n`)
    // Until nothing moves any more: what is on the way stands in the kernel's buffers, some MB on loopback.
    for (let before = -1; before !== taken() || taken() === 0; ) {
      before = taken()
      await delay(100)
    }
    expect(taken()).toBeLessThan(20_000_000)
    open()
    expect(await client.tagged("a")).toBe("a OK stored\r\n")
  })

  test("an upstream that dies within it ends the client's connection, which is told of no success", async () => {
    await using server = await asking(async (stream) => {
      await once(stream.resume(), "data")
    })
    await using dying = await startRig({ upstream: server.upstream, protection: passing().protection })
    await using client = await BareClient.loggedIn(dying, LAPTOP)
    client.send(`a APPEND Sent {40000000+}\r\n${"x".repeat(1_000_000)}`)
    expect(await client.rest()).not.toMatch(/^a /m)
  })
})
