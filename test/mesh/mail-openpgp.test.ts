import { writeFile } from "node:fs/promises"
import { describe, expect, test } from "vitest"
import { readEnvelope } from "../../src/crypto/dare/envelope.ts"
import { sealWhole } from "../../src/crypto/dare/seal.ts"
import { makeAccountKey } from "../../src/crypto/openpgp/account-key.ts"
import { armor } from "../../src/crypto/openpgp/armor.ts"
import { readCertificate } from "../../src/crypto/openpgp/certificate.ts"
import { makeDeviceKey } from "../../src/crypto/openpgp/device-key.ts"
import { deriveOpenPgpSecrets } from "../../src/crypto/openpgp/encrypt.ts"
import { openOpenPgp } from "../../src/crypto/openpgp/open.ts"
import { PACKET, readPackets, writePacket } from "../../src/crypto/openpgp/packet.ts"
import { sha512 } from "../../src/crypto/primitives/hash.ts"
import { checkContentKey, mailBinding } from "../../src/mesh/mail/binding.ts"
import { ReceivedMailBody } from "../../src/mesh/mail/body.ts"
import { checkMail, type MailRefusal } from "../../src/mesh/mail/check.ts"
import { openMail } from "../../src/mesh/mail/open.ts"
import { signMail } from "../../src/mesh/mail/seal.ts"
import { MAX_MESSAGE_OCTETS, type MailStatement, readMail } from "../../src/mesh/mail/statement.ts"
import { makeAlice, recrypted } from "../crypto/openpgp/alice.ts"
import { peer, run, temporaryFolder } from "../harness/peers.ts"
import { inPieces, joined, PIECE_SIZES } from "../harness/pieces.ts"
import {
  bob,
  bobsKey,
  bobsOpenPgp,
  entity,
  expected,
  openPgpRecipient,
  outgoing,
  type Sealed,
  sealed,
} from "./mail-world.ts"
import { CREATED } from "./people.ts"

const another = await makeAccountKey({ name: "", address: "bob@two.example", createdAt: CREATED })
const toOpenPgp = (mail: Uint8Array, size = 1000) => sealed(mail, { recipient: openPgpRecipient }, size)
const altered = expect.objectContaining({ code: "MESH_MAIL_ALTERED" })

function envelopeOf({ message, published }: Sealed): Uint8Array {
  const { body } = readMail(message).statement
  return body.kind === "enclosed" ? body.envelope : (published?.envelope ?? new Uint8Array())
}

async function payloadOf(statement: MailStatement, envelope: Uint8Array, size = 1000): Promise<Uint8Array> {
  const body = await ReceivedMailBody.open(statement, inPieces(envelope, size))
  return joined(body.payload())
}

const reasonOf = (message: Uint8Array): MailRefusal | "verified" => {
  const verdict = checkMail(message, expected)
  return verdict.kind === "refused" ? verdict.reason : verdict.kind
}

describe.each([
  ["enclosed", entity()],
  ["published", entity("x".repeat(200_000))],
])("a mail to somebody who reads with OpenPGP alone, %s", async (kind, text) => {
  const mail = await toOpenPgp(text)
  const { statement } = readMail(mail.message)

  test("is verified, and says to which key it is", () => {
    expect(reasonOf(mail.message)).toBe("verified")
    expect([statement.body.kind, statement.openPgp, statement.cms]).toEqual([
      kind,
      { fingerprint: new Uint8Array(bobsOpenPgp.encryption.fingerprint) },
      null,
    ])
    expect(mail.message.length).toBeLessThanOrEqual(MAX_MESSAGE_OCTETS)
  })

  test.each(PIECE_SIZES)("carries an OpenPGP message that his key opens, octet for octet, %s", async (_, size) => {
    const message = await payloadOf(statement, envelopeOf(mail), size)
    expect(Buffer.compare((await openOpenPgp(message, bobsOpenPgp)) ?? new Uint8Array(), text)).toBe(0)
    expect(await openOpenPgp(message, another)).toBeNull()
  })

  test("is the same again with the same seed, however it came in pieces", async () => {
    const again = await toOpenPgp(text, 3_001)
    expect(again.message).toEqual(mail.message)
    const payload = async (of: Sealed) => payloadOf(statement, envelopeOf(of))
    expect(Buffer.compare(await payload(again), await payload(mail))).toBe(0)
  })

  test("shows nobody else what is in it", () => {
    for (const octets of [mail.message, envelopeOf(mail)])
      expect(Buffer.from(octets).toString("latin1")).not.toMatch(/canary|Hello|xxxxxxxx/)
  })
})

