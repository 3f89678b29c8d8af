import { describe, expect, test } from "vitest"
import { MAX_AUTHENTICATION_FAILURES } from "../../src/smtp-in/authentication.ts"
import { openGate, recipientsOf, type TestGate } from "./gate.ts"
import { Wire } from "./wire.ts"

const MESSAGE = "From: Alice <alice@example.test>\r\nTo: carol@remote.example\r\n\r\nHello\r\n"

function plain(username: string, password: string, authorization = ""): string {
  return Buffer.from(`${authorization}\0${username}\0${password}`).toString("base64")
}

/** A session after STARTTLS, and after AUTH when a password is given. */
async function session(gate: TestGate, password?: string, username = "alice@example.test"): Promise<Wire> {
  const wire = await Wire.open(gate.port)
  await wire.say("EHLO laptop.example")
  await wire.startTls()
  await wire.say("EHLO laptop.example")
  if (password) expect(await wire.say(`AUTH PLAIN ${plain(username, password)}`)).toMatch(/^235 2\.7\.0 /)
  return wire
}

describe("authentication", () => {
  test("is offered and served after TLS only", async () => {
    await using gate = await openGate("submission")
    await using wire = await Wire.open(gate.port)
    const before = await wire.say("EHLO laptop.example")
    expect(before).toContain("STARTTLS")
    expect(before).not.toContain("AUTH")
    expect(await wire.say(`AUTH PLAIN ${plain("alice@example.test", "secret-laptop")}`)).toMatch(/^530 5\.7\.0 /)
    expect(await wire.say("MAIL FROM:<alice@example.test>")).toMatch(/^530 5\.7\.0 /)
    await wire.startTls()
    expect(await wire.say("EHLO laptop.example")).toContain("AUTH PLAIN LOGIN")
    expect(await wire.say("MAIL FROM:<alice@example.test>")).toMatch(/^530 5\.7\.0 /)
    expect(await wire.say(`AUTH PLAIN ${plain("alice@example.test", "secret-laptop")}`)).toMatch(/^235 2\.7\.0 /)
  })

  test("works on the implicit TLS port", async () => {
    await using gate = await openGate("submissions")
    await using wire = await Wire.openTls(gate.port)
    const offered = await wire.say("EHLO laptop.example")
    expect(offered).toContain("AUTH PLAIN LOGIN")
    expect(offered).not.toContain("STARTTLS")
    expect(await wire.say(`AUTH PLAIN ${plain("alice@example.test", "secret-laptop")}`)).toMatch(/^235/)
    expect(await wire.send("alice@example.test", ["bob@example.test"], `${MESSAGE}.\r\n`)).toMatch(/^250/)
  })

  const b64 = (text: string) => Buffer.from(text).toString("base64")
  const dialogues: [name: string, lines: string[]][] = [
    ["PLAIN with initial response", [`AUTH PLAIN ${plain("alice@example.test", "secret-laptop")}`]],
    ["PLAIN without", ["AUTH PLAIN", plain("alice@example.test", "secret-laptop")]],
    [
      "PLAIN with itself as authorization",
      [`AUTH PLAIN ${plain("alice@example.test", "secret-laptop", "alice@example.test")}`],
    ],
    ["LOGIN", ["AUTH LOGIN", b64("alice@example.test"), b64("secret-laptop")]],
    ["LOGIN with initial response", [`AUTH LOGIN ${b64("alice@example.test")}`, b64("secret-laptop")]],
  ]
  test.each(dialogues)("%s", async (_name, lines) => {
    await using gate = await openGate("submission")
    await using wire = await session(gate)
    let reply = ""
    for (const line of lines) reply = await wire.say(line)
    expect(reply).toMatch(/^235 2\.7\.0 /)
  })

  const refused: [name: string, line: string, reply: RegExp][] = [
    ["a wrong password", `AUTH PLAIN ${plain("alice@example.test", "secret")}`, /^535 5\.7\.8 /],
    ["somebody else's password", `AUTH PLAIN ${plain("bob@example.test", "secret-laptop")}`, /^535 5\.7\.8 /],
    [
      "a password that is not looked at",
      `AUTH PLAIN ${plain("limited@example.test", "x")}`,
      /^454 4\.7\.0 too many wrong/,
    ],
    ["an empty password", `AUTH PLAIN ${plain("alice@example.test", "")}`, /^535 5\.7\.8 /],
    ["a read-only device", `AUTH PLAIN ${plain("alice@example.test", "secret-tablet")}`, /^535 5\.7\.8 /],
    [
      "acting for another",
      `AUTH PLAIN ${plain("alice@example.test", "secret-laptop", "bob@example.test")}`,
      /^535 5\.7\.8 /,
    ],
    ["too few NULs", `AUTH PLAIN ${Buffer.from("a\0b").toString("base64")}`, /^501 5\.5\.4 /],
    ["one NUL more", `AUTH PLAIN ${plain("alice@example.test", "secret-laptop\0")}`, /^501 5\.5\.4 /],
    ["a NUL in the name", `AUTH PLAIN ${plain("alice@example.test\0x", "secret-laptop")}`, /^501 5\.5\.4 /],
    ["nobody", `AUTH PLAIN ${plain("", "secret-laptop")}`, /^535 5\.7\.8 /],
    ["what is no base64", "AUTH PLAIN *&!", /^501 5\.5\.\d /],
    ["no database", `AUTH PLAIN ${plain("broken@example.test", "x")}`, /^454 4\.7\.0 /],
    ["another mechanism", "AUTH CRAM-MD5", /^504 5\.5\.4 /],
  ]
  test.each(refused)("%s is refused", async (_name, line, reply) => {
    await using gate = await openGate("submission")
    await using wire = await session(gate)
    expect(await wire.say(line)).toMatch(reply)
    expect(await wire.say("MAIL FROM:<alice@example.test>")).toMatch(/^530 5\.7\.0 /)
    expect(gate.log.join("")).not.toContain("secret-")
  })

  test("a megabyte where a password should be is not read, be it in one line or two", async () => {
    await using gate = await openGate("submission")
    const megabyte = Buffer.alloc(1_000_000, "a\0").toString("base64")
    for (const lines of [[`AUTH PLAIN ${megabyte}`], ["AUTH PLAIN", megabyte], ["AUTH LOGIN", "YQ==", megabyte]]) {
      await using wire = await session(gate)
      const replies: string[] = []
      for (const line of lines) replies.push(await wire.say(line))
      expect([lines.length, replies.at(-1)]).toEqual([lines.length, expect.stringMatching(/^(?:500|501|421) /)])
      await using other = await session(gate, "secret-laptop")
      expect(await other.say("NOOP")).toMatch(/^250/)
    }
  })

  test("five failures end the connection", async () => {
    await using gate = await openGate("submission")
    await using wire = await session(gate)
    const wrong = `AUTH PLAIN ${plain("alice@example.test", "wrong")}`
    for (let count = 1; count < MAX_AUTHENTICATION_FAILURES; count++)
      expect(await wire.say(wrong)).toMatch(/^535 5\.7\.8/)
    expect(await wire.say(wrong)).toMatch(/^421 4\.7\.0/)
    expect(await wire.rest()).toBe("")
  })
})

