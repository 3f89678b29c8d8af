import { describe, expect, test } from "vitest"
import { parseConfig } from "../../../src/config/load.ts"
import { openEnveloped } from "../../../src/crypto/cms/open.ts"
import { signMailProfile } from "../../../src/identity/mail-profile.ts"
import { readMail } from "../../../src/mesh/mail/statement.ts"
import { parseAddress } from "../../../src/message/address.ts"
import type { Gateway, OpenMessage } from "../../../src/pipeline/gateway.ts"
import { MESH_PATIENCE_MS } from "../../../src/pipeline/mesh/leave.ts"
import type { MeshMail, MeshRoute, Posting } from "../../../src/pipeline/mesh/ports.ts"
import { deliver } from "../../../src/pipeline/pipeline.ts"
import type { UsableKey } from "../../../src/profiles/key.ts"
import type { RememberedKey, Resolution } from "../../../src/profiles/resolution.ts"
import { jobFor } from "../../../src/queue/queue.ts"
import { makePerson } from "../../crypto/cms/alice.ts"
import { inPieces, joined } from "../../harness/pieces.ts"
import {
  alice,
  bobAccount,
  bobCertificate,
  gateway as device,
  entity,
  NOW,
  outgoing,
  serviceOne,
} from "../../mesh/mail-world.ts"
import { account, service } from "../../mesh/people.ts"
import { UNKNOWN } from "../../profiles/unknown.ts"
import { bodyOf, text } from "../leaving.ts"
import { bobRecipient, gatewayWith, meshMail, receiving, senderOf } from "./world.ts"

const serviceTwo = service(70)
const BOB = "bob@two.example"
/** Bob as his mail profile tells of him. */
const bob = account(BOB, 2, serviceTwo.profile.udf)
const person = makePerson(BOB, "Bob")
const profile = signMailProfile(
  { profile: bob.profile, administrator: bob.administrator },
  {
    name: "Bob",
    root: person.root.der,
    issuedAt: NOW,
    connection: [
      {
        protocol: "Mesh",
        prefer: "encrypt",
        require: null,
        service: "https://mail.two.example/.well-known/mmm/",
        deviceUdf: serviceTwo.profile.udf,
      },
    ],
  },
  person.rootScalar,
)
const common = { chain: [], source: "profile", trust: "domain", place: "", wish: null, lineage: "b", vouched: false }
const reads = { aesGcm: false, seipdV2: false }
const overMesh = {
  ...common,
  format: "mesh",
  octets: profile,
  fingerprint: bob.profile.udf,
  reads,
} as unknown as UsableKey
const bySmime = {
  ...common,
  format: "smime",
  octets: bobCertificate.der,
  fingerprint: "f",
  reads,
} as unknown as UsableKey
const both: Partial<Resolution> = { keys: [overMesh, bySmime] }

interface Given {
  readonly mail?: Uint8Array
  readonly known?: Partial<Resolution>
  /** What is known when everybody is asked again. */
  readonly anew?: Partial<Resolution>
  readonly policy?: string
  readonly posting?: Posting
  readonly now?: Date
  readonly mesh?: Partial<MeshMail> | null
  readonly account?: string
}

const accepted: Posting = { kind: "accepted", diagnostic: "mail.two.example: Success" }

async function left({
  mail = entity(),
  known = both,
  anew = known,
  policy = "",
  posting = accepted,
  now = NOW,
  mesh = {},
  account: by = alice.profile.address,
}: Given) {
  const posted: { message: Uint8Array; route: MeshRoute }[] = []
  const published = new Map<string, Uint8Array>()
  const withdrawn: string[] = []
  const open: OpenMessage = {
    entry: {
      envelope: {
        sender: parseAddress(by),
        recipients: [{ address: parseAddress(BOB), notify: ["SUCCESS", "FAILURE"], originalRecipient: null }],
        smtpUtf8: false,
        envelopeId: null,
        returnContent: null,
      },
      origin: { kind: "submission", account: by, device: "x", remote: "192.0.2.1", helo: "x", tls: true },
      received: "Received: by us\r\n",
      receivedAt: NOW,
      seed: new Uint8Array(32).fill(11),
      sizeOctets: mail.length,
    },
    content: () => inPieces(mail, 10_000),
    [Symbol.asyncDispose]: async () => undefined,
  }
  const used: string[] = []
  const ours = meshMail({
    senderOf: (one) => (one === alice.profile.address ? { profile: alice.profile, device: outgoing.device } : null),
    publish: async (name, envelope) => void published.set(name, await joined(envelope)),
    withdraw: async (name) => void withdrawn.push(name),
    post: async (message, route) => {
      posted.push({ message, route })
      return posting
    },
    ...mesh,
  })
  const options: Partial<Gateway> = {
    policy: parseConfig(`domains = ["one.example"]\n[policy]\n${policy}`, "/x").policy.outgoing,
    correspondents: {
      resolve: async () => ({ ...UNKNOWN, address: BOB, ...known }),
      ask: async () => ({ ...UNKNOWN, address: BOB, ...anew }),
      used: (_, key) => void used.push(key.format),
    },
    directory: { resolve: () => ({ kind: "foreign" }), atRest: () => null, autocrypt: () => null },
    now: () => now,
  }
  const { gateway, seen } = gatewayWith(open, mesh === null ? null : ours, options)
  const outcome = await deliver(jobFor("0123456789", BOB, NOW), gateway, new AbortController().signal)
  return { outcome, posted, published, withdrawn, used, ...seen }
}

