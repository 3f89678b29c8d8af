import { describe, expect, test } from "vitest"
import { readEnvelope } from "../../src/crypto/dare/envelope.ts"
import { type Writable, writeJson } from "../../src/crypto/jsonb/write.ts"
import { keyFingerprint } from "../../src/crypto/mesh-keys/fingerprint.ts"
import { publicKeyOf } from "../../src/crypto/mesh-keys/use.ts"
import { parseSeed, SEED_SPECIFIER } from "../../src/crypto/udf/seed.ts"
import { signerWith, writeKeyData } from "../../src/mesh/key-data.ts"
import { MAX_OBJECT_OCTETS, readObject } from "../../src/mesh/object.ts"
import { verifyProfileDevice, verifyProfileService, verifyProfileUser } from "../../src/mesh/profile.ts"
import { makeProfileDevice, makeProfileService, makeProfileUser } from "../../src/mesh/profile-make.ts"
import { readSigned, signObject } from "../../src/mesh/signed.ts"
import { meshVector } from "../crypto/mesh-vectors.ts"
import { account, CREATED, service } from "./people.ts"
import { publishedEnvelope } from "./published.ts"

const untrusted = expect.objectContaining({ code: "MESH_UNTRUSTED" })
const invalid = expect.objectContaining({ code: "MESH_OBJECT_INVALID" })

describe("published profiles, both generations", () => {
  const rows = [
    ["signed-ProfileDevice-0", verifyProfileDevice, 2022],
    ["signed-ProfileUser-5", verifyProfileUser, 2022],
    ["signed-ProfileDevice-8", verifyProfileDevice, 2022],
    ["signed-ProfileUser-14", verifyProfileUser, 2022],
    ["signed-ProfileService-17", verifyProfileService, 2022],
    ["signed-ProfileDevice-18", verifyProfileDevice, 2022],
    ["signed-ProfileDevice-23", verifyProfileDevice, 2024],
    ["signed-ProfileUser-26", verifyProfileUser, 2024],
    ["signed-ProfileService-28", verifyProfileService, 2024],
    ["signed-ProfileDevice-31", verifyProfileDevice, 2024],
    ["signed-ProfileUser-37", verifyProfileUser, 2024],
  ] as const

  test.each(rows)("%s: the name is the envelope's", (name, verify, generation) => {
    const { inputs } = meshVector("signed_envelopes", name)
    const profile = verify(publishedEnvelope(name), inputs.header.EnvelopeId ?? null)
    expect(profile.generation).toBe(generation)
    if (inputs.header.EnvelopeId) expect(profile.udf).toBe(inputs.header.EnvelopeId)
    expect(profile.udf.startsWith("MBQ")).toBe(generation === 2024)
  })

  test.each(rows)("%s is nobody else's, and not another one's signature", (name, verify) => {
    expect(() => verify(publishedEnvelope(name), "MDDK-7N6A-727A-JZNO-STRX-XKS7-DJAF")).toThrow(untrusted)
    const text = Buffer.from(publishedEnvelope(name)).toString()
    const [header, payload, trailer = {}] = JSON.parse(text)
    const fields = trailer.signatures ?? header.signatures
    for (const [at, character] of [...fields[0].signature].entries())
      if (at === 20) fields[0].signature = fields[0].signature.replace(character, character === "A" ? "B" : "A")
    expect(() => verify(Buffer.from(JSON.stringify([header, payload, trailer])), null)).toThrow(untrusted)
  })
})

describe("profiles made from published seeds are the published ones", () => {
  test("of a device", () => {
    const seed = parseSeed("ZAAQ-AUKH-YPXV-5NTI-ZVIK-4Q2D-EFAP-UR7Y-5XXN-EDXE-HX3O-LYFS-BJOU-CMQE")
    const { envelope, ...made } = makeProfileDevice(seed, CREATED)
    const { envelope: _published, ...published } = verifyProfileDevice(
      publishedEnvelope("signed-ProfileDevice-23"),
      null,
    )
    expect(made).toEqual(published)
  })

  test("of an account", () => {
    const seed = parseSeed("ZAAQ-E4Q6-DF3S-B6GC-B7N7-RHP2-XWBK-JERD-N2GU-SNN4-DTUV-TQL5-2VHZ-ZNCK")
    const { envelope: _published, ...published } = verifyProfileUser(publishedEnvelope("signed-ProfileUser-26"), null)
    const { envelope, ...made } = makeProfileUser(seed, {
      address: published.address,
      serviceUdf: published.serviceUdf,
      created: CREATED,
    })
    expect(made).toEqual(published)
  })
})

