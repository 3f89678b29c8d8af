import { describe, expect, test } from "vitest"
import { openingKeysOf, openMessage } from "../../src/cli/open-message.ts"
import { readCertificate } from "../../src/crypto/cms/certificate.ts"
import { deriveEnvelopeSecrets, encryptEnveloped } from "../../src/crypto/cms/enveloped.ts"
import { cmsRecipient } from "../../src/crypto/cms/recipient.ts"
import { deriveOpenPgpSecrets, encryptOpenPgp, openPgpRecipient } from "../../src/crypto/openpgp/encrypt.ts"
import { rekeyAccount } from "../../src/identity/account.ts"
import type { Person } from "../../src/identity/person.ts"
import { preparedOf } from "../../src/pipeline/prepared.ts"
import { type EncryptionTarget, protectAtRest } from "../../src/pipeline/protect.ts"
import { NO_RESTORERS } from "../../src/pipeline/restore.ts"
import { makeAlice, makeFullDevice, makingAt } from "../identity/people.ts"

const SEED = new Uint8Array(32).fill(7)
const octetsOf = (text: string) => Buffer.from(text.replaceAll("\n", "\r\n"), "latin1")
const textOf = (octets: Uint8Array) => Buffer.from(octets).toString("latin1").replaceAll("\r\n", "\n")

const { person: alice } = await makeAlice("smime", "openpgp")
const keys = openingKeysOf(alice)

const CLEAR = `Received: from elsewhere.test by mx.elsewhere.test; Mon, 4 May 2026 10:00:00 +0000
From: Carol <carol@elsewhere.test>
To: alice@example.test
Subject: the real one
Message-ID: <1@elsewhere.test>

From here on it is secret: k\xf6rper
`

function smimeTarget(person: Person): EncryptionTarget {
  const certificate = person.smime.find(({ current }) => current)?.certificate ?? new Uint8Array(0)
  return { format: "smime", recipients: [cmsRecipient(readCertificate(certificate))], cipher: "aes-256-cbc" }
}

function openPgpTarget({ openpgp }: Person): EncryptionTarget {
  return { format: "openpgp", recipients: [openPgpRecipient(openpgp?.certificate ?? new Uint8Array(0))] }
}

async function collect(content: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of content) parts.push(part)
  return Buffer.concat(parts)
}

async function stored(text: string, target: EncryptionTarget): Promise<Uint8Array> {
  const trace = octetsOf(
    "Return-Path: <carol@elsewhere.test>\nReceived: by example.test; Mon, 4 May 2026 10:00:01 +0000\n",
  )
  const rest = {
    account: alice.address,
    target,
    subject: "hidden" as const,
    markerKey: new Uint8Array(32),
    restorers: NO_RESTORERS,
  }
  return collect((await protectAtRest(preparedOf(octetsOf(text)), [trace], SEED, rest)).content())
}

/** DER of EnvelopedData to a certificate. */
function enveloped(text: string, certificate: Uint8Array): Promise<Buffer> {
  const content = octetsOf(text)
  return collect(
    encryptEnveloped(preparedOf(content).content(), {
      contentOctets: content.length,
      recipients: [cmsRecipient(readCertificate(certificate))],
      secrets: deriveEnvelopeSecrets(SEED, "test"),
      cipher: "aes-256-gcm",
    }),
  )
}

async function armored(text: string, person = alice): Promise<string> {
  const content = octetsOf(text)
  const armor = encryptOpenPgp(preparedOf(content).content(), {
    contentOctets: content.length,
    recipients: [openPgpRecipient(person.openpgp?.certificate ?? new Uint8Array(0))],
    secrets: deriveOpenPgpSecrets(SEED, "test"),
  })
  return textOf(await collect(armor))
}

function own(person: Person): Uint8Array {
  return person.smime[0]?.certificate ?? new Uint8Array(0)
}

describe("what this gateway encrypted", () => {
  for (const [name, target] of [
    ["S/MIME", smimeTarget(alice)],
    ["OpenPGP", openPgpTarget(alice)],
  ] as const)
    test(`${name}: the octets that came, and on top the fields of the last hop`, async () => {
      const message = await stored(CLEAR, target)
      expect(textOf(message)).not.toContain("secret")
      const opened = await openMessage(message, keys)
      expect([opened.opened, opened.failures]).toEqual([1, []])
      expect(textOf(opened.octets)).toBe(
        `Return-Path: <carol@elsewhere.test>\nReceived: by example.test; Mon, 4 May 2026 10:00:01 +0000\n${CLEAR}`,
      )
    })

  test("keys that were replaced open what was encrypted to them, device keys what came for the device", async () => {
    const withDevice = await makeFullDevice(alice, "laptop")
    const { person } = await rekeyAccount(withDevice.person, makingAt())
    const all = openingKeysOf(person)
    expect([person.smime.length, person.openpgp?.keys.length]).toEqual([2, 2])
    for (const message of [
      await stored(CLEAR, smimeTarget(alice)),
      await stored(CLEAR, openPgpTarget(alice)),
      await stored(CLEAR, smimeTarget(person)),
      await stored(CLEAR, openPgpTarget(person)),
      await enveloped(CLEAR, withDevice.device.decryption?.certificate ?? new Uint8Array(0)).then((der) =>
        Buffer.concat([octetsOf("Subject: x\nContent-Type: application/pkcs7-mime\n\n"), der]),
      ),
    ])
      expect(await openMessage(message, all)).toMatchObject({ opened: 1, failures: [] })
  })
})

