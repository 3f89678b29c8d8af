import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import { Instance } from "../harness/instance.ts"
import { mustRun, peer, temporaryFolder } from "../harness/peers.ts"
import { openSmtpSink } from "../harness/smtp-sink.ts"
import { sendMail } from "../harness/wire.ts"
import { drained } from "../soak/kill.ts"

const ALICE = "alice@example.test"
const CRASHES = 4
const SENDERS = 3

test.skipIf(!peer("openssl"))(
  "crashes while mail comes for an alias: what was answered 250 is here once, and there as one message",
  { timeout: 180_000 },
  async () => {
    await using folder = await temporaryFolder()
    await using hop = await openSmtpSink()
    await using gateway = await Instance.create()
    const [key, certificate] = [folder.file("bob.key"), folder.file("bob.pem")]
    await mustRun("openssl", [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
      ...["-subj", "/CN=bob", "-keyout", key, "-out", certificate, "-addext", "subjectAltName=email:bob@else.test"],
    ])
    gateway.configure('next = "mx"', `next = "smtp://127.0.0.1:${hop.port}"`)
    await gateway.must("account", "add", ALICE)
    await gateway.must("certificate", "add", "bob@else.test", certificate)
    await gateway.must("alias", "add", "team@example.test", ALICE, "bob@else.test")

    const acknowledged = new Set<string>()
    for (let crash = 0; crash < CRASHES; crash++) {
      await gateway.serve()
      const before = acknowledged.size
      const { promise: flowing, resolve } = Promise.withResolvers<void>()
      const senders = Array.from({ length: SENDERS }, async (_, sender) => {
        for (let number = 0; ; number++) {
          const id = `fwd-${crash}-${sender}-${number}`
          const text = `From: c@author.test\r\nMessage-ID: <${id}@author.test>\r\nSubject: x\r\n\r\n${"text ".repeat(200)}\r\n`
          const reply = await sendMail(gateway.port, "c@author.test", ["team@example.test"], Buffer.from(text))
          if (reply.startsWith("250 ")) acknowledged.add(id)
          if (acknowledged.size > before + 5) resolve()
        }
      }).map((sending) => sending.catch(() => undefined))
      await flowing
      await new Promise((resume) => setTimeout(resume, Math.random() * 300))
      await gateway.stop("SIGKILL")
      await Promise.all(senders)
    }
    await gateway.serve()
    await drained(gateway)
    await gateway.stop()

    const here = ["new", "cur"].flatMap((name) => {
      const place = join(gateway.maildir(ALICE), name)
      return readdirSync(place).flatMap((file) => idIn(readFileSync(join(place, file), "latin1")))
    })
    expect(here.length).toBe(new Set(here).size)
    const there = Map.groupBy(hop.messages, ({ octets }) => idIn(octets.toString("latin1"))[0] ?? "")
    for (const id of acknowledged) {
      expect(here, id).toContain(id)
      const copies = there.get(id) ?? []
      // The next hop may have taken one that we died before noting; a second message would have other keys.
      expect(new Set(copies.map(({ octets }) => octets.toString("latin1"))).size, id).toBe(1)
      expect(copies[0]?.recipients).toEqual(["bob@else.test"])
    }
    const last = hop.messages.at(-1)?.octets ?? Buffer.of()
    expect(last.includes("text text")).toBe(false)
    const args = ["cms", "-decrypt", "-binary", "-inkey", key, "-recip", certificate]
    expect(Buffer.from(await mustRun("openssl", args, { input: last })).includes("text text")).toBe(true)
  },
)

function idIn(message: string): readonly string[] {
  return /^Message-ID: <(fwd-[^@]+)@/m.exec(message)?.slice(1) ?? []
}
