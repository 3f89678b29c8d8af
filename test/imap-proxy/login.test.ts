import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { GatewayError } from "../../src/errors.ts"
import { createLog } from "../../src/log/written.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { BareClient, quoted } from "./client.ts"
import { ACCOUNT, embedded, LAPTOP, PHONE, type Rig, startRig, UTF8 } from "./rig.ts"

let folder: TemporaryFolder
let store: ReturnType<typeof embedded>
let rig: Rig

beforeAll(async () => {
  folder = await temporaryFolder()
  store = embedded(folder.path)
  rig = await startRig({ upstream: store.upstream })
})

afterAll(async () => {
  await rig[Symbol.asyncDispose]()
  await store[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

const base64 = (text: string): string => Buffer.from(text).toString("base64")
/** The octets of the text in UTF-8, one character each. */
const wire = (text: string): string => Buffer.from(text, "utf8").toString("latin1")
const PLAIN = base64(`\0${ACCOUNT}\0${LAPTOP}`)

describe("before TLS", () => {
  test("the greeting offers STARTTLS and no login", async () => {
    await using client = await BareClient.plain(rig)
    expect(await client.until("\r\n")).toMatch(
      /^\* OK \[CAPABILITY IMAP4rev1 LITERAL\+ SASL-IR ID STARTTLS LOGINDISABLED\]/,
    )
  })

  test("LOGIN and AUTHENTICATE are refused, and a password in a synchronizing literal is not asked for", async () => {
    await using client = await BareClient.plain(rig)
    expect(await client.command(`LOGIN ${ACCOUNT} x`)).toContain("NO [PRIVACYREQUIRED]")
    expect(await client.command("LOGIN {5}")).toContain("NO [PRIVACYREQUIRED]")
    expect(await client.command(`AUTHENTICATE PLAIN ${PLAIN}`)).toContain("NO [PRIVACYREQUIRED]")
  })

  test("octets behind STARTTLS end the connection", async () => {
    await using client = await BareClient.plain(rig)
    client.send(`a STARTTLS\r\nb LOGIN ${ACCOUNT} x\r\n`)
    expect(await client.rest()).toMatch(/\* BYE octets behind STARTTLS\r\n$/)
  })
})

describe("under TLS", () => {
  const rows: [name: string, text: string][] = [
    ["LOGIN with quoted strings", `LOGIN ${ACCOUNT} ${quoted(LAPTOP)}`],
    [
      "LOGIN with non-synchronizing literals",
      `LOGIN {${ACCOUNT.length}+}\r\n${ACCOUNT} {${LAPTOP.length}+}\r\n${LAPTOP}`,
    ],
    ["LOGIN in another case", `login ${ACCOUNT.toUpperCase()} ${quoted(LAPTOP)}`],
    ["PLAIN with an initial response", `AUTHENTICATE PLAIN ${PLAIN}`],
    [
      "PLAIN with oneself as authorization identity",
      `AUTHENTICATE PLAIN ${base64(`${ACCOUNT}\0${ACCOUNT}\0${LAPTOP}`)}`,
    ],
    ["LOGIN with an 8-bit quoted string, quotes and backslashes in it", `LOGIN ${ACCOUNT} ${quoted(wire(UTF8))}`],
    ["LOGIN with an 8-bit literal", `LOGIN ${ACCOUNT} {${wire(UTF8).length}+}\r\n${wire(UTF8)}`],
    ["LOGIN with a literal and a quoted string", `LOGIN {${ACCOUNT.length}+}\r\n${ACCOUNT} ${quoted(LAPTOP)}`],
    ["PLAIN with a UTF-8 password", `AUTHENTICATE PLAIN ${base64(`\0${ACCOUNT}\0${UTF8}`)}`],
    ["PLAIN in another case", `authenticate plain ${PLAIN}`],
    [
      "PLAIN with oneself in another case as authorization identity",
      `AUTHENTICATE PLAIN ${base64(`${ACCOUNT.toUpperCase()}\0${ACCOUNT}\0${LAPTOP}`)}`,
    ],
    ["the LOGIN mechanism, all of it pipelined", `AUTHENTICATE LOGIN\r\n${base64(ACCOUNT)}\r\n${base64(LAPTOP)}`],
    ["the LOGIN mechanism with an initial response", `AUTHENTICATE LOGIN ${base64(ACCOUNT)}\r\n${base64(LAPTOP)}`],
  ]
  for (const [name, text] of rows) {
    test(name, async () => {
      await using client = await BareClient.secure(rig)
      expect(await client.ok(text)).toMatch(/OK \[CAPABILITY IMAP4rev1 LITERAL\+ /)
    })
  }

  test("LOGIN with synchronizing literals", async () => {
    await using client = await BareClient.secure(rig)
    client.send(`a LOGIN {${ACCOUNT.length}}\r\n`)
    await client.until("+ OK\r\n")
    client.send(`${ACCOUNT} {${LAPTOP.length}}\r\n`)
    await client.until("+ OK\r\n")
    client.send(`${LAPTOP}\r\n`)
    expect(await client.tagged("a")).toContain("a OK")
  })

  test("PLAIN without initial response, and LOGIN's two questions", async () => {
    await using plain = await BareClient.secure(rig)
    plain.send("a AUTHENTICATE PLAIN\r\n")
    await plain.until("+ \r\n")
    plain.send(`${PLAIN}\r\n`)
    expect(await plain.tagged("a")).toContain("a OK")
    await using login = await BareClient.secure(rig)
    login.send("a AUTHENTICATE LOGIN\r\n")
    await login.until("+ VXNlcm5hbWU6\r\n")
    login.send(`${base64(ACCOUNT)}\r\n`)
    await login.until("+ UGFzc3dvcmQ6\r\n")
    login.send(`${base64(LAPTOP)}\r\n`)
    expect(await login.tagged("a")).toContain("a OK")
  })

  const refused: [name: string, text: string, answer: RegExp][] = [
    ["a wrong password", `LOGIN ${ACCOUNT} wrong`, /NO \[AUTHENTICATIONFAILED\]/],
    [
      "somebody else's authorization identity",
      `AUTHENTICATE PLAIN ${base64(`bob\0${ACCOUNT}\0${LAPTOP}`)}`,
      /NO \[AUTHORIZ/,
    ],
    ["an empty response", "AUTHENTICATE PLAIN =", /BAD/],
    ["an empty response to the challenge", "AUTHENTICATE PLAIN\r\n", /BAD malformed PLAIN/],
    ["a PLAIN message of two fields", `AUTHENTICATE PLAIN ${base64(`${ACCOUNT}\0x`)}`, /BAD malformed PLAIN/],
    [
      "a PLAIN message of four fields",
      `AUTHENTICATE PLAIN ${base64(`\0${ACCOUNT}\0${LAPTOP}\0`)}`,
      /BAD malformed PLAIN/,
    ],
    ["the LOGIN mechanism cancelled at the password", `AUTHENTICATE LOGIN ${base64(ACCOUNT)}\r\n*`, /BAD cancelled/],
    [
      "a password of 12 kB",
      `AUTHENTICATE PLAIN ${base64(`\0${ACCOUNT}\0${"x".repeat(12_000)}`)}`,
      /NO \[AUTHENTICATIONF/,
    ],
    [
      "a password of 12 kB in a line of its own",
      `AUTHENTICATE PLAIN\r\n${base64(`\0${ACCOUNT}\0${"x".repeat(12_000)}`)}`,
      /NO \[AUTHENTICATIONF/,
    ],
    ["a literal of 100 kB", `LOGIN ${ACCOUNT} {100000}`, /BAD literal too large/],
    ["LOGIN without a password", `LOGIN ${ACCOUNT}`, /BAD LOGIN takes a name and a password/],
    ["LOGIN with three arguments", `LOGIN ${ACCOUNT} x y`, /BAD LOGIN takes a name and a password/],
    ["AUTHENTICATE without a mechanism", "AUTHENTICATE", /NO \[CANNOT\]/],
    ["UNAUTHENTICATE", "UNAUTHENTICATE", /BAD/],
    ["something that is no base64", "AUTHENTICATE PLAIN ***", /BAD/],
    ["a cancelled exchange", "AUTHENTICATE PLAIN\r\n*", /BAD cancelled/],
    ["a mechanism we do not have", "AUTHENTICATE CRAM-MD5", /NO \[CANNOT\]/],
    ["STARTTLS again", "STARTTLS", /BAD/],
    ["a command before login", "SELECT INBOX", /BAD/],
  ]
  for (const [name, text, answer] of refused) {
    test(`${name} is refused, and one can go on`, async () => {
      await using client = await BareClient.secure(rig)
      expect(await client.command(text)).toMatch(answer)
      await client.ok(`LOGIN ${ACCOUNT} ${quoted(LAPTOP)}`)
    })
  }

  test("what is sent behind LOGIN is not lost", async () => {
    await using client = await BareClient.secure(rig)
    client.send(`a LOGIN ${ACCOUNT} ${quoted(LAPTOP)}\r\nb NAMESPACE\r\nc LIST "" INBOX\r\nd SELECT INBOX\r\n`)
    const answers = await client.tagged("d")
    expect(answers).toMatch(/a OK[\s\S]*\* NAMESPACE[\s\S]*b OK[\s\S]*\* LIST[\s\S]*c OK[\s\S]*d OK/)
  })

  test("what is sent behind the last line of AUTHENTICATE is not lost", async () => {
    await using client = await BareClient.secure(rig)
    client.send(`a AUTHENTICATE PLAIN\r\n${PLAIN}\r\nb NAMESPACE\r\nc SELECT {5+}\r\nINBOX\r\n`)
    expect(await client.tagged("c")).toMatch(/\+ \r\na OK[\s\S]*b OK[\s\S]*c OK/)
  })

  test("after login nobody logs in again, starts TLS, or leaves the account", async () => {
    await using client = await BareClient.loggedIn(rig, LAPTOP)
    for (const text of [
      `LOGIN ${ACCOUNT} ${PHONE}`,
      `AUTHENTICATE PLAIN ${PLAIN}`,
      "STARTTLS",
      "UNAUTHENTICATE",
      "COMPRESS DEFLATE",
    ])
      expect(await client.command(text)).toMatch(/BAD/)
    await client.ok("NOOP")
  })

  test("a connection is closed after too many wrong passwords", async () => {
    await using client = await BareClient.secure(rig)
    await client.command(`LOGIN ${ACCOUNT} wrong`)
    await client.command(`LOGIN ${ACCOUNT} wrong`)
    client.send(`a LOGIN ${ACCOUNT} wrong\r\n`)
    expect(await client.rest()).toMatch(/a NO \[AUTH[\s\S]*\* BYE too many tries\r\n$/)
  })

  test("octet by octet", async () => {
    await using client = await BareClient.secure(rig)
    for (const octet of `a LOGIN ${ACCOUNT} {${LAPTOP.length}+}\r\n${LAPTOP}\r\nb NOOP\r\n`) client.send(octet)
    expect(await client.tagged("b")).toMatch(/a OK[\s\S]*b OK/)
  })

  test("ID, CAPABILITY, NOOP and LOGOUT are answered before login", async () => {
    await using client = await BareClient.secure(rig)
    expect(await client.ok('ID ("name" "x")')).toContain("* ID (")
    expect(await client.ok("CAPABILITY")).toContain("AUTH=PLAIN AUTH=LOGIN")
    await client.ok("NOOP")
    client.send("z LOGOUT\r\n")
    expect(await client.rest()).toMatch(/\* BYE [\s\S]*z OK/)
  })
})

test("implicit TLS", async () => {
  await using implicit = await startRig({ upstream: store.upstream, tlsMode: "implicit" })
  await using client = await BareClient.plain(implicit)
  await client.startTls()
  expect(await client.until("\r\n")).toContain("AUTH=PLAIN")
  await client.ok(`LOGIN ${ACCOUNT} ${quoted(LAPTOP)}`)
})

test("an upstream that is away is UNAVAILABLE, not a wrong password, and may come back", async () => {
  let away = true
  await using flaky = await startRig({
    upstream: {
      connect: async (...of) => {
        if (away) throw new GatewayError("UPSTREAM_UNAVAILABLE", "test: away")
        return store.upstream.connect(...of)
      },
    },
  })
  await using client = await BareClient.secure(flaky)
  expect(await client.command(`LOGIN ${ACCOUNT} ${quoted(LAPTOP)}`)).toContain("NO [UNAVAILABLE]")
  away = false
  await client.ok(`LOGIN ${ACCOUNT} ${quoted(LAPTOP)}`)
})

test("where too much was guessed, clients are asked to come back, not for another password", async () => {
  await using limited = await startRig({ upstream: store.upstream, devices: { authenticate: async () => "limited" } })
  await using client = await BareClient.secure(limited)
  expect(await client.command(`LOGIN ${ACCOUNT} ${quoted(LAPTOP)}`)).toContain(
    "NO [UNAVAILABLE] too many wrong passwords",
  )
})

test("devices that cannot be looked up are UNAVAILABLE", async () => {
  const devices = { authenticate: () => Promise.reject(new Error("database is away")) }
  await using broken = await startRig({ upstream: store.upstream, devices })
  await using client = await BareClient.secure(broken)
  for (let times = 0; times < 5; times++)
    expect(await client.command(`LOGIN ${ACCOUNT} x`)).toContain("NO [UNAVAILABLE]")
})

test("the log holds nothing of what was said to log in", async () => {
  const lines: string[] = []
  const log = createLog("debug", { write: (line) => lines.push(line) })
  await using logged = await startRig({ upstream: store.upstream, log, limits: { loginTries: 100 } })
  const secrets = [
    "CANARYname",
    "CANARYpassword",
    "CANARYtoken",
    base64("\0CANARYname\0CANARYpassword"),
    base64("CANARYpassword"),
  ]
  await using client = await BareClient.secure(logged)
  const rows = [
    "LOGIN CANARYname CANARYpassword",
    'LOGIN "CANARYname" "CANARYpassword',
    "LOGIN {10+}\r\nCANARYname {14+}\r\nCANARYpassword",
    "LOGIN CANARYname CANARYpassword CANARYtoken",
    `AUTHENTICATE PLAIN ${base64("\0CANARYname\0CANARYpassword")}`,
    `AUTHENTICATE PLAIN\r\n${base64("\0CANARYname\0CANARYpassword")}`,
    `AUTHENTICATE LOGIN ${base64("CANARYname")}\r\n${base64("CANARYpassword")}`,
    "AUTHENTICATE XOAUTH2 CANARYtoken",
    "AUTHENTICATE PLAIN CANARYtoken?",
    "CANARYpassword CANARYtoken",
  ]
  for (const text of rows) expect(await client.command(text)).toMatch(/NO|BAD/)
  await client.ok(`LOGIN ${ACCOUNT} ${quoted(LAPTOP)}`)
  await client.command("LOGIN CANARYname CANARYpassword")
  await client.command("XLOGIN CANARYname CANARYpassword")
  client.send(`CANARYpassword ${"x".repeat(70_000)}\r\n`)
  await client.rest()
  const written = lines.join("")
  expect(written).toContain("imap.login.failed")
  expect(written).toContain("imap.command")
  for (const secret of secrets) expect(written).not.toContain(secret)
})

test("a client that does not log in is closed, and so is one above the limit of connections", async () => {
  await using narrow = await startRig({ upstream: store.upstream, limits: { loginTimeoutMs: 100, connections: 1 } })
  await using first = await BareClient.plain(narrow)
  await first.until("\r\n")
  await using second = await BareClient.plain(narrow)
  expect(await second.rest()).toContain("* BYE [UNAVAILABLE] too many connections")
  await first.rest()
})
