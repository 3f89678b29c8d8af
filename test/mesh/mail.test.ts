import { writeFile } from "node:fs/promises"
import { describe, expect, test } from "vitest"
import { openEnveloped } from "../../src/crypto/cms/open.ts"
import { cmsRecipient } from "../../src/crypto/cms/recipient.ts"
import { commitment } from "../../src/crypto/cms/second-envelope.ts"
import { openingKey } from "../../src/crypto/dare/agreement.ts"
import { readEnvelope } from "../../src/crypto/dare/envelope.ts"
import { contentKeys } from "../../src/crypto/dare/key-schedule.ts"
import { seedOf } from "../../src/crypto/dare/open.ts"
import type { EncryptContent } from "../../src/crypto/dare/seal.ts"
import { writeJson } from "../../src/crypto/jsonb/write.ts"
import { aesCbcEncryptor } from "../../src/crypto/primitives/cipher.ts"
import { wrapKey } from "../../src/crypto/primitives/keywrap.ts"
import { p256Pkcs8 } from "../../src/crypto/primitives/p256.ts"
import { cmsRecryptor } from "../../src/crypto/recryption/cms.ts"
import { contentIdentifier } from "../../src/crypto/udf/symmetric.ts"
import { signerWith } from "../../src/mesh/key-data.ts"
import { checkContentKey, mailBinding } from "../../src/mesh/mail/binding.ts"
import { ReceivedMailBody } from "../../src/mesh/mail/body.ts"
import { checkMail, type ExpectedMail, type MailRefusal, ROLE_MESSAGE } from "../../src/mesh/mail/check.ts"
import { openMail } from "../../src/mesh/mail/open.ts"
import { signMail } from "../../src/mesh/mail/seal.ts"
import { secondEnvelopeOf } from "../../src/mesh/mail/smime.ts"
import { MAX_MESSAGE_OCTETS, type MailStatement, readMail, statementMembers } from "../../src/mesh/mail/statement.ts"
import { signObject } from "../../src/mesh/signed.ts"
import { inPlace } from "../../src/pipeline/beside.ts"
import { peer, run, temporaryFolder } from "../harness/peers.ts"
import { inPieces, joined, PIECE_SIZES } from "../harness/pieces.ts"
import {
  alice,
  bob,
  bobAccount,
  bobCertificate,
  bobsDevice,
  bobsKey,
  entity,
  entityOf,
  expected,
  gateway,
  mallory,
  NOW,
  otherService,
  outgoing,
  type Sealed,
  sealed,
  serviceSigner,
} from "./mail-world.ts"
import { account, CREATED, connectedDevice } from "./people.ts"

const whole = Number.POSITIVE_INFINITY
const cannotOpen = expect.objectContaining({ code: "DECRYPTION_FAILED" })
const altered = expect.objectContaining({ code: "MESH_MAIL_ALTERED" })
const invalid = expect.objectContaining({ code: "MESH_OBJECT_INVALID" })

/** The octets with one bit another. */
const flipped = (octets: Uint8Array, place = 0) => octets.map((octet, at) => (at === place ? octet ^ 1 : octet))

/** The envelope, wherever it is. */
function envelopeOf({ message, published }: Sealed): Uint8Array {
  const { body } = readMail(message).statement
  if (body.kind === "enclosed") return body.envelope
  if (published === null) throw new Error("nothing was published")
  return published.envelope
}

function verified({ message }: Sealed) {
  return verifiedBy(message, expected)
}

function verifiedBy(message: Uint8Array, expectations: ExpectedMail) {
  const verdict = checkMail(message, expectations)
  if (verdict.kind !== "verified") throw new Error(verdict.reason)
  return verdict
}

const reasonOf = (message: Uint8Array, other = {}): MailRefusal | "verified" => {
  const verdict = checkMail(message, { ...expected, ...other })
  return verdict.kind === "refused" ? verdict.reason : verdict.kind
}

const opened = (statement: MailStatement, envelope: Uint8Array, size = whole) =>
  joined(openMail(statement, inPieces(envelope, size), [bobsKey]))

const smime = (statement: MailStatement, envelope: Uint8Array, size = whole) =>
  joined(secondEnvelopeOf(statement, inPieces(envelope, size), cmsRecipient(bobCertificate)))

/** Signed anew, by the right keys: what a dishonest sender can do. */
const resigned = (statement: MailStatement) => signMail(statement, [outgoing.device.signer, outgoing.service.signer])

