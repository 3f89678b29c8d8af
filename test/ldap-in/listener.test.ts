import { once } from "node:events"
import { readFileSync } from "node:fs"
import { writeFile } from "node:fs/promises"
import { connect, type Socket } from "node:net"
import { connect as connectTls } from "node:tls"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { readCertificateBag } from "../../src/crypto/cms/certificate-bag.ts"
import { integer, sequence, TAG, tagged } from "../../src/crypto/cms/der.ts"
import { pemDecode } from "../../src/crypto/cms/pem.ts"
import { LdapListener, type LdapListenerOptions } from "../../src/ldap-in/listener.ts"
import type { Certificates, Devices } from "../../src/ldap-in/ports.ts"
import { MAX_FAILURES, MAX_REQUEST_OCTETS } from "../../src/ldap-in/session.ts"
import { silentLog } from "../../src/log/log.ts"
import { formatAddress, parseAddress } from "../../src/message/address.ts"
import {
  MessageCutter,
  OPERATION,
  piecesOf,
  RESULT,
  readMessage,
  readResult,
  START_TLS,
  writeMessage,
} from "../../src/net/ldap-message.ts"
import { ldapSource } from "../../src/profiles/sources/ldap.ts"
import { type TestCertificate, testCertificate } from "../harness/certificate.ts"
import { eventually } from "../harness/instance.ts"
import { type Finished, peer, run, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"

const BASE = "o=example.test"
const ANNA = "anna@example.test"
const PASSWORD = "of-anna's-phone"
const [own = new Uint8Array(), issuer = new Uint8Array()] = ["rsa-2048-email-in-subject", "p384"].flatMap((name) =>
  pemDecode("CERTIFICATE", readFileSync(`test/vectors/cms/${name}.pem`, "latin1")),
)

const devices: Devices = {
  authenticate: async (user, password) => {
    if (user === "limited") return "limited"
    if (user === "broken") throw new Error("state is away")
    return user === ANNA && password === PASSWORD ? { account: ANNA } : null
  },
}
let asked: string[] = []
const certificates: Certificates = {
  async find(address, account, signal) {
    asked.push(`${formatAddress(address)} for ${account}`)
    if (address.localPart === "silent") throw new Error("a source is silent")
    if (address.localPart === "slow") await new Promise((_, reject) => signal.addEventListener("abort", reject))
    const known = ["bert", "carl", "a*b"].includes(address.localPart.toLowerCase())
    return known
      ? { name: address.localPart === "bert" ? "Bert Börne" : null, certificates: [own], chain: [issuer] }
      : null
  },
}

let folder: TemporaryFolder
let tls: TestCertificate
let byStartTls: LdapListener
let byTls: LdapListener

beforeAll(async () => {
  folder = await temporaryFolder()
  tls = await testCertificate()
  await writeFile(folder.file("authority.pem"), tls.certificate)
  byStartTls = await listen({})
  byTls = await listen({ security: "tls" })
})
afterAll(async () => {
  await byTls?.[Symbol.asyncDispose]()
  await byStartTls?.[Symbol.asyncDispose]()
  await folder?.[Symbol.asyncDispose]()
})

function listen(changes: Partial<LdapListenerOptions>): Promise<LdapListener> {
  return LdapListener.start({
    host: "127.0.0.1",
    port: 0,
    security: "starttls",
    tls,
    maxConnections: 20,
    maxConnectionsPerAddress: 15,
    devices,
    certificates,
    base: BASE,
    allowsAnonymous: false,
    log: silentLog(),
    ...changes,
  })
}

describe.skipIf(!peer("ldapsearch"))("ldapsearch", () => {
  async function ldapsearch(...args: readonly string[]): Promise<Finished> {
    return await run("ldapsearch", ["-x", "-LLL", "-o", "ldif-wrap=no", "-b", BASE, ...args], {
      env: { LDAPTLS_CACERT: folder.file("authority.pem"), LDAPTLS_REQCERT: "demand" },
    })
  }
  const login = ["-D", ANNA, "-w", PASSWORD]
  const startTls = (): readonly string[] => ["-ZZ", "-H", `ldap://127.0.0.1:${byStartTls.port}`]
  const fromTheStart = (): readonly string[] => ["-H", `ldaps://127.0.0.1:${byTls.port}`]
  const text = ({ stdout }: Finished): string => Buffer.from(stdout).toString()

  test("a certificate, with TLS from the start and by StartTLS, in the attribute that was asked for", async () => {
    for (const place of [startTls(), fromTheStart()]) {
      const found = await ldapsearch(...place, ...login, "(mail=bert@other.test)", "userCertificate;binary", "cn")
      expect([found.code, found.stderr]).toEqual([0, ""])
      expect(text(found)).toContain(`userCertificate;binary:: ${Buffer.from(own).toString("base64")}\n`)
      expect(text(found)).toContain(
        `dn: mail=bert@other.test,${BASE}\ncn:: ${Buffer.from("Bert Börne").toString("base64")}\n`,
      )
      expect(text(found)).not.toContain("userSMIMECertificate")
    }
  })

  const mail = (name: string): string => `${name}@other.test`
  const rows: [name: string, filter: string, want: string[]][] = [
    [
      "Thunderbird, for several recipients",
      "(|(mail=bert@other.test)(mail=nobody@other.test)(mail=carl@other.test))",
      ["bert", "carl"],
    ],
    [
      "Outlook, checking a name",
      "(&(mail=*)(|(mail=bert@other.test*)(|(cn=bert@other.test*)(|(sn=bert@other.test*)(givenName=bert@other.test*)))))",
      ["bert"],
    ],
    ["with a class", "(&(objectClass=inetOrgPerson)(mail=BERT@other.test)(userCertificate;binary=*))", ["BERT"]],
    ["of another name", "(&(mail=bert@other.test)(cn=Somebody*))", []],
    ["of that name", "(&(mail=bert@other.test)(cn=*bör*e))", ["bert"]],
    ["that is not one", "(!(mail=bert@other.test))", []],
    ["an attribute that is not known", "(&(mail=bert@other.test)(!(colour=red)))", []],
    ["everybody, which is nobody", "(mail=*)", []],
    ["whoever begins with b", "(mail=b*)", []],
    ["an asterisk in an address", String.raw`(mail=a\2ab@other.test)`, ["a*b"]],
    ["a matching rule", "(&(mail=bert@other.test)(mail:caseExactMatch:=bert@other.test))", []],
  ]
  test("what clients ask, and what they get", async () => {
    for (const [name, filter, want] of rows) {
      const found = await ldapsearch(...fromTheStart(), ...login, filter, "mail")
      expect([found.code, found.stderr], name).toEqual([0, ""])
      const mails = [...text(found).matchAll(/^mail: (.*)$/gm)].map(([, value]) => value)
      expect(mails, name).toEqual(want.map(mail))
    }
  })

  const refused: [name: string, args: readonly string[], code: number][] = [
    ["a wrong password", ["-D", ANNA, "-w", "wrong"], RESULT.invalidCredentials],
    ["a name without a password", ["-D", ANNA, "-w", ""], RESULT.unwillingToPerform],
    ["nobody", [], RESULT.inappropriateAuthentication],
    ["too much was guessed", ["-D", "limited", "-w", "x"], RESULT.unavailable],
    ["it cannot be told who it is", ["-D", "broken", "-w", "x"], RESULT.unavailable],
    ["another base", [...login, "-b", "dc=elsewhere"], RESULT.noSuchObject],
    ["a source is silent", [...login, "(mail=silent@other.test)"], RESULT.unavailable],
    ["no time", [...login, "-l", "1", "(mail=slow@other.test)"], RESULT.timeLimitExceeded],
    ["more than wanted", [...login, "-z", "1", "(|(mail=bert@a.test)(mail=carl@a.test))"], RESULT.sizeLimitExceeded],
    [
      "a control that must be known and is not",
      [...login, "-E", "!sync=ro", "(mail=bert@a.test)"],
      RESULT.unavailableCriticalExtension,
    ],
  ]
  test("what is refused, and how", async () => {
    const found = await Promise.all(refused.map(([, args]) => ldapsearch(...fromTheStart(), ...args)))
    expect(found.map(({ code }, at) => [refused[at]?.[0], code])).toEqual(refused.map(([name, , code]) => [name, code]))
  })

  test("by a distinguished name, too; who asks is told to those who look up", async () => {
    asked = []
    const found = await ldapsearch(
      ...fromTheStart(),
      "-D",
      `mail=${ANNA},${BASE}`,
      "-w",
      PASSWORD,
      "(mail=bert@other.test)",
    )
    expect([found.code, asked]).toEqual([0, [`bert@other.test for ${ANNA}`]])
  })

  test("no password in clear: the login is refused, and nothing is looked up", async () => {
    asked = []
    const clear = ["-H", `ldap://127.0.0.1:${byStartTls.port}`]
    expect((await ldapsearch(...clear, ...login, "(mail=bert@other.test)")).code).toBe(RESULT.confidentialityRequired)
    expect(asked).toEqual([])
  })

  test("anonymous, where that is allowed", async () => {
    await using open = await listen({ allowsAnonymous: true })
    asked = []
    const found = await ldapsearch("-H", `ldap://127.0.0.1:${open.port}`, "(mail=bert@other.test)", "mail")
    expect([found.code, asked]).toEqual([0, ["bert@other.test for null"]])
  })

  test("what the server is, to whoever asks", async () => {
    const found = await run(
      "ldapsearch",
      ["-x", "-LLL", "-H", `ldap://127.0.0.1:${byStartTls.port}`, "-s", "base", "-b", "", "+"],
      {},
    )
    // Before a bind that -x sends: refused, as nobody may be here without a name.
    expect(found.code).toBe(RESULT.inappropriateAuthentication)
    const raw = await Raw.open(byStartTls.port)
    raw.send(search("", 0, tagged(0x87, utf8("objectClass")), ["namingContexts", "supportedExtension"]))
    const [entry] = await raw.operations(2)
    const shown = Buffer.from(entry?.content ?? []).toString("latin1")
    for (const word of [BASE, START_TLS]) expect(shown).toContain(word)
    raw.end()
  })

  test.skipIf(!peer("ldapmodify"))("nothing is written", async () => {
    const changed = await run("ldapmodify", ["-x", ...fromTheStart(), ...login], {
      env: { LDAPTLS_CACERT: folder.file("authority.pem") },
      input: `dn: mail=bert@other.test,${BASE}\nchangetype: modify\nreplace: cn\ncn: Eve\n`,
    })
    expect(changed.code).toBe(RESULT.unwillingToPerform)
  })
})

test("our own look-up reads it: certificate, chain, by the bag that mail programs prefer", async () => {
  const server = {
    host: "localhost",
    port: byStartTls.port,
    security: "starttls",
    authorities: tls.certificate,
  } as const
  const login = { dn: ANNA, password: () => PASSWORD }
  using source = ldapSource({ name: "own", domains: ["*"], server, login, base: BASE, filter: "(mail={address})" })
  const answer = await source.lookup(parseAddress("bert@other.test"), new AbortController().signal)
  expect(answer?.remarks).toEqual([])
  expect(answer?.candidates.map(({ octets }) => Buffer.from(octets))).toContainEqual(Buffer.from(own))
})

/** A client that sends what it likes. */
class Raw {
  readonly socket: Socket
  readonly #cutter = new MessageCutter(1_000_000)
  readonly #found: ReturnType<typeof readMessage>[] = []
  #id = 0
  #woken: () => void = () => undefined
  isClosed = false

  /** `ca`: with TLS from the start. */
  static async open(port: number, ca: string | null = null): Promise<Raw> {
    const socket = ca === null ? connect(port, "127.0.0.1") : connectTls({ port, host: "127.0.0.1", ca })
    await once(socket, ca === null ? "connect" : "secureConnect")
    return new Raw(socket)
  }

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on("data", (octets) => {
      this.#found.push(...this.#cutter.push(octets).map(readMessage))
      this.#woken()
    })
    socket.on("error", () => undefined)
    socket.on("close", () => {
      this.isClosed = true
      this.#woken()
    })
  }

  send(...operations: readonly Uint8Array[]): void {
    this.octets(Buffer.concat(operations.map((operation) => writeMessage(++this.#id, operation))))
  }

  octets(octets: Uint8Array): void {
    this.socket.write(octets)
  }

  /** The operations of so many answers, or of fewer when the server closes. */
  async operations(count: number): Promise<readonly { readonly tag: number; readonly content: Uint8Array }[]> {
    while (this.#found.length < count && !this.isClosed) await new Promise<void>((resolve) => (this.#woken = resolve))
    return this.#found.map(({ operation }) => operation)
  }

  async closed(): Promise<void> {
    while (!this.isClosed) await new Promise<void>((resolve) => (this.#woken = resolve))
  }

  end(): void {
    this.socket.destroy()
  }
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

function search(base: string, scope: number, filter: Uint8Array, attributes: readonly string[]): Uint8Array {
  const text = (value: string): Uint8Array => tagged(TAG.octetString, utf8(value))
  const numbers = [Uint8Array.of(0x0a, 1, scope), Uint8Array.of(0x0a, 1, 0), integer(0), integer(0)]
  const rest = [Uint8Array.of(TAG.boolean, 1, 0), filter, sequence(...attributes.map(text))]
  return tagged(OPERATION.searchRequest, text(base), ...numbers, ...rest)
}

function bind(name: string, password: string): Uint8Array {
  return tagged(OPERATION.bindRequest, integer(3), tagged(TAG.octetString, utf8(name)), tagged(0x80, utf8(password)))
}

const startTlsRequest = tagged(OPERATION.extendedRequest, tagged(0x80, utf8(START_TLS)))

test("Thunderbird: a login, certificates for three recipients, a name while it is written, and leave", async () => {
  const raw = await Raw.open(byTls.port, tls.certificate)
  for (const request of THUNDERBIRD) raw.octets(Buffer.from(request, "hex"))
  await raw.closed()
  const operations = await raw.operations(6)
  const { bindResponse, searchEntry, searchDone } = OPERATION
  expect(operations.map(({ tag }) => tag)).toEqual([
    bindResponse,
    searchEntry,
    searchEntry,
    searchDone,
    searchEntry,
    searchDone,
  ])
  expect(operations.filter(({ tag }) => tag !== searchEntry).map((done) => readResult(done).code)).toEqual([0, 0, 0])
  const shown = Buffer.from(operations[1]?.content ?? [])
  expect([shown.includes("usercertificate;binary"), shown.includes(Buffer.from(own))]).toEqual([true, true])
})

/** What LDAPMessage.sys.mjs of Thunderbird 153.7 makes of the searches of certFetchingStatus.js and of a directory's completion. */
const THUNDERBIRD = [
  "302c02010160270201030411616e6e61406578616d706c652e74657374800f6f662d616e6e6127732d70686f6e65",
  "30818e020102638188040e6f3d6578616d706c652e746573740a01020a0100020106020100010100a14da31704046d61696c040f62657274406f746865722e74657374a31904046d61696c04116e6f626f6479406f746865722e74657374a31704046d61696c040f6361726c406f746865722e74657374301804167573657263657274696669636174653b62696e617279",
  "30819b020102638195040e6f3d6578616d706c652e746573740a01020a010002016402013c010100a05c870b6f626a656374636c617373a14da4170402636e3011810f62657274406f746865722e74657374a41904046d61696c3011810f62657274406f746865722e74657374a4170402736e3011810f62657274406f746865722e7465737430160402636e040a636f6d6d6f6e6e616d6504046d61696c",
  "30050201034200",
]

describe("octets of strangers", () => {
  test("StartTLS with something in clear behind it ends the connection", async () => {
    const raw = await Raw.open(byStartTls.port)
    raw.send(startTlsRequest, bind(ANNA, PASSWORD))
    await raw.closed()
    const [notice] = await raw.operations(1)
    expect(notice && [notice.tag, readResult(notice).code]).toEqual([OPERATION.extendedResponse, RESULT.protocolError])
  })

  test("after some wrong logins the connection ends", async () => {
    const raw = await Raw.open(byTls.port, tls.certificate)
    raw.send(...Array(MAX_FAILURES + 3).fill(bind(ANNA, "wrong")))
    await raw.closed()
    const answers = await raw.operations(MAX_FAILURES)
    expect(answers.map((answer) => readResult(answer).code)).toEqual(
      Array(MAX_FAILURES).fill(RESULT.invalidCredentials),
    )
  })

  const rows: [name: string, octets: Uint8Array][] = [
    ["HTTP", utf8("GET / HTTP/1.1\r\n\r\n")],
    ["a message over the limit", Uint8Array.of(0x30, 0x83, 0x01, 0, 1)],
    ["an endless message", Uint8Array.of(0x30, 0x80)],
    ["no operation", sequence(integer(1))],
    ["an operation of a server", writeMessage(1, Uint8Array.of(OPERATION.bindResponse, 0))],
    ["a filter too deep", writeMessage(1, search(BASE, 2, nested(40), []))],
    ["a negative id", sequence(Uint8Array.of(2, 1, 0xff), Uint8Array.of(OPERATION.unbindRequest, 0))],
  ]
  function nested(depth: number): Uint8Array {
    return depth === 0 ? tagged(0x87, utf8("mail")) : tagged(0xa2, nested(depth - 1))
  }
  for (const [name, octets] of rows)
    test(`${name} is told so and ended`, async () => {
      const raw = await Raw.open(byStartTls.port)
      raw.octets(octets)
      await raw.closed()
      const [notice] = await raw.operations(1)
      expect(notice?.tag).toBe(OPERATION.extendedResponse)
    })

  test("a request of the limit, octet by octet", async () => {
    const raw = await Raw.open(byStartTls.port)
    const request = writeMessage(1, search("x", 0, tagged(0x87, utf8("a".repeat(MAX_REQUEST_OCTETS - 80))), []))
    expect(request.length).toBeLessThan(MAX_REQUEST_OCTETS)
    for (let at = 0; at < 64; at++) raw.octets(request.subarray(at, at + 1))
    raw.octets(request.subarray(64))
    const [done] = await raw.operations(1)
    expect(done && readResult(done).code).toBe(RESULT.insufficientAccessRights)
    raw.end()
  })

  test("no more connections than there may be", async () => {
    await using small = await listen({ maxConnectionsPerAddress: 2 })
    const [first, second] = [await Raw.open(small.port), await Raw.open(small.port)]
    const third = await Raw.open(small.port)
    await third.closed()
    expect(await third.operations(1)).toEqual([])
    first.end()
    await first.closed()
    second.send(search("", 0, tagged(0x87, utf8("objectClass")), []))
    expect(await second.operations(2)).toHaveLength(2)
    second.end()
  })

  test("who has left over TLS has made room", async () => {
    await using small = await listen({ security: "tls", maxConnectionsPerAddress: 1 })
    for (let visits = 0; visits < 3; visits++) {
      const raw = await eventually("room", () => Raw.open(small.port, tls.certificate).catch(() => null))
      raw.send(bind(ANNA, PASSWORD))
      const [answer] = await raw.operations(1)
      expect(answer?.tag).toBe(OPERATION.bindResponse)
      raw.end()
    }
  })

  test("whoever leaves in the middle of a search harms nobody", async () => {
    await using open = await listen({ allowsAnonymous: true })
    const raw = await Raw.open(open.port)
    const mail = tagged(0xa3, tagged(TAG.octetString, utf8("mail")), tagged(TAG.octetString, utf8("bert@a.test")))
    raw.send(...Array(20).fill(search(BASE, 2, mail, [])))
    raw.end()
    const other = await Raw.open(open.port)
    other.send(search(BASE, 2, mail, ["userSMIMECertificate"]))
    const [entry] = await other.operations(2)
    const [, attributes] = piecesOf(entry?.content ?? new Uint8Array())
    const [attribute] = piecesOf(attributes?.content ?? new Uint8Array())
    const [, values] = piecesOf(attribute?.content ?? new Uint8Array())
    const [bag] = piecesOf(values?.content ?? new Uint8Array())
    expect(readCertificateBag(bag?.content ?? new Uint8Array()).certificates).toHaveLength(2)
    other.end()
  })
})
