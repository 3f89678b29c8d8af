import { describe, expect, test } from "vitest"
import { GatewayError } from "../../../src/errors.ts"
import { signerWith } from "../../../src/mesh/key-data.ts"
import { ROLE_SEND_MAIL } from "../../../src/mesh/mail/check.ts"
import { signMail } from "../../../src/mesh/mail/seal.ts"
import { readMail } from "../../../src/mesh/mail/statement.ts"
import { signObject } from "../../../src/mesh/signed.ts"
import {
  alice,
  bob,
  gateway as device,
  entity,
  mallory,
  NOW,
  openPgpRecipient,
  otherService,
  outgoing,
  sealed,
  serviceOne,
} from "../../mesh/mail-world.ts"
import { connectedDevice } from "../../mesh/people.ts"
import { type Kept, receiving, seenMail, senderOf } from "./world.ts"

const mail = (await sealed(entity())).message
const { statement } = readMail(mail)
const own = senderOf(serviceOne.profile.udf)
const find = async () => ({ profile: own, gatewayDevice: null })
const resigned = (other: Partial<typeof statement>) =>
  signMail({ ...statement, ...other }, [outgoing.device.signer, outgoing.service.signer])

test("mail of somebody known is kept: durable, then accepted, under what was verified", async () => {
  const { post, kept } = receiving()
  expect(await post(mail)).toEqual({ kind: "accepted" })
  const [{ entry, message }] = kept as [Kept]
  expect(message).toEqual(mail)
  expect([entry.origin.kind, entry.origin.account, entry.origin.helo]).toEqual([
    "mesh",
    bob.profile.address,
    serviceOne.profile.udf,
  ])
  const field = (entry.authentication?.field ?? "").replace(/\r\n\s+/g, " ")
  for (const word of [
    "mesh=pass",
    "header.from=alice@one.example",
    alice.profile.udf,
    serviceOne.profile.udf,
    "policy.via=gateway",
  ])
    expect(field).toContain(word)
})

describe("comes again", () => {
  test("the same message: accepted again, kept once", async () => {
    const { post, kept } = receiving()
    expect([await post(mail), await post(mail)]).toEqual([{ kind: "accepted" }, { kind: "accepted" }])
    expect(kept).toHaveLength(1)
  })

  test("after a crash before it was remembered: kept under the same name", async () => {
    const { post, kept } = receiving({ seen: seenMail() })
    expect([await post(mail), await post(mail)]).toEqual([{ kind: "accepted" }, { kind: "accepted" }])
    expect(kept).toHaveLength(1)
  })

  test("a full disk: the error comes through, and nothing is accepted", async () => {
    const full = receiving({ keep: () => Promise.reject(new GatewayError("SPOOL_FULL", "full")) })
    await expect(full.post(mail)).rejects.toThrow("full")
    expect(await receiving().post(mail)).toEqual({ kind: "accepted" })
  })

  test("another message under its MessageId: refused", async () => {
    const { post } = receiving()
    await post(mail)
    const other = resigned({ date: new Date(statement.date.getTime() + 1_000) })
    expect(await post(other)).toEqual({ kind: "refused", reason: "message id used twice" })
  })

  test("another text under its Salt: refused", async () => {
    const { post } = receiving()
    await post(mail)
    const other = (await sealed(entity("Another text.\r\n"))).message
    // The same seed makes the same MessageId: here it is another.
    const { body, ...rest } = readMail(other).statement
    const renamed = signMail(
      {
        ...rest,
        body,
        messageId: readMail((await sealed(entity(), { seed: new Uint8Array(32).fill(9) })).message).statement.messageId,
      },
      [outgoing.device.signer, outgoing.service.signer],
    )
    expect(await post(renamed)).toEqual({ kind: "refused", reason: "seed used twice" })
  })
})

