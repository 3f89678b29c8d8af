import { readFileSync } from "node:fs"
import { writeFile } from "node:fs/promises"
import { describe, expect, test } from "vitest"
import { type Certificate, readCertificate } from "../../../src/crypto/cms/certificate.ts"
import { openEnveloped } from "../../../src/crypto/cms/open.ts"
import { pemDecode } from "../../../src/crypto/cms/pem.ts"
import { cmsRecipient } from "../../../src/crypto/cms/recipient.ts"
import {
  commitment,
  SECOND_ENVELOPE_OCTETS,
  type SecondEnvelope,
  secondEnvelope,
  secondEnvelopeHead,
} from "../../../src/crypto/cms/second-envelope.ts"
import { p256Pkcs8 } from "../../../src/crypto/primitives/p256.ts"
import { cmsRecryptor } from "../../../src/crypto/recryption/cms.ts"
import { hasCode } from "../../../src/errors.ts"
import { peer, run, temporaryFolder } from "../../harness/peers.ts"

/** Made for this project with Node's crypto alone, opened with OpenSSL 3.0.22 and Thunderbird 153's NSS. Octets in hex. */
interface Vector {
  readonly curve: string
  readonly entity: string
  readonly mesh: Readonly<Record<"ciphertext" | "payloadDigest" | "contentKey" | "iv", string>>
  readonly cms: Readonly<
    Record<
      "accountCertificate" | "accountScalar" | "ephemeralScalar" | "V" | "wrappedContentKey" | "enveloped" | "commit",
      string
    >
  >
  /** The DARE envelope: header, ciphertext, trailer. */
  readonly dare: readonly [{ readonly cms: { readonly kid: string } }, ...unknown[]]
  readonly devices: readonly Readonly<
    Record<"name" | "scalar" | "certificate" | "recryptionKey" | "enveloped", string>
  >[]
}

const { cases }: { readonly cases: readonly Vector[] } = JSON.parse(
  readFileSync(new URL("../../vectors/mesh/one-ciphertext-two-envelopes.json", import.meta.url), "utf8"),
)

const octets = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"))
const hex = (written: Uint8Array | null): string | null => written && Buffer.from(written).toString("hex")
const certificateOf = (pem: string): Certificate =>
  readCertificate(pemDecode("CERTIFICATE", pem)[0] ?? new Uint8Array())

/** The fields of a vector, and what it takes to make them. */
function parts({ mesh, cms }: Vector) {
  const recipient = cmsRecipient(certificateOf(cms.accountCertificate))
  const secrets = {
    contentKey: octets(mesh.contentKey),
    iv: octets(mesh.iv),
    ephemeral: octets(cms.ephemeralScalar),
  }
  return { recipient, secrets, fields: secondEnvelope(recipient, secrets, octets(mesh.payloadDigest)) }
}

function envelope(vector: Vector): Uint8Array {
  const { recipient, fields } = parts(vector)
  const ciphertext = octets(vector.mesh.ciphertext)
  return Buffer.concat([secondEnvelopeHead(recipient, fields, ciphertext.length), ciphertext])
}

