import { createServer, type Server } from "node:net"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { testCertificate } from "../../harness/certificate.ts"
import { Exim, eximThere } from "../../harness/exim.ts"
import { mustRun } from "../../harness/peers.ts"
import { WireClient } from "../../harness/wire.ts"
import { ALICE, GATEWAY, message, SECRET, tlsa, World, worldPossible } from "./world.ts"

const POSTFIX = "11.0.2.1"
const EXIM = "11.0.2.2"
/** Who hands mail to Postfix and Exim, as their own people do. */
const PARTNER = "11.0.2.50"
const STRANGER = "11.9.9.9"

let world: World
let exim: Exim
let policies: Server
let trusted: string
/** What the policy service of Postfix answered, by domain. */
const answered: Record<string, string> = {}

beforeAll(async () => {
  if (!worldPossible) return
  const [mx, other] = await Promise.all([testCertificate("mx.partner.test"), testCertificate("mx.exim.test")])
  world = await World.start({
    zones: async ({ instance }) => {
      // What the program says that DNS should have is what DNS has.
      const lines = (await instance.must("dns", "--tlsa"))
        .split("\n")
        .filter((line) => line !== "" && !line.startsWith(";"))
      const of = (domain: string) => lines.filter((line) => line.split("\t")[0]?.endsWith(`${domain}.`))
      return [
        { name: "example.test", state: "signed", records: [...of("example.test"), `mail A ${GATEWAY.address}`] },
        { name: "second.test", state: "unsigned", records: of("second.test") },
        {
          name: "partner.test",
          state: "signed",
          records: ["@ MX 10 mx", `mx A ${POSTFIX}`, `@ TXT "v=spf1 ip4:${POSTFIX} -all"`],
        },
        {
          name: "exim.test",
          state: "signed",
          records: ["@ MX 10 mx", `mx A ${EXIM}`, `_25._tcp.mx TLSA ${tlsa(other)}`],
        },
      ]
    },
    postfix: {
      hostname: "mx.partner.test",
      addresses: [POSTFIX],
      domains: ["partner.test"],
      tls: mx,
      more: { smtp_tls_policy_maps: "socketmap:inet:127.0.0.1:8461:policies" },
    },
    authorities: [],
  })
  if (eximThere)
    exim = await Exim.start(world.internet, {
      hostname: "mx.exim.test",
      address: EXIM,
      domain: "exim.test",
      submitters: PARTNER,
      tls: other,
    })
  trusted = world.internet.folder.file("trusted.pem")
  policies = createServer((socket) => {
    socket.on("error", () => undefined)
    socket.on("data", (asked) => {
      policyFor(asked.toString()).then(
        (answer) => socket.write(`${answer.length}:${answer},`),
        () => socket.destroy(),
      )
    })
  })
  policies.listen(await world.internet.listen("127.0.0.1", 8461))
})

afterAll(async () => {
  policies?.close()
  await world?.[Symbol.asyncDispose]()
})

/** Answers as Debian's postfix-mta-sts-resolver does: a question and an answer of Postfix's socketmap, without their netstring. */
async function policyFor(asked: string): Promise<string> {
  const domain = /^\d+:policies ([a-z.]+),$/.exec(asked)?.[1] ?? ""
  if (domain !== "second.test") return "NOTFOUND "
  const url = `https://mta-sts.${domain}/.well-known/mta-sts.txt`
  const text = Buffer.from(await runInside("curl", "--silent", "--fail", "--cacert", trusted, url)).toString()
  const mx = /^mode: enforce\r$/m.test(text) ? /^mx: (.*)\r$/m.exec(text)?.[1] : undefined
  answered[domain] = mx === undefined ? "NOTFOUND " : `OK secure match=${mx} servername=hostname`
  return answered[domain]
}

function runInside(...command: readonly string[]): Promise<Uint8Array> {
  const [first = "", ...args] = [...world.internet.deepInside, ...command]
  return mustRun(first, args)
}

