import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { openingKeysOf, openMessage } from "../../src/cli/open-message.ts"
import { readCertificate } from "../../src/crypto/cms/certificate.ts"
import { deriveEnvelopeSecrets, encryptEnveloped } from "../../src/crypto/cms/enveloped.ts"
import { cmsRecipient } from "../../src/crypto/cms/recipient.ts"
import { signP256 } from "../../src/crypto/primitives/sign.ts"
import { headerEnd, parseFields } from "../../src/mime/header.ts"
import { collect, preparedOf } from "../../src/pipeline/prepared.ts"
import { classified } from "../../src/pipeline/protect.ts"
import { ENCRYPTED_ONLY, protectOutgoing, signOutgoing } from "../../src/pipeline/protect-outgoing.ts"
import { makeHolder } from "../crypto/cms/alice.ts"
import { makeAlice } from "../identity/people.ts"
import { type Looking, mail, verdictOn } from "./arriving/looking.ts"
import { NOW, octetsOf, person, SEED, smimeReader, text } from "./leaving.ts"

type Samples = Readonly<Record<string, readonly string[]>>
const { signed, payloads } = JSON.parse(readFileSync("test/vectors/mime/rfc9788.json", "utf8")) as {
  readonly signed: Samples
  readonly payloads: Samples
}
const { certificates } = JSON.parse(readFileSync("test/vectors/x509/rfc9216.json", "utf8")) as {
  readonly certificates: Readonly<Record<string, string>>
}
const root = Buffer.from(certificates["Sample_LAMPS_RSA_Certification_Authority.selfsigned"] ?? "", "base64")
const looking: Looking = { roots: [root] }

function sample(all: Samples, name: string): string {
  const lines = all[name]
  if (!lines) throw new Error(`no ${name}`)
  return mail(...lines)
}

/** The header section of a payload, field by field in the order of the alphabet: the standard leaves the order to whoever writes it. */
function fieldsOf(payload: string): string[] {
  const octets = Buffer.from(payload)
  const fields = parseFields(octets.subarray(0, headerEnd(octets) ?? octets.length))
  return fields.map((field) => text(field.octets).replaceAll(/\r\n(?=[ \t]|$)/g, "")).sort()
}

describe("signed messages of RFC 9788 C.1", () => {
  test.for(Object.keys(signed))("%s: by its author, wherever its fields stand", async (name) => {
    expect(await verdictOn(sample(signed, name), looking)).toMatch(/^smime=pass: /)
  })

  test.for(Object.keys(signed))("%s: under another author's name outside", async (name) => {
    const message = sample(signed, name).replace("From: Alice <alice@smime.example>", "From: Eve <eve@smime.example>")
    expect(await verdictOn(message, looking)).toMatch(/^smime=policy: /)
  })

  test("without the empty line at the end of what was signed", async () => {
    const message = sample(signed, "smime-multipart-hp").replace("example\r\n\r\n--54f\r\n", "example\r\n--54f\r\n")
    expect(await verdictOn(message, looking)).toMatch(/^smime=fail: /)
  })

  test("without the standard's authority", async () => {
    expect(await verdictOn(sample(signed, "smime-one-part-hp"))).not.toMatch(/pass/)
  })
})

describe("what we make of the same messages", () => {
  const holder = makeHolder(person, "sign")
  const signing = {
    identity: {
      format: "smime" as const,
      form: "clear" as const,
      signer: {
        certificate: holder.certificate,
        chain: [],
        key: {
          algorithm: "ecdsa" as const,
          sign: async (octets: Uint8Array) => signP256(holder.scalar, octets, "der"),
        },
      },
    },
    at: NOW,
  }

  /** As its author's program would hand it in: without what protects its header. */
  function unprotected(payload: string): string {
    return payload.replaceAll(/^HP-Outer: .*\r\n/gm, "").replace(/;\s+hp="\w+"/, "")
  }

  test.for(["smime-multipart-hp", "smime-multipart-complex-hp"])("%s: the same payload, signed", async (name) => {
    const [, boundary = ""] = /boundary="(\w+)"/.exec(sample(signed, name)) ?? []
    const [, payload = ""] = sample(signed, name).split(`--${boundary}\r\n`)
    const options = { headers: "shown", signing } as const
    const source = await classified(preparedOf(Buffer.from(unprotected(payload))))
    const made = text(await octetsOf(await signOutgoing(source, [], SEED, options)))
    const [head = "", body = ""] = made.split("\r\n\r\n")
    // The blank behind the dashes above a name at the end is lost on the way where it is signed in clear.
    expect(head).toContain("smime-type=signed-data")
    const within = text(Buffer.from(body, "base64"))
    expect(within.replace(/;\r\n hp="clear"; protected-headers="v1"/, '; hp="clear"')).toContain(payload)
  })

  test.for(Object.keys(payloads))("%s: the same payload, encrypted with hcp_baseline", async (name) => {
    const payload = sample(payloads, name)
    const reader = smimeReader(makeHolder(person))
    const message = await classified(preparedOf(Buffer.from(unprotected(payload))))
    const options = { ...ENCRYPTED_ONLY, headers: "hidden" } as const
    const made = await octetsOf(await protectOutgoing(message, [], SEED, "bob", reader.target, options))
    const within = text(await reader.open(made)).replace(/; protected-headers="v1"/, "")
    expect(fieldsOf(within)).toEqual(fieldsOf(payload))
    const outside = fieldsOf(text(made)).filter((field) => !/^(?:MIME-Version|Content-)/.test(field))
    expect(outside.map((field) => `HP-Outer: ${field}`)).toEqual(
      fieldsOf(payload).filter((field) => field.startsWith("HP-Outer: ")),
    )
  })
})

describe("encrypted messages of RFC 9788, opened", () => {
  test.for(Object.keys(payloads))("%s: the subject that was hidden is the message's", async (name) => {
    const { person: alice } = await makeAlice("smime")
    const payload = sample(payloads, name)
    const options = {
      contentOctets: payload.length,
      recipients: [cmsRecipient(readCertificate(alice.smime[0]?.certificate ?? new Uint8Array(0)))],
      secrets: deriveEnvelopeSecrets(SEED, "sample"),
      cipher: "aes-256-cbc",
    } as const
    const envelope = await collect(encryptEnveloped(preparedOf(Buffer.from(payload)).content(), options))
    const head = mail(
      "Subject: [...]",
      "MIME-Version: 1.0",
      "Content-Type: application/pkcs7-mime; smime-type=enveloped-data",
      "",
    )
    const { octets, opened } = await openMessage(Buffer.concat([Buffer.from(head), envelope]), openingKeysOf(alice))
    expect([opened, text(octets)]).toEqual([1, payload])
  })
})
