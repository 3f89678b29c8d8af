import { join } from "node:path"
import { gunzipSync } from "node:zlib"
import { simpleParser } from "mailparser"
import { expect, test } from "vitest"
import { openEmbeddedState } from "../../src/store/state.ts"
import { KeptTlsResults } from "../../src/store/tls-results.ts"
import { DnsServer } from "../harness/dns-server.ts"
import { eventually, Instance } from "../harness/instance.ts"
import { openSmtpSink } from "../harness/smtp-sink.ts"

test("a report that is due goes through the queue to who asks for it, and is gone from state", async () => {
  await using reports = await openSmtpSink()
  await using dns = await DnsServer.start({ "_smtp._tls.remote.test TXT": [["v=TLSRPTv1; rua=mailto:tls@rua.test"]] })
  await using gateway = await Instance.create()
  gateway.configure(
    'next = "mx"',
    `next = "mx"\n[[relay.domains]]\ndomain = "rua.test"\nnext = "smtp://127.0.0.1:${reports.port}"\n[dns]\nservers = ["${dns.address}"]`,
  )
  await gateway.must("account", "add", "alice@example.test")
  const state = () => openEmbeddedState(join(gateway.folder, "data"))
  const day = new Date(Date.now() - 2 * 86_400e3).toISOString().slice(0, 10)
  const policy = JSON.stringify({ type: "no-policy-found", strings: [], mx: [] })
  const counted = {
    day,
    policy,
    result: "success",
    mx: "mx.remote.test",
    address: "192.0.2.1",
    reason: "",
    sessions: 7,
  }
  const before = state()
  new KeptTlsResults(before).add([
    { ...counted, domain: "remote.test" },
    { ...counted, domain: "silent.test" },
  ])
  before.close()
  await gateway.serve()
  await reports.received(1)
  const [message] = reports.messages
  expect(message).toMatchObject({ sender: "", recipients: ["tls@rua.test"] })
  const mail = await simpleParser(message?.octets ?? "")
  expect(mail.from?.text).toBe("postmaster@example.test")
  expect(mail.headers.get("tls-report-domain")).toBe("remote.test")
  const report = JSON.parse(gunzipSync(mail.attachments[0]?.content ?? "").toString())
  expect(report.policies[0].summary).toEqual({ "total-successful-session-count": 7, "total-failure-session-count": 0 })
  await eventually("nothing left to report", () => {
    const database = state()
    try {
      return new KeptTlsResults(database).before("9999").length === 0
    } finally {
      database.close()
    }
  })
  expect(dns.asked).toContain("_smtp._tls.silent.test TXT")
  expect(reports.messages).toHaveLength(1)
})
