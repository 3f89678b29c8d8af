import { describe, expect, test } from "vitest"
import { listUdf } from "../../src/crypto/udf/digest.ts"
import { presentUdf } from "../../src/crypto/udf/udf.ts"
import { connectionWitness } from "../../src/mesh/connection-witness.ts"
import { envelopeIdOf, responseIdOf } from "../../src/mesh/message-id.ts"
import { pinId, pinWitness, saltedPin } from "../../src/mesh/pin.ts"
import { fromHex, meshVectors } from "../crypto/mesh-vectors.ts"

const base64Url = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "base64url"))
const named = (part: string) => meshVectors("messages").filter(({ name }) => name.startsWith(part))
const malformed = expect.objectContaining({ code: "UDF_MALFORMED" })

describe("published values of messages, both generations", () => {
  test.each(named("message-ids"))("$name", ({ inputs, expected }) => {
    expect(envelopeIdOf(inputs.messageId)).toBe(expected.envelopeId)
    expect(responseIdOf(inputs.messageId)).toBe(expected.responseId)
  })

  test.each(named("pin-salted"))("$name", ({ inputs, expected }) => {
    expect(saltedPin(inputs.pin, inputs.action)).toBe(expected.saltedPin)
    expect(pinId(expected.saltedPin, inputs.account.toUpperCase())).toBe(expected.pinId)
  })

  test.each(named("pin-witness"))("$name", ({ inputs, expected }) => {
    const { saltedPin: salted, account, clientNonce_b64u, payloadDigest_b64u } = inputs
    const witness = pinWitness(salted, account, base64Url(clientNonce_b64u), base64Url(payloadDigest_b64u))
    expect(Buffer.from(witness).toString("base64url")).toBe(expected.pinWitness_b64u)
  })

  test.each(named("connection-witness"))("$name", ({ inputs, expected }) => {
    const account = { fingerprint: fromHex(inputs.accountUdfBytes), nonce: base64Url(inputs.serverNonce) }
    const device = { fingerprint: fromHex(inputs.deviceUdfBytes), nonce: base64Url(inputs.clientNonce) }
    expect(connectionWitness(account, device)).toBe(expected.witness)
    expect(connectionWitness(device, account)).not.toBe(expected.witness)
  })

  test.each(named("profile-udf"))("$name", ({ inputs, expected }) => {
    expect(presentUdf(listUdf([fromHex(inputs.rootUdf)]))).toBe(expected.profileUdf)
  })

  test("all of them have been looked at", () => {
    const kinds = ["message-ids", "pin-salted", "pin-witness", "connection-witness", "profile-udf"]
    expect(kinds.flatMap(named)).toHaveLength(meshVectors("messages").length)
  })
})

test("an identifier of SHA-3 has identifiers of SHA-3 derived from it", () => {
  expect(envelopeIdOf("KCFI-NCQG-DRKG-47R7-OVPT-TCHZ-7UXY")).toMatch(/^K/)
})

test("what is no UDF has no identifiers, and what is no PIN is none", () => {
  for (const id of [
    "",
    "hello",
    "NBAM-IBG7",
    "NBAM--IBG7-4IM2-UNK6-NQOQ-HFSR-4LBD",
    "N".repeat(200),
    "N".repeat(60_000),
  ])
    expect(() => envelopeIdOf(id)).toThrow(malformed)
  expect(() => saltedPin("MDDK-7N6A-727A-JZNO-STRX-XKS7-DJAF", "Device")).toThrow(malformed)
})
