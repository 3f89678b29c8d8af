import { createServer, type Server as HttpsServer } from "node:https"
import { join } from "node:path"
import { gunzipSync } from "node:zlib"
import { simpleParser } from "mailparser"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { openEmbeddedState } from "../../../src/store/state.ts"
import { KeptTlsResults } from "../../../src/store/tls-results.ts"
import { testCertificate } from "../../harness/certificate.ts"
import { DKIM_VERIFIERS } from "../../harness/dkim-verifiers.ts"
import { eventually } from "../../harness/instance.ts"
import type { SmtpSink } from "../../harness/smtp-sink.ts"
import { message, SECRET, tlsa, World, worldPossible } from "./world.ts"

/** Postfix: in signed.test (DANE) and open.test (neither signed nor anything else), over IPv4 and IPv6. */
const POSTFIX = ["11.0.2.1", "2a0e::2"] as const
/** Domains of open.test with a policy of MTA-STS, and the mail exchanger that it names. */
const POLICIES: Readonly<Record<string, string>> = {
  "enforce.open.test": "mode: enforce\nmx: mx.open.test",
  "other.open.test": "mode: enforce\nmx: mx-other.open.test",
  "away.open.test": "mode: enforce\nmx: mx-away.open.test",
  "testing.open.test": "mode: testing\nmx: mx-other.open.test",
}

let world: World
let policyHost: HttpsServer
const sinks: Record<"wrong" | "clear" | "requiretls" | "reuse" | "later" | "other" | "away", SmtpSink> =
  Object.create(null)
/** What the sink of later.open.test got before each final dot. */
const got: Buffer[] = []

beforeAll(async () => {
  if (!worldPossible) return
  const [mx, peers, other, policies] = await Promise.all([
    testCertificate("mx.signed.test", "mx.open.test"),
    testCertificate("mx-away.open.test"),
    testCertificate("somebody.else.test"),
    testCertificate(...Object.keys(POLICIES).map((domain) => `mta-sts.${domain}`)),
  ])
  const signed = [
    ...["@ MX 10 mx", "mx A 11.0.2.1", `_25._tcp.mx TLSA ${tlsa(mx)}`],
    ...["wrong MX 10 mx-wrong", "mx-wrong A 11.0.2.10", `_25._tcp.mx-wrong TLSA ${tlsa(mx)}`],
    ...["clear MX 10 mx-clear", "mx-clear A 11.0.2.16", `_25._tcp.mx-clear TLSA ${tlsa(mx)}`],
    ...["requiretls MX 10 mx-requiretls", "mx-requiretls A 11.0.2.11", `_25._tcp.mx-requiretls TLSA ${tlsa(peers)}`],
  ]
  const open = [
    ...["@ MX 5 down", "@ MX 10 mx", "down A 11.0.2.99", "mx A 11.0.2.1", `_25._tcp.mx TLSA ${tlsa(other)}`],
    ...["bare A 11.0.2.1", "six MX 10 mx6", "mx6 AAAA 2a0e::2", "null MX 0 ."],
    ...["reuse MX 10 mx-reuse", "mx-reuse A 11.0.2.12", "later MX 10 mx-later", "mx-later A 11.0.2.13"],
    ...["enforce MX 10 mx", "other MX 10 mx-other", "away MX 10 mx-away", "testing MX 10 mx-other"],
    ...["mx-other A 11.0.2.14", "mx-away A 11.0.2.15", "loop MX 10 mx-loop", "mx-loop A 11.0.0.1"],
    ...Object.keys(POLICIES).flatMap((domain) => {
      const [name = ""] = domain.split(".")
      return [`mta-sts.${name} A 11.0.3.1`, `_mta-sts.${name} TXT "v=STSv1; id=1;"`]
    }),
    `_smtp._tls.testing TXT "v=TLSRPTv1; rua=mailto:tls@open.test,mailto:nobody@signed.test"`,
  ]
  world = await World.start({
    zones: () => [
      { name: "signed.test", state: "signed", records: signed },
      { name: "expired.test", state: "expired", records: ["@ MX 10 mx", "mx A 11.0.2.1"] },
      { name: "open.test", state: "unsigned", records: open },
    ],
    postfix: {
      hostname: "mx.signed.test",
      addresses: POSTFIX,
      domains: ["signed.test", "expired.test", "open.test", "bare.open.test", "six.open.test", "enforce.open.test"],
      tls: mx,
      more: {
        smtpd_recipient_restrictions:
          "check_recipient_access inline:{ { busy@signed.test = 450 4.2.1 mailbox busy }, { nobody@signed.test = 550 5.1.1 no such person } }",
      },
    },
    authorities: [mx, peers, policies],
  })
  const never = { data: () => "554 5.7.0 this mail should not be here" }
  sinks.wrong = await world.sink("11.0.2.10", { tls: other, ...never })
  sinks.clear = await world.sink("11.0.2.16", never)
  sinks.requiretls = await world.sink("11.0.2.11", { tls: peers, server: { hideREQUIRETLS: false } })
  sinks.reuse = await world.sink("11.0.2.12", { tls: other })
  sinks.later = await world.sink("11.0.2.13", {
    tls: other,
    data: ({ octets }) => (got.push(octets) > 1 ? null : "451 4.3.0 not today"),
  })
  sinks.other = await world.sink("11.0.2.14", { tls: other })
  sinks.away = await world.sink("11.0.2.15", { tls: peers })
  policyHost = createServer({ key: policies.key, cert: policies.certificate }, (request, response) => {
    const lines = POLICIES[(request.headers.host ?? "").replace(/^mta-sts\./, "")]
    response.setHeader("content-type", "text/plain").end(`version: STSv1\n${lines}\nmax_age: 604800\n`)
  })
  policyHost.listen(await world.internet.listen("11.0.3.1", 443))
})

