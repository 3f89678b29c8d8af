import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { randomOctets } from "../../src/crypto/primitives/random.ts"
import { GatewayError } from "../../src/errors.ts"
import { makeAccount } from "../../src/identity/account.ts"
import { checkEscrow, sealEscrow } from "../../src/identity/escrow.ts"
import { verifyMailProfile } from "../../src/identity/mail-profile.ts"
import { administered, hasMeshName, mailProfileOf } from "../../src/identity/mesh-account.ts"
import { formatMeshGateway, readMeshGateway } from "../../src/identity/mesh-gateway.ts"
import { verifyConnectionDevice } from "../../src/mesh/connection.ts"
import { checkContactMessage } from "../../src/mesh/contact/check.ts"
import { makeIntroduction, readIntroduction } from "../../src/mesh/contact/introduction.ts"
import { readContactMessage } from "../../src/mesh/contact/message.ts"
import { makeContactPerson, readContactPerson } from "../../src/mesh/contact/person.ts"
import { ReceivedMailBody } from "../../src/mesh/mail/body.ts"
import { checkMail } from "../../src/mesh/mail/check.ts"
import { openMail } from "../../src/mesh/mail/open.ts"
import { checkOpenPgpHead } from "../../src/mesh/mail/openpgp-body.ts"
import { readMail } from "../../src/mesh/mail/statement.ts"
import { verifyProfileDevice, verifyProfileService, verifyProfileUser } from "../../src/mesh/profile.ts"
import { inPieces, joined } from "../harness/pieces.ts"
import { carol, carolsGateway, dave, hers, NOON, request } from "../mesh/contact-world.ts"
import { alice, bobsKey, entity, expected, gateway, NOW, openPgpRecipient, sealed } from "../mesh/mail-world.ts"
import { damaged } from "./damaged.ts"

const RUNS = Number(process.env["FUZZ_RUNS"] ?? 100)
const mail = await sealed(entity())
const { statement } = readMail(mail.message)
const envelope = statement.body.kind === "enclosed" ? statement.body.envelope : new Uint8Array()

const told = { address: null, service: expected.service.envelope, device: gateway.profile.envelope }
const gatewayFile = Buffer.from(formatMeshGateway(told))
const making = { now: NOW, random: randomOctets }
const { person } = await makeAccount(
  { address: alice.profile.address, name: "", formats: ["smime"], gateway: told },
  making,
)
if (!hasMeshName(person)) throw new Error("not in the Mesh")
const mailProfile = mailProfileOf(person, [], NOW)
const owner = administered(person.mesh).profile
const escrow = sealEscrow(person, making)
const contactMessage = request()
const contact = makeContactPerson(carol.profile, carolsGateway, NOON)
const introduction = makeIntroduction(
  { introducer: carol.profile.udf, subject: dave.profile.udf, recipient: dave.profile.udf },
  carolsGateway,
  { created: NOON, notOnOrAfter: NOON },
)

/** What an object's reader may answer to anything: its value, or an error of ours. */
function answers(read: () => unknown): boolean {
  try {
    read()
    return true
  } catch (error) {
    return error instanceof GatewayError
  }
}

const toOpenPgp = await sealed(entity(), { recipient: openPgpRecipient })
const { statement: openPgpStatement } = readMail(toOpenPgp.message)
const { body: openPgpBody } = openPgpStatement
const openPgpEnvelope = openPgpBody.kind === "enclosed" ? openPgpBody.envelope : new Uint8Array()

