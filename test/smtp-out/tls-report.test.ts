import { once } from "node:events"
import type { IncomingHttpHeaders } from "node:http"
import { createServer, type Server } from "node:https"
import type { AddressInfo } from "node:net"
import { gunzipSync } from "node:zlib"
import { simpleParser } from "mailparser"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { silentLog } from "../../src/log/log.ts"
import { formatAddress, parseAddress } from "../../src/message/address.ts"
import { CountedResults } from "../../src/smtp-out/counted-results.ts"
import { reportPlaces } from "../../src/smtp-out/tls-report.ts"
import { TlsReporter } from "../../src/smtp-out/tls-reporter.ts"
import type { TlsSession } from "../../src/smtp-out/tls-result.ts"
import type { State } from "../../src/store/database.ts"
import { openEmbeddedState } from "../../src/store/state.ts"
import { KeptTlsResults, MAX_ROWS_OF_DOMAIN } from "../../src/store/tls-results.ts"
import { type TestCertificate, testCertificate } from "../harness/certificate.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"

const never = new AbortController().signal
const YESTERDAY = new Date("2026-11-25T12:00:00Z")
/** Every report of that day is due. */
const TODAY = new Date("2026-11-26T04:01:00Z")

let folder: TemporaryFolder
let certificate: TestCertificate
let web: Server
let status = 201
const posted: { url: string | undefined; headers: IncomingHttpHeaders; body: Buffer }[] = []

beforeAll(async () => {
  folder = await temporaryFolder()
  certificate = await testCertificate("reports.remote.example")
  web = createServer({ key: certificate.key, cert: certificate.certificate }, async (request, response) => {
    const body: Buffer[] = []
    for await (const octets of request) body.push(octets as Buffer)
    posted.push({ url: request.url, headers: request.headers, body: Buffer.concat(body) })
    response.writeHead(status).end()
  }).listen(0, "127.0.0.1")
  await once(web, "listening")
})
afterAll(async () => {
  web?.closeAllConnections()
  web?.close()
  await folder?.[Symbol.asyncDispose]()
})

describe("where reports are wanted", () => {
  const rows: [name: string, records: string[], places: string[]][] = [
    ["mailto", ["v=TLSRPTv1;rua=mailto:reports@example.com"], ["reports@example.com"]],
    ["https", ["v=TLSRPTv1; rua=https://r.example.com/v1?x=1;"], ["https://r.example.com/v1?x=1"]],
    ["both", ["v=TLSRPTv1;rua=mailto:a@x.example,https://b.example/"], ["a@x.example", "https://b.example/"]],
    ["percent-encoded", ["v=TLSRPTv1;rua=mailto:a%2Cb@x.example"], []],
    ["extensions before", ["v=TLSRPTv1;ext=1;rua=mailto:a@x.example"], ["a@x.example"]],
    ["beside another record", ["v=spf1 -all", "v=TLSRPTv1;rua=mailto:a@x.example"], ["a@x.example"]],
    ["two records", ["v=TLSRPTv1;rua=mailto:a@x.example", "v=TLSRPTv1;rua=mailto:b@x.example"], []],
    ["none", [], []],
    ["no rua", ["v=TLSRPTv1;"], []],
    ["other schemes", ["v=TLSRPTv1;rua=http://x.example/,ftp://x.example,file:///etc/passwd,a@x.example"], []],
    ["a password", ["v=TLSRPTv1;rua=https://u:p@x.example/"], []],
    ["no address", ["v=TLSRPTv1;rua=mailto:,mailto:%ff,mailto:a@x.example%0d%0aBcc:v@y.example"], []],
    ["too many", [`v=TLSRPTv1;rua=${"mailto:a@x.example,".repeat(9)}`], Array.from({ length: 5 }, () => "a@x.example")],
  ]
  test.each(rows)("%s", (_name, records, places) => {
    const found = reportPlaces(records).map((place) =>
      place.kind === "mailto" ? formatAddress(place.address) : place.url.href,
    )
    expect(found).toEqual(places)
  })
})

const STS = {
  type: "sts",
  strings: ["version: STSv1", "mode: testing", "mx: mx1.remote.example", "max_age: 86400"],
  mx: ["mx1.remote.example"],
} as const
const SUCCESS: TlsSession = {
  domain: "Remote.example",
  policy: STS,
  result: "success",
  mx: "mx1.remote.example",
  address: "192.0.2.1",
  reason: "",
}
const EXPIRED: TlsSession = { ...SUCCESS, result: "certificate-expired", reason: "CERT_HAS_EXPIRED" }

/** State with these sessions of yesterday, counted by two processes. */
function counted(name: string, sessions: readonly TlsSession[]): { database: State; results: KeptTlsResults } {
  const database = openEmbeddedState(folder.file(name))
  const results = new KeptTlsResults(database)
  for (const half of [0, 1]) {
    using counting = new CountedResults(results, () => YESTERDAY, silentLog())
    for (const [index, session] of sessions.entries()) if (index % 2 === half) counting.count(session)
  }
  return { database, results }
}

interface Sent {
  readonly to: string
  readonly octets: Uint8Array
}

function reporter(results: KeptTlsResults, txt: string[] | "SERVFAIL", mails: Sent[], now = TODAY): TlsReporter {
  return new TlsReporter({
    results,
    resolver: {
      text: async (name) => {
        expect(name).toBe("_smtp._tls.remote.example")
        if (txt === "SERVFAIL") throw new Error("SERVFAIL")
        return txt
      },
      addresses: async (canonical) => ({ records: ["127.0.0.1"], secure: false, canonical }),
    },
    organization: "example.test",
    hostname: "mx.example.test",
    postmaster: parseAddress("postmaster@example.test"),
    submit: async ({ to, octets }) => void mails.push({ to: formatAddress(to), octets }),
    https: { authority: certificate.certificate, isAllowed: () => true },
    now: () => now,
    log: silentLog(),
  })
}