/** An ephemeral point of another mail. */
const otherPoint =
  readMail((await sealed(entity(), { seed: new Uint8Array(32).fill(79) })).message).statement.cms?.epk ??
  new Uint8Array()

describe("a mail that is enclosed", async () => {
  const mail = await sealed(entity())
  const verdict = verified(mail)
  const { statement } = verdict

  test("is verified: who sent it, by what, to whom", () => {
    expect(verdict.via).toBe("gateway")
    expect(verdict.connection.subject).toBe(gateway.profile.udf)
    expect([statement.sender, statement.recipient, statement.date]).toEqual([
      "alice@one.example",
      "bob@two.example",
      CREATED,
    ])
    expect(readEnvelope(mail.message).header.envelopeId).toBe(verdict.envelopeId)
    expect(mail.published).toBeNull()
  })

  test("to an account with a key on X25519 is opened by that", async () => {
    const { profile, keys } = account(bob.profile.address, 2, null, "mail")
    const { message } = await sealed(entity(), { recipient: { ...outgoing.recipient, profile } })
    const { statement } = verifiedBy(message, { ...expected, recipient: profile })
    if (statement.body.kind !== "enclosed") throw new Error("it is not enclosed")
    const key = openingKey(profile.keys.encryption.udf, keys.encryption)
    const text = await joined(openMail(statement, inPieces(statement.body.envelope, whole), [key]))
    expect(Buffer.from(text).toString()).toBe(Buffer.from(entity()).toString())
    await expect(joined(openMail(statement, inPieces(statement.body.envelope, whole), [bobsKey]))).rejects.toEqual(
      cannotOpen,
    )
  })

  test("shows nobody but the recipient what is in it", () => {
    for (const secret of ["canary", "Hello Bob", "1@one.example"])
      expect(Buffer.from(mail.message).includes(secret)).toBe(false)
  })

  test.each(PIECE_SIZES)("is opened with a Mesh key, octet for octet, %s", async (_, size) => {
    expect(Buffer.from(await opened(statement, envelopeOf(mail), size))).toEqual(entity())
  })

  test.each(PIECE_SIZES)("is EnvelopedData for the certificate, built by who opens nothing, %s", async (_, size) => {
    const der = await smime(statement, envelopeOf(mail), size)
    expect(openEnveloped(der, bobAccount)).toEqual(entity())
  })

  test.skipIf(!peer("openssl"))("is opened by OpenSSL with a device's key, recrypted", async () => {
    await using folder = await temporaryFolder()
    const recrypted = cmsRecryptor({
      from: bobCertificate.identity,
      to: bobsDevice.certificate.identity,
      scalar: bobsDevice.recryptionKey,
    }).recrypt(await smime(statement, envelopeOf(mail)))
    await writeFile(folder.file("device.pem"), bobsDevice.pem)
    await writeFile(folder.file("key.der"), p256Pkcs8(bobsDevice.scalar))
    const key = ["-inkey", folder.file("key.der"), "-keyform", "DER", "-recip", folder.file("device.pem")]
    const answer = await run("openssl", ["cms", "-decrypt", "-binary", "-inform", "DER", ...key], {
      input: recrypted ?? new Uint8Array(),
    })
    expect([answer.code, Buffer.from(answer.stdout)]).toEqual([0, entity()])
  })

  test("is the same again with the same seed, however it came in pieces", async () => {
    expect((await sealed(entity(), {}, 3)).message).toEqual(mail.message)
  })

  test("to somebody without a certificate has no second envelope", async () => {
    const plain = await sealed(entity(), { recipient: { profile: bob.profile, certificate: null } })
    const { statement: other } = verified(plain)
    expect(other.cms).toBeNull()
    expect(Buffer.from(await opened(other, envelopeOf(plain)))).toEqual(entity())
    await expect(smime(other, envelopeOf(plain))).rejects.toThrow("the mail has none")
  })

  test("by a device of the person's says so", async () => {
    const phone = connectedDevice(alice, 60, [ROLE_MESSAGE])
    const device = { signer: signerWith(phone.keys.signature), connection: phone.connection }
    expect(verified(await sealed(entity(), { device })).via).toBe("device")
  })
})