test("the session key is bound to who writes to whom: nobody signs another's ciphertext as his own", async () => {
  const { statement } = readMail((await toOpenPgp(entity())).message)
  const { sessionKey } = deriveOpenPgpSecrets(outgoing.seed, `mesh-mail ${bob.profile.udf}`)
  expect(statement.binding).toEqual(mailBinding(sessionKey, statement))
  expect(statement.binding).not.toEqual(mailBinding(sessionKey, { ...statement, sender: "mallory@one.example" }))
})

test("when his key is renewed between two attempts, it is another message under the same MessageId", async () => {
  const [before, after] = await Promise.all(
    [bobsOpenPgp, another].map(({ encryption }) =>
      sealed(entity(), { recipient: { ...openPgpRecipient, openPgp: encryption } }),
    ),
  )
  const [first, second] = [before, after].map((mail) => readMail(mail?.message ?? new Uint8Array()).statement)
  expect(second?.messageId).toBe(first?.messageId)
  expect(second?.payloadDigest).not.toEqual(first?.payloadDigest)
})

test.skipIf(!peer("sq"))(
  "a device that is served the message recrypted finds the bound session key, and no other fits",
  async () => {
    const { account: to, keyId, deviceScalar, recryptionScalar } = await makeAlice()
    const { certificate, secretKey } = to
    const { encryption: openPgp } = readCertificate(certificate)
    if (openPgp === null) throw new Error("no encryption key")
    const mail = await sealed(entity(), { recipient: { ...openPgpRecipient, openPgp } })
    const { statement } = readMail(mail.message)
    const deviceScalars = new Map([[keyId, deviceScalar]])
    const device = makeDeviceKey({ secretKey, certificate, deviceScalars, signingSubkey: null, password: null })
    const message = armor(await payloadOf(statement, envelopeOf(mail)), "MESSAGE")
    await using folder = await temporaryFolder()
    const [keyFile, messageFile] = [folder.file("key.asc"), folder.file("message.asc")]
    await writeFile(keyFile, armor(device, "PRIVATE KEY BLOCK"))
    await writeFile(messageFile, recrypted(message, recryptionScalar))
    const opened = await run("sq", ["decrypt", "--dump-session-key", "--recipient-key", keyFile, messageFile])
    expect(Buffer.from(opened.stdout), opened.stderr).toEqual(entity())
    const key = Buffer.from(/session key: "?([0-9A-F]{64})"?/i.exec(opened.stderr)?.[1] ?? "", "hex")
    const [iv, cannotOpen] = [new Uint8Array(), expect.objectContaining({ code: "DECRYPTION_FAILED" })]
    expect(() => checkContentKey(statement, { key, iv })).not.toThrow()
    expect(() => checkContentKey(statement, { key: key.map((octet) => octet ^ 1), iv })).toThrow(cannotOpen)
    expect(() => checkContentKey({ ...statement, sender: "mallory@one.example" }, { key, iv })).toThrow(cannotOpen)
  },
)

