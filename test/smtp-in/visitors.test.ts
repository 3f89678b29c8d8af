import { describe, expect, test } from "vitest"
import { Greylist } from "../../src/wire/greylist.ts"
import { SmtpVisitors, type VisitorLimits } from "../../src/wire/visitors.ts"
import { eventually } from "../harness/instance.ts"
import { openGate, type TestGate } from "./gate.ts"
import { Wire } from "./wire.ts"

const MESSAGE = "From: alice@example.test\r\n\r\nHello\r\n.\r\n"
const NONE: VisitorLimits = {
  connectionsPerNetwork: 50,
  messagesPerNetwork: 0,
  unknownRecipients: 0,
  recipientsPerAccount: 0,
  greylistMs: 0,
}

const NOON = new Date("2026-05-04T12:00:00Z")

interface Setting {
  readonly now?: () => Date
  readonly kind?: "mx" | "submissions"
  readonly limits?: Partial<VisitorLimits>
  readonly exempt?: boolean
  readonly greetingDelayMs?: number
}

/** A gate, and what was one too many there. */
async function gateWith({ kind = "mx", limits = {}, exempt = false, greetingDelayMs = 0, now = () => NOON }: Setting) {
  const limited: string[] = []
  const counters = {
    add: (_name: string, labels: Readonly<Record<string, string>> = {}) => void limited.push(...Object.values(labels)),
  }
  const visitors = new SmtpVisitors({ ...NONE, ...limits }, { exempt: () => exempt, counters, now })
  const gate = await openGate(kind, { greetingDelayMs }, { visitors })
  return { gate, visitors, limited, [Symbol.asyncDispose]: () => gate[Symbol.asyncDispose]() }
}

async function greeted({ port }: TestGate): Promise<Wire> {
  const wire = await Wire.open(port)
  await wire.say("EHLO client.example")
  return wire
}

describe("connections of one network", () => {
  test("one too many hears 421 and is closed; one that ends makes room", async () => {
    await using made = await gateWith({ limits: { connectionsPerNetwork: 2 } })
    await using _first = await greeted(made.gate)
    const second = await greeted(made.gate)
    const third = Wire.connect(made.gate.port)
    expect(await third.reply()).toMatch(/^421 4\.7\.0 too many connections from your network/)
    expect(await third.reply()).toBe("")
    await second[Symbol.asyncDispose]()
    const again = await eventually("there is room", async () => {
      const wire = Wire.connect(made.gate.port)
      return (await wire.reply()).startsWith("220") ? wire : null
    })
    await again[Symbol.asyncDispose]()
    expect(new Set(made.limited)).toEqual(new Set(["connections"]))
  })

  test("who is silent in a TLS handshake that comes first has a place as well; one that ends makes room", async () => {
    await using made = await gateWith({ kind: "submissions", limits: { connectionsPerNetwork: 2 } })
    const { port } = made.gate
    const [silent, talking] = [Wire.connect(port), await Wire.openTls(port)]
    await using third = Wire.connect(port)
    expect(await third.rest()).toBe("")
    expect(made.limited).toEqual(["connections"])
    expect(await talking.say("NOOP")).toMatch(/^250/)
    for (const one of [silent, talking]) one.destroy()
    await eventually("there is room for two", async () => {
      await using one = await Wire.openTls(port)
      await using other = await Wire.openTls(port)
      const answers = [await one.say("NOOP"), await other.say("NOOP")]
      return answers.every((answer) => answer.startsWith("250"))
    })
  })

  test("of our own relays have no limit", async () => {
    await using made = await gateWith({ limits: { connectionsPerNetwork: 1 }, exempt: true })
    await using _first = await greeted(made.gate)
    await using second = await greeted(made.gate)
    expect(await second.say("NOOP")).toMatch(/^250/)
  })
})

test("messages of one network: one too many within an hour hears 450 at MAIL, over all connections", async () => {
  await using made = await gateWith({ limits: { messagesPerNetwork: 2 } })
  for (const expected of [/^250/, /^250/, /^450 4\.7\.1 too many messages/]) {
    await using wire = await greeted(made.gate)
    expect(await wire.say("MAIL FROM:<a@b.example>")).toMatch(expected)
  }
  expect(made.limited).toEqual(["messages"])
})

test("who names many that are nobody here hears 450 for all, known or not, and learns nothing more", async () => {
  await using made = await gateWith({ limits: { unknownRecipients: 2 } })
  await using wire = await greeted(made.gate)
  await wire.say("MAIL FROM:<a@b.example>")
  const answers: string[] = []
  for (const name of ["alice", "nobody1", "nobody2", "nobody3", "bob"])
    answers.push((await wire.say(`RCPT TO:<${name}@example.test>`)).slice(0, 9))
  expect(answers).toEqual(["250 2.1.5", "550 5.1.1", "550 5.1.1", "450 4.7.1", "450 4.7.1"])
  expect(made.limited).toEqual(["unknown-recipients", "unknown-recipients"])
})