describe("a mail that is published", async () => {
  const text = "x".repeat(200_000)
  const mail = await sealed(entity(text))
  const { statement } = verified(mail)

  test("is named by a locator, whose key opens nothing", () => {
    const { body } = statement
    expect(body.kind === "published" && body.locator.domain).toBe("mesh.one.example")
    expect(body.kind === "published" && contentIdentifier(body.locator.udf.text)).toBe(mail.published?.name)
    expect(readEnvelope(envelopeOf(mail)).header.recipients.map(({ kid }) => kid)).toEqual([bobsKey.kid])
    expect(mail.message.length).toBeLessThan(MAX_MESSAGE_OCTETS)
  })

  test.each([whole, 700])("is opened, and is EnvelopedData, in pieces of %d", async (size) => {
    expect(Buffer.compare(await opened(statement, envelopeOf(mail), size), entity(text))).toBe(0)
    const der = await smime(statement, envelopeOf(mail), size)
    expect(Buffer.compare(openEnveloped(der, bobAccount) ?? new Uint8Array(), entity(text))).toBe(0)
  })

  test.each([
    ["of another seed", async () => envelopeOf(await sealed(entity(text), { seed: new Uint8Array(32).fill(78) }))],
    ["with another text", async () => envelopeOf(await sealed(entity(`${text}y`)))],
    ["with another text as long", async () => envelopeOf(await sealed(entity(`y${text.slice(1)}`)))],
    ["cut off", async () => envelopeOf(mail).subarray(0, 150_000)],
  ])("an envelope %s is refused", async (_, envelope) => {
    const error = expect.toSatisfy((it) => ["MESH_MAIL_ALTERED", "DARE_MALFORMED"].includes(it.code))
    await expect(opened(statement, await envelope())).rejects.toThrow(error)
    await expect(smime(statement, await envelope())).rejects.toThrow(error)
  })

  test("no more is read of an envelope than is stated", async () => {
    const body = await ReceivedMailBody.open({ ...statement, payloadOctets: 100_000 }, inPieces(envelopeOf(mail), 5000))
    let taken = 0
    const read = async () => {
      for await (const piece of body.payload()) taken += piece.length
    }
    await expect(read()).rejects.toThrow("longer than is stated")
    expect(taken).toBeLessThanOrEqual(100_000)
  })

  test("the longest message that is enclosed, and one block more", async () => {
    const published = async (length: number) =>
      (await sealed(entity("x".repeat(length)), {}, 40_000)).published !== null
    let [fits, over] = [0, 40_000]
    while (over - fits > 16) {
      const middle = (fits + over) >> 1
      if (await published(middle)) over = middle
      else fits = middle
    }
    const longest = await sealed(entity("x".repeat(fits)), {}, 40_000)
    expect(longest.message.length).toBeLessThanOrEqual(MAX_MESSAGE_OCTETS)
    expect(longest.message.length).toBeGreaterThan(MAX_MESSAGE_OCTETS - 64)
  })

  test("is the same mail when somebody else encrypts it", async () => {
    const long = entity("0123456789 abcdef\r\n".repeat(40_000))
    const encrypt: EncryptContent = (keys, content) => inPlace({ kind: "encrypt", ...keys }, content)
    const [here, beside] = [await sealed(long), await sealed(long, {}, 5_000, encrypt)]
    expect(beside.message).toEqual(here.message)
    const { statement } = verified(beside)
    expect(Buffer.compare(await opened(statement, envelopeOf(beside), 65_536), long)).toBe(0)
    expect((await sealed(long, {}, 70_000, encrypt)).published).toEqual(beside.published)
  })

  test("whoever encrypts it hears that nobody publishes it", async () => {
    let isOver = false
    const encrypt: EncryptContent = async function* (keys, content) {
      try {
        return yield* inPlace({ kind: "encrypt", ...keys }, content)
      } finally {
        isOver = true
      }
    }
    const { sealMail } = await import("../../src/mesh/mail/seal.ts")
    const failing = () => Promise.reject(new Error("no folder"))
    await expect(sealMail(entityOf(entity(text), 1000), outgoing, failing, encrypt)).rejects.toThrow("no folder")
    expect(isOver).toBe(true)
  })

  test("is not sent when nobody has kept all of it", async () => {
    const { sealMail } = await import("../../src/mesh/mail/seal.ts")
    const sending = sealMail(entityOf(entity(text), 1000), outgoing, () => Promise.resolve())
    await expect(sending).rejects.toThrow("has not been published whole")
  })
})