describe("senders", () => {
  const paths: [path: string, reply: RegExp][] = [
    ["alice@example.test", /^250 2\.1\.0/],
    ["ALICE+x@example.test", /^250 2\.1\.0/],
    ["bob@example.test", /^550 5\.7\.1 /],
    ["alice@other.example", /^550 5\.7\.1 /],
    ["", /^550 5\.7\.1 /],
  ]
  test.each(paths)("MAIL FROM:<%s>", async (path, reply) => {
    await using gate = await openGate("submission")
    await using wire = await session(gate, "secret-laptop")
    expect(await wire.say(`MAIL FROM:<${path}>`)).toMatch(reply)
  })

  const own = [
    "From: alice@example.test",
    "From: Alice <Alice+list@EXAMPLE.test>",
    'From: "Bob <bob@example.test>" <alice@example.test>',
    "From: alice@example.test, Alice <alice+x@example.test>",
    "From: alice (bob@example.test) @ example.test",
    "From:\r\n alice\r\n @example.test",
    "fROM : =?utf-8?Q?B=C3=B6b?= <alice@example.test>",
  ]
  const foreign = [
    "From: bob@example.test",
    "From: alice@example.test <bob@example.test>",
    "From: alice@example.test, bob@example.test",
    "From: alice@example.test\r\nFrom: bob@example.test",
    "From: alice@example.test\r\nfrom: alice@example.test",
    "From:",
    "From: <>",
    "From: alice@example.test,",
    "From: group: alice@example.test;",
    "From: <@x.example:alice@example.test>",
    "From: alice@example.test\0@bob.example",
    "From: alice @bob. alice@example.test",
    "From: (alice@example.test",
    "Subject: no author",
    `From: ${Array.from({ length: 51 }, () => "alice@example.test").join(", ")}`,
  ]
  test("From must name the account, read by one parser", async () => {
    await using gate = await openGate("submission")
    await using wire = await session(gate, "secret-laptop")
    const send = (field: string) =>
      wire.send("alice@example.test", ["bob@example.test"], `${field}\r\n\r\nHello\r\n.\r\n`)
    for (const field of own) expect([field, await send(field)]).toEqual([field, expect.stringMatching(/^250 2\.6\.0/)])
    for (const field of foreign)
      expect([field, await send(field)]).toEqual([field, expect.stringMatching(/^550 5\.7\.1 /)])
    expect(gate.acceptance.accepted.length).toBe(own.length)
    expect(gate.acceptance.brokenOff).toBe(foreign.length)
  })
})

