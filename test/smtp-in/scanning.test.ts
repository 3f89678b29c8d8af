import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { describe, expect, test } from "vitest"
import type { Authenticator, ScanFacts, Scanner, ScanVerdict } from "../../src/smtp-in/ports.ts"
import { type Accepted, openGate } from "./gate.ts"
import { Wire } from "./wire.ts"

setFlagsFromString("--expose-gc")
const collectGarbage: () => void = runInNewContext("gc")

const FIELD = "Authentication-Results: mx.example.test;\r\n\tx-scan=quarantine\r\n"
const DMARC = "Authentication-Results: mx.example.test;\r\n\tdmarc=pass\r\n"

type Decision = ScanVerdict["decision"]

function verdict(decision: Decision): ScanVerdict {
  const findings = [{ scanner: "clamd", outcome: "clean", because: "OK" }]
  return { findings, decision, field: decision.kind === "quarantine" ? FIELD : null }
}

/** Says what it is told about each message, and keeps what it was shown. */
function saying(end: () => Promise<ScanVerdict>) {
  const shown: string[] = []
  const told: ScanFacts[] = []
  const cancelled = new Set<number>()
  const scanner: Scanner = {
    begin(facts) {
      const scan = told.push(facts)
      return {
        push: async (octets) => void shown.push(Buffer.from(octets).toString()),
        end,
        cancel: () => void cancelled.add(scan),
      }
    },
  }
  return { scanner, shown, told, cancelled: () => cancelled.size }
}

const accepting: Authenticator = {
  enforced: true,
  begin: async () => ({
    push: async () => undefined,
    end: async () => ({
      results: { spf: "none", dkim: "none", arc: "none", dmarc: "pass", bimi: "skipped" },
      author: "author.test",
      decision: { kind: "accept", because: "of the test" },
      field: DMARC,
    }),
    cancel: () => undefined,
  }),
}

const authenticationOf = ({ entry }: Accepted): unknown => entry.authentication()

async function deliver(port: number): Promise<string> {
  await using wire = await Wire.open(port)
  await wire.say("EHLO c.test")
  return await wire.send("x@y.test", ["alice@example.test", "bob@example.test"], "Subject: x\r\n\r\n..body\r\n.\r\n")
}

describe("what scanners say at the final dot", () => {
  const because = "clamd: of the test"
  const rows: [name: string, decision: Decision | Error, reply: RegExp, accepted: unknown][] = [
    ["accept", { kind: "accept", because }, /^250 /, null],
    ["quarantine", { kind: "quarantine", because }, /^250 /, { field: FIELD, quarantine: true }],
    ["a virus", { kind: "reject", code: "VIRUS_FOUND", because }, /^554 5\.7\.1 .*virus/, undefined],
    ["reject", { kind: "reject", code: "CONTENT_REFUSED", because }, /^550 5\.7\.1 .*content/, undefined],
    ["too large", { kind: "reject", code: "SCAN_TOO_LARGE", because }, /^552 5\.3\.4 .*scanned/, undefined],
    ["later", { kind: "defer", code: "CONTENT_DEFERRED", because }, /^451 4\.7\.1 .*later/, undefined],
    ["away", { kind: "defer", code: "SCANNER_AWAY", because }, /^451 4\.3\.0 .*later/, undefined],
    ["a fault of ours is no pass", new Error("broken"), /^451 4\.3\.0 /, undefined],
  ]
  for (const [name, decision, reply, accepted] of rows)
    test(name, async () => {
      const { scanner, shown, told, cancelled } = saying(async () => {
        if (decision instanceof Error) throw decision
        return verdict(decision)
      })
      await using gate = await openGate("mx", {}, { scanner })
      expect(await deliver(gate.port)).toMatch(reply)
      expect(gate.acceptance.accepted.map(authenticationOf)).toEqual(accepted === undefined ? [] : [accepted])
      expect(shown.join("")).toBe("Subject: x\r\n\r\n.body\r\n")
      expect(told).toMatchObject([{ remote: "127.0.0.1", helo: "c.test", account: null }])
      expect(told[0]?.recipients.map(({ localPart }) => localPart)).toEqual(["alice", "bob"])
      expect(cancelled()).toBe(1)
      if (decision instanceof Error) return
      expect(gate.counted).toContain("postern_smtp_scanned_total clamd,clean")
      expect(gate.counted).toContain("postern_smtp_scan_seconds")
      const lines = gate.log.filter((line) => line.includes('"smtp.scanned"'))
      expect(lines).toHaveLength(1)
      expect(lines[0]).toContain(`"clamd":"clean","decision":"${decision.kind}","because":"${because}","sizeOctets":21`)
      expect(gate.log.join("")).not.toContain("body")
    })
})

test("quarantine stands beside what authentication came to", async () => {
  const { scanner } = saying(async () => verdict({ kind: "quarantine", because: "spam" }))
  await using gate = await openGate("mx", {}, { scanner, authenticator: accepting })
  expect(await deliver(gate.port)).toMatch(/^250 /)
  expect(gate.acceptance.accepted.map(authenticationOf)).toEqual([{ field: FIELD + DMARC, quarantine: true }])
})