const how = ({ posted, relayed }: Awaited<ReturnType<typeof left>>) =>
  posted.length > 0 && relayed.length > 0
    ? "both"
    : posted.length > 0
      ? "mesh"
      : relayed.length === 0
        ? "nothing"
        : text(relayed[0] ?? new Uint8Array(0)).includes("pkcs7-mime")
          ? "smime"
          : "clear"

describe("mail to somebody whose profile offers the Mesh", async () => {
  const seen = await left({})
  const [{ message, route }] = seen.posted as [(typeof seen.posted)[0]]

  test("is posted to his service, and nothing goes by SMTP", () => {
    expect([seen.outcome.kind, how(seen), seen.used]).toEqual(["done", "mesh", ["mesh"]])
    expect(route.service).toEqual({
      address: new URL("https://mail.two.example/.well-known/mmm/"),
      udf: serviceTwo.profile.udf,
    })
  })

  test("its sender is told that it was relayed, where he asked", () => {
    expect(seen.reports).toHaveLength(1)
    expect(seen.reports[0]).toContain("Action: relayed")
  })

  test("is taken by his gateway, and opens with his certificate's key to what was written", async () => {
    const two = receiving({
      senders: {
        admits: () => true,
        find: async () => ({ profile: senderOf(serviceOne.profile.udf), gatewayDevice: device.profile.udf }),
      },
    })
    expect(await two.post(message)).toEqual({ kind: "accepted" })
    expect(readMail(message).statement.cms?.kid).toEqual(new Uint8Array(bobRecipient.digest))
  })

  test("shows outside what is shown by SMTP, too", () => {
    expect(text(readMail(message).statement.shown ?? new Uint8Array(0))).toContain("Subject: the quick canary")
    expect(text(readMail(message).statement.shown ?? new Uint8Array(0))).not.toContain("Content-Type")
  })

  test("a hidden subject is in the ciphertext only", async () => {
    const hidden = await left({ policy: 'headers = "hidden"' })
    expect(Buffer.from(hidden.posted[0]?.message ?? []).includes("canary")).toBe(false)
  })

  test("is the same octets when it is tried again", async () => {
    expect((await left({})).posted[0]?.message).toEqual(message)
  })

  test("above a message's length it is published", async () => {
    const large = await left({ mail: entity("0123456789\r\n".repeat(10_000)) })
    const statement = readMail(large.posted[0]?.message ?? new Uint8Array(0)).statement
    expect([large.published.size, statement.body.kind, large.withdrawn]).toEqual([1, "published", []])
  })
})

const without = (name: string) => Buffer.from(text(entity()).replace(new RegExp(`^${name}:.*\r\n`, "m"), ""))

const unknown: Posting = { kind: "unknown", diagnostic: "mail.two.example: AccountUnknown" }

/** Takes part when it is decided, and not when it is sealed. */
function leavesAfterOnce(): MeshMail["senderOf"] {
  let asked = 0
  return () => (asked++ === 0 ? { profile: alice.profile, device: outgoing.device } : null)
}