describe("what is no mail of the sender's is not sealed", () => {
  const rows: [what: string, mail: Uint8Array][] = [
    ["another author", entity("", "mallory@one.example")],
    ["a second author", entity("", "alice@one.example, mallory@one.example")],
    ["two From fields", entity("", "alice@one.example\r\nFrom: mallory@one.example")],
    ["a Sender", entity("", "alice@one.example\r\nSender: mallory@one.example")],
    ["no date", Buffer.from("From: alice@one.example\r\nMessage-ID: <1@x>\r\n\r\n")],
    ["no Message-ID", Buffer.from("From: alice@one.example\r\nDate: Thu, 26 Nov 2026 10:00:00 +0000\r\n\r\n")],
    ["nothing", new Uint8Array(0)],
  ]
  test.each(rows)("%s", async (_, mail) => {
    await expect(sealed(mail)).rejects.toThrow(invalid)
  })

  test("a header section above the limit", async () => {
    const mail = entity("", `alice@one.example\r\nX-Long: ${"x".repeat(70_000)}`)
    await expect(sealed(mail)).rejects.toThrow(expect.objectContaining({ code: "HEADER_TOO_LARGE" }))
  })
})

describe("on the way", async () => {
  const mail = await sealed(entity())
  const { statement } = readMail(mail.message)
  const { cms } = statement
  if (cms === null) throw new Error("no second envelope")
  /** What somebody without the keys can make of it: the statement changed, the signatures as they were. */
  const [header, , trailer] = (() => {
    const text = Buffer.from(mail.message).toString("latin1")
    const behind = text.lastIndexOf(',{"signatures"')
    return [readEnvelope(mail.message).header.octets, null, Buffer.from(text.slice(behind, -1), "latin1")]
  })()
  const changed = (other: Partial<MailStatement>) => {
    const object = signObject(
      "MessageMail",
      statementMembers({ ...statement, ...other }),
      [],
      { created: CREATED },
      "json-b",
    )
    const payload = readEnvelope(object).payload
    const fields = JSON.parse(trailer.toString().slice(1))
    const { payloadDigest } = readEnvelope(object).trailer ?? {}
    const parts = [JSON.parse(Buffer.from(header).toString()), payload, { ...fields, PayloadDigest: payloadDigest }]
    return writeJson(parts)
  }

  const rows: [what: string, other: Partial<MailStatement>][] = [
    ["flipped IV", { cms: { ...cms, iv: flipped(cms.iv) } }],
    ["swapped wrapped key", { cms: { ...cms, wck: new Uint8Array(40).fill(9) } }],
    ["other ephemeral point", { cms: { ...cms, epk: otherPoint } }],
    ["other commitment", { cms: { ...cms, commit: flipped(cms.commit) } }],
    ["no second envelope", { cms: null }],
    ["other Salt", { salt: flipped(statement.salt) }],
    ["other digest", { payloadDigest: flipped(statement.payloadDigest) }],
    ["other length", { payloadOctets: statement.payloadOctets + 16 }],
    ["other recipients", { recipientsDigest: flipped(statement.recipientsDigest) }],
    ["other date", { date: NOW }],
    ["other binding", { binding: flipped(statement.binding) }],
  ]
  test("the statement as it was is still verified when put together anew", () => {
    expect(reasonOf(changed({}))).toBe("verified")
  })

  test.each(rows)("%s: forged", (_, other) => {
    expect(reasonOf(changed(other))).toBe("forged")
  })

  test("altered header: the recipients of the enclosed envelope", () => {
    const envelope = Buffer.from(statement.body.kind === "enclosed" ? statement.body.envelope : [])
    const at = envelope.indexOf('"wmk":"') + 10
    const other = { ...statement, body: { kind: "enclosed", envelope: flipped(envelope, at) } } as const
    expect(reasonOf(resigned(other))).toBe("body altered")
  })

  test.each([
    ["cipher", '"A256CBC"', '"A256GCM"'],
    ["recipient", '"kid"', '"kie"'],
  ])("altered header: %s", async (_, from, to) => {
    const envelope = Buffer.from(Buffer.from(envelopeOf(mail)).toString("latin1").replace(from, to), "latin1")
    await expect(opened(statement, envelope)).rejects.toThrow(altered)
    await expect(smime(statement, envelope)).rejects.toThrow(altered)
  })

  test("header of the message: what is not signed is not believed", () => {
    const text = Buffer.from(mail.message).toString("latin1")
    const { envelopeId } = readMail(mail.message)
    const other = Buffer.from(text.replace(envelopeId, `${envelopeId.slice(0, -1)}2`), "latin1")
    expect(readMail(other).envelopeId).toBe(envelopeId)
    expect(reasonOf(other)).toBe("verified")
  })

  test("one octet above the limit", () => {
    expect(reasonOf(new Uint8Array(MAX_MESSAGE_OCTETS + 1))).toBe("too large")
    expect(reasonOf(new Uint8Array(MAX_MESSAGE_OCTETS))).toBe("malformed")
  })
})