test("accepted by the scanners, it is as authentication left it", async () => {
  const { scanner } = saying(async () => verdict({ kind: "accept", because: "OK" }))
  await using gate = await openGate("mx", {}, { scanner, authenticator: accepting })
  expect(await deliver(gate.port)).toMatch(/^250 /)
  expect(gate.acceptance.accepted.map(authenticationOf)).toEqual([
    { field: DMARC, author: "author.test", quarantine: false, chain: "none" },
  ])
})

test("a client that goes away within its message, or sends what is refused, leaves no scan behind", async () => {
  const { scanner, cancelled } = saying(async () => {
    throw new Error("has no end")
  })
  await using gate = await openGate("mx", {}, { scanner })
  for (const rest of [null, "bare\nLF\r\n.\r\n"]) {
    const before = cancelled()
    const wire = await Wire.open(gate.port)
    for (const line of ["EHLO c.test", "MAIL FROM:<>", "RCPT TO:<alice@example.test>", "DATA"]) await wire.say(line)
    wire.write("Subject: x\r\n\r\nbody\r\n")
    if (rest !== null) {
      wire.write(rest)
      expect(await wire.reply()).toMatch(/^550 5\.6\.0 /)
    }
    await wire[Symbol.asyncDispose]()
    await expect.poll(cancelled).toBe(before + 1)
  }
  expect(gate.acceptance.accepted).toEqual([])
})

test("a client that goes away while its message is scanned will send it again: it is not accepted, and nobody waits", async () => {
  const { promise, resolve, reject } = Promise.withResolvers<ScanVerdict>()
  const { scanner } = saying(() => promise)
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>()
  const waiting: Scanner = {
    begin: (facts) => ({
      ...scanner.begin(facts),
      end: () => {
        ask()
        return promise
      },
      cancel: () => resolve(verdict({ kind: "accept", because: "cancelled" })),
    }),
  }
  setTimeout(() => reject(new Error("nobody let go")), 10_000).unref()
  const gate = await openGate("mx", {}, { scanner: waiting })
  const wire = await Wire.open(gate.port)
  for (const line of ["EHLO c.test", "MAIL FROM:<>", "RCPT TO:<alice@example.test>", "DATA"]) await wire.say(line)
  wire.write("Subject: x\r\n\r\nbody\r\n.\r\n")
  await asked
  // The same as a drain that is over.
  await gate.listener.close(0)
  expect(gate.acceptance.accepted).toEqual([])
  expect(gate.acceptance.brokenOff).toBe(1)
  expect(gate.counted.filter((line) => line.includes("scanned"))).toEqual([])
  await wire[Symbol.asyncDispose]()
})

test("a slow scanner slows the client: 50 MB pass in flat memory", async () => {
  const acceptance = {
    accept: async (_entry: unknown, content: AsyncIterable<Uint8Array>) => {
      for await (const _ of content);
      return "Q1"
    },
  }
  let behind = 0
  const slow: Scanner = {
    begin: () => ({
      async push(octets) {
        behind += octets.length
        // What comes while it works has to wait outside.
        if (behind > 1_000_000) await new Promise((resolve) => setTimeout(resolve, 10))
        if (behind > 1_000_000) behind = 0
      },
      end: async () => verdict({ kind: "accept", because: "OK" }),
      cancel: () => undefined,
    }),
  }
  await using gate = await openGate("mx", { messageSizeOctets: 50_000_000 }, { scanner: slow, acceptance })
  await using wire = await Wire.open(gate.port)
  for (const line of ["EHLO c.test", "MAIL FROM:<>", "RCPT TO:<alice@example.test>", "DATA"]) await wire.say(line)
  wire.write("A: b\r\n\r\n")
  const line = Buffer.from(`${"x".repeat(98)}\r\n`.repeat(10_000))
  const before = process.memoryUsage().arrayBuffers
  let peak = before
  for (let count = 0; count < 49; count++) {
    await wire.flushed(line)
    collectGarbage()
    peak = Math.max(peak, process.memoryUsage().arrayBuffers)
  }
  wire.write(".\r\n")
  expect(await wire.reply()).toMatch(/^250 /)
  expect(peak - before).toBeLessThan(10_000_000)
})

test("a submitter is named to the scanners", async () => {
  const { scanner, told } = saying(async () => verdict({ kind: "accept", because: "OK" }))
  await using gate = await openGate("submissions", {}, { scanner })
  await using wire = await Wire.openTls(gate.port)
  await wire.say("EHLO c.test")
  await wire.say(`AUTH PLAIN ${Buffer.from("\0alice@example.test\0secret-laptop").toString("base64")}`)
  const text = "From: alice@example.test\r\n\r\nbody\r\n.\r\n"
  expect(await wire.send("alice@example.test", ["dave@other.test"], text)).toMatch(/^250 /)
  expect(told).toMatchObject([{ account: "alice@example.test" }])
})
