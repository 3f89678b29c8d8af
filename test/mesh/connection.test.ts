import { describe, expect, test } from "vitest"
import { publicKeyOf } from "../../src/crypto/mesh-keys/use.ts"
import { parseSeed } from "../../src/crypto/udf/seed.ts"
import { activatedPublicKeys, makeActivation, openActivation } from "../../src/mesh/activation.ts"
import { makeConnectionService, verifyConnectionDevice, verifyConnectionService } from "../../src/mesh/connection.ts"
import { verifyProfileUser } from "../../src/mesh/profile.ts"
import { fromHex, meshVectors, toHex } from "../crypto/mesh-vectors.ts"
import { account, CREATED, connectedDevice } from "./people.ts"
import { publishedEnvelope } from "./published.ts"

const untrusted = expect.objectContaining({ code: "MESH_UNTRUSTED" })
const expired = expect.objectContaining({ code: "MESH_EXPIRED" })
const LATER = new Date(CREATED.getTime() + 1_000)

describe("published connections, both generations", () => {
  const alice2022 = verifyProfileUser(publishedEnvelope("signed-ProfileUser-5"), null)
  const alice2024 = verifyProfileUser(publishedEnvelope("signed-ProfileUser-26"), null)

  test("of a device (2024, JSON-B), with its roles", () => {
    const connection = verifyConnectionDevice(publishedEnvelope("signed-ConnectionDevice-33"), alice2024, CREATED)
    expect(connection.roles).toEqual(["threshold"])
    expect(connection.keys.signature.key.curve).toBe("Ed448")
  })

  test("of a device and to the service (2022)", () => {
    const { keys } = verifyConnectionDevice(publishedEnvelope("signed-ConnectionDevice-10"), alice2022, CREATED)
    const shown = verifyConnectionService(publishedEnvelope("signed-ConnectionService-9"), alice2022, CREATED)
    expect(shown.authentication.udf).toBe(keys.authentication.udf)
  })

  test("of another account", () => {
    const connection = publishedEnvelope("signed-ConnectionDevice-33")
    expect(() => verifyConnectionDevice(connection, alice2022, CREATED)).toThrow(untrusted)
    const other = account("mallory@example.com", 2).profile
    expect(() => verifyConnectionDevice(connection, other, CREATED)).toThrow(untrusted)
  })
})

describe("published activations, both generations", () => {
  const roles = { Signature: "signature", Encryption: "encryption", Authentication: "authentication" } as const

  test.each(meshVectors("activation"))("$name", ({ name, inputs, expected }) => {
    const [, role] = /device-activation-(\w+)-/.exec(name) ?? []
    const { profile } = connectedDevice(account("alice@example.com", 1), 3, [])
    const generation = name.endsWith("main") ? 2022 : 2024
    const key = {
      ...profile.keys.signature,
      generation,
      key: { curve: inputs.crv, octets: fromHex(inputs.basePublic) },
    } as const
    const own = roles[role as keyof typeof roles]
    const device = { ...profile, keys: { ...profile.keys, [own]: key } }
    expect(toHex(activatedPublicKeys(device, parseSeed(inputs.activationKey))[own].octets)).toBe(expected.devicePublic)
  })
})

describe("a device of ours", () => {
  const alice = account("alice@example.com", 1)
  const mallory = account("mallory@example.com", 2)
  const device = connectedDevice(alice, 10, ["message"], LATER)

  test("has the keys that the administrator sees", () => {
    const { keys, roles, subject } = verifyConnectionDevice(device.connection, alice.profile, CREATED)
    for (const role of ["signature", "encryption", "authentication"] as const) {
      expect(publicKeyOf(device.keys[role])).toEqual(device.publicKeys[role])
      expect(keys[role].key).toEqual(device.publicKeys[role])
      expect(keys[role].key).not.toEqual(device.profile.keys[role].key)
    }
    expect([roles, subject]).toEqual([["message"], device.profile.udf])
  })

  test("is no longer one when its time is over", () => {
    expect(() => verifyConnectionDevice(device.connection, alice.profile, LATER)).toThrow(expired)
  })

  test("is nobody else's", () => {
    expect(() => verifyConnectionDevice(device.connection, mallory.profile, CREATED)).toThrow(untrusted)
  })

  test("shows itself to the service", () => {
    const { profile, publicKeys } = device
    const terms = { roles: [], created: CREATED, notOnOrAfter: null }
    const shown = makeConnectionService(alice, { profile, keys: publicKeys }, terms)
    expect(verifyConnectionService(shown, alice.profile, LATER).authentication.key).toEqual(publicKeys.authentication)
    const claimed = makeConnectionService({ ...alice, profile: mallory.profile }, { profile, keys: publicKeys }, terms)
    expect(() => verifyConnectionService(claimed, alice.profile, LATER)).toThrow("connection is to another account")
  })

  test("opens its activation, and no other device does", () => {
    const { profile, activation, secrets, base } = device
    const envelope = makeActivation(alice, profile, activation, { secrets, created: CREATED })
    const { udf: kid } = profile.keys.encryption
    expect(openActivation(envelope, alice.profile, { kid, encryption: base.encryption })).toEqual(activation)
    const other = connectedDevice(alice, 20, []).base.encryption
    expect(() => openActivation(envelope, alice.profile, { kid, encryption: other })).toThrow(
      expect.objectContaining({ code: "DECRYPTION_FAILED" }),
    )
    expect(() => openActivation(envelope, mallory.profile, { kid, encryption: base.encryption })).toThrow(untrusted)
  })
})
