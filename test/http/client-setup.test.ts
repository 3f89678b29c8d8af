import { request } from "node:https"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/load.ts"
import { autodiscoverUrl } from "../../src/http/autodiscover.ts"
import { startPublicHttp } from "../../src/http/public.ts"
import { silentLog } from "../../src/log/log.ts"
import { type TestCertificate, testCertificate } from "../harness/certificate.ts"
import { mustRun, peer } from "../harness/peers.ts"
import { nobodysKeys } from "./published.ts"

/** What a request got. */
interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly body: string
}

const LISTEN = `
domains = ["example.test", "other.test"]
hostname = "mail.example.test"
[listen]
imap = "*:143"
imaps = "*:993"
submission = "*:587"
submissions = "*:465"
https = "*:443"
`
const OUTLOOK = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"

let certificate: TestCertificate
let server: Awaited<ReturnType<typeof startPublicHttp>>
beforeAll(async () => {
  certificate = await testCertificate()
  server = await start(LISTEN)
})
afterAll(() => server?.close())

async function start(toml: string): Promise<typeof server> {
  const config = parseConfig(toml, "/nowhere/postern.toml")
  return startPublicHttp({
    host: "127.0.0.1",
    port: 0,
    tls: certificate,
    ...nobodysKeys(config.domains),
    clients: { domains: config.domains, services: config.clients },
    stsPolicy: null,
    mesh: null,
    shelf: null,
    log: silentLog(),
  })
}

interface Sending {
  readonly method?: string
  readonly host?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
}

function ask(
  path: string,
  { method = "GET", host = "localhost", headers = {}, body }: Sending = {},
  at = server,
): Promise<Answer> {
  const { port } = new URL(at.listeningOrigin)
  const options = { port, path, method, ca: certificate.certificate, headers: { host, ...headers }, agent: false }
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", servername: "localhost", ...options }, (response) => {
      const pieces: Uint8Array[] = []
      response.on("data", (piece: Uint8Array) => pieces.push(piece))
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(pieces).toString("utf8"),
        }),
      )
    })
    sent.on("error", reject)
    sent.end(body)
  })
}

/** A document as a real XML parser sees it: each element as [name without name space, attributes, text or children]. */
async function parsed(document: string): Promise<unknown> {
  const program = `
import sys, json, xml.etree.ElementTree as tree
def see(node):
    name = node.tag.split("}")[-1]
    inner = [see(child) for child in node] or (node.text or "")
    return [name, dict(node.attrib), inner] if node.attrib else [name, inner]
print(json.dumps(see(tree.fromstring(sys.stdin.buffer.read()))))
`
  return JSON.parse(Buffer.from(await mustRun("python3", ["-c", program], { input: document })).toString())
}

describe("autoconfiguration as Thunderbird asks for it", () => {
  const paths = ["/.well-known/autoconfig/mail/config-v1.1.xml", "/mail/config-v1.1.xml"]

  test.skipIf(!peer("python3"))("IMAP and SMTP, TLS from the start before STARTTLS", async () => {
    const entry = (kind: string, type: string, port: number, socketType: string) => [
      kind,
      { type },
      [
        ["hostname", "mail.example.test"],
        ["port", String(port)],
        ["socketType", socketType],
        ["username", "%EMAILADDRESS%"],
        ["authentication", "password-cleartext"],
      ],
    ]
    const [first, second] = await Promise.all(paths.map((path) => ask(`${path}?emailaddress=alice%40example.test`)))
    expect(first).toMatchObject({
      status: 200,
      headers: {
        "content-type": "text/xml; charset=utf-8",
        "cache-control": "public, max-age=300",
        "x-content-type-options": "nosniff",
      },
    })
    expect(second?.body).toBe(first?.body)
    const provider = [
      ["domain", "example.test"],
      ["displayName", "example.test"],
      ["displayShortName", "example.test"],
      entry("incomingServer", "imap", 993, "SSL"),
      entry("incomingServer", "imap", 143, "STARTTLS"),
      entry("outgoingServer", "smtp", 465, "SSL"),
      entry("outgoingServer", "smtp", 587, "STARTTLS"),
    ]
    expect(await parsed(first?.body ?? "")).toEqual([
      "clientConfig",
      { version: "1.1" },
      [["emailProvider", { id: "example.test" }, provider]],
    ])
  })

  test("the domain is that of the address, else of the host; nobody learns who has an account", async () => {
    const rows: [query: string, host: string, want: string | number][] = [
      ["", "autoconfig.other.test", "other.test"],
      ["", "Other.TEST:443", "other.test"],
      ["", "127.0.0.1", "example.test"],
      ["?emailaddress=x%40other.test", "autoconfig.example.test", "other.test"],
      ["?emailaddress=X%40OTHER.test", "example.test", "other.test"],
      ["?emailaddress=nobody%40example.test", "example.test", "example.test"],
      ["?emailaddress=a%40elsewhere.test", "example.test", 404],
      ["?emailaddress=", "example.test", 400],
      ["?emailaddress=alice", "example.test", 400],
      ["?emailaddress=%3Cx%3E%40example.test", "example.test", 400],
      ["?emailaddress=a%40example.test&emailaddress=b%40example.test", "example.test", 400],
      ["?emailaddress[x]=a%40example.test&other=1", "other.test", "other.test"],
    ]
    for (const [query, host, want] of rows) {
      const { status, body } = await ask(`${paths[1]}${query}`, { host })
      const seen = status === 200 ? /<domain>(.*)<\/domain>/.exec(body)?.[1] : status
      expect([query, host, seen]).toEqual([query, host, want])
    }
    const [known, unknown] = await Promise.all(
      ["alice", "nobody"].map((name) => ask(`${paths[0]}?emailaddress=${name}%40example.test`)),
    )
    expect(known?.body).toBe(unknown?.body)
  })

  test("ports and name that clients are to use, and nothing where there is nothing to read from", async () => {
    await using resources = new AsyncDisposableStack()
    const forwarded = await start(`${LISTEN}[clients]\nhost = "imap.other.test"\nimaps = 10993\nsubmissions = 10465\n`)
    resources.defer(() => forwarded.close())
    const { body } = await ask(`${paths[1]}?emailaddress=a%40other.test`, {}, forwarded)
    expect(body.match(/<port>\d+/g)).toEqual(["<port>10993", "<port>143", "<port>10465", "<port>587"])
    expect(new Set(body.match(/<hostname>[^<]+/g))).toEqual(new Set(["<hostname>imap.other.test"]))
    const bare = await start('domains = ["example.test"]\nlisten.https = "*:443"\n')
    resources.defer(() => bare.close())
    expect((await ask(`${paths[1]}?emailaddress=a%40example.test`, {}, bare)).status).toBe(404)
  })
})

