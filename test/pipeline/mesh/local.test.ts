import { describe, expect, test } from "vitest"
import { parseConfig } from "../../../src/config/load.ts"
import { openEnveloped } from "../../../src/crypto/cms/open.ts"
import { dearmor } from "../../../src/crypto/openpgp/armor.ts"
import { openOpenPgp } from "../../../src/crypto/openpgp/open.ts"
import { parseAddress } from "../../../src/message/address.ts"
import type { Gateway } from "../../../src/pipeline/gateway.ts"
import { storeOverMesh } from "../../../src/pipeline/mesh/local.ts"
import type { MeshMail } from "../../../src/pipeline/mesh/ports.ts"
import { preparedOf } from "../../../src/pipeline/prepared.ts"
import { jobFor } from "../../../src/queue/queue.ts"
import type { SpoolEntry } from "../../../src/store/spool.ts"
import { inPieces, joined } from "../../harness/pieces.ts"
import {
  alice,
  bob,
  bobAccount,
  bobsOpenPgp,
  entity,
  NOW,
  openPgpRecipient,
  otherService,
  outgoing,
  serviceSigner,
} from "../../mesh/mail-world.ts"
import { bodyOf, headerOf, text } from "../leaving.ts"
import { bobRecipient, gatewayWith, meshMail, opened } from "./world.ts"

const [ALICE, BOB] = [alice.profile.address, bob.profile.address]
const signal = new AbortController().signal
const submission = { kind: "submission", account: ALICE, device: "laptop", remote: "", helo: "x", tls: true } as const

interface Given {
  readonly mail?: Uint8Array
  readonly origin?: SpoolEntry["origin"]
  readonly mesh?: Partial<MeshMail> | null
  readonly policy?: string
}

async function stored({ mail = entity(), origin = submission, mesh = {}, policy = "" }: Given = {}) {
  const entry: SpoolEntry = {
    envelope: {
      sender: parseAddress(ALICE),
      recipients: [{ address: parseAddress(BOB), notify: null, originalRecipient: null }],
      smtpUtf8: false,
      envelopeId: null,
      returnContent: null,
    },
    origin,
    received: "Received: by us\r\n",
    receivedAt: NOW,
    seed: new Uint8Array(32).fill(12),
    sizeOctets: mail.length,
  }
  const kept = new Map<string, Uint8Array>()
  const ours = meshMail({
    senderOf: (one) => (one === ALICE ? { profile: alice.profile, device: outgoing.device } : null),
    recipientOf: (one) => (one === BOB ? { profile: bob.profile, certificate: bobRecipient } : null),
    publish: async (name, envelope) => void kept.set(name, await joined(envelope)),
    published: async () => {
      const [[name, envelope] = ["", new Uint8Array()]] = kept
      return { content: () => inPieces(envelope, 10_000), discard: async () => void kept.delete(name) }
    },
    ...mesh,
  })
  const options: Partial<Gateway> = {
    policy: parseConfig(`domains = ["one.example"]\n[policy]\n${policy}`, "/x").policy.outgoing,
  }
  const message = opened({ entry, message: mail, id: "" })
  const { gateway, seen } = gatewayWith(message, mesh === null ? null : ours, options)
  const source = preparedOf(mail)
  const result = await storeOverMesh(
    BOB,
    { entry, source, onSignature: null },
    jobFor("0123456789", BOB, NOW),
    gateway,
    signal,
  )
  return { result, octets: seen.mails[0]?.octets ?? new Uint8Array(), mails: seen.mails, kept }
}

/** All of the mail, under a header that says which of its fields stand outside, too (RFC 9788). */
function expectInside(inside: Uint8Array | null, mail: Uint8Array): void {
  const opened = text(inside ?? new Uint8Array())
  expect(opened).toContain("\r\nSubject: the quick canary\r\n")
  expect(opened.endsWith(text(bodyOf(mail)))).toBe(true)
}

describe("mail of one of our people to another", () => {
  test.each([
    ["short", entity()],
    ["longer than a message of the Mesh", entity("x".repeat(100_000))],
  ])("%s: is stored as it would be had it come over the Mesh, and nothing of it stays published", async (_, mail) => {
    const { result, octets, kept } = await stored({ mail })
    expect(result).toMatchObject({ kind: "done" })
    expectInside(openEnveloped(Buffer.from(text(bodyOf(octets)), "base64"), bobAccount), mail)
    expect(headerOf(octets)).toMatch(
      /Authentication-Results: mail\.two\.example;\s+mesh=pass .*\s*.*header\.from=alice@one\.example/,
    )
    expect(kept.size).toBe(0)
  })

  test("to who reads with OpenPGP alone is PGP/MIME", async () => {
    const mesh = { recipientOf: () => openPgpRecipient, openPgpKeysOf: () => [bobsOpenPgp.encryption] }
    const { octets } = await stored({ mesh })
    const message = dearmor(bodyOf(octets))?.binary ?? new Uint8Array()
    expectInside(await openOpenPgp(message, bobsOpenPgp), entity())
  })

  test("is the same octets when it is stored again", async () => {
    expect((await stored()).mails).toEqual((await stored()).mails)
  })

  test.each<[what: string, given: Given]>([
    ["the gateway has no part in the Mesh", { mesh: null }],
    ["the recipient has none", { mesh: { recipientOf: () => null } }],
    ["the sender has none", { mesh: { senderOf: () => null } }],
    ["policy says S/MIME", { policy: 'methods = ["smime"]' }],
    ["it came in from elsewhere", { origin: { ...submission, kind: "mx", account: null, device: null } }],
    ["it is by another author", { mail: entity("", "mallory@one.example") }],
    [
      "it is encrypted already",
      { mail: Buffer.from(`From: ${ALICE}\r\nContent-Type: application/pkcs7-mime\r\n\r\nMIIB`) },
    ],
    [
      "what we have signed is not verified",
      { mesh: { service: { ...outgoing.service, signer: serviceSigner(otherService) } } },
    ],
  ])("%s: it is not stored so, and nothing is lost: the usual way is taken", async (_, given) => {
    const { result, mails } = await stored(given)
    expect([result, mails]).toEqual([null, []])
  })
})