/** Hands a message to a mail server, which sends it on to where DNS says. */
async function sendBy(server: string, name: string, to: string, domain = "partner.test"): Promise<void> {
  await runInside(
    ...["swaks", "--silent", "2", "--server", server, "--local-interface", PARTNER, "--helo", "pc.partner.test"],
    ...["--from", `bob@${domain}`, "--to", to, "--header", `Subject: ${name}`, "--body", SECRET],
  )
}

describe.skipIf(!worldPossible)("a gateway takes mail on port 25", () => {
  describe("from Postfix, which finds it in DNS as postern dns prints it", () => {
    test("verified by DANE; encrypted in the mailbox, SPF passed", async () => {
      await sendBy(POSTFIX, "by-dane", ALICE)
      const { outside, inside } = await world.inMailbox("SUBJECT by-dane")
      expect(outside).not.toContain(SECRET)
      expect(inside).toContain(`\r\n\r\n${SECRET}\r\n`)
      expect(outside).toMatch(
        /\r\nReceived: from mx\.partner\.test [\s\S]*?\r\n\tby mail\.example\.test\r\n\twith ESMTPS/,
      )
      expect(outside).toMatch(/\r\nAuthentication-Results: [\s\S]*?spf=pass/)
      await world.postfix.logged(/Verified TLS connection established to mail\.example\.test\[11\.0\.0\.1\]:25/)
      await world.postfix.logged(/to=<alice@example\.test>, .*status=sent \(250 2\./)
      expect(world.events("smtp.accepted")).toContainEqual(expect.objectContaining({ remote: POSTFIX, tls: true }))
    })

    test("verified by the policy of MTA-STS that it publishes, in a zone that is not signed", async () => {
      await sendBy(POSTFIX, "by-sts", "bob@second.test")
      const { inside } = await world.inMailbox("SUBJECT by-sts")
      expect(inside).toContain(`\r\n\r\n${SECRET}\r\n`)
      expect(answered).toEqual({ "second.test": "OK secure match=mail.example.test servername=hostname" })
      await world.postfix.logged(/to=<bob@second\.test>, .*status=sent \(250 2\./)
    })

    test("nobody of that name: refused at RCPT, so Postfix tells its own sender and we tell nobody", async () => {
      await sendBy(POSTFIX, "unknown", "nobody@example.test")
      const bounce = await world.postfix.received("Final-Recipient: rfc822; nobody@example.test")
      expect(bounce).toMatch(/^Diagnostic-Code: smtp; 550 5\.1\.1 no such mailbox here$/m)
      expect(bounce).toMatch(/^Remote-MTA: dns; mail\.example\.test$/m)
      expect(world.gateway.spooled()).toBe(0)
    })
  })

  test("swaks submits as a person, Postfix gets it over TLS", async () => {
    const { username, password, smtp } = world.laptop
    await runInside(
      ...["swaks", "--silent", "2", "--server", "127.0.0.1", "--port", String(smtp.port), "--tls-on-connect"],
      ...["--auth", "PLAIN", "--auth-user", username, "--auth-password", password],
      ...["--from", username, "--to", "bob@partner.test", "--header", "Subject: by-swaks", "--body", SECRET],
    )
    expect(await world.postfix.received("Subject: by-swaks")).toMatch(/\(using TLSv1\.3 with cipher /)
  })

  describe.skipIf(!eximThere)("Exim, whose TLS is GnuTLS", () => {
    test("finds and verifies it by DANE; encrypted in the mailbox", async () => {
      await sendBy(EXIM, "by-exim", ALICE, "exim.test")
      const { outside, inside } = await world.inMailbox("SUBJECT by-exim")
      expect(outside).not.toContain(SECRET)
      expect(inside).toContain(`\r\n\r\n${SECRET}\r\n`)
      expect(await exim.logged(/ => alice@example\.test /)).toMatch(
        / H=mail\.example\.test \[11\.0\.0\.1\] .* CV=dane /,
      )
    })

    test("nobody of that name: refused at RCPT, so Exim tells its own sender", async () => {
      await sendBy(EXIM, "unknown", "nobody@example.test", "exim.test")
      expect(await exim.received("550 5.1.1 no such mailbox here")).toContain("nobody@example.test")
    })

    test("is found and verified by DANE in turn, and gets what was sent", async () => {
      const octets = message("to-exim", "bob@exim.test")
      const id = await world.submit(octets, ["bob@exim.test"])
      expect(await world.attempt(id, "bob@exim.test")).toMatchObject({ outcome: "done" })
      const arrived = await exim.received("<to-exim@example.test>")
      expect(arrived.replaceAll("\n", "\r\n")).toContain(octets.toString())
      expect(arrived).toMatch(/with esmtps {2}\(TLS1\.3\)/)
    })
  })

  describe("from a stranger", () => {
    async function open(from = STRANGER): Promise<WireClient> {
      const client = await WireClient.over(await world.internet.connect(GATEWAY.address, 25, from))
      await client.until(/^220 mail\.example\.test .*\r\n/)
      await say(client, "EHLO stranger.test")
      return client
    }

    async function say(client: WireClient, line: string): Promise<string> {
      await client.write(`${line}\r\n`)
      return (await client.until(/^\d{3} .*\r\n/m)).trim()
    }

    const forms: readonly string[] = [
      "<victim@partner.test>",
      "<victim%partner.test@example.test>",
      "<victim%partner.test@mail.example.test>",
      "<victim%partner.test@[11.0.0.1]>",
      "<victim%partner.test>",
      "<partner.test!victim>",
      "<partner.test!victim@example.test>",
      "<example.test!victim@partner.test>",
      "<@example.test:victim@partner.test>",
      "<@mail.example.test,@example.test:victim@partner.test>",
      '<"victim@partner.test">',
      '<"victim@partner.test"@example.test>',
      '<"victim%partner.test"@example.test>',
      "<victim@partner.test@example.test>",
      "<victim@example.test@partner.test>",
      "<victim@[11.0.2.1]>",
      "<victim@[11.0.0.1]>",
      "<victim@[127.0.0.1]>",
      "<victim@[IPv6:2a0e::2]>",
      "<victim@localhost>",
      "<victim@mail.example.test>",
      "<victim@sub.example.test>",
      "<victim@example.test.partner.test>",
      "<>",
    ]

    for (const sender of ["<spammer@partner.test>", `<${ALICE}>`, "<>"])
      test(`no form of open relay, as ${sender}`, async () => {
        using client = await open()
        for (const form of forms) {
          expect(await say(client, `MAIL FROM:${sender}`)).toMatch(/^250 /)
          expect(await say(client, `RCPT TO:${form}`), form).toMatch(/^5\d\d 5\./)
          expect(await say(client, "DATA"), form).toMatch(/^503 /)
          await say(client, "RSET")
        }
        expect(world.gateway.spooled()).toBe(0)
      })

    test("a report to nobody here is refused at RCPT: no backscatter", async () => {
      using client = await open()
      await say(client, "MAIL FROM:<>")
      expect(await say(client, "RCPT TO:<nobody@example.test>")).toBe("550 5.1.1 no such mailbox here")
    })

    test("no password is taken on port 25, nor who the client says it is for somebody else", async () => {
      using client = await open()
      expect(await say(client, "AUTH PLAIN AGFsaWNlAHg=")).toMatch(/^50\d /)
      expect(await say(client, "XCLIENT ADDR=127.0.0.1 NAME=localhost")).toMatch(/^50\d /)
      expect(await say(client, "XFORWARD ADDR=127.0.0.1")).toMatch(/^50\d /)
      expect(await say(client, "PROXY TCP4 127.0.0.1 11.0.0.1 1 25")).toMatch(/^50\d /)
    })

    test("over TLS it is answered the same", async () => {
      using client = await open()
      expect(await say(client, "STARTTLS")).toMatch(/^220 /)
      await client.upgrade()
      await say(client, "EHLO stranger.test")
      await say(client, "MAIL FROM:<spammer@partner.test>")
      expect(await say(client, "RCPT TO:<victim@partner.test>")).toMatch(/^550 5\.7\.1 /)
    })
  })
})