describe("Autodiscover as Outlook asks for it", () => {
  const asking = (address: string, schema = OUTLOOK, more = "") =>
    `<?xml version="1.0" encoding="utf-8"?>${more}<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">` +
    `<Request><EMailAddress>${address}</EMailAddress><AcceptableResponseSchema>${schema}</AcceptableResponseSchema></Request></Autodiscover>`
  const post = (body: string | Uint8Array, more: Sending = {}) =>
    ask("/autodiscover/autodiscover.xml", {
      method: "POST",
      body,
      headers: { "content-type": "text/xml; charset=utf-8" },
      ...more,
    })
  const codeOf = ({ status, body }: Answer): string | number =>
    status === 200 ? (/<ErrorCode>(\d+)</.exec(body)?.[1] ?? "settings") : status

  test.skipIf(!peer("python3"))("one IMAP and one SMTP, the address as user name", async () => {
    const { status, headers, body } = await post(asking("o&apos;neill@example.test"))
    expect([status, headers["content-type"], headers["cache-control"]]).toEqual([
      200,
      "text/xml; charset=utf-8",
      "no-store",
    ])
    expect(body).toContain(`<Response xmlns="${OUTLOOK}">`)
    const protocol = (type: string, port: number, ...more: string[][]) => [
      "Protocol",
      [
        ["Type", type],
        ["Server", "mail.example.test"],
        ["Port", String(port)],
        ["LoginName", "o'neill@example.test"],
        ["DomainRequired", "off"],
        ["SPA", "off"],
        ["SSL", "on"],
        ["Encryption", "SSL"],
        ["AuthRequired", "on"],
        ...more,
      ],
    ]
    const account = [
      "Account",
      [
        ["AccountType", "email"],
        ["Action", "settings"],
        protocol("IMAP", 993),
        protocol("SMTP", 465, ["UsePOPAuth", "on"], ["SMTPLast", "off"]),
      ],
    ]
    expect(await parsed(body)).toEqual(["Autodiscover", [["Response", [account]]]])
  })

  test("any case of the path, any content type or none, a byte order mark, a prefix", async () => {
    for (const path of ["/Autodiscover/Autodiscover.xml", "/AUTODISCOVER/autodiscover.XML?x=1"])
      expect(codeOf(await ask(path, { method: "POST", body: asking("a@example.test") }))).toBe("settings")
    expect(codeOf(await post(asking("a@example.test"), { headers: { "content-type": "application/json" } }))).toBe(
      "settings",
    )
    expect(codeOf(await post(`\ufeff${asking("a@example.test")}`))).toBe("settings")
    const prefixed = asking("a@example.test").replaceAll(/(<\/?)(?=[AER])/g, "$1q:")
    expect(prefixed).toContain("<q:EMailAddress>")
    expect(codeOf(await post(prefixed))).toBe("settings")
  })

  test("STARTTLS where TLS from the start is not served", async () => {
    const only = await start(LISTEN.replace(/^(imaps|submissions) .*$/gm, ""))
    try {
      const { body } = await ask(
        "/autodiscover/autodiscover.xml",
        { method: "POST", body: asking("a@example.test") },
        only,
      )
      expect(body.match(/<(?:Port|Encryption)>\w+/g)).toEqual([
        "<Port>143",
        "<Encryption>TLS",
        "<Port>587",
        "<Encryption>TLS",
      ])
    } finally {
      await only.close()
    }
  })

  test("what is not answered with settings", async () => {
    const rows: [name: string, body: string | Uint8Array, want: string | number][] = [
      ["another domain", asking("a@elsewhere.test"), "500"],
      [
        "Exchange ActiveSync",
        asking("a@example.test", "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"),
        "601",
      ],
      ["no address", asking("alice"), "600"],
      ["an empty address", asking(""), "600"],
      ["no body", "", "600"],
      ["no XML", "{}", "600"],
      ["not UTF-8", Buffer.from(asking("a@example.test"), "utf16le"), "600"],
      ["two addresses", asking("a@example.test</EMailAddress><EMailAddress>b@example.test"), "600"],
      ["elements inside", asking("<b/>a@example.test"), "600"],
      ["a document type", asking("&x;@example.test", OUTLOOK, '<!DOCTYPE x [<!ENTITY x "a">]>'), "600"],
      ["an external entity", asking("&x;", OUTLOOK, '<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>'), "600"],
      ["an entity of nobody's", asking("&x;@example.test"), "600"],
      ["a bare ampersand", asking("a&b@example.test"), "600"],
      ["a character that is none", asking("&#xd800;@example.test"), "600"],
      ["a CDATA section", asking("<![CDATA[a@example.test]]>"), "600"],
      ["too large", asking("a@example.test", OUTLOOK, " ".repeat(9_000)), 413],
    ]
    for (const [name, body, want] of rows) expect([name, codeOf(await post(body))]).toEqual([name, want])
    const [known, unknown] = await Promise.all(["alice", "nobody"].map((name) => post(asking(`${name}@example.test`))))
    expect(known?.body.replaceAll("alice", "nobody")).toBe(unknown?.body)
    expect(codeOf(await ask("/autodiscover/autodiscover.xml"))).toBe("600")
  })

  test("version 2 points to the one above", async () => {
    const json = (query: string) => ask(`/autodiscover/autodiscover.json?${query}`)
    const found = await json("Email=a%40example.test&Protocol=AutodiscoverV1")
    expect([found.status, JSON.parse(found.body)]).toEqual([
      200,
      { Protocol: "AutodiscoverV1", Url: "https://mail.example.test/autodiscover/autodiscover.xml" },
    ])
    const rows: [query: string, status: number, code: string][] = [
      ["Email=a%40example.test&Protocol=ActiveSync", 400, "InvalidProtocol"],
      ["Email=a%40example.test", 400, "InvalidProtocol"],
      ["Email=a%40elsewhere.test&Protocol=AutodiscoverV1", 404, "UserNotFound"],
      ["Protocol=AutodiscoverV1", 404, "UserNotFound"],
    ]
    for (const [query, status, code] of rows) {
      const answer = await json(query)
      expect([query, answer.status, JSON.parse(answer.body).ErrorCode]).toEqual([query, status, code])
    }
  })

  test("only its own paths are taken in any case", () => {
    expect(autodiscoverUrl("/AutoDiscover/AutoDiscover.XML?A=B?c")).toBe("/autodiscover/autodiscover.xml?A=B?c")
    expect(autodiscoverUrl("/Autodiscover/Other")).toBe("/Autodiscover/Other")
  })
})

describe("errors are text with the right status, and no fault of the server", () => {
  const rows: [method: string, path: string, body: string | undefined, status: number, allow?: string][] = [
    ["GET", "/nothing", undefined, 404],
    ["POST", "/mail/config-v1.1.xml", undefined, 405, "GET, HEAD"],
    ["DELETE", "/Autodiscover/Autodiscover.xml", undefined, 405, "GET, HEAD, POST"],
    ["PUT", "/.well-known/autoconfig/mail/config-v1.1.xml?x", undefined, 405, "GET, HEAD"],
    ["GET", "/%zz", undefined, 400],
    ["POST", "/nothing", "x".repeat(9_000), 404],
    ["POST", "/autodiscover/autodiscover.xml", "x".repeat(9_000), 413],
  ]
  for (const [method, path, body, status, allow] of rows)
    test(`${method} ${path}: ${status}`, async () => {
      const answer = await ask(path, { method, ...(body === undefined ? {} : { body }) })
      expect([answer.status, answer.headers["allow"]]).toEqual([status, allow])
      expect(answer.headers["content-type"]).toBe("text/plain; charset=utf-8")
      expect(answer.body).toMatch(/^[a-z ]+\n$/)
    })
})
