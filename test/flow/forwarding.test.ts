import { generateKeyPairSync } from "node:crypto"
import { mkdirSync, statSync, writeFileSync } from "node:fs"
import { dkimSign } from "mailauth/lib/dkim/sign.js"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { ARC_VERIFIERS } from "../harness/arc-verifiers.ts"
import { DKIM_VERIFIERS } from "../harness/dkim-verifiers.ts"
import { DnsServer } from "../harness/dns-server.ts"
import { foreignReport } from "../harness/foreign-report.ts"
import { eventually, Instance } from "../harness/instance.ts"
import { mustRun, peer, run, type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { openSmtpSink, type SmtpSink } from "../harness/smtp-sink.ts"
import { sendMail, submitBy } from "../harness/wire.ts"
import type { Zone } from "../harness/zone.ts"

const ALICE = "alice@example.test"
const CAROL = "carol@author.test"
const { publicKey, privateKey } = generateKeyPairSync("ed25519")
const KEY = publicKey.export({ type: "spki", format: "der" }).subarray(-32).toString("base64")
const AUTHOR: Zone = {
  "author.test TXT": ["v=spf1 ip4:127.0.0.1 -all"],
  "ed._domainkey.author.test TXT": [`v=DKIM1; k=ed25519; p=${KEY}`],
  "_dmarc.author.test TXT": ["v=DMARC1; p=reject"],
  "_dmarc.careful.test TXT": ["v=DMARC1; p=quarantine"],
  "free.test TXT": ["v=spf1 +all"],
}

let folder: TemporaryFolder
let dns: DnsServer
let hop: SmtpSink
let gateway: Instance
/** What the next hop says to the final dot of a message for Bob; null: it takes it. */
let refusal: string | null = null

beforeAll(async () => {
  folder = await temporaryFolder()
  dns = await DnsServer.start(AUTHOR)
  hop = await openSmtpSink({ data: ({ recipients }) => (recipients.includes("bob@else.test") ? refusal : null) })
  gateway = await Instance.create("--domain", "second.test")
  gateway.configure('next = "mx"', `next = "smtp://127.0.0.1:${hop.port}"`)
  gateway.configure("[policy]", `[dns]\nservers = ["${dns.address}"]\n\n[policy]\ntrusted = []`)
  await gateway.must("account", "add", ALICE)
  await gateway.must("dkim", "add", "example.test")
  await gateway.must("dkim", "activate", "example.test", "--unseen")
  const records = JSON.parse(await gateway.must("dkim", "dns", "--json")) as { name: string; text: string }[]
  const ours = records.map(({ name, text }) => [`${name.slice(0, -1)} TXT`, [text.match(/.{1,255}/g) ?? []]])
  dns.zone = { ...AUTHOR, ...Object.fromEntries(ours) }
  await gateway.must("alias", "add", "clear@example.test", "bob@else.test", "--clear")
  await gateway.must("alias", "add", "sure@example.test", "keyless@else.test")
  await gateway.must("alias", "add", "second@second.test", "bob@else.test", "--clear")
  await gateway.must("alias", "add", "both@example.test", ALICE, "keyless@else.test")
  await gateway.serve()
})

afterAll(async () => {
  await gateway?.[Symbol.asyncDispose]()
  await hop?.[Symbol.asyncDispose]()
  await dns?.[Symbol.asyncDispose]()
  await folder?.[Symbol.asyncDispose]()
})

function message(subject: string, author = CAROL): string {
  return (
    `From: Carol <${author}>\r\nTo: somebody@example.test\r\nSubject: ${subject}\r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\n` +
    `Message-ID: <${subject}@author.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nsome text\r\n`
  )
}

async function signed(text: string): Promise<Buffer> {
  const one = {
    canonicalization: "relaxed/relaxed",
    signingDomain: "author.test",
    selector: "ed",
    algorithm: "ed25519-sha256",
    privateKey: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    headerList: ["From", "To", "Subject", "Date", "Message-ID"],
  }
  const { signatures } = await dkimSign(Buffer.from(text), { ...one, signatureData: [one] })
  return Buffer.from(signatures + text)
}

const send = async (to: string, octets: Buffer | string, sender = CAROL) =>
  await sendMail(gateway.port, sender, [to], Buffer.from(octets))

/** What reached the next hop of the message with this subject or header text. */
function forwarded(text: string) {
  return eventually(`${text} at the next hop`, () =>
    hop.messages.findLast(({ octets }) => octets.toString("latin1").includes(text)),
  )
}

interface QueuedJob {
  readonly id: string
  readonly recipient: string
  readonly state: string
  readonly holdReason: string | null
}

async function jobs(): Promise<readonly QueuedJob[]> {
  return JSON.parse(await gateway.must("queue", "list", "--json")) as QueuedJob[]
}

/** Why the job of this recipient is held; it is dropped then. */
async function held(recipient: string): Promise<string> {
  const job = await eventually(`${recipient} held`, async () =>
    (await jobs()).find((one) => one.recipient === recipient && one.state === "held"),
  )
  await gateway.must("queue", "drop", job.id)
  return job.holdReason ?? ""
}

async function pass(octets: Buffer): Promise<void> {
  for (const { name, there, verify } of ARC_VERIFIERS) {
    if (!there) continue
    expect(await verify(octets, dns.zone), name).toBe("pass")
    const altered = Buffer.from(octets)
    altered[altered.length - 4] = (altered.at(-4) ?? 0) ^ 1
    expect(await verify(altered, dns.zone), name).toBe("fail")
  }
}

describe("in clear, where the alias allows it", () => {
  test("the author's signature holds, our seal says what was found, and a bounce becomes one of ours to its sender", async () => {
    const sent = await signed(message("clear-1"))
    expect(await send("clear@example.test", sent)).toMatch(/^250 /)
    const { octets, sender, recipients } = await forwarded("clear-1")
    expect(recipients).toEqual(["bob@else.test"])
    expect(sender).toMatch(/^SRS0=[A-Z2-7]{8}=[A-Z2-7]{8}=author\.test=carol@example\.test$/)
    const text = octets.toString("latin1")
    expect(text).toMatch(/^ARC-Seal: i=1; a=rsa-sha256; cv=none; d=example\.test;/)
    expect(text).toMatch(/^ARC-Authentication-Results: i=1; example\.test;[\s\S]*dkim=pass[\s\S]*dmarc=pass/m)
    expect(text).toMatch(/^Delivered-To: clear@example\.test\r\nReceived: from client\.test/m)
    expect(octets.subarray(-sent.length).equals(sent)).toBe(true)
    await pass(octets)
    for (const { there, verify, name } of DKIM_VERIFIERS)
      if (there) expect((await verify([octets], dns.zone))[0], name).toEqual(["pass"])

    expect(await send(sender, foreignReport({ status: "5.2.2" }), "")).toMatch(/^250 /)
    const told = await forwarded("Status: 5.2.2")
    expect([told.sender, told.recipients]).toEqual(["", [CAROL]])
    expect(told.octets.toString()).toContain("Final-Recipient: rfc822; clear@example.test\r\nAction: failed\r\n")
    expect(told.octets.toString()).not.toMatch(/else\.test|canary/)
    expect(await send(sender.toLowerCase(), foreignReport({ status: "5.2.3" }), "")).toMatch(/^250 /)
    expect((await forwarded("Status: 5.2.3")).recipients).toEqual([CAROL])
  })

  test("what comes back and is no failure ends here, on the record", async () => {
    await send("clear@example.test", await signed(message("away-1")))
    const { sender } = await forwarded("away-1")
    const before = hop.messages.length
    const away = `From: bob@else.test\r\nSubject: canary\r\nAuto-Submitted: auto-replied\r\n\r\ncanary\r\n`
    for (const [text, because] of [
      [away, "it is no report of a delivery (RFC 3464)"],
      [foreignReport({ action: "delayed", status: "4.4.1" }), "it says delayed, and not failed"],
    ] as const) {
      const [id = ""] = /[0-9a-z]{25}/.exec(await send(sender, text, "")) ?? []
      const [end] = await eventually("its end", async () => {
        const { audit } = (await gateway.shown(id)) as {
          audit: { outcome: string }[]
        }
        return audit.some(({ outcome }) => outcome === "done") ? audit.slice(-1) : null
      })
      expect(end).toMatchObject({ status: { diagnostic: `not passed on: ${because}` } })
      const logged = `"event":"mail.not-passed-on"`
      await eventually("the log says so", () =>
        gateway.log.split("\n").some((line) => line.includes(logged) && line.includes(`"because":"${because}"`)),
      )
    }
    await eventually("they are counted", async () => {
      const metrics = await (await fetch(`http://127.0.0.1:${gateway.port + 6}/metrics`)).text()
      return metrics.includes('postern_deliveries_total{outcome="dropped"} 2')
    })
    expect(hop.messages.length).toBe(before)
  })

  test("of what another forwarder had sent us he hears as little, and not which alias it was", async () => {
    const there = "SRS0=abcd=T7=first.test=carol@free.test"
    await send("clear@example.test", message("again-1", "carol@free.test"), there)
    const { sender } = await forwarded("again-1")
    expect(sender).toMatch(/^SRS1=[A-Z2-7]{8}=free\.test==abcd=T7=first\.test=carol@example\.test$/)
    expect(await send(sender, foreignReport({ status: "5.2.4" }), "")).toMatch(/^250 /)
    const { octets, recipients } = await forwarded("Status: 5.2.4")
    expect(recipients).toEqual([there])
    const text = octets.toString("latin1")
    expect(text).toMatch(/^Final-Recipient: rfc822; postmaster@example\.test\r$/m)
    expect(text).toContain("it was forwarded, and returned later")
    for (const secret of ["clear@example.test", "else.test", "canary"]) expect(text).not.toContain(secret)
  })

  test.skipIf(!peer("swaks"))("what swaks sends, too", async () => {
    const args = ["--server", `127.0.0.1:${gateway.port}`, "--helo", "free.test", "--from", "s@free.test"]
    await mustRun("swaks", [...args, "--to", "clear@example.test", "--header", "Subject: swaks-1"])
    const { sender, octets } = await forwarded("swaks-1")
    expect(sender).toMatch(/^SRS0=.*=free\.test=s@example\.test$/)
    await pass(octets)
  })

  test("the address for bounces is nobody's for those who have a sender, altered it, or made it up", async () => {
    await send("clear@example.test", await signed(message("clear-2")))
    const { sender } = await forwarded("clear-2")
    const altered = sender.replace(/^SRS0=./, (start) => `SRS0=${start.endsWith("A") ? "B" : "A"}`)
    for (const [to, from] of [
      [sender, CAROL],
      [sender.replace("author.test", "victim.test"), ""],
      [sender.replace("@example.test", "@second.test"), ""],
      [altered, ""],
      ["SRS0=AAAAAAAA=AA=victim.test=x@example.test", ""],
      ["SRS1=AAAAAAAA=victim.test==AAAA=AA=x.test=x@example.test", ""],
    ] as const)
      expect(await send(to, message("x"), from), to).toMatch(/^550 5\.1\.1 /)
    expect(await send(sender.replace("@example.test", "@else.test"), message("x"), "")).toMatch(/^550 5\.7\.1 /)
    expect(statSync(`${gateway.folder}/secrets/srs/key`).mode & 0o777).toBe(0o600)
  })

  test("a bounce that comes for an alias stays one; a long sender is kept; a domain without a DKIM key does not seal", async () => {
    await send("clear@example.test", message("null-1", "mailer@free.test"), "")
    expect((await forwarded("null-1")).sender).toBe("")
    const long = `${"bounces+0123456789-".repeat(3)}x@free.test`
    await send("second@second.test", message("long-1", "news@free.test"), long)
    const { sender, octets } = await forwarded("long-1")
    expect(sender).toMatch(/^SRS0=[A-Z2-7]{8}=[A-Z2-7]{8}==[a-z2-7]{24}@second\.test$/)
    expect(octets.toString("latin1")).not.toContain("ARC-Seal")
    await gateway.logged(/"event":"mail.not-sealed".*second\.test has no DKIM key/)
    expect(await send(sender, foreignReport({ status: "5.2.5" }), "")).toMatch(/^250 /)
    const told = await forwarded("Status: 5.2.5")
    expect(told.recipients).toEqual([long])
    expect(told.octets.toString()).toContain("Final-Recipient: rfc822; second@second.test")
  })

  test("mail of our people leaves in their name, signed by our domain", async () => {
    const device = await gateway.device(ALICE, "laptop")
    await submitBy(device, ["clear@example.test"], Buffer.from(message("ours-1", ALICE)))
    const { sender, octets } = await forwarded("ours-1")
    expect(sender).toBe(ALICE)
    expect(octets.toString("latin1").match(/^DKIM-Signature: /gm)).toHaveLength(2)
  })

  test("what comes round again is refused, and its sender told so", async () => {
    await send("clear@example.test", message("round-1", "x@free.test"), "x@free.test")
    const { octets } = await forwarded("round-1")
    const before = hop.messages.length
    await send("clear@example.test", octets, "x@free.test")
    const report = await forwarded("5.4.6")
    expect(report.recipients).toEqual(["x@free.test"])
    expect(hop.messages.slice(before).filter(({ recipients }) => recipients.includes("bob@else.test"))).toEqual([])
  })
})

describe("encrypted", () => {
  test.skipIf(!peer("openssl"))("to a pinned S/MIME certificate: sealed as it leaves, and it opens", async () => {
    const [key, certificate] = [folder.file("bob.key"), folder.file("bob.pem")]
    await mustRun("openssl", [
      ...["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=bob"],
      ...["-keyout", key, "-out", certificate, "-addext", "subjectAltName=email:smime@else.test"],
    ])
    await gateway.must("certificate", "add", "smime@else.test", certificate)
    await gateway.must("alias", "add", "smime@example.test", "smime@else.test")
    await send("smime@example.test", await signed(message("smime-1")))
    const { octets, recipients } = await forwarded("smime-1")
    expect(recipients).toEqual(["smime@else.test"])
    expect(octets.toString("latin1")).not.toContain("some text")
    expect(octets.toString("latin1")).not.toMatch(/^DKIM-Signature/m)
    await pass(octets)
    const args = ["cms", "-decrypt", "-binary", "-inkey", key, "-recip", certificate]
    const opened = Buffer.from(await mustRun("openssl", args, { input: octets })).toString()
    expect(opened).toMatch(/^DKIM-Signature: .*[\s\S]*\r\n\r\nsome text\r\n$/m)
    expect(opened).toMatch(/^Authentication-Results: example\.test;[\s\S]*dmarc=pass/m)
  })

  test.skipIf(!peer("gpg"))("to an OpenPGP certificate, and beside an account here", async () => {
    const home = folder.file("gnupg")
    mkdirSync(home, { mode: 0o700 })
    const gpg = (input: Uint8Array, ...args: string[]) =>
      mustRun("gpg", ["--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase", "", ...args], {
        input,
      })
    try {
      await gpg(Buffer.of(), "--quick-generate-key", "Bob <pgp@else.test>", "future-default", "default", "never")
      writeFileSync(folder.file("bob.asc"), await gpg(Buffer.of(), "--armor", "--export", "pgp@else.test"))
      await gateway.must("certificate", "add", "pgp@else.test", folder.file("bob.asc"))
      await gateway.must("alias", "add", "pgp@example.test", ALICE, "pgp@else.test", "--clear")
      await send("pgp@example.test", await signed(message("pgp-1")))
      const { octets } = await eventually("pgp", () => hop.messages.find((m) => m.recipients.includes("pgp@else.test")))
      expect(octets.toString("latin1")).toContain("application/pgp-encrypted")
      await pass(octets)
      const armor = /-----BEGIN PGP MESSAGE[\s\S]*END PGP MESSAGE-----/.exec(octets.toString("latin1"))?.[0] ?? ""
      expect(Buffer.from(await gpg(Buffer.from(armor), "--decrypt")).toString()).toContain("some text\r\n")
    } finally {
      await run("gpgconf", ["--homedir", home, "--kill", "all"])
    }
  })

  test("or it waits, and says why; an alias that is made anew with --clear lets it go", async () => {
    await send("sure@example.test", await signed(message("sure-1")))
    expect(await held("keyless@else.test")).toBe("keyless@else.test has no key that may be used")
    await send("sure@example.test", await signed(message("sure-2")))
    const job = await eventually("held", async () => (await jobs()).find(({ state }) => state === "held"))
    const show = await gateway.must("queue", "show", job.id)
    expect(show).toMatch(/^forwarded for sure@example\.test; came in from 127\.0\.0\.1/m)
    await gateway.must("alias", "remove", "sure@example.test")
    await gateway.must("alias", "add", "sure@example.test", "keyless@else.test", "--clear")
    await gateway.must("queue", "release", job.id)
    expect((await forwarded("sure-2")).recipients).toEqual(["keyless@else.test"])
    expect(hop.messages.some(({ octets }) => octets.includes("sure-1"))).toBe(false)
  })
})

describe("nobody is spoken for by us whom nobody vouches for", () => {
  async function heldNow(recipient: string, reason: RegExp): Promise<QueuedJob> {
    return await eventually(`${recipient} held: ${reason}`, async () =>
      (await jobs()).find(
        (one) => one.recipient === recipient && one.state === "held" && reason.test(one.holdReason ?? ""),
      ),
    )
  }

  test("until an administrator lets it go anyway, whom a restart does not make forget it", async () => {
    await send("clear@example.test", message("doubt-1", ALICE), "x@free.test")
    const { id } = await heldNow("bob@else.test", /nobody vouches/)
    await gateway.must("queue", "release", id)
    await heldNow("bob@else.test", /nobody vouches/)
    refusal = "451 4.3.0 not now"
    await gateway.must("queue", "release", id, "--anyway")
    await eventually("delayed", async () => (await jobs()).find((one) => one.id === id && one.state === "delayed"))
    await gateway.stop()
    refusal = null
    await gateway.serve()
    expect(await gateway.must("queue", "list")).toContain("    released by an administrator, anyway\n")
    await gateway.must("queue", "retry", id)
    expect((await forwarded("doubt-1")).recipients).toEqual(["bob@else.test"])
    expect(await gateway.must("queue", "show", id)).toMatch(
      /Z {2}released {2}bob@else\.test: 4\.7\.0 released by an administrator, anyway; it was held: it says that it is by somebody of example\.test/,
    )
    await gateway.logged(/"event":"mail\.doubt-overruled","id":"\w+","recipient":"bob@else\.test","doubt":"it says/)
  })

  test("and then what must be encrypted stays so", async () => {
    await gateway.must("alias", "add", "strict@example.test", "strict@else.test")
    await send("strict@example.test", message("doubt-2", ALICE), "x@free.test")
    const { id } = await heldNow("strict@else.test", /nobody vouches/)
    await gateway.must("queue", "release", id, "--anyway")
    await heldNow("strict@else.test", /no key that may be used/)
    await gateway.must("queue", "drop", id)
    expect(hop.messages.some(({ octets }) => octets.includes("doubt-2"))).toBe(false)
  })

  test("what came under suspicion is held", async () => {
    expect(await send("clear@example.test", message("careful-1", "x@careful.test"), "x@free.test")).toMatch(/^250 /)
    expect(await held("bob@else.test")).toMatch(/under suspicion/)
  })

  test("and what says that it is by us", async () => {
    for (const author of [ALICE, "x@sub.example.test"]) {
      await send("clear@example.test", message("spoof-1", author), "x@free.test")
      expect(await held("bob@else.test")).toMatch(/nobody vouches/)
    }
  })
})

test("a final failure is told to the sender as being the alias's, and not where that leads", async () => {
  refusal = "554 5.7.1 bob@else.test wants no mail"
  try {
    await send("clear@example.test", message("fail-1", "x@free.test"), "fail@free.test")
    const { octets } = await forwarded("To: <fail@free.test>")
    const text = octets.toString()
    expect(text).toMatch(/Final-Recipient: rfc822; clear@example\.test\r\nAction: failed\r\nStatus: 5\.7\.1/)
    expect(text).not.toContain("else.test")
    expect(text).not.toContain("127.0.0.1")
  } finally {
    refusal = null
  }
})