describe("somebody else", async () => {
  const mail = await sealed(entity())
  const { statement } = readMail(mail.message)
  const theirs = connectedDevice(mallory, 70, [ROLE_MESSAGE])
  const theirSigner = signerWith(theirs.keys.signature)

  test("forged sender: another account's device signs as Alice's", () => {
    const message = signMail({ ...statement, connection: theirs.connection }, [theirSigner, outgoing.service.signer])
    expect(reasonOf(message)).toBe("device unknown")
  })

  test("forged sender: another key under the right connection", () => {
    const signer = { ...theirSigner, kid: outgoing.device.signer.kid }
    expect(reasonOf(signMail(statement, [signer, outgoing.service.signer]))).toBe("forged")
  })

  test("forged service", () => {
    expect(reasonOf(signMail(statement, [outgoing.device.signer]))).toBe("service forged")
    const other = serviceSigner(otherService)
    expect(reasonOf(signMail(statement, [outgoing.device.signer, other]))).toBe("service forged")
    const signer = { ...other, kid: outgoing.service.signer.kid }
    expect(reasonOf(signMail(statement, [outgoing.device.signer, signer]))).toBe("service forged")
    expect(reasonOf(mail.message, { service: otherService.profile })).toBe("other service")
  })

  test("wrong recipient", () => {
    expect(reasonOf(mail.message, { recipient: mallory.profile })).toBe("wrong recipient")
    expect(reasonOf(mail.message, { recipient: { ...bob.profile, address: "bob@three.example" } })).toBe(
      "wrong recipient",
    )
  })

  test("other sender", () => {
    expect(reasonOf(mail.message, { sender: mallory.profile })).toBe("other sender")
  })

  test("strips the statement and signs one of his own: he does not know the content key", async () => {
    const stolen = {
      ...statement,
      sender: mallory.profile.address,
      senderUdf: mallory.profile.udf,
      connection: theirs.connection,
    }
    const message = signMail(stolen, [theirSigner, outgoing.service.signer])
    expect(reasonOf(message, { sender: mallory.profile })).toBe("verified")
    await expect(opened(stolen, envelopeOf(mail))).rejects.toThrow(cannotOpen)
  })

  test("knows the content key, being its recipient: the author inside is not he", async () => {
    const seed = seedOf(readEnvelope(envelopeOf(mail)).header, [bobsKey])
    if (!seed) throw new Error("no seed")
    const { key } = contentKeys(seed.base, seed.salt)
    const stolen = { ...statement, sender: mallory.profile.address, senderUdf: mallory.profile.udf }
    const bound = { ...stolen, binding: mailBinding(key, stolen) }
    await expect(opened(bound, envelopeOf(mail))).rejects.toThrow("another author than its sender")
  })

  test("expired device", async () => {
    const device = connectedDevice(alice, 80, [ROLE_MESSAGE], NOW)
    const used = { signer: signerWith(device.keys.signature), connection: device.connection }
    const { message } = await sealed(entity(), { device: used })
    expect(reasonOf(message)).toBe("device expired")
    expect(reasonOf(message, { now: new Date(NOW.getTime() - 1) })).toBe("verified")
  })

  test("a device that may not send mail", async () => {
    const device = connectedDevice(alice, 90, ["store"])
    const used = { signer: signerWith(device.keys.signature), connection: device.connection }
    expect(reasonOf((await sealed(entity(), { device: used })).message)).toBe("device may not")
  })
})