describe("a dishonest sender", async () => {
  const text = entity("x".repeat(100))
  const mail = await toOpenPgp(text)
  const { statement } = readMail(mail.message)
  const message = await payloadOf(statement, envelopeOf(mail))
  const [sessionKey, content] = readPackets(message)
  if (sessionKey === undefined || content === undefined) throw new Error("no packets")
  const key = writePacket(PACKET.pkesk, sessionKey.body)
  const body = writePacket(PACKET.seipd, content.body)

  /** States, as it should be stated, what is no message of the one form. */
  function lying(payload: Uint8Array, other: Partial<MailStatement> = {}): MailStatement {
    const envelope = sealWhole(payload, { encryption: null }, "json-b")
    return {
      ...statement,
      payloadDigest: sha512(payload),
      payloadOctets: payload.length,
      body: { kind: "enclosed", envelope },
      ...other,
    }
  }
  const signed = (stated: MailStatement) => signMail(stated, [outgoing.device.signer, outgoing.service.signer])
  const toAnother = Buffer.from(sessionKey.body)
  toAnother.set(another.encryption.keyId, 1)
  const other = writePacket(PACKET.pkesk, toAnother)
  const version = (packet: Uint8Array, at: number, octet: number) =>
    packet.map((one, place) => (place === at ? octet : one))
  const keyDigest = (packets: Uint8Array) => ({ recipientsDigest: sha512(packets) })

  const rows: [what: string, payload: Uint8Array, stated?: Partial<MailStatement>][] = [
    ["text", Buffer.from("I am no ciphertext.\r\n")],
    ["nothing", new Uint8Array()],
    ["a literal packet alone", writePacket(PACKET.literal, text)],
    ["a packet in front", Buffer.concat([writePacket(PACKET.literal, text), key, body])],
    ["a packet behind", Buffer.concat([key, body, writePacket(PACKET.literal, text)])],
    ["octets behind", Buffer.concat([key, body, Uint8Array.of(0)])],
    ["no session key", body],
    ["a second session key, stated as well", Buffer.concat([key, other, body]), keyDigest(Buffer.concat([key, other]))],
    ["a session key for another key", Buffer.concat([other, body]), keyDigest(other)],
    ["a session key packet of version 6", Buffer.concat([version(key, 2, 6), body]), keyDigest(version(key, 2, 6))],
    ["a session key of another algorithm", Buffer.concat([version(key, 11, 1), body]), keyDigest(version(key, 11, 1))],
    ["content that is cut off", Buffer.concat([key, body.subarray(0, -1)])],
    ["content of version 2", Buffer.concat([key, version(body, 2, 2)])],
    ["content without protection", Buffer.concat([key, writePacket(9, content.body)])],
    ["content of no stated length", Buffer.concat([key, Uint8Array.of(0xcb), content.body])],
    ["another session key packet than is stated", message, { recipientsDigest: new Uint8Array(64) }],
    ["a message to the other key, by its fingerprint", message, { openPgp: another.encryption }],
  ]
  test.each(rows)("%s: the body is refused, enclosed and when it is fetched", async (_, payload, stated) => {
    const lie = lying(payload, stated)
    expect(reasonOf(signed(lie))).toBe("body altered")
    const { body: enclosed } = lie
    const envelope = enclosed.kind === "enclosed" ? enclosed.envelope : new Uint8Array()
    for (const size of [1, 1000]) await expect(payloadOf(lie, envelope, size)).rejects.toThrow(altered)
  })

  test("the message as it was, stated so, is taken", () => {
    expect(reasonOf(signed(lying(message)))).toBe("verified")
  })

  test("encrypted to an account of the Mesh as well: nobody could look into it", async () => {
    const dare = readMail((await sealed(entity())).message).statement
    const lie = { ...dare, cms: null, openPgp: statement.openPgp }
    expect(reasonOf(signed(lie))).toBe("body altered")
  })

  test("a mail in clear, in packets of the right form: who opens with a Mesh key is shown nothing", async () => {
    const clear = Buffer.concat([key, writePacket(PACKET.seipd, Buffer.from("\u0001\r\n"), text)])
    const lie = lying(clear)
    expect(reasonOf(signed(lie))).toBe("verified")
    const { body: enclosed } = lie
    const envelope = enclosed.kind === "enclosed" ? enclosed.envelope : new Uint8Array()
    const opening = joined(openMail(lie, inPieces(envelope, 1000), [bobsKey]))
    await expect(opening).rejects.toThrow(expect.objectContaining({ code: "DECRYPTION_FAILED" }))
  })

  test("S/MIME and OpenPGP at once, or a fingerprint of another length, is no statement", async () => {
    const { cms } = readMail((await sealed(entity())).message).statement
    expect(reasonOf(signed({ ...statement, cms }))).toBe("malformed")
    expect(reasonOf(signed({ ...statement, openPgp: { fingerprint: new Uint8Array(32) } }))).toBe("malformed")
  })

  test("what is stated is signed: another key's fingerprint is forged", () => {
    const { payload, header } = readEnvelope(mail.message)
    const changed = Buffer.from(payload)
    changed.set(another.encryption.fingerprint, changed.indexOf(Buffer.from(bobsOpenPgp.encryption.fingerprint)))
    const whole = Buffer.from(mail.message)
    whole.set(changed, whole.indexOf(Buffer.from(payload)))
    expect(header.encryption ?? "none").toBe("none")
    expect(reasonOf(whole)).not.toBe("verified")
  })
})
