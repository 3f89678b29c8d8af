import fc from "fast-check"
import { createCleartextMessage, generateKey, sign } from "openpgp"
import { beforeAll, describe, expect, test } from "vitest"
import { explicit, implicit, integer, octetString, oid, sequence, setOf } from "../../src/crypto/cms/der.ts"
import { readSignedData } from "../../src/crypto/cms/signed-data.ts"
import { readCleartext } from "../../src/crypto/openpgp/verify.ts"
import { GatewayError } from "../../src/errors.ts"
import { parseAddress } from "../../src/message/address.ts"
import { parseDateTime } from "../../src/message/date.ts"
import { parseFields } from "../../src/mime/header.ts"
import { readAutocrypt } from "../../src/profiles/autocrypt.ts"
import { verdictOn } from "../pipeline/arriving/looking.ts"

const numRuns = Number(process.env["FUZZ_RUNS"] ?? 300)

/** SignedData as RFC 5652 writes it, of a signer who is nobody. */
const SHA256 = sequence(oid("2.16.840.1.101.3.4.2.1"))
const INFO = sequence(
  integer(1),
  implicit(0, Uint8Array.of(1, 2, 3)),
  SHA256,
  explicit(0, sequence(oid("1.2.840.113549.1.9.3"), setOf(oid("1.2.840.113549.1.7.1")))),
  sequence(oid("1.2.840.10045.4.3.2")),
  octetString(Uint8Array.of(1)),
)
const DATA = sequence(oid("1.2.840.113549.1.7.1"), explicit(0, octetString(Buffer.from("content"))))
const SIGNED = sequence(
  oid("1.2.840.113549.1.7.2"),
  explicit(0, sequence(integer(1), setOf(SHA256), DATA, explicit(0), setOf(INFO))),
)

const mutation = fc.record({ at: fc.nat(), octets: fc.uint8Array({ maxLength: 4 }), removed: fc.nat({ max: 4 }) })
const mutated = (whole: () => Uint8Array) =>
  fc.array(mutation, { minLength: 1, maxLength: 4 }).map((changes) =>
    changes.reduce((octets, { at, octets: fresh, removed }) => {
      const place = at % (octets.length + 1)
      return Buffer.concat([octets.subarray(0, place), fresh, octets.subarray(place + removed)])
    }, Buffer.from(whole())),
  )

/** A value or an error of ours, nothing else. */
function parses(parse: () => unknown): void {
  try {
    parse()
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
  }
}

let cleartext: Buffer
beforeAll(async () => {
  const { privateKey } = await generateKey({ userIDs: [{ email: "a@b.test" }], format: "object" })
  const message = await createCleartextMessage({ text: "one\n- two\n\nthree" })
  cleartext = Buffer.from(await sign({ message, signingKeys: privateKey }))
})

describe("what arrives signed", () => {
  test("SignedData that is whole is read", () => {
    expect(readSignedData(SIGNED).signers).toHaveLength(1)
  })

  test("SignedData", () => {
    fc.assert(
      fc.property(
        mutated(() => SIGNED),
        (octets) => parses(() => readSignedData(octets)),
      ),
      { numRuns },
    )
  })

  test("cleartext: what is read is between the lines of its frame", () => {
    fc.assert(
      fc.property(
        mutated(() => cleartext),
        (octets) =>
          parses(() => {
            const signed = Buffer.from(readCleartext(octets)?.signed ?? []).toString("latin1")
            expect(signed).not.toMatch(/-----BEGIN PGP SIGNATURE-----/)
          }),
      ),
      { numRuns },
    )
  })

  const piece = fc.oneof(
    fc.constantFrom(
      "From: a@b.test\r\n",
      "From: c@d.test\r\n",
      'Content-Type: multipart/signed; protocol="application/pkcs7-signature"; boundary=b\r\n',
      'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary=b\r\n',
      "Content-Type: application/pkcs7-mime\r\n",
      "Content-Type: application/pkcs7-signature\r\n",
      "Content-Type: application/pgp-signature\r\n",
      "Content-Type: text/plain\r\n",
      "Content-Transfer-Encoding: base64\r\n",
      "--b\r\n",
      "--b--\r\n",
      "\r\n",
      "text\r\n",
      "-----BEGIN PGP SIGNED MESSAGE-----\r\n",
      "-----BEGIN PGP SIGNATURE-----\r\n",
      "-----END PGP SIGNATURE-----\r\n",
      `${Buffer.from(SIGNED).toString("base64")}\r\n`,
    ),
    fc.string({ maxLength: 20 }),
  )

  test("whole messages never pass by chance, and never throw", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 30 }), async (pieces) => {
        expect(await verdictOn(pieces.join(""))).toMatch(
          /^(?:nothing|(?:smime|openpgp)=(?:policy|neutral|permerror|fail): )/,
        )
      }),
      { numRuns },
    )
  })
})

describe("what arriving mail says of keys", () => {
  test("Autocrypt fields", () => {
    const part = fc.constantFrom(
      "Autocrypt: ",
      "addr=a@b.test",
      ";",
      " ",
      "=",
      "keydata=",
      "AAAA",
      "prefer-encrypt=mutual",
      "_x=y",
      "\r\n ",
      "\r\n",
    )
    const field = fc.array(fc.oneof(part, fc.string({ maxLength: 5 })), { maxLength: 20 })
    fc.assert(
      fc.property(field, (parts) => {
        const read = readAutocrypt(parseFields(Buffer.from(parts.join(""))), parseAddress("a@b.test"))
        if (read !== null) expect(read.certificate.length).toBeGreaterThan(0)
      }),
      { numRuns },
    )
  })

  test("dates: what is read is a date", () => {
    const part = fc.constantFrom("Fri, ", "02", " ", "Jan", "2026", "03:04", ":05", "+0000", "GMT", "(", ")")
    fc.assert(
      fc.property(fc.array(fc.oneof(part, fc.string({ maxLength: 5 })), { maxLength: 20 }), (parts) => {
        const date = parseDateTime(parts.join(""))
        if (date !== null) expect(Number.isFinite(date.getTime())).toBe(true)
      }),
      { numRuns },
    )
  })
})
