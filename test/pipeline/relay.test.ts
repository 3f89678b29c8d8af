import { describe, expect, test } from "vitest"
import { readCertificate } from "../../src/crypto/cms/certificate.ts"
import type { CmsIdentity } from "../../src/crypto/cms/signed.ts"
import type { FoundStandIn } from "../../src/crypto/cms/stand-in.ts"
import { dearmor } from "../../src/crypto/openpgp/armor.ts"
import { readPackets } from "../../src/crypto/openpgp/packet.ts"
import { randomOctets } from "../../src/crypto/primitives/random.ts"
import { signP256 } from "../../src/crypto/primitives/sign.ts"
import { GatewayError } from "../../src/errors.ts"
import { makeAccount } from "../../src/identity/account.ts"
import { parseAddress } from "../../src/message/address.ts"
import type { OpenMessage } from "../../src/pipeline/gateway.ts"
import { deliver } from "../../src/pipeline/pipeline.ts"
import type { FoundSigner } from "../../src/pipeline/ports.ts"
import { collect, preparedOf } from "../../src/pipeline/prepared.ts"
import { classified } from "../../src/pipeline/protect.ts"
import { protectOutgoing } from "../../src/pipeline/protect-outgoing.ts"
import type { KeyCandidate, UsableKey } from "../../src/profiles/key.ts"
import type { Resolution } from "../../src/profiles/resolution.ts"
import { jobFor, type Outcome } from "../../src/queue/queue.ts"
import { makeHolder, makePerson } from "../crypto/cms/alice.ts"
import { UNKNOWN } from "../profiles/unknown.ts"
import { octetsOf, smimeReader, text } from "./leaving.ts"
import { policyOf, quietGateway } from "./quiet-gateway.ts"

const AT = new Date("2026-11-26T10:00:00Z")
const CANARY = "canary-4711"
const CLEAR = `From: a@one.test\r\nSubject: figures\r\n\r\n${CANARY}\r\n`
const OTHERS = CLEAR.replace("a@one.test", "sales@one.test")
const { person } = await makeAccount(
  { address: "b@else.test", name: "B", formats: ["smime", "openpgp"] },
  { now: AT, random: randomOctets },
)
const { person: renewed } = await makeAccount(
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
  wish: null,
  lineage: "b",
  reads: { aesGcm: false, seipdV2: false },
} satisfies Partial<UsableKey> as unknown as UsableKey
const openPgpOctets = person.openpgp?.certificate ?? new Uint8Array(0)
const SILENT = { source: "wkd", trust: "domain", because: "timed out" } as const
const LOST = { format: "smime", lineage: "b", source: "wkd", trust: "domain", firstSeen: AT, lastSeen: AT } as const
const EXPIRED = { candidate: KEY as KeyCandidate, because: "it expired on 2025-01-01" }

interface Given {
  readonly policy?: string
  readonly known?: Partial<Resolution>
  readonly message?: string
  readonly sender?: string | null
  readonly notify?: readonly "NEVER"[] | null
  readonly origin?: "mx" | "submission"
  /** Who signs for the author. */
  readonly found?: FoundSigner | Error
  readonly to?: string
  readonly at?: Date
  /** What the message is to stand-ins. */
  readonly standIn?: FoundStandIn | Error
}
interface Seen {
  readonly outcome: Outcome
  readonly sent: string | null
  readonly verified: boolean
  /** Sources of keys that are to be remembered. */
  readonly used: readonly string[]
  /** To the sender. */
  readonly reports: readonly string[]
  /** To the administrator. */
  readonly alarms: readonly { readonly name: string; readonly text: string }[]
}