test("an account writes to so many within an hour, whichever device; others are not touched by it", async () => {
  await using made = await gateWith({ kind: "submissions", limits: { recipientsPerAccount: 2 } })
  const write = async (user: string, password: string, recipients: number): Promise<string[]> => {
    await using wire = await Wire.openTls(made.gate.port)
    await wire.say("EHLO client.example")
    const plain = Buffer.from(`\0${user}@example.test\0${password}`).toString("base64")
    expect(await wire.say(`AUTH PLAIN ${plain}`)).toMatch(/^235/)
    expect(await wire.say(`MAIL FROM:<${user}@example.test>`)).toMatch(/^250/)
    const answers: string[] = []
    for (let n = 0; n < recipients; n++) answers.push((await wire.say(`RCPT TO:<r${n}@b.example>`)).slice(0, 9))
    return answers
  }
  expect(await write("alice", "secret-laptop", 3)).toEqual(["250 2.1.5", "250 2.1.5", "450 4.7.1"])
  expect(await write("alice", "secret-laptop", 1)).toEqual(["450 4.7.1"])
  expect(await write("bob", "secret-desktop", 2)).toEqual(["250 2.1.5", "250 2.1.5"])
  expect(made.limited).toEqual(["recipients", "recipients"])
})

test("greylisting: who writes for the first time comes back after the delay, and is known from then on", async () => {
  let now = NOON
  await using made = await gateWith({ limits: { greylistMs: 300_000 }, now: () => now })
  await using wire = await greeted(made.gate)
  const tried = async (minutes: number, sender: string, recipient: string): Promise<string> => {
    now = new Date(NOON.getTime() + minutes * 60_000)
    const answer = await wire.send(sender, [recipient], MESSAGE)
    await wire.say("RSET")
    return answer.slice(0, 9)
  }
  expect(await tried(0, "a@b.example", "alice@example.test")).toBe("450 4.7.1")
  expect(await tried(1, "a@b.example", "alice@example.test")).toBe("450 4.7.1")
  expect(await tried(2, "", "bob@example.test")).toBe("450 4.7.1")
  expect(await tried(3, "a@b.example", "nobody@example.test")).toBe("550 5.1.1")
  expect(await tried(6, "a@b.example", "alice@example.test")).toBe("250 2.6.0")
  expect(await tried(6, "other@b.example", "bob@example.test")).toBe("250 2.6.0")
  expect(made.limited).toEqual(["greylist", "greylist", "greylist"])
})

test("greylisting: another address of the pool may come back; a day later all is forgotten", () => {
  let now = NOON
  const list = new Greylist(300_000, () => now)
  const passes = (remote: string, minutes: number): boolean => {
    now = new Date(NOON.getTime() + minutes * 60_000)
    return list.passes(remote, "a@b.example", "alice@example.test")
  }
  expect([passes("192.0.2.1", 0), passes("192.0.2.9", 10), passes("192.0.3.1", 10)]).toEqual([false, true, false])
  expect([passes("2001:db8::1", 0), passes("2001:db8::2", 10)]).toEqual([false, true])
  expect([passes("192.0.2.1", 1_500), passes("192.0.2.1", 1_510)]).toEqual([false, true])
})

describe("the greeting", () => {
  // Longer than any test: whoever waited for it would not end.
  const FOR_EVER_MS = 600_000

  test("is kept back from who is not known, who hears 421 when he talks before it", async () => {
    await using made = await gateWith({ greetingDelayMs: FOR_EVER_MS })
    await using wire = Wire.connect(made.gate.port)
    wire.write("EHLO client.example\r\n")
    expect(await wire.reply()).toMatch(/^421 .*too soon/)
    expect(await wire.reply()).toBe("")
  })

  test("comes at once for a network whose mail was taken before", async () => {
    await using made = await gateWith({ greetingDelayMs: FOR_EVER_MS })
    made.visitors.connect("127.0.0.1")?.accepted()
    await using wire = await greeted(made.gate)
    expect(await wire.send("a@b.example", ["alice@example.test"], MESSAGE)).toMatch(/^250/)
  })

  test("a message that is taken makes its network known", async () => {
    await using made = await gateWith({})
    await using wire = await greeted(made.gate)
    expect(made.visitors.connect("127.0.0.1")?.isKnown).toBe(false)
    await wire.send("a@b.example", ["alice@example.test"], MESSAGE)
    expect(made.visitors.connect("127.0.0.1")?.isKnown).toBe(true)
    expect(made.visitors.connect("192.0.2.1")?.isKnown).toBe(false)
  })
})

test("a network is counted under every address of its /64, and remembered for a week", () => {
  let now = new Date("2026-05-04T10:20:30Z")
  const counters = { add: () => undefined }
  const visitors = new SmtpVisitors(
    { ...NONE, connectionsPerNetwork: 1 },
    { exempt: () => false, counters, now: () => now },
  )
  const first = visitors.connect("2001:db8::1")
  expect(visitors.connect("2001:db8::2")).toBe(null)
  expect(visitors.connect("2001:db8:0:1::1")).not.toBe(null)
  first?.leave()
  const second = visitors.connect("2001:db8::2")
  expect(second).not.toBe(null)
  first?.accepted()
  expect(second?.isKnown).toBe(true)
  now = new Date(now.getTime() + 8 * 86_400_000)
  expect(second?.isKnown).toBe(false)
})

test("of networks from everywhere only so many are remembered, and honest ones are still taken from", async () => {
  const visitors = new SmtpVisitors(
    { ...NONE, messagesPerNetwork: 1 },
    { exempt: () => false, counters: { add: () => undefined }, now: () => new Date() },
  )
  for (let n = 0; n < 10_050; n++) await visitors.connect(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`)?.mayMail()
  expect(await visitors.connect("10.0.0.0")?.mayMail()).toBe(false)
  const honest = visitors.connect("192.0.2.1")
  expect([await honest?.mayMail(), await honest?.mayMail()]).toEqual([true, true])
})