describe("profiles of ours", () => {
  const alice = account("alice@example.com", 1)

  test("are verified under their name, in any precision that names a key, and the same seed makes the same octets", () => {
    expect(verifyProfileUser(alice.profile.envelope, alice.profile.udf)).toEqual(alice.profile)
    expect(verifyProfileUser(alice.profile.envelope, alice.profile.udf.slice(0, 32))).toEqual(alice.profile)
    expect(() => verifyProfileUser(alice.profile.envelope, alice.profile.udf.slice(0, 29))).toThrow(untrusted)
    expect(account("alice@example.com", 1).profile.envelope).toEqual(alice.profile.envelope)
    expect(readEnvelope(alice.profile.envelope).header.envelopeId).toBe(alice.profile.udf)
  })

  test("of an account that has mail encrypted to it: another's under the same name, which is agreed with on X25519", () => {
    const { profile } = account("alice@example.com", 1, null, "mail")
    expect(verifyProfileUser(profile.envelope, alice.profile.udf)).toEqual(profile)
    expect([profile.keys.encryption.key.curve, alice.profile.keys.encryption.key.curve]).toEqual(["X25519", "X448"])
    expect({ ...profile.keys, encryption: null }).toEqual({ ...alice.profile.keys, encryption: null })
  })

  test("of a service, of a host", () => {
    const { profile } = service(7)
    expect(verifyProfileService(profile.envelope, profile.udf)).toEqual(profile)
    const seed = { specifier: SEED_SPECIFIER.profileDevice, octets: new Uint8Array(32).fill(8) }
    const host = makeProfileDevice(seed, CREATED, "host")
    expect(verifyProfileDevice(host.envelope, host.udf)).toEqual(host)
    expect(host.udf).not.toBe(makeProfileDevice(seed, CREATED).udf)
  })

  test("of a gateway: a device's under the same name, which signs with Ed25519", () => {
    const seed = { specifier: SEED_SPECIFIER.profileDevice, octets: new Uint8Array(32).fill(8) }
    const [gateway, device] = [makeProfileDevice(seed, CREATED, "gateway"), makeProfileDevice(seed, CREATED)]
    expect(verifyProfileDevice(gateway.envelope, device.udf)).toEqual(gateway)
    expect([gateway.keys.signature.key.curve, device.keys.signature.key.curve]).toEqual(["Ed25519", "Ed448"])
    expect({ ...gateway.keys, signature: null }).toEqual({ ...device.keys, signature: null })
  })

  test("a seed of another kind makes none", () => {
    const seed = { specifier: SEED_SPECIFIER.profileDevice, octets: new Uint8Array(32) }
    expect(() => makeProfileService(seed, CREATED)).toThrow(expect.objectContaining({ code: "MESH_KEY_UNSUPPORTED" }))
  })

  test("another kind of profile is not taken", () => {
    expect(() => verifyProfileService(alice.profile.envelope, null)).toThrow(invalid)
  })
})

describe("profiles that somebody has put together", () => {
  const alice = account("alice@example.com", 1)
  const mallory = account("mallory@example.com", 2)
  const object = readSigned(alice.profile.envelope, ["ProfileUser"])
  const members: Record<string, Writable> = JSON.parse(Buffer.from(object.octets).toString()).ProfileUser
  const root = (keys: typeof alice.keys) => ({ ...signerWith(keys.root), publicKey: publicKeyOf(keys.root).octets })
  const signed = (changed: Record<string, Writable | undefined>, keys = alice.keys) =>
    signObject("ProfileUser", { ...members, ...changed }, [root(keys)], { created: CREATED })

  const rows: [what: string, envelope: Uint8Array, error: unknown][] = [
    ["signed by a key that is no root", signed({}, mallory.keys), untrusted],
    [
      "a root added to the list",
      signed({ RootUdfs: [keyFingerprint(publicKeyOf(alice.keys.root), 2024), new Uint8Array(65)] }),
      untrusted,
    ],
    ["no roots", signed({ RootUdfs: [] }), invalid],
    ["a root of 64 octets", signed({ RootUdfs: [new Uint8Array(64)] }), invalid],
    ["nine roots", signed({ RootUdfs: Array.from({ length: 9 }, () => new Uint8Array(65)) }), invalid],
    ["both generations' roots", signed({ ProfileSignature: writeKeyData(publicKeyOf(alice.keys.root)) }), invalid],
    ["a key missing", signed({ CommonEncryption: undefined }), invalid],
    [
      "a key under another's fingerprint",
      signed({
        CommonEncryption: {
          Udf: mallory.profile.keys.encryption.udf,
          PublicParameters: { PublicKeyECDH: { crv: "X448", Public: publicKeyOf(alice.keys.encryption).octets } },
        },
      }),
      invalid,
    ],
    ["no address", signed({ AccountAddress: null }), invalid],
    ["not signed", Buffer.from(JSON.stringify([{}, Buffer.from(object.octets).toString("base64url"), {}])), invalid],
  ]
  test.each(rows)("%s", (_what, envelope, error) => {
    expect(() => verifyProfileUser(envelope, alice.profile.udf)).toThrow(error)
  })

  test("members that nobody knows are no fault", () => {
    expect(verifyProfileUser(signed({ Later: { more: [1, 2] } }), alice.profile.udf).keys).toEqual(alice.profile.keys)
  })

  test("one octet above the limit", () => {
    expect(() => verifyProfileUser(new Uint8Array(MAX_OBJECT_OCTETS + 1), null)).toThrow(invalid)
    expect(() => readObject(new Uint8Array(MAX_OBJECT_OCTETS + 1), ["ProfileUser"])).toThrow(invalid)
  })

  test.each(['{"A":{},"B":{}}', "{}", '{"B":{}}', '{"A":[]}'])("no object of a type: %s", (text) => {
    expect(() => readObject(Buffer.from(text), ["A"])).toThrow(
      /mesh: object is no A|mesh: there is not one object|A is not an object/,
    )
    expect(readObject(writeJson({ A: {} }), ["A"]).type).toBe("A")
  })
})
