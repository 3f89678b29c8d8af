import { describe, expect, test } from "vitest"
import { makeDkimKey, readDkimKey } from "../../src/crypto/primitives/dkim-key.ts"
import { hmacKey } from "../../src/crypto/primitives/hash.ts"
import { randomOctets } from "../../src/crypto/primitives/random.ts"
import { GatewayError } from "../../src/errors.ts"
import { makeAccount } from "../../src/identity/account.ts"
import { silentLog } from "../../src/log/log.ts"
import { type Address, formatAddress, parseAddress } from "../../src/message/address.ts"
import type { Envelope, Recipient } from "../../src/message/envelope.ts"
import { readSrs, srsAddress } from "../../src/message/srs.ts"
import { MAX_REPORT_OCTETS } from "../../src/mime/delivery-report.ts"
import type { OpenMessage } from "../../src/pipeline/gateway.ts"
import { deliver } from "../../src/pipeline/pipeline.ts"
import type { Standing } from "../../src/pipeline/ports.ts"
import { collect } from "../../src/pipeline/prepared.ts"
import type { UsableKey } from "../../src/profiles/key.ts"
import type { Resolution } from "../../src/profiles/resolution.ts"
import { jobFor, type Outcome } from "../../src/queue/queue.ts"
import type { NewEntry, SpoolEntry } from "../../src/store/spool.ts"
import { foreignReport } from "../harness/foreign-report.ts"
import { UNKNOWN } from "../profiles/unknown.ts"
import { policyOf, quietGateway } from "./quiet-gateway.ts"

const AT = new Date("2026-11-27T10:00:00Z")
const BODY = "canary-4711\r\n"
const CLEAR = `DKIM-Signature: v=1; b=AAAA\r\nFrom: c@author.test\r\nBcc: d@author.test\r\nSubject: figures\r\n\r\n${BODY}`
const FIELD = "Authentication-Results: mail.one.test;\r\n\tdmarc=pass header.from=author.test\r\n"
const FOUND = { field: FIELD, quarantine: false, chain: "none", author: "author.test" } as const
const ALIAS = parseAddress("sales@one.test")
const TARGET = parseAddress("B@else.test")
const SRS = { key: hmacKey(new Uint8Array(32)), now: AT }
const SIGNER = readDkimKey(makeDkimKey("ed25519-sha256"))
const { person } = await makeAccount(
  { address: "b@else.test", name: "B", formats: ["smime"] },
  { now: AT, random: randomOctets },
)
const KEY = {
  format: "smime",
  octets: person.smime[0]?.certificate ?? new Uint8Array(0),
  chain: [],
  source: "wkd",
  trust: "domain",
  place: "",
  wish: "clear",
  lineage: "b",
  reads: { aesGcm: false, seipdV2: false },
} satisfies Partial<UsableKey> as unknown as UsableKey
const SILENT = { source: "wkd", trust: "domain", because: "timed out" } as const
const LOST = { format: "smime", lineage: "b", source: "wkd", trust: "domain", firstSeen: AT, lastSeen: AT } as const

interface Given {
  readonly message?: string
  readonly sender?: string | null
  readonly clear?: boolean
  readonly policy?: string
  readonly known?: Partial<Resolution>
  readonly entry?: Partial<SpoolEntry>
  readonly isOurs?: true
  readonly standing?: Standing
  /** What the next hop says. */
  readonly refused?: boolean
  readonly signs?: "us" | "nobody" | "broken"
  readonly notify?: Recipient["notify"]
  readonly requireTls?: true
  /** An administrator has let it go. */
  readonly anyway?: true
}

interface Seen {
  readonly outcome: Outcome
  /** Of the message, the last time that it was read. */
  readonly readOctets: number
  readonly sent: string | null
  readonly verified: boolean
  readonly envelope: Envelope | null
  readonly to: Recipient | null
  readonly reports: readonly { readonly to: string; readonly text: string; readonly requireTls?: true }[]
  /** Events of the log. */
  readonly warned: readonly string[]
  readonly spooled: readonly { readonly id: string; readonly entry: NewEntry; readonly octets: string }[]
  readonly stored: readonly string[]
}

