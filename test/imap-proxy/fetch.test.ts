import fc from "fast-check"
import { ImapFlow } from "imapflow"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { BareClient, literalOf } from "./client.ts"
import { MESSAGES, patched } from "./messages.ts"
import { ACCOUNT, embedded, LAPTOP, PHONE, READER, type Rig, startRig } from "./rig.ts"

let folder: TemporaryFolder
let store: ReturnType<typeof embedded>
let rig: Rig
const names = Object.keys(MESSAGES)

beforeAll(async () => {
  folder = await temporaryFolder()
  store = embedded(folder.path)
  rig = await startRig({ upstream: store.upstream })
  await using client = await BareClient.loggedIn(rig, PHONE)
  for (const [name, text] of Object.entries(MESSAGES)) {
    await store.store.deliver(ACCOUNT, {
      uniqueName: name,
      sizeOctets: text.length,
      content: pieces(text),
      internalDate: new Date(),
      repeated: false,
    })
    // Seen one by one they have UIDs in this order, whatever their times are.
    await client.ok("SELECT INBOX")
  }
})

afterAll(async () => {
  await rig[Symbol.asyncDispose]()
  await store[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

async function* pieces(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text, "latin1")
}

async function selected(password: string): Promise<BareClient> {
  const client = await BareClient.loggedIn(rig, password)
  await client.ok("SELECT INBOX")
  return client
}

const textOf = (message: string): string => message.slice(message.indexOf("\r\n\r\n") + 4)

describe("whole sections", () => {
  test.each(names)("%s: BODY[], RFC822 and both texts are the patched message, in one response", async (name) => {
    await using client = await selected(LAPTOP)
    const number = names.indexOf(name) + 1
    const stored = MESSAGES[name] ?? ""
    const answer = await client.ok(`FETCH ${number} (BODY.PEEK[] RFC822.SIZE RFC822 BODY.PEEK[TEXT] RFC822.TEXT FLAGS)`)
    const expected = patched(stored, "laptop")
    expect(expected.length).toBe(stored.length)
    expect(literalOf(answer, "BODY[]")).toBe(expected)
    expect(literalOf(answer, "RFC822")).toBe(expected)
    expect(literalOf(answer, "BODY[TEXT]")).toBe(textOf(expected))
    expect(literalOf(answer, "RFC822.TEXT")).toBe(textOf(expected))
    expect(answer).toContain(`RFC822.SIZE ${stored.length}`)
  })

  test("parts, their headers untouched", async () => {
    await using client = await selected(LAPTOP)
    const answer = await client.ok("FETCH 3:4 (BODY.PEEK[1] BODY.PEEK[2] BODY.PEEK[1.MIME] BODY.PEEK[HEADER])")
    expect(patched(MESSAGES["pgp"] ?? "", "laptop")).toContain(literalOf(answer, "BODY[2]"))
    expect(answer).toContain("BODY[1.MIME] {")
  })

  test("two devices see their own blocks, and only the block differs", async () => {
    await using laptop = await selected(LAPTOP)
    await using phone = await selected(PHONE)
    const one = literalOf(await laptop.ok("UID FETCH 1 BODY.PEEK[]"), "BODY[]")
    const two = literalOf(await phone.ok("UID FETCH 1 BODY.PEEK[]"), "BODY[]")
    expect(one).toBe(patched(MESSAGES["smime"] ?? "", "laptop"))
    expect(two).toBe(patched(MESSAGES["smime"] ?? "", "phone"))
    expect(one).not.toBe(two)
  })

  test("a device without a key for it sees what is stored", async () => {
    await using phone = await selected(PHONE)
    expect(literalOf(await phone.ok("FETCH 3 BODY.PEEK[]"), "BODY[]")).toBe(MESSAGES["pgp"])
  })

  test("a command octet by octet", async () => {
    await using client = await selected(LAPTOP)
    for (const octet of "x FETCH 1 BODY.PEEK[TEXT]\r\n") client.send(octet)
    expect(literalOf(await client.tagged("x"), "BODY[TEXT]")).toBe(textOf(patched(MESSAGES["smime"] ?? "", "laptop")))
  })
})

describe("partials", () => {
  test("are slices of the patched whole, cold and warm, by number and by UID", async () => {
    await using cold = await selected(LAPTOP)
    const items = [
      ["", (message: string) => message],
      ["TEXT", textOf],
    ] as const
    await fc.assert(
      fc.asyncProperty(
        fc.nat(names.length - 1),
        fc.constantFrom(...items),
        fc.nat(4000),
        fc.integer({ min: 1, max: 3000 }),
        fc.boolean(),
        fc.boolean(),
        async (index, [section, of], offset, count, byUid, nearBlock) => {
          const whole = of(patched(MESSAGES[names[index] ?? ""] ?? "", "laptop"))
          const from = nearBlock ? Math.max(0, whole.length - 4000 + offset) : offset
          const command = byUid ? "UID FETCH" : "FETCH"
          const answer = await cold.ok(`${command} ${index + 1} BODY.PEEK[${section}]<${from}.${count}>`)
          const served = literalOf(answer, `BODY[${section}]<${from}>`) ?? ""
          expect(served).toBe(whole.slice(from, from + count))
        },
      ),
      { numRuns: 150 },
    )
  })

  test("every octet of the window on its own, with no record before", async () => {
    const whole = patched(MESSAGES["smime"] ?? "", "laptop")
    await using client = await selected(LAPTOP)
    let joined = ""
    for (let at = 0; at < whole.length; at += 7) {
      joined += literalOf(await client.ok(`FETCH 1 BODY.PEEK[]<${at}.7>`), `BODY[]<${at}>`) ?? ""
    }
    expect(joined).toBe(whole)
  })

  test("a preview of the whole mailbox", async () => {
    await using client = await selected(LAPTOP)
    const answer = await client.ok("UID FETCH 1:* (UID BODY.PEEK[TEXT]<0.2048>)")
    for (const name of names) expect(answer).toContain(textOf(patched(MESSAGES[name] ?? "", "laptop")).slice(0, 2048))
  })

  test("what is asked behind another command in the pipeline comes in order, and the proxy's own FETCH is not seen", async () => {
    await using client = await selected(LAPTOP)
    client.send("a NOOP\r\nb FETCH 1 BODY.PEEK[TEXT]<100.50>\r\nc FETCH 2 BODY.PEEK[TEXT]<100.50>\r\nd NOOP\r\n")
    const answer = await client.tagged("d")
    expect(answer.match(/^(?:\* \d+ FETCH|\w OK)/gm)).toEqual([
      "a OK",
      "* 1 FETCH",
      "b OK",
      "* 2 FETCH",
      "c OK",
      "d OK",
    ])
  })

  test("do not set \\Seen by themselves", async () => {
    await using client = await selected(LAPTOP)
    await client.ok("STORE 5 -FLAGS.SILENT (\\Seen)")
    await client.ok("FETCH 5 BODY.PEEK[TEXT]<1.2>")
    expect(await client.ok("FETCH 5 FLAGS")).not.toContain("Seen")
  })
})

describe("what is let through", () => {
  const refused = [
    "FETCH 1 BINARY.PEEK[1]",
    "FETCH 1 (FLAGS BINARY[1]<0.10>)",
    "FETCH 1 PREVIEW",
    "FETCH 1 BODY[1.FOO]",
    "COMPRESS DEFLATE",
    'XLIST "" *',
    "UNAUTHENTICATE",
    "UID NOOP",
    "STARTTLS",
    "LOGIN a b",
    "AUTHENTICATE PLAIN",
    "APPEND INBOX",
  ]
  test.each(refused)("%s is answered BAD", async (command) => {
    await using client = await selected(LAPTOP)
    expect(await client.command(command)).toMatch(/^t\d+ BAD /m)
    await client.ok("NOOP")
  })

  test("ENABLE passes only what is offered", async () => {
    await using client = await BareClient.loggedIn(rig, LAPTOP)
    expect(await client.ok("ENABLE UTF8=ACCEPT IMAP4rev2")).toMatch(/^\* ENABLED\r\n/)
  })

  test("CAPABILITY after login is the one of the login", async () => {
    await using client = await BareClient.secure(rig)
    const told = /\[CAPABILITY ([^\]]*)\]/.exec(await client.ok(`LOGIN ${ACCOUNT} ${PHONE}`))?.[1]
    expect(await client.ok("CAPABILITY")).toContain(`* CAPABILITY ${told}\r\n`)
    expect(told).not.toMatch(/AUTH=|STARTTLS|LOGINDISABLED/)
  })

  test("a read-only device reads, and changes nothing", async () => {
    await using writer = await selected(LAPTOP)
    await writer.ok("STORE 1 -FLAGS.SILENT (\\Seen)")
    await using client = await BareClient.loggedIn(rig, READER)
    expect(await client.ok("SELECT INBOX")).toMatch(/\[READ-ONLY\]/)
    expect(literalOf(await client.ok("FETCH 1 BODY[]"), "BODY[]")).toBe(patched(MESSAGES["smime"] ?? "", "phone"))
    for (const command of [
      "STORE 1 +FLAGS \\Deleted",
      "UID STORE 1 +FLAGS \\Deleted",
      "EXPUNGE",
      "UID EXPUNGE 1",
      "COPY 1 Sent",
      "UID MOVE 1 Sent",
      "CREATE x",
      "DELETE Sent",
      "RENAME Sent y",
      "SUBSCRIBE INBOX",
    ]) {
      expect(await client.command(command)).toContain("NO [NOPERM]")
    }
    client.send("a APPEND INBOX {9}\r\n")
    expect(await client.tagged("a")).toContain("NO [NOPERM]")
    client.send("b APPEND INBOX {3+}\r\nabc\r\n")
    expect(await client.tagged("b")).toContain("NO [NOPERM]")
    expect(await client.ok("FETCH 1 FLAGS")).not.toContain("Seen")
  })

  test("literals as arguments", async () => {
    await using client = await BareClient.loggedIn(rig, LAPTOP)
    client.send("a SELECT {5}\r\n")
    await client.until("+ OK\r\n")
    client.send("INBOX\r\n")
    expect(await client.tagged("a")).toContain("a OK")
    client.send("b SEARCH SUBJECT {6+}\r\ns/mime FROM {1+}\r\na\r\n")
    expect(await client.tagged("b")).toMatch(/\* SEARCH 1\r\n/)
  })
})

test("IDLE: new mail is told at once, and DONE ends it", async () => {
  await using client = await selected(LAPTOP)
  client.send("a IDLE\r\n")
  await client.until(/^\+ .*\r\n/m)
  await store.store.deliver(ACCOUNT, {
    uniqueName: "idle",
    sizeOctets: 10,
    content: pieces("a: b\r\n\r\nc\r"),
    internalDate: new Date(),
    repeated: false,
  })
  await client.until(/\* \d+ EXISTS\r\n/)
  client.send("DONE\r\n")
  expect(await client.tagged("a")).toContain("a OK")
  await client.ok("NOOP")
})

test("imapflow reads messages and parts", async () => {
  const client = new ImapFlow({
    host: "127.0.0.1",
    port: rig.port,
    secure: false,
    tls: { ca: rig.certificate.certificate },
    auth: { user: ACCOUNT, pass: LAPTOP },
    logger: false,
  })
  await client.connect()
  const lock = await client.getMailboxLock("INBOX")
  try {
    const message = await client.fetchOne("1", { source: true, uid: true })
    expect((message || undefined)?.source?.toString("latin1")).toBe(patched(MESSAGES["smime"] ?? "", "laptop"))
    const chunks: Buffer[] = []
    const { content } = await client.download("2", undefined, { chunkSize: 1000 })
    for await (const chunk of content ?? []) chunks.push(chunk)
    expect(Buffer.concat(chunks).toString("latin1")).toBe(patched(MESSAGES["longHeader"] ?? "", "laptop"))
  } finally {
    lock.release()
    await client.logout()
  }
})
