import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { GatewayError } from "../../src/errors.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { BareClient, quoted } from "./client.ts"
import { ACCOUNT, embedded, LAPTOP, type Rig, startRig } from "./rig.ts"

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

test("a client that does not log in is closed, and so is one above the limit of connections", async () => {
  await using narrow = await startRig({ upstream: store.upstream, limits: { loginTimeoutMs: 100, connections: 1 } })
  await using first = await BareClient.plain(narrow)
  await first.until("\r\n")
  await using second = await BareClient.plain(narrow)
  expect(await second.rest()).toContain("* BYE [UNAVAILABLE] too many connections")
  await first.rest()
})
