import { chmodSync, chownSync, mkdirSync, writeFileSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { eventually, Instance } from "../harness/instance.ts"
import { mustRun, run, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { freePorts } from "../harness/ports.ts"
import { baseSettings, postfixThere, services } from "../harness/postfix.ts"
import { openSmtpSink, type SmtpSink } from "../harness/smtp-sink.ts"
import { sendMail } from "../harness/wire.ts"

const CAROL = "carol@author.test"

/** A Postfix is the server that an alias leads to: it takes what is forwarded, and learns only then that nobody there wants it. */
describe.skipIf(!postfixThere || process.getuid?.() !== 0)("what Postfix sends back of forwarded mail", () => {
  let folder: TemporaryFolder
  let gateway: Instance
  /** Where our own reports arrive. */
  let world: SmtpSink
  /** Behind Postfix. */
  let inner: SmtpSink
  let answer = ""

  beforeAll(async () => {
    folder = await temporaryFolder()
    world = await openSmtpSink()
    inner = await openSmtpSink({ rcpt: () => answer })
    gateway = await Instance.create()
    const [port = 0] = await freePorts(1)
    await startPostfix(port)
    const rule = `[[relay.domains]]\ndomain = "else.test"\nnext = "smtp://127.0.0.1:${port}"\n`
    gateway.configure('next = "mx"', `next = "smtp://127.0.0.1:${world.port}"\n${rule}`)
    await gateway.must("alias", "add", "sales@example.test", "bob@else.test", "--clear")
    await gateway.serve()
  })

  afterAll(async () => {
    if (folder) await run("postfix", ["-c", folder.file("etc"), "stop"])
    for (const one of [gateway, world, inner, folder]) await one?.[Symbol.asyncDispose]()
  })

  async function startPostfix(port: number): Promise<void> {
    chmodSync(folder.path, 0o755)
    for (const name of ["etc", "spool", "data"]) mkdirSync(folder.file(name))
    const user = Buffer.from(await mustRun("id", ["-u", "postfix"])).toString()
    chownSync(folder.file("data"), Number(user), 0)
    const settings = {
      ...baseSettings(folder.path),
      inet_interfaces: "127.0.0.1",
      inet_protocols: "ipv4",
      myhostname: "mx.else.test",
      mynetworks: "127.0.0.0/8",
      relayhost: `[127.0.0.1]:${gateway.port}`,
      transport_maps: `inline:{ else.test=smtp:[127.0.0.1]:${inner.port} }`,
      // The first warning of a delay comes at once.
      delay_warning_time: "1s",
      minimal_backoff_time: "1s",
      queue_run_delay: "1s",
      smtpd_recipient_restrictions: "permit_mynetworks,reject",
    }
    const lines = Object.entries(settings).map(([key, value]) => `${key} = ${value}\n`)
    writeFileSync(folder.file("etc/main.cf"), lines.join(""))
    writeFileSync(folder.file("etc/master.cf"), services([`127.0.0.1:${port} inet n - n - 100 smtpd`]))
    await mustRun("postfix", ["-c", folder.file("etc"), "start"])
  }

  async function send(subject: string): Promise<void> {
    const text = `From: Carol <${CAROL}>\r\nSubject: ${subject}\r\n\r\nsome text\r\n`
    expect(await sendMail(gateway.port, CAROL, ["sales@example.test"], Buffer.from(text))).toMatch(/^250 /)
  }

  test("is told its author as of the alias, with the status that Postfix gives it", async () => {
    answer = "550 5.1.6 bob@else.test has moved to canary.test"
    await send("moved")
    const told = await eventually("a report", () => world.messages.find(({ recipients }) => recipients.includes(CAROL)))
    const text = told.octets.toString()
    expect(told.sender).toBe("")
    expect(text).toContain("Final-Recipient: rfc822; sales@example.test\r\nAction: failed\r\nStatus: 5.1.6\r\n")
    expect(text).not.toMatch(/else\.test|canary|moved/)
    await gateway.logged(/"event":"mail\.came-back".*"alias":"sales@example\.test","status":"5\.1\.6"/)
  })

  test("and is only late is told nobody", async () => {
    const before = world.messages.length
    answer = "451 4.2.1 canary"
    await send("late")
    await eventually("a warning", () => /"event":"mail\.not-passed-on".*it says delayed/.exec(gateway.log))
    expect(world.messages.length).toBe(before)
  })
})