describe("a dishonest sender", async () => {
  const mail = await sealed(entity())
  const { statement } = readMail(mail.message)
  const { cms } = statement
  if (cms === null) throw new Error("no second envelope")
  const envelope = envelopeOf(mail)
  const digest = statement.payloadDigest
  const otherKey = new Uint8Array(32).fill(5)

  test("flipped IV: who opens either side sees it", async () => {
    const iv = flipped(cms.iv)
    const seed = seedOf(readEnvelope(envelope).header, [bobsKey])
    if (!seed) throw new Error("no seed")
    const { key } = contentKeys(seed.base, seed.salt)
    const [plain, committed] = [cms.commit, commitment(key, iv, digest)].map((commit) => ({
      ...statement,
      cms: { ...cms, iv, commit },
    }))
    for (const lying of [plain, committed]) {
      if (!lying) throw new Error("none")
      expect(reasonOf(resigned(lying))).toBe("verified")
      await expect(opened(lying, envelope)).rejects.toThrow(cannotOpen)
    }
    expect(() => plain && checkContentKey(plain, { key, iv })).toThrow(cannotOpen)
  })

  test("a content key that is not the seed's: the commitment fails on the other side", async () => {
    const lying = { ...statement, cms: { ...cms, commit: commitment(otherKey, cms.iv, digest) } }
    expect(reasonOf(resigned(lying))).toBe("verified")
    await expect(opened(lying, envelope)).rejects.toThrow(cannotOpen)
    expect(() => checkContentKey(lying, { key: otherKey, iv: cms.iv })).toThrow(cannotOpen)
  })

  test.each([
    ["swapped wrapped key", { wck: wrapKey(new Uint8Array(32).fill(1), otherKey) }],
    ["other ephemeral point", { epk: otherPoint }],
  ])("%s: the S/MIME side opens nothing, and no other text", async (_, fields) => {
    const lying = { ...statement, cms: { ...cms, ...fields } }
    expect(reasonOf(resigned(lying))).toBe("verified")
    const der = await smime(lying, envelope)
    expect(() => openEnveloped(der, bobAccount)).toThrow(cannotOpen)
  })

  test("other Salt: the envelope is refused", async () => {
    const lying = { ...statement, salt: flipped(statement.salt) }
    expect(reasonOf(resigned(lying))).toBe("body altered")
    await expect(opened(lying, envelope)).rejects.toThrow(altered)
  })

  test("seed used twice: another text under a Salt that is known is refused, the same mail again is not", async () => {
    const second = await sealed(entity("Hello again, Bob.\r\n"))
    expect(readMail(second.message).statement.salt).toEqual(statement.salt)
    expect(reasonOf(second.message, { digestUnder: () => digest })).toBe("seed used twice")
    expect(reasonOf(mail.message, { digestUnder: () => digest })).toBe("verified")
  })

  test("one seed for two recipients: nothing is the same", async () => {
    const recipient = { profile: mallory.profile, certificate: null }
    const { statement: other } = readMail((await sealed(entity(), { recipient })).message)
    expect(other.salt).not.toEqual(statement.salt)
    expect([other.messageId, other.payloadDigest]).not.toEqual([statement.messageId, digest])
  })

  test("foreign DER in the fields: it is longer than the fields are, and nothing else is looked at", async () => {
    const attributes = Uint8Array.of(0xa1, 3, 2, 1, 0)
    for (const name of ["kid", "epk", "wck", "iv", "commit"] as const) {
      const longer = { ...cms, [name]: Buffer.concat([cms[name], attributes]) }
      expect(reasonOf(resigned({ ...statement, cms: longer }))).toBe("malformed")
    }
    const members = { ...statementMembers(statement), cms: { ...cms, originatorInfo: attributes } }
    const signers = [outgoing.device.signer, outgoing.service.signer]
    const message = signObject("MessageMail", members, signers, { created: CREATED }, "json-b")
    expect(reasonOf(message)).toBe("verified")
    expect(await smime(readMail(message).statement, envelope)).toEqual(await smime(statement, envelope))
  })

  test("another certificate's fields", async () => {
    const lying = { ...statement, cms: { ...cms, kid: flipped(cms.kid) } }
    await expect(smime(lying, envelope)).rejects.toThrow("is for another certificate")
  })

  test("another text for the S/MIME side takes another ciphertext, which is not the one that is stated", async () => {
    const cipher = aesCbcEncryptor(otherKey, cms.iv)
    const other = Buffer.concat([cipher.update(entity("Hello Mallory.\r\n")), cipher.final()])
    const swapped = Buffer.concat([Buffer.from(envelope).subarray(0, -other.length), other])
    await expect(smime(statement, swapped)).rejects.toThrow()
  })
})