const rows: readonly (readonly [what: string, given: Given, outcome: string, left: string])[] = [
  ["this gateway has no part in the Mesh", { mesh: null }, "done", "smime"],
  ["its sender has none", { mesh: { senderOf: () => null } }, "done", "smime"],
  ["its sender leaves the Mesh while it is being sent", { mesh: { senderOf: leavesAfterOnce() } }, "done", "smime"],
  [
    "its sender has left, and he reads nothing but the Mesh: what may not go in clear is held",
    {
      mesh: { senderOf: () => null },
      known: { keys: [overMesh], remembered: [{ ...overMesh, lastSeen: NOW } as unknown as RememberedKey] },
    },
    "hold",
    "nothing",
  ],
  ["policy names other methods", { policy: 'methods = ["smime", "openpgp"]' }, "done", "smime"],
  ["policy prefers others", { policy: 'methods = ["smime", "mesh"]' }, "done", "smime"],
  [
    "a better source has a key",
    { known: { keys: [overMesh, { ...bySmime, trust: "pinned", source: "pinned" } as UsableKey] } },
    "done",
    "smime",
  ],
  ["another author than the account", { mail: entity("x\r\n", "carol@one.example") }, "done", "smime"],
  ["no Date", { mail: without("Date") }, "done", "smime"],
  ["no Message-ID", { mail: without("Message-ID") }, "done", "smime"],
  ["a Sender beside the author", { mail: Buffer.from(`Sender: x@one.example\r\n${text(entity())}`) }, "done", "smime"],
  [
    "no certificate for what is sealed: by SMTP, if there is a way",
    { known: { keys: [overMesh] } },
    "failed",
    "nothing",
  ],
  ["his service is away: later", { posting: { kind: "later", diagnostic: "timed out" } }, "retry", "mesh"],
  [
    "away for long: by SMTP",
    { posting: { kind: "later", diagnostic: "x" }, now: new Date(NOW.getTime() + MESH_PATIENCE_MS) },
    "done",
    "both",
  ],
  [
    "away for long, and policy has no other way: later still",
    {
      posting: { kind: "later", diagnostic: "x" },
      now: new Date(NOW.getTime() + MESH_PATIENCE_MS),
      policy: 'methods = ["mesh"]',
    },
    "retry",
    "mesh",
  ],
  [
    "his service has no such account: by SMTP, to the key that he has now",
    { posting: unknown, anew: { keys: [bySmime] } },
    "done",
    "both",
  ],
  [
    "his service has no such account, and he is silent: it waits",
    { posting: unknown, anew: { unanswered: [{ source: "profile", trust: "domain", because: "timed out" }] } },
    "retry",
    "mesh",
  ],
  [
    "his service has no such account, and he has no key any more: nothing goes in clear",
    { posting: unknown, anew: { remembered: [{ ...overMesh, lastSeen: NOW } as unknown as RememberedKey] } },
    "failed",
    "mesh",
  ],
  ["his service refuses: by SMTP", { posting: { kind: "refused", diagnostic: "not a contact" } }, "done", "both"],
  [
    "refuses, and who may have another key does not answer: it waits, and does not come back",
    {
      posting: { kind: "refused", diagnostic: "not a contact" },
      known: { ...both, unanswered: [{ source: "wkd", trust: "domain", because: "timed out" }] },
      policy: 'methods = ["mesh", "openpgp"]',
    },
    "retry",
    "mesh",
  ],
  [
    "refuses, and policy has no other way: its sender is told",
    { posting: { kind: "refused", diagnostic: "not a contact" }, policy: 'methods = ["mesh"]' },
    "failed",
    "mesh",
  ],
]
test.each(rows)("%s", async (_, given, outcome, expected) => {
  const seen = await left(given)
  expect([seen.outcome.kind, how(seen)]).toEqual([outcome, expected])
  for (const octets of seen.relayed) expect(text(octets)).not.toContain("Hello Bob")
})

test.each<[name: string, posting: Posting, isKept: boolean]>([
  ["what is refused is not kept published", { kind: "refused", diagnostic: "not a contact" }, false],
  ["nor is what is for nobody there", unknown, false],
  ["what may have been taken is", { kind: "later", diagnostic: "no answer" }, true],
])("%s", async (_, posting, isKept) => {
  const now = new Date(NOW.getTime() + MESH_PATIENCE_MS)
  const seen = await left({ mail: entity("0123456789\r\n".repeat(10_000)), posting, now })
  expect(seen.published.size).toBe(1)
  expect(seen.withdrawn).toEqual(isKept ? [] : [...seen.published.keys()])
})

test("what goes by SMTP instead opens with his certificate's key", async () => {
  const seen = await left({ posting: { kind: "refused", diagnostic: "not a contact" } })
  const der = Buffer.from(text(bodyOf(seen.relayed[0] ?? new Uint8Array(0))), "base64")
  expect(text(openEnveloped(der, bobAccount) ?? new Uint8Array(0))).toContain("Hello Bob")
})