async function relayed({
  policy = "",
  known = {},
  message = CLEAR,
  sender = "a@one.test",
  notify = null,
  origin = "submission",
  found = { kind: "none", because: "no key" },
  to = "b@else.test",
  at = AT,
  standIn = { kind: "none" },
}: Given): Promise<Seen> {
  const octets = Buffer.from(message)
  const recipient = parseAddress(to)
  const open: OpenMessage = {
    entry: {
      envelope: {
        sender: sender === null ? null : parseAddress(sender),
        recipients: [{ address: recipient, notify, originalRecipient: null }],
        smtpUtf8: false,
        envelopeId: null,
        returnContent: null,
      },
      origin: { kind: origin, account: "a@one.test", device: "x", remote: "192.0.2.1", helo: "x", tls: true },
      received: "Received: by us\r\n",
      receivedAt: AT,
      seed: new Uint8Array(32),
      sizeOctets: octets.length,
    },
    async *content() {
      yield octets
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
  const used: string[] = []
  let sent: string | null = null
  let over = false
  const reports: string[] = []
  const alarms: { name: string; text: string }[] = []
  const outcome = await deliver(
    jobFor("0123456789", to, AT),
    quietGateway(open, {
      directory: {
        resolve: () => ({ kind: "foreign" }),
        atRest: () => null,
        autocrypt: () => Buffer.from("Autocrypt: addr=a@one.test; keydata=\r\n AAAA\r\n"),
      },
      correspondents: {
        resolve: async () => ({ ...UNKNOWN, ...known }),
        ask: () => Promise.reject(new Error("nobody is asked again")),
        used: (_resolution, key) => void used.push(key.source),
      },
      policy: policyOf(policy),
      relay: {
        async send(leaving, _envelope, _recipient, { verified }) {
          sent = Buffer.from(await collect(leaving.content())).toString()
          over = verified
          return {
            kind: "done",
            status: { recipient: "b@else.test", action: "relayed", status: "2.0.0", diagnostic: "250" },
          }
        },
      },
      standIns: {
        find: () => {
          if (standIn instanceof Error) throw standIn
          return standIn
        },
      },
      signingIdentities: {
        of: () => {
          if (found instanceof Error) throw found
          return found
        },
      },
      reports: {
        async submit({ name, to: whom, octets: written }) {
          const text = Buffer.from(written).toString()
          if (whom.localPart === "postmaster") alarms.push({ name, text })
          else reports.push(text)
        },
      },
      now: () => at,
    }),
    new AbortController().signal,
  )
  return { outcome, sent, verified: over, used, reports, alarms }
}

/** Kinds of the alarms that the administrator was told. */
const alarmsOf = ({ alarms }: Seen): readonly string[] =>
  alarms.map(({ text }) => (/^Subject: .*is gone/m.test(text) ? "lost" : "changed"))

const rows: readonly (readonly [
  what: string,
  given: Given,
  outcome: string,
  left: "nothing" | "clear" | "encrypted" | "clear, verified",
])[] = [
  ["a key: encrypted", { known: { keys: [KEY] } }, "done", "encrypted"],
  ["no key: in clear", {}, "done", "clear"],
  ["no answer: nothing leaves", { known: { unanswered: [SILENT] } }, "retry", "nothing"],
  [
    "no answer, and demanded: nothing leaves",
    { policy: 'encrypt = "require"', known: { unanswered: [SILENT] } },
    "retry",
    "nothing",
  ],
  ["no key, and demanded: held", { policy: 'encrypt = "require"' }, "hold", "nothing"],
  ["no key, and refused", { policy: 'encrypt = "require"\notherwise = "refuse"' }, "failed", "nothing"],
  ["no key, over verified TLS", { policy: 'encrypt = "require"\notherwise = "tls"' }, "done", "clear, verified"],
  ["a key that is gone: held", { known: { remembered: [LOST] } }, "hold", "nothing"],
  ["a key that has expired: held", { known: { remembered: [LOST], rejected: [EXPIRED] } }, "hold", "nothing"],
  ["another key: held", { known: { keys: [{ ...KEY, lineage: "c" }], remembered: [LOST] } }, "hold", "nothing"],
  ["a tag demands it", { policy: '[[policy.rules]]\nsubjectTag = "figures"\nencrypt = "require"' }, "hold", "nothing"],
  [
    "a tag in encoded words demands it",
    {
      policy: '[[policy.rules]]\nsubjectTag = "[sécret]"\nencrypt = "require"',
      message: CLEAR.replace("figures", "=?utf-8?q?=5Bs=C3=A9?=\r\n =?utf-8?b?Y3JldF0=?= plans"),
    },
    "hold",
    "nothing",
  ],
  ["a report of ours is not kept back", { sender: null, known: { unanswered: [SILENT] } }, "done", "clear"],
  ["a report of ours is encrypted where there is a key", { sender: null, known: { keys: [KEY] } }, "done", "encrypted"],
]
for (const [what, given, outcome, left] of rows)
  test(what, async () => {
    const seen = await relayed(given)
    expect(seen.outcome.kind).toBe(outcome)
    const clear = seen.sent?.includes(CANARY)
    const how = seen.sent === null ? "nothing" : !clear ? "encrypted" : seen.verified ? "clear, verified" : "clear"
    expect(how).toBe(left)
    expect(seen.used).toEqual(left === "encrypted" ? ["wkd"] : [])
    if (left === "encrypted") expect(seen.sent).toContain("application/pkcs7-mime")
    // What is told to senders holds nothing of the message but its outer header.
    expect(seen.reports.join()).not.toContain(CANARY)
  })

describe("the newest form that the holder of the key reads", () => {
  test("S/MIME: AES-GCM where his certificate says so", async () => {
    for (const [aesGcm, type] of [
      [true, "authEnveloped-data"],
      [false, "enveloped-data"],
    ] as const) {
      const { sent } = await relayed({ known: { keys: [{ ...KEY, reads: { aesGcm, seipdV2: false } }] } })
      expect(sent).toContain(`smime-type=${type}`)
    }
  })

  test("OpenPGP: SEIPD version 2 where his certificate says so", async () => {
    const format = "openpgp" as const
    for (const seipdV2 of [true, false]) {
      const reads = { aesGcm: false, seipdV2 }
      const { sent } = await relayed({ known: { keys: [{ ...KEY, format, octets: openPgpOctets, reads }] } })
      const packets = readPackets(dearmor(Buffer.from(sent ?? ""))?.binary ?? new Uint8Array(0))
      expect(packets.map(({ tag, body }) => [tag, body[0]])).toEqual(
        seipdV2
          ? [
              [1, 6],
              [18, 2],
            ]
          : [
              [1, 3],
              [18, 1],
            ],
      )
    }
  })
})

test("who sent a message that is held is told once that it waits, and why, unless he asked not to be", async () => {
  const { reports } = await relayed({ known: { remembered: [LOST] } })
  expect(reports).toHaveLength(1)
  expect(reports[0]).toMatch(/^To: <a@one\.test>\r\nSubject: Delayed mail\r\n/m)
  expect(reports[0]).toContain("4.7.0 b@else.test had a key (wkd) and has none now")
  expect((await relayed({ known: { remembered: [LOST] }, notify: ["NEVER"] })).reports).toEqual([])
})

describe("the administrator is told of keys that are gone or others, by mail once a day for a domain", () => {
  const CHANGED = { keys: [{ ...KEY, lineage: "c" }], remembered: [LOST] }

  test("what has happened, and what can be done; nothing of the message", async () => {
    const { alarms } = await relayed({ known: { remembered: [LOST] } })
    expect(alarms[0]?.text).toMatch(
      /^From: <postmaster@one\.test>\r\nTo: <postmaster@one\.test>\r\nSubject: Mail is held:/,
    )
    expect(alarms[0]?.text).toContain("\r\nb@else.test had a key (wkd) and has none now.\r\n")
    expect(alarms[0]?.text).toContain("postern queue release 0123456789\r\n")
    expect(alarms[0]?.text).not.toContain(CANARY)
    expect(alarmsOf(await relayed({ known: CHANGED }))).toEqual(["changed"])
  })

  test("again and to another address of the domain it is the same mail; tomorrow, or for another cause, it is another", async () => {
    const seen = [
      await relayed({ known: { remembered: [LOST] } }),
      await relayed({ known: { remembered: [LOST] }, to: "c@else.test" }),
      await relayed({ known: { remembered: [LOST] }, at: new Date(AT.getTime() + 86_400e3) }),
      await relayed({ known: { remembered: [LOST] }, to: "b@other.test" }),
      await relayed({ known: CHANGED }),
    ]
    const names = seen.flatMap(({ alarms }) => alarms.map(({ name }) => name))
    expect(names).toHaveLength(5)
    expect(names[0]).toBe(names[1])
    expect(new Set(names).size).toBe(4)
  })

  test("not of what policy holds for other reasons, nor where it forgets keys", async () => {
    expect(alarmsOf(await relayed({ policy: 'encrypt = "require"' }))).toEqual([])
    expect(alarmsOf(await relayed({ policy: 'lostKeys = "forget"', known: { remembered: [LOST] } }))).toEqual([])
  })
})

test("who is refused is told who it is about", async () => {
  const { reports } = await relayed({
    policy: 'encrypt = "require"\notherwise = "refuse"',
    known: { rejected: [EXPIRED] },
  })
  expect(reports[0]).toMatch(
    /Status: 5\.7\.10\r\nDiagnostic-Code: x-postern; b@else\.test has no key that may be used: wkd has one, but it expired/,
  )
})

test("when the time of the queue is over, what waited for an answer waits for a person: it is neither sent nor sent back", async () => {
  const { outcome } = await relayed({ known: { unanswered: [SILENT] } })
  expect(outcome).toMatchObject({
    kind: "retry",
    fault: true,
    status: { status: "4.7.5", diagnostic: "no answer from wkd" },
  })
})

describe("row 42: each attempt asks for the recipient's keys anew", () => {
  const attempts = async (...known: readonly Partial<Resolution>[]) => {
    const seen = []
    for (const one of known) seen.push(await relayed({ known: one }))
    return seen.map(({ outcome, sent }) => [outcome.kind, sent === null ? null : opens(sent)] as const)
  }
  const opens = (sent: string): readonly string[] =>
    [person, renewed].flatMap((who) =>
      sentTo(sent, who.smime[0]?.certificate) ? [who === person ? "old" : "new"] : [],
    )

  test("a key that was rolled: the next one is to the new key alone", async () => {
    const rolled = { ...KEY, octets: renewed.smime[0]?.certificate ?? new Uint8Array(0) }
    expect(await attempts({ keys: [KEY] }, { keys: [rolled] })).toEqual([
      ["done", ["old"]],
      ["done", ["new"]],
    ])
  })

  test("a key that was revoked: nothing leaves any more", async () => {
    const revoked = { candidate: KEY as KeyCandidate, because: "It was revoked on 2026-11-26." }
    expect(await attempts({ keys: [KEY] }, { rejected: [revoked], remembered: [LOST] })).toEqual([
      ["done", ["old"]],
      ["hold", null],
    ])
  })
})

/** Whether the certificate is among the recipients of an EnvelopedData: by its serial number. */
function sentTo(sent: string, certificate: Uint8Array | undefined): boolean {
  const cms = Buffer.from(sent.split("\r\n\r\n")[1] ?? "", "base64")
  return cms.includes(Buffer.from(readCertificate(certificate ?? new Uint8Array(0)).identity.serial))
}

describe("row 57: a tag in the subject that told us what to do", () => {
  const RULE = '[[policy.rules]]\nsubjectTag = "[secure]"\nencrypt = "prefer"\n'
  const ABOVE = "Received: by us\r\nAutocrypt: addr=a@one.test; keydata=\r\n AAAA\r\n"
  const tagged = (subject: string, rest = "") => `From: a@one.test\r\nSubject:${subject}\r\n${rest}\r\n${CANARY}\r\n`
  const SIGNED = tagged(
    " [secure] plans",
    'Content-Type: multipart/signed; boundary="b"\r\n\r\n--b\r\nSubject: [secure] plans\r\n',
  )
  const clear: readonly (readonly [what: string, given: Given, message: string, left: string])[] = [
    ["leaves without it, all else octet for octet", {}, tagged(" Re: [Secure]\r\n plans "), tagged(" Re: plans ")],
    [
      "in encoded words",
      {},
      tagged(" =?utf-8?q?=5Bsecure=5D_Gr=C3=BC=C3=9Fe?="),
      tagged(" =?utf-8?q?Gr=C3=BC=C3=9Fe?="),
    ],
    ["in 8-bit text", {}, tagged(" [secure] grüße"), tagged(" grüße")],
    [
      "stays where the rule keeps it",
      { policy: `${RULE}keepTag = true` },
      tagged(" [secure] x"),
      tagged(" [secure] x"),
    ],
    [
      "stays where the rule is not met",
      { policy: `${RULE}to = ["*@c.test"]` },
      tagged(" [secure] x"),
      tagged(" [secure] x"),
    ],
    [
      "of two rules",
      { policy: `${RULE}${RULE.replace("secure", "sign")}` },
      tagged(" [sign] [secure] x"),
      tagged(" x"),
    ],
    [
      "that is a word of any subject stays",
      { policy: RULE.replace("[secure]", "my plans") },
      tagged(" my plans"),
      tagged(" my plans"),
    ],
    ["goes outside what its author has signed, and stays inside", {}, SIGNED, SIGNED.replace(" [secure]", "")],
    ["of somebody elsewhere stays", { origin: "mx" }, tagged(" [secure] x"), tagged(" [secure] x")],
    ["in a report of ours stays", { sender: null }, tagged(" [secure] x"), tagged(" [secure] x")],
  ]
  for (const [what, given, message, left] of clear)
    test(what, async () => {
      const { sent } = await relayed({ policy: RULE, ...given, message })
      expect(sent).toBe(`${ABOVE}${left}`)
    })

  test("leaves with none of it outside encryption; inside, where the subject stands as well, it is gone with the same octets", async () => {
    const { sent } = await relayed({ policy: RULE, known: { keys: [KEY] }, message: tagged(" [secure] plans") })
    expect(sent).toMatch(/^Subject: plans\r\n/m)
    const { sent: same } = await relayed({ policy: RULE, known: { keys: [KEY] }, message: tagged(" plans") })
    expect(sent).toBe(same)
  })

  test("stays where its author has encrypted", async () => {
    const { sent } = await relayed({ known: { keys: [KEY] }, message: tagged(" plans") })
    const message = sent?.replace("Subject: plans", "Subject: [secure] plans") ?? ""
    expect((await relayed({ policy: RULE, message })).sent).toBe(`Received: by us\r\n${message}`)
  })
})

const holder = makeHolder(makePerson("b@else.test", "B"))
const SEALED = text(
  await octetsOf(
    await protectOutgoing(
      await classified(preparedOf(Buffer.from(CLEAR))),
      [],
      new Uint8Array(32),
      "b",
      smimeReader(holder).target,
    ),
  ),
)
describe("mail that its sender has encrypted to a stand-in", () => {
  const own: FoundStandIn = { kind: "key", key: { identity: holder.certificate.identity, scalar: holder.scalar } }
  const strange: FoundStandIn = { kind: "refused", because: "it was made for somebody else's mail" }
  const gone = new GatewayError("STAND_IN_UNUSABLE", "stand-in authority x: ENOENT")
  const required = 'encrypt = "require"\notherwise = "refuse"'
  const sealed: readonly (readonly [what: string, given: Given, outcome: string, left: string])[] = [
    ["a key: encrypted to that", { known: { keys: [KEY] } }, "done", "encrypted anew"],
    [
      "a key, and encryption is off: the same",
      { policy: 'encrypt = "off"', known: { keys: [KEY] } },
      "done",
      "encrypted anew",
    ],
    ["no key: verified TLS", {}, "done", "clear, verified"],
    ["no key, as policy says: in clear", { policy: 'standIn = "send"' }, "done", "clear"],
    ["no key, TLS is not enough: held", { policy: 'standIn = "encryption"' }, "hold", "nothing"],
    ["no key, and refused", { policy: required }, "failed", "nothing"],
    ["no answer: nothing leaves", { known: { unanswered: [SILENT] } }, "retry", "nothing"],
    [
      "policy has none for the recipient: held, whatever key",
      { policy: 'standIn = "never"', known: { keys: [KEY] } },
      "hold",
      "nothing",
    ],
    ["to nobody's here: as it is", { standIn: { kind: "none" } }, "done", "as it came"],
    ["somebody else's: held", { standIn: strange }, "hold", "nothing"],
    ["a key that is not there: ours to repair", { standIn: gone }, "retry", "nothing"],
    ["from nobody, who is no report of ours", { sender: null }, "done", "clear, verified"],
  ]
  for (const [what, given, outcome, left] of sealed)
    test(what, async () => {
      const { outcome: settled, sent, verified, reports } = await relayed({ message: SEALED, standIn: own, ...given })
      expect(settled.kind).toBe(outcome)
      const isSame = sent?.includes(SEALED.slice(SEALED.indexOf("\r\n\r\n"))) ?? false
      const isClear = sent?.includes(CANARY) ?? false
      const how = isClear ? (verified ? "clear, verified" : "clear") : isSame ? "as it came" : "encrypted anew"
      expect(sent === null ? "nothing" : how).toBe(left)
      expect(reports.join()).not.toContain(CANARY)
    })
})

const signer: FoundSigner = { kind: "signer", format: "smime", signer: await gatewayIdentity() }
describe("mail that is to be signed", () => {
  const none: FoundSigner = { kind: "none", because: "a@one.test has no S/MIME key at this gateway" }
  const theirs = CLEAR.replace("Subject", 'Content-Type: multipart/signed; boundary="b"\r\nSubject')
  const signing: readonly (readonly [what: string, given: Given, found: FoundSigner, outcome: string, sent: RegExp])[] =
    [
      [
        "nothing is said: unsigned",
        {},
        signer,
        "done",
        /^Received: by us\r\nAutocrypt: [^\r]*\r\n AAAA\r\nFrom: a@one\.test\r\nSubject/,
      ],
      ["preferred: signed", { policy: 'sign = "prefer"' }, signer, "done", /multipart\/signed/],
      ["preferred, no key: unsigned", { policy: 'sign = "prefer"' }, none, "done", /\r\n\r\ncanary/],
      ["required, no key: held", { policy: 'sign = "require"' }, none, "hold", /^$/],
      ["required, another author: held", { policy: 'sign = "require"', message: OTHERS }, signer, "hold", /^$/],
      ["required, signed by its author", { policy: 'sign = "require"', message: theirs }, none, "done", /boundary="b"/],
      ["a report of ours is never signed", { policy: 'sign = "require"', sender: null }, signer, "done", /canary/],
      ["no Bcc", { message: CLEAR.replace("Subject", "Bcc: c@two.test\r\nSubject") }, none, "done", /^(?![\s\S]*Bcc)/],
    ]
  for (const [what, given, found, outcome, sent] of signing)
    test(what, async () => {
      const seen = await relayed({ ...given, found })
      expect([seen.outcome.kind, seen.sent ?? ""]).toEqual([outcome, expect.stringMatching(sent)])
    })

  test("a key that is damaged is ours to repair: the message waits, unsigned mail does not leave", async () => {
    const { outcome, sent } = await relayed({
      policy: 'sign = "prefer"',
      found: new GatewayError("GATEWAY_KEY_UNUSABLE", "gateway key x: is not 32 octets"),
    })
    expect([outcome, sent]).toEqual([
      expect.objectContaining({ kind: "retry", fault: true, status: expect.objectContaining({ status: "4.3.5" }) }),
      null,
    ])
  })
})

/** A key of the gateway for a@one.test. */
async function gatewayIdentity(): Promise<CmsIdentity> {
  const made = await makeAccount(
    { address: "a@one.test", name: "A", formats: ["smime"] },
    { now: AT, random: randomOctets },
  )
  const { certificate, scalar } = made.person.smime[0] ?? made.person.root
  return {
    certificate: readCertificate(certificate),
    chain: [],
    key: { algorithm: "ecdsa", sign: async (octets) => signP256(scalar, octets, "der") },
  }
}

test("readers are told the author's own key, in clear and encrypted alike, unless his program does so or it is another author", async () => {
  for (const known of [{}, { keys: [KEY] }])
    expect((await relayed({ known })).sent).toMatch(/^Received: by us\r\nAutocrypt: addr=a@one\.test; /)
  const own = await relayed({ message: `Autocrypt: addr=a@one.test; keydata=BBBB\r\n${CLEAR}` })
  expect(own.sent?.match(/^Autocrypt:/gm)).toHaveLength(1)
  expect((await relayed({ message: CLEAR.replace("a@one.test", "a+tag@one.test") })).sent).not.toContain("Autocrypt:")
})