describe("what others encrypted", () => {
  test("MIME inside, the rest of the header outside, the inner subject first", async () => {
    const der = await enveloped("Content-Type: text/plain\nSubject: inner\n\nsecret\n", own(alice))
    const outside =
      "From: carol@elsewhere.test\nSubject: ...\nMIME-Version: 1.0\nContent-Type: application/pkcs7-mime\n"
    for (const body of [der, Buffer.from(der.toString("base64").replaceAll(/.{64}/g, "$&\r\n"))]) {
      const opened = await openMessage(Buffer.concat([octetsOf(`${outside}\n`), body]), keys)
      expect(textOf(opened.octets)).toBe(
        "From: carol@elsewhere.test\nMIME-Version: 1.0\nContent-Type: text/plain\nSubject: inner\n\nsecret\n",
      )
    }
  })

  test("one part of several, and a forwarded message; every other octet stays", async () => {
    const der = (await enveloped("Content-Type: text/plain\n\nsecret\n", own(alice))).toString("base64")
    const part = `Content-Type: application/octet-stream; name=smime.p7m\nContent-Transfer-Encoding: base64\n\n${der}`
    const message = (first: string, second: string) =>
      `Subject: list\nContent-Type: multipart/mixed; boundary=b\n\npreamble\n--b\n${first}\n--b\nContent-Type: message/rfc822\n\n${second}\n--b\n\nfooter\n--b--\n`
    const opened = await openMessage(octetsOf(message(part, `Subject: inner\n${part}`)), keys)
    expect(opened).toMatchObject({ opened: 2, failures: [] })
    const clear = "Content-Type: text/plain\n\nsecret\n"
    expect(textOf(opened.octets)).toBe(message(clear, `Subject: inner\n${clear}`))
  })

  test("inline OpenPGP: text around it stays, the encoding is told anew; a file becomes base64", async () => {
    const armor = await armored("Note: secret\n\nbye\n")
    const quoted = armor.replaceAll("=", "=3D")
    const rows: [header: string, body: string, want: string][] = [
      ["", `before\n${armor}behind\n`, "8bit\n\nbefore\nNote: secret\n\nbye\nbehind\n"],
      ["Content-Transfer-Encoding: quoted-printable\n", quoted, "8bit\n\nNote: secret\n\nbye\n"],
      [
        "Content-Type: application/octet-stream\n",
        armor,
        `base64\n\n${octetsOf("Note: secret\n\nbye\n").toString("base64")}\n`,
      ],
    ]
    for (const [header, body, want] of rows) {
      const opened = await openMessage(octetsOf(`Subject: x\n${header}\n${body}`), keys)
      expect(opened.failures).toEqual([])
      const type = header.startsWith("Content-Type") ? header : ""
      expect(textOf(opened.octets)).toBe(`Subject: x\n${type}Content-Transfer-Encoding: ${want}`)
    }
  })

  test("encryption within encryption", async () => {
    const once = await stored(CLEAR, openPgpTarget(alice))
    const der = await enveloped(textOf(once), own(alice))
    const opened = await openMessage(Buffer.concat([octetsOf("Content-Type: application/pkcs7-mime\n\n"), der]), keys)
    expect(opened.opened).toBe(2)
    expect(textOf(opened.octets)).toContain("From here on it is secret")
  })
})

describe("what cannot be opened stays as it is, with the reason", () => {
  test("other people's keys, damage, cut-off armor", async () => {
    const { person: bob } = await makeAlice("smime", "openpgp")
    const foreign = await stored(CLEAR, smimeTarget(bob))
    const foreignPgp = await stored(CLEAR, openPgpTarget(bob))
    const damaged = Buffer.from(await stored(CLEAR, openPgpTarget(alice)))
    damaged[damaged.indexOf("-----END") - 20] = (damaged[damaged.indexOf("-----END") - 20] ?? 0) ^ 1
    const cut = octetsOf(`Subject: x\n\n${(await armored("secret\n")).slice(0, -40)}`)
    const rows: [message: Uint8Array, reason: RegExp][] = [
      [foreign, /^encrypted to no key of this keyring$/],
      [foreignPgp, /^encrypted to no key of this keyring$/],
      [damaged, /./],
      [cut, /^armor: block is cut off$/],
    ]
    for (const [message, reason] of rows) {
      const opened = await openMessage(message, keys)
      expect(opened).toMatchObject({ opened: 0, failures: [expect.stringMatching(reason)] })
      expect(Buffer.compare(opened.octets, message)).toBe(0)
    }
  })

  test("clear messages of every kind are no failures", async () => {
    const png = Buffer.from("89504e470d0a1a0a0000000d49484452", "hex").toString("base64")
    for (const text of [
      CLEAR,
      "",
      "no header at all",
      "\nonly a body\n",
      `Content-Type: image/png\nContent-Transfer-Encoding: base64\n\n${png}\n`,
      "Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\nMIIBAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n",
      "Subject: about PGP\n\n> -----BEGIN PGP MESSAGE-----\n",
    ]) {
      const opened = await openMessage(octetsOf(text), keys)
      expect([text, opened.opened, opened.failures]).toEqual([text, 0, []])
      expect(textOf(opened.octets)).toBe(text)
    }
  })
})
