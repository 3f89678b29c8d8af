import { once } from "node:events"
import { createServer, type Socket } from "node:net"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { octetString, sequence, setOf, tagged } from "../../../src/crypto/cms/der.ts"
import { binaryOf } from "../../../src/crypto/openpgp/certificate.ts"
import { parseAddress } from "../../../src/message/address.ts"
import { MAX_ANSWER_OCTETS } from "../../../src/net/ldap-client.ts"
import {
  MessageCutter,
  OPERATION,
  RESULT,
  readMessage,
  resultOperation,
  writeMessage,
} from "../../../src/net/ldap-message.ts"
import type { KeySource, SourceAnswer } from "../../../src/profiles/key.ts"
import { type LdapDirectory, ldapSource, MAX_ENTRIES } from "../../../src/profiles/sources/ldap.ts"
import { mustRun, peer, run, type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import { DIRECTORY_BASE, DIRECTORY_LOGIN, SLAPD, type Slapd, startSlapd } from "../../harness/slapd.ts"

const never = new AbortController().signal
const PEOPLE = `ou=people,${DIRECTORY_BASE}`

function directory(port: number, changes: Partial<LdapDirectory> = {}): LdapDirectory {
  const server = { host: "127.0.0.1", port, security: "plain", authorities: null } as const
  return {
    name: "test",
    domains: ["example.test"],
    server,
    login: null,
    base: DIRECTORY_BASE,
    filter: null,
    ...changes,
  }
}

async function ask(source: KeySource, address: string, signal = never): Promise<SourceAnswer | null> {
  return await source.lookup(parseAddress(address), signal)
}

describe.skipIf(![...SLAPD, "openssl", "gpg"].every(peer))("OpenLDAP", () => {
  let folder: TemporaryFolder
  let slapd: Slapd
  let anna: { readonly certificate: Uint8Array; readonly authority: Uint8Array; readonly bag: Uint8Array }
  let armored: Uint8Array

  beforeAll(async () => {
    folder = await temporaryFolder()
    anna = await certificates("anna@example.test")
    armored = await gnupgKey("berta@example.test")
    const plain = [`userCertificate;binary:: ${base64(anna.certificate)}`]
    const full = [...plain, `userSMIMECertificate:: ${base64(anna.bag)}`]
    slapd = await startSlapd(
      [
        person("anna", "anna@example.test", full, PEOPLE),
        person("plain", "plain@example.test", plain, PEOPLE),
        person("nothing", "nothing@example.test", [], PEOPLE),
        person("odd", String.raw`"a*(b)\\c"@example.test`, plain, PEOPLE),
        person("carol", "carol@example.test", plain, `ou=closed,${DIRECTORY_BASE}`),
        person("broken", "broken@example.test", [`userSMIMECertificate:: ${base64(anna.certificate)}`], PEOPLE),
        ...Array.from({ length: MAX_ENTRIES + 2 }, (_, at) => person(`many${at}`, "many@example.test", plain, PEOPLE)),
        pgpEntry("Berta <berta@example.test>", armored),
        `dn: ou=shared,${DIRECTORY_BASE}\nobjectClass: organizationalUnit\nou: shared\n`,
        `dn: ou=away,ou=shared,${DIRECTORY_BASE}\nobjectClass: referral\nobjectClass: extensibleObject\nou: away\nref: ldap://elsewhere.example.test/\n`,
      ].join("\n"),
    )
  })
  afterAll(async () => {
    await run("gpgconf", ["--homedir", folder.path, "--kill", "all"])
    await slapd?.[Symbol.asyncDispose]()
    await folder?.[Symbol.asyncDispose]()
  })

  async function certificates(address: string): Promise<typeof anna> {
    const [ca, leaf] = [folder.file("ca"), folder.file("leaf")]
    const make = (name: string, ...more: readonly string[]): Promise<Uint8Array> =>
      mustRun("openssl", [
        ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
        ...["-keyout", `${name}.key`, "-out", `${name}.pem`, ...more],
      ])
    await make(ca, "-subj", "/CN=Authority")
    const issued = ["-CA", `${ca}.pem`, "-CAkey", `${ca}.key`, "-addext", "basicConstraints=critical,CA:FALSE"]
    await make(leaf, "-subj", "/CN=Anna", ...issued, "-addext", `subjectAltName=email:${address}`)
    const bag = await mustRun("openssl", [
      ...["cms", "-sign", "-outform", "DER", "-nodetach", "-md", "sha256", "-in", "/dev/null"],
      ...["-signer", `${leaf}.pem`, "-inkey", `${leaf}.key`, "-certfile", `${ca}.pem`],
    ])
    return { certificate: await der(`${leaf}.pem`), authority: await der(`${ca}.pem`), bag }
  }

  async function der(file: string): Promise<Uint8Array> {
    return await mustRun("openssl", ["x509", "-in", file, "-outform", "DER"])
  }

  async function gnupgKey(address: string): Promise<Uint8Array> {
    const gpg = (...args: readonly string[]): Promise<Uint8Array> =>
      mustRun("gpg", ["--homedir", folder.path, "--batch", "--quiet", "--passphrase", "", ...args])
    await gpg("--quick-generate-key", address, "default", "default", "never")
    return await gpg("--armor", "--export", address)
  }

  function person(name: string, mail: string, more: readonly string[], base: string): string {
    const lines = [`cn: ${name}`, `sn: ${name}`, `mail:: ${base64(Buffer.from(mail))}`, ...more]
    return [`dn: cn=${name},${base}`, "objectClass: inetOrgPerson", ...lines, ""].join("\n")
  }

  function pgpEntry(userId: string, key: Uint8Array): string {
    const lines = ["pgpCertID: 0011223344556677", `pgpUserID: ${userId}`, `pgpKey:: ${base64(key)}`, ""]
    return [`dn: pgpCertID=0011223344556677,${PEOPLE}`, "objectClass: pgpKeyInfo", ...lines].join("\n")
  }

  function base64(octets: Uint8Array): string {
    return Buffer.from(octets).toString("base64")
  }

  test("a bag with its chain and what is said of ciphers; the same certificate beside it counts once", async () => {
    using source = ldapSource(directory(slapd.port, { base: PEOPLE }))
    const answer = await ask(source, "anna@example.test")
    expect(answer).toEqual({
      candidates: [
        {
          format: "smime",
          octets: anna.certificate,
          chain: [anna.authority],
          capabilities: expect.any(Uint8Array),
          source: "ldap test",
          trust: "directory",
          place: `cn=anna,${PEOPLE}`,
          wish: null,
          lineage: null,
          anchors: [expect.any(Uint8Array)],
        },
      ],
      remarks: [],
    })
    // RFC 8551 §2.5.2: id-aes256-CBC is what OpenSSL names first.
    const aes256 = Buffer.from("060960864801650304012a", "hex")
    expect(Buffer.from(answer?.candidates[0]?.capabilities ?? []).includes(aes256)).toBe(true)
  })

  test("a key of PGP's schema, which has the address in a user id", async () => {
    using source = ldapSource(directory(slapd.port, { base: PEOPLE, filter: "(pgpUserID=*<{address}>)" }))
    const answer = await ask(source, "berta@example.test")
    expect(answer?.remarks).toEqual([])
    expect(answer?.candidates).toMatchObject([{ format: "openpgp", octets: binaryOf(armored), chain: [] }])
  })

  const rows: [name: string, address: string, found: number, remark: RegExp | null][] = [
    ["another case of the local part", "ANNA@example.test", 1, null],
    ["an entry without a certificate", "nothing@example.test", 0, null],
    ["nobody", "nobody@example.test", 0, null],
    ["an asterisk is an asterisk", "*@example.test", 0, null],
    ["a filter in a local part is a local part", '")(mail=*"@example.test', 0, null],
    ["an odd address that is in the directory", String.raw`"a*(b)\\c"@example.test`, 1, null],
    ["what is no bag", "broken@example.test", 0, /userSMIMECertificate cannot be read/],
    ["entries that must not be seen", "carol@example.test", 0, null],
    ["more entries than are looked at", "many@example.test", MAX_ENTRIES, /more entries/],
  ]
  test("each address gets what is its own", async () => {
    using source = ldapSource(directory(slapd.port, { base: PEOPLE }))
    for (const [name, address, found, remark] of rows) {
      const answer = await ask(source, address)
      expect([name, answer?.candidates.length], name).toEqual([name, found])
      expect(answer?.remarks, name).toEqual(remark === null ? [] : [expect.stringMatching(remark)])
    }
  })

  test("not asked: other domains", async () => {
    using source = ldapSource(directory(slapd.port, { domains: ["example.test", "*.wide.test"] }))
    for (const address of ["anna@other.test", "anna@sub.example.test", "anna@wide.test", "anna@[127.0.0.1]"])
      expect(await ask(source, address)).toBeNull()
    expect(await ask(source, "anna@deep.in.wide.test")).not.toBeNull()
    using all = ldapSource(directory(slapd.port, { domains: ["*"] }))
    expect(await ask(all, "anna@other.test")).not.toBeNull()
  })

  test("logged in, over TLS from the start and by StartTLS, more is seen", async () => {
    const login = { dn: DIRECTORY_LOGIN.dn, password: () => DIRECTORY_LOGIN.password }
    const server = { host: "localhost", authorities: slapd.authority }
    const servers = [
      { ...server, port: slapd.tlsPort, security: "tls" },
      { ...server, port: slapd.port, security: "starttls" },
    ] as const
    for (const server of servers) {
      using source = ldapSource(directory(0, { server, login }))
      expect((await ask(source, "carol@example.test"))?.candidates).toHaveLength(1)
    }
  })

  const silent: [name: string, changes: (slapd: Slapd) => Partial<LdapDirectory>, reason: RegExp][] = [
    [
      "a wrong password, which is not told",
      () => ({ login: { dn: DIRECTORY_LOGIN.dn, password: () => "wrong-and-secret" } }),
      /^ldap test: ldap: the server says invalidCredentials \(49\) to our login$/,
    ],
    [
      "an empty password, by which servers let in anybody as nobody",
      () => ({ login: { dn: DIRECTORY_LOGIN.dn, password: () => "" } }),
      /the password is empty/,
    ],
    [
      "a base that is not there",
      () => ({ base: `ou=typo,${DIRECTORY_BASE}` }),
      /it has no entry "ou=typo,dc=example,dc=test"/,
    ],
    ["a base that access rules hide", () => ({ base: `ou=closed,${DIRECTORY_BASE}` }), /or hides it/],
    ["another server is named instead, which is not asked", () => ({ base: "dc=elsewhere" }), /referral \(10\)/],
    [
      "a certificate of nobody that we trust, TLS from the start",
      ({ tlsPort }) => ({ server: { host: "localhost", port: tlsPort, security: "tls", authorities: null } }),
      /self-signed certificate/,
    ],
    [
      "a certificate of nobody that we trust, StartTLS",
      ({ port }) => ({ server: { host: "localhost", port, security: "starttls", authorities: null } }),
      /self-signed certificate/,
    ],
    [
      "a certificate for another name",
      ({ tlsPort, authority }) => ({
        server: { host: "127.1", port: tlsPort, security: "tls", authorities: authority },
      }),
      /does not match certificate's altnames/,
    ],
    [
      "not private, and not on this machine",
      () => ({ server: { host: "192.0.2.1", port: 389, security: "plain", authorities: null } }),
      /not private/,
    ],
    [
      "TLS where there is none",
      ({ port, authority }) => ({ server: { host: "localhost", port, security: "tls", authorities: authority } }),
      /ldap test: /,
    ],
  ]
  test("no answer, each with its reason", async () => {
    for (const [name, changes, reason] of silent) {
      using source = ldapSource(directory(slapd.port, changes(slapd)))
      const error = await ask(source, "anna@example.test", AbortSignal.timeout(2_000)).catch((error: unknown) => error)
      expect(error, name).toMatchObject({ code: "KEY_SOURCE_SILENT", message: expect.stringMatching(reason) })
      expect(String(error), name).not.toContain("wrong-and-secret")
    }
  })

  test("other servers within a tree are named and not asked", async () => {
    using source = ldapSource(directory(slapd.port))
    expect((await ask(source, "nobody@example.test"))?.remarks).toEqual([
      "test names 1 other servers, which are not asked",
    ])
  })

  test("several at once on one connection; a server that was started again is found again", async () => {
    using source = ldapSource(directory(slapd.port, { base: PEOPLE }))
    await ask(source, "plain@example.test")
    const addresses = ["anna", "plain", "nobody", "odd"].map((local) => `${local}@example.test`)
    const answers = await Promise.all(addresses.map((address) => ask(source, address)))
    expect(answers.map((answer) => answer?.candidates.length)).toEqual([1, 1, 0, 0])
    await slapd.stop()
    await expect(ask(source, "plain@example.test")).rejects.toMatchObject({ code: "KEY_SOURCE_SILENT" })
    await slapd.start()
    expect((await ask(source, "plain@example.test"))?.candidates).toHaveLength(1)
  })
})

describe("a server that is not to be believed", () => {
  /** Answers each request with these octets. */
  async function scripted(
    answer: (id: number, socket: Socket) => Uint8Array | null,
  ): Promise<AsyncDisposable & { port: number }> {
    const sockets = new Set<Socket>()
    const server = createServer((socket) => {
      const cutter = new MessageCutter(10_000)
      sockets.add(socket)
      socket.on("error", () => undefined)
      socket.on("data", (octets) => {
        for (const message of cutter.push(octets)) {
          const reply = answer(readMessage(message).id, socket)
          if (reply) socket.write(reply)
        }
      })
    }).listen(0, "127.0.0.1")
    await once(server, "listening")
    const address = server.address()
    return {
      port: address !== null && typeof address === "object" ? address.port : 0,
      async [Symbol.asyncDispose]() {
        for (const socket of sockets) socket.destroy()
        await new Promise((resolve) => server.close(resolve))
      },
    }
  }
  const done = (code: number): Uint8Array => resultOperation(OPERATION.searchDone, { code, diagnostic: "secret words" })
  const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"))

  /** More than a search may bring, in entries that are each as large as may be. */
  const manyEntries = (id: number): Uint8Array[] => {
    const value = sequence(octetString(Buffer.from("description")), setOf(octetString(Buffer.alloc(1_000_000))))
    const entry = Buffer.from(tagged(0x64, octetString(Buffer.from("cn=a")), sequence(value)))
    return Array.from({ length: Math.ceil(MAX_ANSWER_OCTETS / 1_000_000) + 1 }, () => writeMessage(id, entry))
  }

  const rows: [name: string, answer: (id: number, socket: Socket) => Uint8Array | null, reason: RegExp][] = [
    ["busy", (id) => writeMessage(id, done(RESULT.busy)), /busy \(51\)$/],
    ["unavailable", (id) => writeMessage(id, done(RESULT.unavailable)), /unavailable \(52\)$/],
    ["no time left there", (id) => writeMessage(id, done(RESULT.timeLimitExceeded)), /timeLimitExceeded \(3\)$/],
    ["nothing within its limits", (id) => writeMessage(id, done(RESULT.sizeLimitExceeded)), /sizeLimitExceeded/],
    ["a result of no known number", (id) => writeMessage(id, done(99)), /result 99$/],
    ["silence", () => null, /did not answer in time|aborted/],
    ["it hangs up", (_, socket) => (socket.destroy() ? null : null), /closed the connection|ECONNRESET/],
    ["it says that it hangs up", () => writeMessage(0, done(RESULT.unavailable)), /ends the connection/],
    ["no LDAP", () => Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"), /ldap: /],
    ["a message of 2 GB", () => hex("30 84 7f ff ff ff 02 01 02"), /over \d+ octets/],
    ["an endless message", () => hex("30 80 02 01 02"), /indefinite length/],
    [
      "an attribute that claims to be longer than its entry",
      (id) => hex(`30 14 02 01 0${id} 64 0f 04 00 30 0b 30 09 04 01 61 31 84 7f ff ff ff`),
      /cut off/,
    ],
    ["entries without end", (id) => Buffer.concat(manyEntries(id)), /an answer of over \d+ octets/],
    ["a bind answer to a search", (id) => writeMessage(id, hex("61 07 0a 01 00 04 00 04 00")), /something else/],
  ]
  for (const [name, answer, reason] of rows)
    test(`no answer: ${name}`, async () => {
      await using server = await scripted(answer)
      using source = ldapSource(directory(server.port))
      const patience = AbortSignal.timeout(name === "silence" ? 300 : 10_000)
      const error = await ask(source, "a@example.test", patience).catch((error: unknown) => error)
      expect(error).toMatchObject({ code: "KEY_SOURCE_SILENT", message: expect.stringMatching(reason) })
      expect(String(error)).not.toContain("secret words")
    })

  test("StartTLS: what comes in clear behind the answer is not taken for what comes after it", async () => {
    const answer = (id: number): Uint8Array => {
      const granted = writeMessage(id, resultOperation(OPERATION.extendedResponse, { code: 0, diagnostic: "" }))
      // The beginning of an entry whose last value would swallow the first octets that are private.
      return Buffer.concat([granted, hex("30 82 01 00 02 01 02 64")])
    }
    await using server = await scripted(answer)
    const place = { host: "localhost", port: server.port, security: "starttls", authorities: null } as const
    using source = ldapSource(directory(0, { server: place }))
    await expect(ask(source, "a@example.test")).rejects.toMatchObject({
      code: "KEY_SOURCE_SILENT",
      message: expect.stringMatching(/octets in clear/),
    })
  })

  test("StartTLS that is refused ends it: nothing is asked in clear", async () => {
    let requests = 0
    await using server = await scripted((id) => {
      requests++
      return writeMessage(id, resultOperation(OPERATION.extendedResponse, { code: 2, diagnostic: "" }))
    })
    const place = { host: "localhost", port: server.port, security: "starttls", authorities: null } as const
    using source = ldapSource(directory(0, { server: place }))
    await expect(ask(source, "a@example.test")).rejects.toThrow(/protocolError \(2\) to StartTLS/)
    expect(requests).toBe(1)
  })

  test("an entry's name does not command terminals", async () => {
    const dn = "cn=\u001b[31mred"
    const entry = Buffer.concat([hex("64 10 04 0c"), Buffer.from(dn), hex("30 00")])
    entry[1] = entry.length - 2
    entry[3] = Buffer.byteLength(dn)
    await using server = await scripted((id) => Buffer.concat([writeMessage(id, entry), writeMessage(id, done(0))]))
    using source = ldapSource(directory(server.port))
    expect(await ask(source, "a@example.test")).toEqual({ candidates: [], remarks: [] })
  })
})

test("a filter that is none stops the start", () => {
  expect(() => ldapSource(directory(1, { filter: "(mail={address}" }))).toThrow(/filter/)
})