test("a message for us and for others is taken whole, and its trace field keeps the client private", async () => {
  await using gate = await openGate("submission")
  await using wire = await session(gate, "secret-laptop")
  expect(await wire.say("MAIL FROM:<alice@example.test>")).toMatch(/^250/)
  expect(await wire.say("RCPT TO:<nobody@example.test>")).toMatch(/^550 5\.1\.1/)
  const reply = await wire.send("alice@example.test", [], "")
  expect(reply).toMatch(/^503/)
  await wire.say("RSET")
  await wire.send(
    "alice@example.test",
    ["bob@example.test", "Carol@remote.example", "carol@remote.example"],
    `${MESSAGE}.\r\n`,
  )
  const [message] = gate.acceptance.accepted
  // The case of a local part means something only to its own host: both are kept.
  expect(recipientsOf(message)).toEqual(["bob@example.test", "Carol@remote.example", "carol@remote.example"])
  expect(message?.entry.origin).toMatchObject({
    kind: "submission",
    account: "alice@example.test",
    device: "laptop",
    tls: true,
  })
  expect(message?.entry.received).toMatch(/^Received: by mx\.example\.test\r\n\twith ESMTPSA\r\n\ttls TLS_/)
  expect(message?.entry.received).not.toMatch(/127\.0\.0\.1|laptop/)
  expect(message?.content.toString()).toBe(MESSAGE)
})

describe("revocation", () => {
  test("ends the device's sessions at once, and no other's", async () => {
    await using gate = await openGate("submission")
    await using laptop = await session(gate, "secret-laptop")
    await using sending = await session(gate, "secret-laptop")
    await using desktop = await session(gate, "secret-desktop", "bob@example.test")
    await sending.say("MAIL FROM:<alice@example.test>")
    await sending.say("RCPT TO:<bob@example.test>")
    await sending.say("DATA")
    sending.write("From: alice@example.test\r\n\r\nhalf")
    gate.submitters.revocation.get("laptop")?.abort()
    expect(await laptop.rest()).toMatch(/^421 4\.7\.0 /)
    expect(await sending.rest()).toMatch(/^421 4\.7\.0 /)
    expect(gate.acceptance).toMatchObject({ accepted: [], brokenOff: 1 })
    expect(await desktop.say("NOOP")).toMatch(/^250/)
    await using late = await session(gate)
    expect(await late.say(`AUTH PLAIN ${plain("alice@example.test", "secret-laptop")}`)).toMatch(/^535 5\.7\.8/)
  })
})