const refusals: readonly (readonly [what: string, reason: string, () => Promise<unknown>])[] = [
  [
    "a stranger's, before anybody is looked up",
    "not a contact",
    () => {
      const looked = () => Promise.reject(new Error("was looked up"))
      return receiving({ senders: { admits: () => false, find: looked } }).post(mail)
    },
  ],
  [
    "nobody vouches for the sender's profile",
    "other sender",
    () => receiving({ senders: { admits: () => true, find: async () => null } }).post(mail),
  ],
  ["a service that is not the sender's", "other service", () => receiving().post(mail, otherService.profile)],
  [
    "the sender has no service",
    "other service",
    () =>
      receiving({
        senders: { admits: () => true, find: async () => ({ profile: alice.profile, gatewayDevice: null }) },
      }).post(mail),
  ],
  [
    "another gateway than the one that is published",
    "device revoked",
    () => receiving({ senders: { admits: () => true, find } }).post(mail),
  ],
  [
    "a certificate that the account does not have",
    "other certificate",
    () => receiving({ certificatesOf: () => [new Uint8Array(32)] }).post(mail),
  ],
  ["for S/MIME, to an account without", "other certificate", () => receiving({ certificatesOf: () => [] }).post(mail)],
  [
    "not for S/MIME, to an account without: nobody could make of it what the account reads",
    "other certificate",
    async () => {
      const recipient = { profile: bob.profile, certificate: null }
      return receiving({ certificatesOf: () => [] }).post((await sealed(entity(), { recipient })).message)
    },
  ],
  [
    "for OpenPGP, to a key that the account does not have",
    "other certificate",
    async () => {
      const { message } = await sealed(entity(), { recipient: openPgpRecipient })
      return receiving({ openPgpKeysOf: () => [new Uint8Array(20)] }).post(message)
    },
  ],
  [
    "for OpenPGP, to an account that reads S/MIME",
    "other certificate",
    async () => receiving().post((await sealed(entity(), { recipient: openPgpRecipient })).message),
  ],
  ["larger than the gateway takes", "too large", () => receiving({ maxMailOctets: 10 }).post(mail)],
  [
    "a month old",
    "too old, or of the future",
    () => receiving().post(mail, serviceOne.profile, new Date(NOW.getTime() + 31 * 86_400e3)),
  ],
  [
    "of the future",
    "too old, or of the future",
    () => receiving().post(mail, serviceOne.profile, new Date(NOW.getTime() - 86_400e3)),
  ],
  [
    "no mail",
    "malformed",
    () => receiving().post(signObject("MessageMail", {}, [outgoing.device.signer], { created: NOW })),
  ],
  ["an object of another kind", "malformed", () => receiving().post(device.connection)],
  [
    "another's signature",
    "forged",
    () => {
      const device = connectedDevice(mallory, 60, [ROLE_SEND_MAIL])
      const forged = signMail(statement, [signerWith(device.keys.signature), outgoing.service.signer])
      return receiving().post(forged)
    },
  ],
]
test.each(refusals)("refused: %s", async (_, reason, act) => {
  expect(await act()).toEqual({ kind: "refused", reason })
})

test.each([
  ["another gateway", { profile: own, gatewayDevice: null }],
  ["another service", { profile: senderOf(otherService.profile.udf), gatewayDevice: device.profile.udf }],
  ["another account", null],
])("what was heard of the sender before names %s: he is asked about again", async (_, before) => {
  const anew = { profile: own, gatewayDevice: device.profile.udf }
  const senders = { admits: () => true, find: async (...[, , asked]: unknown[]) => (asked === "anew" ? anew : before) }
  expect(await receiving({ senders }).post(mail)).toEqual({ kind: "accepted" })
})

test("a source that does not answer: later, and nothing is kept", async () => {
  const silent = () => Promise.reject(new GatewayError("KEY_SOURCE_SILENT", "silent"))
  const { post, kept } = receiving({ senders: { admits: () => true, find: silent } })
  expect(await post(mail)).toEqual({ kind: "later" })
  expect(kept).toEqual([])
})