afterAll(async () => {
  policyHost?.closeAllConnections()
  policyHost?.close()
  await world?.[Symbol.asyncDispose]()
})

const TLS = /\(using TLSv1\.3 with cipher /

describe.skipIf(!worldPossible)("a gateway delivers by MX to port 25", () => {
  /** Sends one message to one recipient. */
  async function send(name: string, recipient: string, parameters: { readonly mail?: string } = {}) {
    const id = await world.submit(message(name, recipient), [recipient], parameters)
    return { id, ...(await world.attempt(id, recipient)) }
  }

  describe("to Postfix", () => {
    test("the second exchanger where the first is down: TLS as offered, signed, octet for octet", async () => {
      expect(await send("preference", "bob@open.test")).toMatchObject({ outcome: "done", status: "2.0.0" })
      const arrived = await world.postfix.received("<preference@example.test>")
      expect(arrived).toMatch(TLS)
      expect(arrived).toMatch(/^Return-Path: <alice@example\.test>\n/)
      expect(arrived).toContain("\n\tby mx.signed.test (Postfix) with ESMTPS id ")
      const octets = Buffer.from(arrived.replaceAll("\n", "\r\n"), "latin1")
      expect(octets.includes(message("preference", "bob@open.test"))).toBe(true)
      const records = JSON.parse(await world.gateway.must("dkim", "dns", "--json")) as { name: string; text: string }[]
      const zone = Object.fromEntries(records.map(({ name, text }) => [`${name.slice(0, -1)} TXT`, [text]]))
      for (const { name, there, verify } of DKIM_VERIFIERS)
        if (there) expect(await verify([octets], zone), name).toEqual([["pass", "pass"]])
    })

    test("a domain without MX gets it at its address", async () => {
      expect(await send("bare", "bob@bare.open.test")).toMatchObject({ outcome: "done" })
      expect(await world.postfix.received("<bare@example.test>")).toMatch(TLS)
    })

    test("an exchanger with IPv6 only", async () => {
      expect(await send("six", "bob@six.open.test")).toMatchObject({ outcome: "done" })
      expect(await world.postfix.received("<six@example.test>")).toContain("[IPv6:2a0e::1]")
    })

    test("null MX: returned to the sender at once, with 5.1.10", async () => {
      expect(await send("null", "bob@null.open.test")).toMatchObject({ outcome: "failed", status: "5.1.10" })
      const { inside, outside } = await world.inMailbox('SUBJECT "Undelivered mail"')
      expect(inside).toContain(
        "\r\nFinal-Recipient: rfc822; bob@null.open.test\r\nAction: failed\r\nStatus: 5.1.10\r\n",
      )
      expect(outside).not.toContain("null.open.test")
    })

    test("an exchanger that is ourselves: a loop, returned with 5.4.6", async () => {
      expect(await send("loop", "bob@loop.open.test")).toMatchObject({ outcome: "failed", status: "5.4.6" })
    })

    test("4xx for one of three recipients, 5xx for another: each gets its own outcome, the sender one report", async () => {
      const [glad, busy, nobody] = ["glad@signed.test", "busy@signed.test", "nobody@signed.test"] as const
      const id = await world.submit(message("three", "them"), [glad, busy, nobody], { mail: "ENVID=three" })
      expect(await world.attempt(id, glad)).toMatchObject({ outcome: "done" })
      expect(await world.attempt(id, busy)).toMatchObject({ outcome: "retry", status: "4.2.1" })
      expect(await world.attempt(id, nobody)).toMatchObject({ outcome: "failed", status: "5.1.1" })
      expect(await world.postfix.received("<three@example.test>")).toContain("X-Original-To: glad@signed.test")
      // Other messages of this file are returned, too.
      const inside = await eventually("the report", async () => {
        const report = await world.inMailbox('SUBJECT "Undelivered mail" HEADER Message-ID "report"')
        return report.inside.includes("<three@example.test>") ? report.inside : null
      })
      for (const line of [
        "Reporting-MTA: dns; mail.example.test",
        "Original-Envelope-Id: three",
        "Final-Recipient: rfc822; nobody@signed.test",
        "Action: failed",
        "Status: 5.1.1",
        "Remote-MTA: dns; mx.signed.test",
        "Diagnostic-Code: smtp; 550 5.1.1 <nobody@signed.test>: Recipient address rejected: no such person",
        "Message-ID: <three@example.test>",
      ])
        expect(inside).toContain(`\r\n${line}\r\n`)
      for (const other of [glad, busy, SECRET]) expect(inside).not.toContain(other)
      const jobs = JSON.parse(await world.gateway.must("queue", "show", id, "--json"))
      expect(jobs).toMatchObject({ jobs: [{ recipient: busy, state: "delayed", lastStatus: { status: "4.2.1" } }] })
      expect(world.postfix.mailbox("<three@example.test>")).toHaveLength(1)
    })

    test("a message that is refused at its end comes again with the same octets", async () => {
      const first = await send("later", "bob@later.open.test")
      expect(first).toMatchObject({ outcome: "retry", status: "4.3.0" })
      await world.gateway.must("queue", "retry", first.id)
      expect(await world.attempt(first.id, "bob@later.open.test", 1)).toMatchObject({ outcome: "done" })
      expect(got).toHaveLength(2)
      expect(got[0]).toEqual(got[1])
      expect(sinks.later.messages).toHaveLength(1)
    })

    test("the next message goes over the session of the one before", async () => {
      // Each thread has sessions of its own, and there are four at most.
      for (const name of ["first", "second", "third", "fourth", "fifth"]) await send(name, "bob@reuse.open.test")
      expect(sinks.reuse.messages).toHaveLength(5)
      expect(sinks.reuse.sessions).toBeLessThan(5)
    })
  })

  describe("DANE", () => {
    test("TLSA that fits: delivered", async () => {
      expect(await send("dane", "bob@signed.test")).toMatchObject({ outcome: "done" })
      expect(await world.postfix.received("<dane@example.test>")).toMatch(TLS)
    })

    test("TLSA of another key: deferred, and nothing was said to that server", async () => {
      expect(await send("mismatch", "bob@wrong.signed.test")).toMatchObject({ outcome: "retry", status: "4.7.4" })
      expect(failures("wrong.signed.test")).toEqual([["tlsa", "validation-failure"]])
      expect(sinks.wrong.sessions).toBeGreaterThan(0)
      expect(sinks.wrong.envelopes).toEqual([])
    })

    test("TLSA, and no STARTTLS: deferred, and nothing went in clear", async () => {
      expect(await send("clear", "bob@clear.signed.test")).toMatchObject({ outcome: "retry", status: "4.7.4" })
      expect(failures("clear.signed.test")).toEqual([["tlsa", "starttls-not-supported"]])
      expect(sinks.clear.envelopes).toEqual([])
    })

    test("TLSA in a zone that is not signed: no DANE", async () => {
      expect(await send("unsigned", "bob@open.test")).toMatchObject({ outcome: "done" })
      expect(await world.postfix.received("<unsigned@example.test>")).toMatch(TLS)
    })

    test("bogus signatures: deferred", async () => {
      expect(await send("bogus", "bob@expired.test")).toMatchObject({ outcome: "retry", status: "4.4.3" })
      expect(world.postfix.mailbox("<bogus@example.test>")).toEqual([])
    })
  })

  describe("REQUIRETLS", () => {
    test("to a server that promises the same: handed on as such", async () => {
      const sent = await send("promised", "bob@requiretls.signed.test", { mail: "REQUIRETLS" })
      expect(sent).toMatchObject({ outcome: "done" })
      expect(sinks.requiretls.messages).toMatchObject([{ tls: true, mailParameters: { REQUIRETLS: true } }])
    })

    test("to one that does not: returned with 5.7.30, and never handed over", async () => {
      const sent = await send("unpromised", "bob@signed.test", { mail: "REQUIRETLS" })
      expect(sent).toMatchObject({ outcome: "failed", status: "5.7.30" })
      expect(world.postfix.mailbox("<unpromised@example.test>")).toEqual([])
    })
  })

  describe("MTA-STS", () => {
    test("enforce, and a certificate of the exchanger's name: delivered", async () => {
      expect(await send("enforced", "bob@enforce.open.test")).toMatchObject({ outcome: "done" })
      expect(await world.postfix.received("<enforced@example.test>")).toMatch(TLS)
      expect(world.events("sts.fetched")).toMatchObject([{ domain: "enforce.open.test", mode: "enforce" }])
    })

    test("enforce, and a certificate of another name: deferred, and nothing was said to that server", async () => {
      expect(await send("othername", "bob@other.open.test")).toMatchObject({ outcome: "retry", status: "4.7.4" })
      expect(failures("other.open.test")).toEqual([["sts", "certificate-not-trusted"]])
      expect(sinks.other.envelopes).toEqual([])
    })

    test("testing, and a certificate of another name: delivered, and counted", async () => {
      expect(await send("tested", "bob@testing.open.test")).toMatchObject({ outcome: "done" })
      expect(failures("testing.open.test")).toEqual([["sts", "certificate-not-trusted"]])
      expect(sinks.other.messages).toHaveLength(1)
    })
  })

  describe("after a restart, two days later", () => {
    let before: number
    let counted: readonly string[]
    const day = new Date(Date.now() - 2 * 86_400e3).toISOString().slice(0, 10)

    beforeAll(async () => {
      expect(await send("known", "bob@away.open.test")).toMatchObject({ outcome: "done" })
      expect(sinks.away.messages).toMatchObject([{ tls: true }])
      await world.gateway.stop()
      before = world.events("mail.attempt").length
      const state = openEmbeddedState(join(world.gateway.folder, "data"))
      const results = new KeptTlsResults(state)
      counted = results
        .before("9999")
        .flatMap((one) =>
          results
            .of(one)
            .map(({ policy, result, sessions }) => `${one.domain} ${JSON.parse(policy).type} ${result} ${sessions}`),
        )
      state.sql.run`UPDATE sts_policy SET fetched_at = fetched_at - max_age * 600`
      state.sql.run`UPDATE tls_result SET day = ${day}`
      state.close()
      policyHost.closeAllConnections()
      policyHost.close()
      await sinks.away[Symbol.asyncDispose]()
      sinks.away = await world.sink("11.0.2.15")
      await world.serve()
    })

    test("sessions were counted by the policy that was in force", () => {
      expect(counted).toEqual(
        expect.arrayContaining([
          expect.stringMatching(/^signed\.test tlsa success \d$/),
          "wrong.signed.test tlsa validation-failure 1",
          "clear.signed.test tlsa starttls-not-supported 1",
          "enforce.open.test sts success 1",
          "other.open.test sts certificate-not-trusted 1",
          "testing.open.test sts certificate-not-trusted 1",
          expect.stringMatching(/^open\.test no-policy-found success \d$/),
        ]),
      )
    })

    test("a policy that is known is enforced, though its host is away", async () => {
      expect(await send("kept", "bob@away.open.test")).toMatchObject({ outcome: "retry", status: "4.7.4" })
      expect(world.events("sts.not-fetched")).toMatchObject([{ domain: "away.open.test", known: "enforce" }])
      expect(failures("away.open.test")).toEqual([["sts", "starttls-not-supported"]])
      expect(sinks.away.envelopes).toEqual([])
    })

    test("who asks for it gets a report by mail of what TLS came to, signed (RFC 8460)", async () => {
      const mail = await simpleParser(await world.postfix.received("TLS-Report-Domain: testing.open.test"))
      expect(mail.headers.get("dkim-signature")).toBeDefined()
      const report = JSON.parse(gunzipSync(mail.attachments[0]?.content ?? "").toString())
      expect(report).toMatchObject({ "contact-info": "postmaster@example.test" })
      expect(report.policies).toMatchObject([
        {
          policy: { "policy-type": "sts", "policy-domain": "testing.open.test", "mx-host": ["mx-other.open.test"] },
          summary: { "total-successful-session-count": 0, "total-failure-session-count": 1 },
          "failure-details": [
            { "result-type": "certificate-not-trusted", "receiving-mx-hostname": "mx-other.open.test" },
          ],
        },
      ])
    })

    test("a report that is refused is returned to nobody: never a bounce of a bounce", async () => {
      const attempts = () => world.events("mail.attempt").slice(before)
      const refused = () => attempts().find(({ recipient }) => recipient === "nobody@signed.test")
      expect(await eventually("the second report is refused", refused)).toMatchObject({
        outcome: "failed",
        status: "5.1.1",
      })
      expect(JSON.parse(await world.gateway.must("queue", "show", String(refused()?.["id"]), "--json")).jobs).toEqual(
        [],
      )
      for (const { recipient } of attempts())
        expect(["bob@away.open.test", "tls@open.test", "nobody@signed.test"]).toContain(recipient)
    })
  })

  function failures(domain: string): (readonly [unknown, unknown])[] {
    const lines = world.events("relay.tls-failed").filter((line) => line["domain"] === domain)
    return lines.map(({ policy, result }) => [policy, result] as const)
  }
})