const PIECE_OCTETS = 65_536
const FORWARD = { kind: "forward", account: null, device: null, remote: "192.0.2.1", helo: "x", tls: true } as const
const MX = { ...FORWARD, kind: "mx" } as const

async function delivered(to: Address, origin: SpoolEntry["origin"], given: Given): Promise<Seen> {
  const { message = CLEAR, sender = "c@author.test", policy = "", known = {}, signs = "us" } = given
  const octets = Buffer.from(message)
  const recipient = { address: to, notify: given.notify ?? null, originalRecipient: "rfc822;sales@one.test" }
  const open: OpenMessage = {
    entry: {
      envelope: {
        sender: sender === null ? null : parseAddress(sender),
        recipients: [recipient],
        smtpUtf8: false,
        envelopeId: "id-1",
        returnContent: "HDRS",
        ...(given.requireTls ? { requireTls: true } : {}),
      },
      origin,
      received: "Received: by us\r\n",
      receivedAt: AT,
      authentication: FOUND,
      seed: new Uint8Array(32),
      sizeOctets: octets.length,
      ...given.entry,
    },
    async *content() {
      for (let at = 0; at < octets.length; at += PIECE_OCTETS) {
        seen.readOctets = Math.min(at + PIECE_OCTETS, octets.length)
        yield octets.subarray(at, seen.readOctets)
      }
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
  const seen = {
    readOctets: 0,
    sent: null as string | null,
    verified: false,
    envelope: null as Envelope | null,
    to: null as Recipient | null,
  }
  const reports: { to: string; text: string; requireTls?: true }[] = []
  const warned: string[] = []
  const spooled: { id: string; entry: NewEntry; octets: string }[] = []
  const stored: string[] = []
  const done = { kind: "done", status: { recipient: "x", action: "relayed", status: "2.0.0", diagnostic: "" } } as const
  const gateway = quietGateway(open, {
    directory: {
      resolve: ({ domain }) =>
        given.standing ??
        (domain === "one.test"
          ? { kind: "accounts", accounts: [], forwards: [{ target: TARGET, clear: given.clear ?? false }] }
          : { kind: "foreign" }),
      atRest: () => null,
      autocrypt: () => null,
    },
    correspondents: {
      resolve: async () => ({ ...UNKNOWN, ...known }),
      ask: async () => ({ ...UNKNOWN, ...known }),
      used: () => undefined,
    },
    policy: policyOf(policy),
    mailboxes: {
      async deliver(account) {
        stored.push(account)
        return done
      },
    },
    relay: {
      async send(leaving, envelope, whom, { verified }) {
        Object.assign(seen, { verified, envelope, to: whom })
        seen.sent = Buffer.from(await collect(leaving.content())).toString()
        const status = {
          recipient: "b@else.test",
          action: "failed",
          status: "5.7.1",
          diagnostic: "B@else.test: no",
        } as const
        return given.refused ? { kind: "failed", status: { ...status, remote: "mx.else.test" } } : done
      },
    },
    signatories: {
      of: (domain) => {
        if (signs === "broken") throw new GatewayError("DKIM_KEY_UNUSABLE", "dkim key x: cannot be read")
        return signs === "us" ? [{ domain, selector: "s", signer: SIGNER }] : []
      },
    },
    reports: {
      async submit({ to: whom, octets: text, requireTls }) {
        const tls = requireTls ? { requireTls } : {}
        reports.push({ to: formatAddress(whom), text: Buffer.from(text).toString(), ...tls })
      },
    },
    forwarding: {
      async submit(id, entry, content) {
        spooled.push({ id, entry, octets: Buffer.from(await collect(content)).toString() })
      },
    },
    returnPaths: {
      forwarded: (address, { domain }, at) => srsAddress(address, domain, "abcdef", { ...SRS, now: at }) ?? address,
      original: (address, at) => {
        const meaning = readSrs(address, { ...SRS, now: at })
        if (meaning === null || meaning.kind === "token") return null
        const { sender } = meaning
        const { domain } = address
        if (meaning.kind === "forwarder") return { sender, alias: null, domain, day: null }
        return { sender, alias: meaning.cameFor === null ? null : ALIAS, domain, day: meaning.day }
      },
    },
    now: () => AT,
    log: { ...silentLog(), warn: (event) => warned.push(event) },
  })
  const outcome = await deliver(
    { ...jobFor("0123456789", formatAddress(to).toLowerCase(), AT), ...(given.anyway ? { anyway: true } : {}) },
    gateway,
    AbortSignal.timeout(10_000),
  )
  return {
    ...seen,
    outcome,
    reports: reports.filter(({ to: whom }) => whom !== "postmaster@one.test"),
    spooled,
    stored,
    warned,
  }
}

const sendingOn = (given: Given = {}) =>
  delivered(TARGET, { ...FORWARD, ...(given.isOurs ? { isOurs: true } : {}), alias: ALIAS }, given)

describe("what is sent on", () => {
  const required = 'encrypt = "require"\notherwise = "refuse"'
  const rows: readonly (readonly [what: string, given: Given, outcome: string, left: string])[] = [
    ["a key: encrypted, whatever its holder would rather", { known: { keys: [KEY] } }, "done", "encrypted"],
    ["no key: held", {}, "hold", "nothing"],
    ["no key, and policy sends: held", { policy: 'otherwise = "send"' }, "hold", "nothing"],
    [
      "no key, and policy has verified TLS: held",
      { policy: 'methods = ["smime", "tls"]\notherwise = "tls"' },
      "hold",
      "nothing",
    ],
    ["no key, and policy refuses: held", { policy: required }, "hold", "nothing"],
    ["encryption is off: held", { policy: 'encrypt = "off"' }, "hold", "nothing"],
    [
      "encryption is off, and a key: encrypted",
      { policy: 'encrypt = "off"', known: { keys: [KEY] } },
      "done",
      "encrypted",
    ],
    [
      "a rule for such a subject sends in clear: held",
      { policy: '[[policy.rules]]\nsubjectTag = "figures"\nencrypt = "off"\notherwise = "send"' },
      "hold",
      "nothing",
    ],
    ["no answer: nothing leaves", { known: { unanswered: [SILENT] } }, "retry", "nothing"],
    [
      "no answer, and policy does not wait: the same",
      { policy: 'silence = "send"', known: { unanswered: [SILENT] } },
      "retry",
      "nothing",
    ],
    ["a key that is gone: held", { policy: 'lostKeys = "forget"', known: { remembered: [LOST] } }, "hold", "nothing"],
    ["a bounce without a key: held, too", { sender: null }, "hold", "nothing"],
    ["clear is allowed, no key: in clear", { clear: true }, "done", "clear"],
    [
      "clear is allowed, a key: encrypted",
      { clear: true, known: { keys: [{ ...KEY, wish: null }] } },
      "done",
      "encrypted",
    ],
    ["clear is allowed, policy demands: held", { clear: true, policy: 'encrypt = "require"' }, "hold", "nothing"],
    ["clear is allowed, policy refuses: sent back", { clear: true, policy: required }, "failed", "nothing"],
    [
      "clear is allowed, verified TLS",
      { clear: true, policy: 'encrypt = "require"\notherwise = "tls"' },
      "done",
      "clear, verified",
    ],
    [
      "clear is allowed, no answer: nothing leaves",
      { clear: true, known: { unanswered: [SILENT] } },
      "retry",
      "nothing",
    ],
    ["clear is allowed, a key that is gone: held", { clear: true, known: { remembered: [LOST] } }, "hold", "nothing"],
    ["the alias is gone: encrypted only", { clear: true, standing: { kind: "foreign" } }, "hold", "nothing"],
  ]
  for (const [what, given, outcome, left] of rows)
    test(what, async () => {
      const { outcome: settled, sent, verified, reports } = await sendingOn(given)
      expect(settled.kind).toBe(outcome)
      const isClear = sent?.includes(BODY)
      expect(sent === null ? "nothing" : isClear ? (verified ? "clear, verified" : "clear") : "encrypted").toBe(left)
      expect(reports).toHaveLength(outcome === "failed" ? 1 : 0)
    })

  test("in clear is what came, octet for octet, behind our fields; the envelope tells nobody what its sender asked", async () => {
    const { sent, envelope, to } = await sendingOn({ clear: true, notify: ["FAILURE"] })
    expect(sent).toMatch(/^ARC-Seal: i=1; a=ed25519-sha256; cv=none; d=one\.test;/)
    expect(sent?.slice(sent.indexOf("Delivered-To"))).toBe(
      `Delivered-To: sales@one.test\r\nReceived: by us\r\n${FIELD}${CLEAR}`,
    )
    expect(envelope).toMatchObject({ envelopeId: null, returnContent: null })
    expect(envelope?.sender && formatAddress(envelope.sender)).toMatch(/^SRS0=.*=author\.test=c@one\.test$/)
    expect(to).toMatchObject({ address: TARGET, notify: ["FAILURE"], originalRecipient: null })
  })

  test("of our people is signed by our domain, has no Bcc, and no seal", async () => {
    const message = CLEAR.replaceAll("author.test", "one.test").replace(/^DKIM.*\r\n/, "")
    const { authentication: _, ...entry } = { authentication: undefined }
    const { sent } = await sendingOn({ clear: true, message, isOurs: true, sender: "c@one.test", entry })
    expect(sent).toMatch(/^DKIM-Signature: /)
    expect(sent).not.toMatch(/^Bcc|^ARC/m)
  })

  test("that came encrypted leaves as it came", async () => {
    const { sent: first } = await sendingOn({ known: { keys: [KEY] } })
    const message = first?.slice(first.indexOf("From: c@")) ?? ""
    const { sent } = await sendingOn({ message })
    expect(sent?.endsWith(message)).toBe(true)
  })

  test("is sealed by nobody where nobody looked, or has no key; it waits for a key that is broken", async () => {
    const unseen = { field: FIELD, quarantine: false, author: "author.test" }
    expect((await sendingOn({ clear: true, entry: { authentication: unseen } })).sent).toMatch(/^Delivered-To/)
    expect((await sendingOn({ clear: true, signs: "nobody" })).sent).toMatch(/^Delivered-To/)
    expect((await sendingOn({ clear: true, signs: "broken" })).outcome).toMatchObject({
      kind: "retry",
      fault: true,
      status: { status: "4.3.5" },
    })
  })

  test("again is the same octets", async () => {
    const sent = async (given: Given) => (await sendingOn(given)).sent
    expect(await sent({ clear: true })).toBe(await sent({ clear: true }))
    expect(await sent({ known: { keys: [KEY] } })).toBe(await sent({ known: { keys: [KEY] } }))
  })
})

describe("for whom we would have to vouch", () => {
  const by = (from: string) => CLEAR.replace("From: c@author.test", from)
  const unvouched = { field: FIELD, quarantine: false, chain: "none" } as const
  const rows: readonly (readonly [
    what: string,
    message: string,
    found: SpoolEntry["authentication"] | null,
    held: RegExp | null,
  ])[] = [
    ["somebody elsewhere, who passed", CLEAR, FOUND, null],
    ["somebody elsewhere, who did not", CLEAR, unvouched, null],
    ["somebody elsewhere, of whom nobody looked", CLEAR, null, null],
    ["suspicion", CLEAR, { ...FOUND, quarantine: true }, /under suspicion/],
    ["our domain, which passed", by("From: x@one.test"), { ...FOUND, author: "one.test" }, null],
    ["our domain, which did not", by("From: x@ONE.test"), unvouched, /of one\.test/],
    ["our domain, of which nobody looked", by("From: x@one.test"), null, /of one\.test/],
    ["our domain, where another passed", by("From: x@one.test"), FOUND, /of one\.test/],
    ["below our domain", by("From: x@sub.one.test"), unvouched, /of sub\.one\.test/],
    ["our domain among others", by("From: c@author.test, x@one.test"), FOUND, /of one\.test/],
    ["our domain in a second field", by("From: c@author.test\r\nFrom: x@one.test"), FOUND, /of one\.test/],
    ["nobody who can be read", by("From: x@@one.test <"), unvouched, /nobody can read/],
  ]
  for (const [what, message, found, held] of rows)
    test(`${what}: ${held === null ? "is sent on" : "is held, and its sender is not told"}`, async () => {
      const given = found === null ? { authentication: undefined } : { authentication: found }
      const { outcome, sent, reports } = await sendingOn({ clear: true, message, entry: given as Partial<SpoolEntry> })
      if (held === null) return expect(sent).toContain(BODY)
      expect([outcome.kind === "hold" && outcome.reason, sent]).toEqual([expect.stringMatching(held), null])
      expect(reports).toEqual([])
      const anyway = await sendingOn({ clear: true, message, entry: given as Partial<SpoolEntry>, anyway: true })
      expect(anyway.sent).toContain(BODY)
      expect(anyway.warned).toEqual(["mail.doubt-overruled"])
    })

  const required = 'encrypt = "require"\notherwise = "refuse"'
  test.each<[what: string, given: Given, outcome: string]>([
    ["no key, and the alias does not allow clear", {}, "hold"],
    ["no key, and policy demands one", { clear: true, policy: 'encrypt = "require"' }, "hold"],
    ["no key, and policy refuses", { clear: true, policy: required }, "failed"],
    ["no answer of a source", { clear: true, known: { unanswered: [SILENT] } }, "retry"],
    ["a key that is gone", { clear: true, known: { remembered: [LOST] } }, "hold"],
  ])("whom an administrator lets go: nothing of it leaves all the same with %s", async (_what, given, kind) => {
    const message = by("From: x@one.test")
    const { outcome, sent } = await sendingOn({ message, entry: { authentication: unvouched }, anyway: true, ...given })
    expect([outcome.kind, sent]).toEqual([kind, null])
  })

  test("whom an administrator lets go: encrypted where there is a key", async () => {
    const entry = { authentication: { ...FOUND, quarantine: true } }
    const { sent } = await sendingOn({ entry, known: { keys: [KEY] }, anyway: true })
    expect(sent).toContain("pkcs7-mime")
    expect(sent).not.toContain(BODY)
  })
})

test("a failure is told to the sender as the alias's: neither where that leads nor what was said there", async () => {
  const { outcome, reports } = await sendingOn({ clear: true, refused: true })
  expect(outcome.kind).toBe("failed")
  expect(reports.map(({ to }) => to)).toEqual(["c@author.test"])
  const [{ text } = { text: "" }] = reports
  expect(text).toContain(
    "Original-Recipient: rfc822;sales@one.test\r\nFinal-Recipient: rfc822; sales@one.test\r\nAction: failed\r\nStatus: 5.7.1\r\n" +
      "Diagnostic-Code: x-postern; it could not be forwarded\r\n",
  )
  expect(text).toContain("Original-Envelope-Id: id-1\r\n")
  expect(text).not.toMatch(/else\.test/i)
  for (const given of [{ sender: null }, { notify: ["NEVER"] as const }])
    expect((await sendingOn({ clear: true, refused: true, ...given })).reports).toEqual([])
})

describe("a message for an alias that leads elsewhere", () => {
  test("is spooled once more for each target, and its sender hears of success if he asked", async () => {
    const { outcome, spooled, reports, sent } = await delivered(ALIAS, MX, { notify: ["SUCCESS", "FAILURE"] })
    expect([outcome.kind, sent]).toEqual(["done", null])
    expect(spooled).toMatchObject([
      {
        octets: CLEAR,
        entry: {
          origin: { ...MX, kind: "forward", alias: ALIAS },
          envelope: { envelopeId: "id-1", recipients: [{ address: TARGET, notify: ["FAILURE"] }] },
          authentication: FOUND,
        },
      },
    ])
    const again = await delivered(ALIAS, MX, {})
    expect(again.spooled[0]?.id).toBe(spooled[0]?.id)
    expect(reports.map(({ text }) => /^Final-Recipient.*\r\nAction.*/m.exec(text)?.[0])).toEqual([
      "Final-Recipient: rfc822; sales@one.test\r\nAction: delivered",
    ])
    expect(reports[0]?.text).not.toMatch(/else\.test/i)
  })

  test.each(["Delivered-To: Sales@ONE.test", "delivered-to:\r\n sales@one.test "])(
    "and has come by it is sent back: %s",
    async (field) => {
      const { outcome, spooled, reports } = await delivered(ALIAS, MX, { message: `${field}\r\n${CLEAR}` })
      expect(outcome).toMatchObject({ kind: "failed", status: { status: "5.4.6" } })
      expect([spooled, reports.length]).toEqual([[], 1])
    },
  )

  test("is known as ours behind it, be it of our people or a report of ours", async () => {
    for (const account of ["a@one.test", null]) {
      const { spooled } = await delivered(ALIAS, { ...MX, kind: "submission", account }, {})
      expect(spooled[0]?.entry.origin).toMatchObject({ kind: "forward", account, isOurs: true })
    }
    expect((await delivered(ALIAS, MX, {})).spooled[0]?.entry.origin).not.toHaveProperty("isOurs")
  })

  test("and has come by another goes on", async () => {
    const message = `Delivered-To: sale@one.test\r\nX: sales@one.test\r\n${CLEAR}`
    expect((await delivered(ALIAS, MX, { message })).spooled).toHaveLength(1)
  })
})

describe("what comes back of what was sent on", () => {
  const made = (sender: string, name: string | null) => srsAddress(parseAddress(sender), "one.test", name, SRS) ?? ALIAS
  const address = made("C@author.test", "abcdef")
  const cameBack = (given: Given, to = address) => delivered(to, MX, { sender: null, ...given })

  test("and says that it failed: its sender hears of the alias, in our words, with the status", async () => {
    const { outcome, sent, reports } = await cameBack({ message: foreignReport() })
    expect(outcome).toMatchObject({ kind: "done", status: { action: "delivered" } })
    expect(outcome).not.toHaveProperty("isDropped")
    expect([sent, reports.map(({ to }) => to)]).toEqual([null, ["C@author.test"]])
    const [{ text } = { text: "" }] = reports
    expect(text).toContain(
      "Reporting-MTA: dns; mail.one.test\r\n\r\nFinal-Recipient: rfc822; sales@one.test\r\nAction: failed\r\nStatus: 5.1.1\r\n" +
        "Diagnostic-Code: x-postern; it was forwarded on 2026-11-27 (UTC), and returned later\r\n",
    )
    expect(text).not.toMatch(/else\.test|canary|rfc822-headers/i)
  })

  test("and is long: no more of it is read than a report has", async () => {
    const long = foreignReport() + "x".repeat(2 * MAX_REPORT_OCTETS)
    const { reports, readOctets } = await cameBack({ message: long })
    expect([reports.length, readOctets]).toEqual([1, MAX_REPORT_OCTETS])
  })

  test("again is reported by the same octets", async () => {
    const [first, again] = [await cameBack({ message: foreignReport() }), await cameBack({ message: foreignReport() })]
    expect(again.reports).toEqual(first.reports)
  })

  test("to two addresses with one message: its sender hears of each", async () => {
    const both = [address, made("C@author.test", null)]
    const reports = await Promise.all(
      both.map(async (to) => (await cameBack({ message: foreignReport() }, to)).reports),
    )
    const names = reports.flat().map(({ text }) => /^Message-ID: (.*)\r$/m.exec(text)?.[1])
    expect([names.length, new Set(names).size]).toEqual([2, 2])
  })

  test("to an address of before, which tells no alias: its sender hears of the domain", async () => {
    const { reports } = await cameBack({ message: foreignReport() }, made("C@author.test", null))
    expect(reports).toHaveLength(1)
    expect(reports[0]?.text).toContain(
      "Final-Recipient: rfc822; postmaster@one.test\r\nAction: failed\r\nStatus: 5.1.1",
    )
    expect(reports[0]?.text).toContain("for an address at one.test, which is not known any more")
    expect(reports[0]?.text).not.toMatch(/else\.test|sales|canary/i)
  })

  test.each([
    ["5.1.1 (canary)", "5.1.1"],
    ["4.4.7", "4.4.7"],
    ["2.1.5", "5.0.0"],
    ["5.1.1000", "5.0.0"],
    ["5.1.1 b@else.test", "5.0.0"],
    ["canary", "5.0.0"],
  ])("with the status %s is told as %s", async (status, told) => {
    const { reports } = await cameBack({ message: foreignReport({ status }) })
    expect(/^Status: (.*)$/m.exec(reports[0]?.text ?? "")?.[1]).toBe(told)
    expect(reports[0]?.text).not.toMatch(/else\.test|canary/)
  })

  test("with REQUIRETLS is told with it", async () => {
    const { reports } = await cameBack({ message: foreignReport(), requireTls: true })
    expect(reports.map(({ requireTls }) => requireTls)).toEqual([true])
  })

  test.each([
    ["a delay", foreignReport({ action: "delayed", status: "4.4.1" }), /says delayed/],
    ["a delivery", foreignReport({ action: "delivered", status: "2.0.0" }), /says delivered/],
    ["a relay", foreignReport({ action: "relayed", status: "2.0.0" }), /says relayed/],
    ["an answer that somebody is away", CLEAR, /no report of a delivery/],
    ["a report that somebody has read it", foreignReport().replaceAll("delivery-status", "disposition"), /no report/],
    ["no message at all", "\0", /no report/],
  ])("and is %s: nobody hears of it, and the record says why", async (_what, message, because) => {
    const { outcome, sent, reports, warned } = await cameBack({ message })
    expect(outcome).toMatchObject({
      kind: "done",
      isDropped: true,
      status: { diagnostic: expect.stringMatching(because) },
    })
    expect([sent, reports]).toEqual([null, []])
    expect(warned).toEqual(["mail.not-passed-on"])
  })

  test("of another forwarder's: he hears of the domain, since anybody can look like one to learn where an alias leads", async () => {
    const there = "SRS0=abcd=T7=first.test=carol@second.test"
    const { sent, reports } = await cameBack({ message: foreignReport() }, made(there, "abcdef"))
    expect([sent, reports.map(({ to }) => to)]).toEqual([null, [there]])
    expect(reports[0]?.text).toContain(
      "x-postern; it was forwarded, and returned later; it was for an address at one.test",
    )
    expect(reports[0]?.text).not.toMatch(/else\.test|sales|canary/i)
  })

  test("that has a sender, or an address that is none of ours, goes nowhere, and is told to nobody", async () => {
    const standing: Standing = { kind: "unknown" }
    const named = await cameBack({ sender: "x@else.test", standing, message: foreignReport() })
    expect([named.outcome.kind, named.sent]).toEqual(["failed", null])
    const late = { receivedAt: new Date(AT.getTime() + 22 * 86_400e3) }
    const old = await cameBack({ standing, entry: late, message: foreignReport() })
    expect([old.outcome.kind, old.sent, old.reports]).toEqual(["failed", null, []])
  })
})