const REPORT = {
  "organization-name": "example.test",
  "date-range": { "start-datetime": "2026-11-25T00:00:00Z", "end-datetime": "2026-11-25T23:59:59Z" },
  "contact-info": "postmaster@example.test",
  "report-id": "2026-11-25_remote.example@example.test",
  policies: [
    {
      policy: {
        "policy-type": "sts",
        "policy-string": STS.strings,
        "policy-domain": "remote.example",
        "mx-host": STS.mx,
      },
      summary: { "total-successful-session-count": 3, "total-failure-session-count": 2 },
      "failure-details": [
        {
          "result-type": "certificate-expired",
          "receiving-mx-hostname": "mx1.remote.example",
          "receiving-ip": "192.0.2.1",
          "failed-session-count": 2,
          "failure-reason-code": "CERT_HAS_EXPIRED",
        },
      ],
    },
  ],
}

describe("a day's report", () => {
  test("goes by mail as RFC 8460 §5.3 has it, once", async () => {
    const { database, results } = counted("mail", [SUCCESS, EXPIRED, SUCCESS, EXPIRED, SUCCESS])
    const mails: Sent[] = []
    const reporting = reporter(results, ["v=TLSRPTv1;rua=mailto:tls@remote.example"], mails)
    for (const _round of [1, 2]) await reporting.send(never)
    expect(mails.map(({ to }) => to)).toEqual(["tls@remote.example"])
    const mail = await simpleParser(Buffer.from(mails[0]?.octets ?? []))
    expect(mail.headers.get("tls-report-domain")).toBe("remote.example")
    expect(mail.headers.get("tls-report-submitter")).toBe("example.test")
    expect(mail.headers.get("tls-required")).toBe("No")
    expect(mail.headers.get("content-type")).toMatchObject({
      value: "multipart/report",
      params: { "report-type": "tlsrpt" },
    })
    expect(mail.subject).toBe(
      "Report Domain: remote.example Submitter: example.test Report-ID: <2026-11-25_remote.example@example.test>",
    )
    const [attachment] = mail.attachments
    expect(attachment?.contentType).toBe("application/tlsrpt+gzip")
    expect(attachment?.filename).toBe("example.test!remote.example!1795564800!1795651199!001.json.gz")
    expect(JSON.parse(gunzipSync(attachment?.content ?? "").toString())).toEqual(REPORT)
    expect(results.before("2026-11-27")).toEqual([])
    database.close()
  })

  test("goes by HTTPS, and again where that is refused", async () => {
    const { database, results } = counted("https", [SUCCESS, EXPIRED, SUCCESS, EXPIRED, SUCCESS])
    const { port } = web.address() as AddressInfo
    const reporting = reporter(results, [`v=TLSRPTv1;rua=https://reports.remote.example:${port}/v1?k=1`], [])
    status = 503
    await reporting.send(never)
    expect(results.before("2026-11-26")).toHaveLength(1)
    status = 201
    await reporting.send(never)
    await reporting.send(never)
    expect(posted).toHaveLength(2)
    expect(posted[1]?.url).toBe("/v1?k=1")
    expect(posted[1]?.headers["content-type"]).toBe("application/tlsrpt+gzip")
    expect(JSON.parse(gunzipSync(posted[1]?.body ?? "").toString())).toEqual(REPORT)
    database.close()
  })

  test("is not made for who does not want it; for who cannot be asked it waits, for some days", async () => {
    const { database, results } = counted("unwanted", [SUCCESS])
    const mails: Sent[] = []
    await reporter(results, "SERVFAIL", mails).send(never)
    expect(results.before("2026-11-26")).toHaveLength(1)
    await reporter(results, [], mails).send(never)
    expect(results.before("2026-11-26")).toEqual([])
    database.close()
    const later = counted("late", [SUCCESS])
    await reporter(later.results, "SERVFAIL", mails, new Date("2026-11-29T00:00:00Z")).send(never)
    expect(later.results.before("2026-11-30")).toEqual([])
    expect(mails).toEqual([])
    later.database.close()
  })

  test("is not made before the day is over, and not by all the world at midnight", async () => {
    const { database, results } = counted("early", [SUCCESS])
    const mails: Sent[] = []
    for (const time of ["2026-11-25T23:59:59Z", "2026-11-26T00:00:30Z"])
      await reporter(results, ["v=TLSRPTv1;rua=mailto:a@x.example"], mails, new Date(time)).send(never)
    expect(mails).toEqual([])
    database.close()
  })
})

test("who is written to by everybody fills no disk: above the limit the details go, the numbers stay", () => {
  const sessions = Array.from({ length: MAX_ROWS_OF_DOMAIN + 50 }, (_, index) => ({
    ...EXPIRED,
    mx: `mx${index}.remote.example`,
  }))
  const { database, results } = counted("many", sessions)
  const rows = results.of({ day: "2026-11-25", domain: "remote.example" })
  expect(rows).toHaveLength(MAX_ROWS_OF_DOMAIN + 1)
  expect(rows.find(({ mx }) => mx === "")?.sessions).toBe(50)
  expect(results.sessions("2026-11-25")).toEqual({ "certificate-expired": MAX_ROWS_OF_DOMAIN + 50 })
  database.close()
})