describe.each(cases)("a DARE ciphertext ($curve) as EnvelopedData", (vector) => {
  const { cms, mesh, devices } = vector

  test("the fields, octet for octet", () => {
    const { kid, ...fields } = parts(vector).fields
    expect(Buffer.from(kid).toString("base64url")).toBe(vector.dare[0].cms.kid)
    expect(
      Object.fromEntries(Object.entries(fields).map(([name, it]) => [name, it === "sha256" ? it : hex(it)])),
    ).toEqual({
      epk: cms.V,
      kdf: "sha256",
      wck: cms.wrappedContentKey,
      iv: mesh.iv,
      commit: cms.commit,
    })
  })

  test("is built from the fields by who can open nothing, around the same octets", () => {
    expect(hex(envelope(vector))).toBe(cms.enveloped)
    const { identity } = certificateOf(cms.accountCertificate)
    expect(hex(openEnveloped(envelope(vector), { identity, scalar: octets(cms.accountScalar) }))).toBe(vector.entity)
  })

  test.each(devices)("$name opens it recrypted, and the commitment holds", ({ certificate, scalar, ...device }) => {
    const { identity: to } = certificateOf(certificate)
    const { identity: from } = certificateOf(cms.accountCertificate)
    const recrypted = cmsRecryptor({ from, to, scalar: octets(device.recryptionKey) }).recrypt(envelope(vector))
    expect(hex(recrypted)).toBe(device.enveloped)
    expect(hex(openEnveloped(recrypted ?? new Uint8Array(), { identity: to, scalar: octets(scalar) }))).toBe(
      vector.entity,
    )
  })

  test.skipIf(!peer("openssl"))("OpenSSL opens it with the account's key", async () => {
    await using folder = await temporaryFolder()
    await writeFile(folder.file("certificate.pem"), cms.accountCertificate)
    await writeFile(folder.file("key.der"), p256Pkcs8(octets(cms.accountScalar)))
    const key = ["-inkey", folder.file("key.der"), "-keyform", "DER", "-recip", folder.file("certificate.pem")]
    const opened = await run("openssl", ["cms", "-decrypt", "-binary", "-inform", "DER", ...key], {
      input: envelope(vector),
    })
    expect([opened.code, hex(opened.stdout)]).toEqual([0, vector.entity])
  })

  test("another key, IV or ciphertext has another commitment", () => {
    const { contentKey, iv } = parts(vector).secrets
    const digest = octets(mesh.payloadDigest)
    const flipped = (it: Uint8Array): Uint8Array => it.map((octet, at) => (at === 0 ? octet ^ 1 : octet))
    const others = [
      commitment(flipped(contentKey), iv, digest),
      commitment(contentKey, flipped(iv), digest),
      commitment(contentKey, iv, flipped(digest)),
    ]
    expect(new Set([cms.commit, ...others.map(hex)]).size).toBe(4)
  })
})

describe("fields that cannot be right", () => {
  const [vector] = cases
  if (!vector) throw new Error("no vectors")
  const { recipient, fields } = parts(vector)
  const rows: [what: string, wrong: Partial<SecondEnvelope>][] = [
    ["another certificate's", { kid: new Uint8Array(32) }],
    [
      "a point that is not on the curve",
      { epk: Uint8Array.from(fields.epk, (octet, at) => (at === 64 ? octet ^ 1 : octet)) },
    ],
    ["a compressed point", { epk: fields.epk.subarray(0, 33) }],
    ["infinity", { epk: new Uint8Array(65) }],
    [
      "the hybrid form",
      { epk: Uint8Array.from(fields.epk, (octet, at) => (at === 0 ? 6 + ((fields.epk[64] ?? 0) & 1) : octet)) },
    ],
    ...Object.entries(SECOND_ENVELOPE_OCTETS).flatMap(([name, length]): typeof rows =>
      [0, length - 1, length + 1].map((other) => [
        `${name} of ${other} octets`,
        { [name]: new Uint8Array(other).fill(4) },
      ]),
    ),
  ]
  test.each(rows)("%s", (_what, wrong) => {
    const built = () => secondEnvelopeHead(recipient, { ...fields, ...wrong }, 144)
    expect(built).toThrow(expect.toSatisfy((error) => hasCode(error, "SECOND_ENVELOPE_INVALID")))
  })

  test.each([0, 15, 17, 143])("a ciphertext of %i octets", (length) => {
    const built = () => secondEnvelopeHead(recipient, fields, length)
    expect(built).toThrow(expect.toSatisfy((error) => hasCode(error, "LENGTH_MISMATCH")))
  })

  test("a certificate whose key is on another curve", () => {
    const { recipient, secrets } = parts(vector)
    const key = { kind: "ec", curve: "P-384", point: new Uint8Array(97) } as const
    const other = { ...recipient, key }
    for (const act of [
      () => secondEnvelope(other, secrets, new Uint8Array(64)),
      () => secondEnvelopeHead(other, fields, 144),
    ])
      expect(act).toThrow(expect.toSatisfy((error) => hasCode(error, "CERTIFICATE_UNSUPPORTED")))
  })
})