describe("what somebody has damaged, or made up", () => {
  const readers: [what: string, original: Uint8Array, read: (octets: Uint8Array) => unknown][] = [
    ["a profile", alice.profile.envelope, (octets) => verifyProfileUser(octets, null)],
    ["a device's profile", gateway.profile.envelope, (octets) => verifyProfileDevice(octets, null)],
    ["a service's profile", expected.service.envelope, (octets) => verifyProfileService(octets, null)],
    ["a connection", gateway.connection, (octets) => verifyConnectionDevice(octets, alice.profile, NOW)],
    ["a mail", mail.message, readMail],
    ["a mail as PGP/MIME", toOpenPgp.message, readMail],
    ["a mail profile", mailProfile, verifyMailProfile],
    ["an escrow", escrow, (octets) => checkEscrow(octets, owner)],
    ["a gateway's file", gatewayFile, (octets) => readMeshGateway(Buffer.from(octets).toString())],
    ["a contact", contact, readContactPerson],
    ["an introduction", introduction, readIntroduction],
  ]
  test.each(readers)("%s", (_, original, read) => {
    const any = fc.oneof(damaged(original), fc.uint8Array({ maxLength: 500 }))
    fc.assert(
      fc.property(any, (octets) => answers(() => read(octets))),
      { numRuns: RUNS },
    )
  })

  test("a contact message is verified only as the statement that was signed", () => {
    const asSent = readContactMessage(contactMessage).statement
    const expectedContact = { service: hers.profile, recipient: dave.profile, now: NOON }
    fc.assert(
      fc.property(damaged(contactMessage), (octets) => {
        const verdict = checkContactMessage(octets, expectedContact)
        if (verdict.kind === "verified") expect(verdict.statement).toEqual(asSent)
      }),
      { numRuns: RUNS },
    )
  })

  test("a mail is verified only with the statement that was signed", () => {
    fc.assert(
      fc.property(damaged(mail.message), (octets) => {
        const verdict = checkMail(octets, expected)
        if (verdict.kind === "verified") expect(verdict.statement).toEqual(statement)
      }),
      { numRuns: RUNS },
    )
  })

  test("an OpenPGP body is given out as it was stated, or not at all", async () => {
    const whole = async (octets: Uint8Array, size: number) =>
      joined((await ReceivedMailBody.open(openPgpStatement, inPieces(octets, size))).payload())
    const original = await whole(openPgpEnvelope, 1000)
    await fc.assert(
      fc.asyncProperty(damaged(openPgpEnvelope), fc.integer({ min: 1, max: 400 }), async (octets, size) => {
        try {
          expect(Buffer.compare(await whole(octets, size), original)).toBe(0)
        } catch (error) {
          if (!(error instanceof GatewayError)) throw error
        }
      }),
      { numRuns: RUNS },
    )
  })

  test("the head of an OpenPGP message, whatever stands there, is ours or refused", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (octets) =>
        answers(() => checkOpenPgpHead(openPgpStatement, octets)),
      ),
      { numRuns: RUNS },
    )
  })

  test("a body is opened to what was sealed, or not at all", async () => {
    await fc.assert(
      fc.asyncProperty(damaged(envelope), fc.integer({ min: 1, max: 400 }), async (octets, size) => {
        try {
          const text = await joined(openMail(statement, inPieces(octets, size), [bobsKey]))
          expect(Buffer.compare(text, entity())).toBe(0)
        } catch (error) {
          if (!(error instanceof GatewayError)) throw error
        }
      }),
      { numRuns: RUNS },
    )
  })
})

test("what is sealed is opened, whatever it is and however it comes", async () => {
  const property = fc.asyncProperty(
    fc.uint8Array({ maxLength: 3000 }),
    fc.integer({ min: 1, max: 999 }),
    async (octets, size) => {
      const original = Buffer.concat([entity(""), octets])
      const sent = await sealed(original, {}, size)
      const verdict = checkMail(sent.message, expected)
      if (verdict.kind !== "verified" || verdict.statement.body.kind !== "enclosed") throw new Error("not verified")
      const text = await joined(openMail(verdict.statement, inPieces(verdict.statement.body.envelope, size), [bobsKey]))
      expect(Buffer.compare(text, original)).toBe(0)
    },
  )
  await fc.assert(property, { numRuns: Math.ceil(RUNS / 5) })
})
