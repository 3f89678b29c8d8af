import { describe, expect, test } from "vitest"
import type { Writable } from "../../src/crypto/jsonb/write.ts"
import { p256PublicPoint } from "../../src/crypto/primitives/p256.ts"
import { signP256 } from "../../src/crypto/primitives/sign.ts"
import { makeAccount } from "../../src/identity/account.ts"
import { keyFingerprint } from "../../src/identity/fingerprint.ts"
import { type MailProfileContent, signMailProfile, verifyMailProfile } from "../../src/identity/mail-profile.ts"
import { signerWith } from "../../src/mesh/key-data.ts"
import { readSigned, signObject } from "../../src/mesh/signed.ts"
import { account, service } from "../mesh/people.ts"
import { makingAt, NOW } from "./people.ts"

const ALICE = "alice@example.test"
const SERVICE = "https://mesh.example.test/.well-known/mmm/"
const alice = account(ALICE, 1, service(2).profile.udf)
const eve = account(ALICE, 3)
const { person } = await makeAccount({ address: ALICE, name: "Alice", formats: ["smime"] }, makingAt())
const root = new Uint8Array(person.root.certificate)

const MESH = {
  protocol: "Mesh",
  prefer: "encrypt",
  require: null,
  service: SERVICE,
  deviceUdf: eve.profile.udf,
} as const
const SMIME = { protocol: "SMTP", encrypt: "S/MIME", prefer: "encrypt", require: "sign+encrypt", key: "PEM" } as const
const CONTENT: MailProfileContent = { name: "Alice", root, issuedAt: NOW, connection: [MESH, SMIME] }
const signed = (change: Partial<MailProfileContent> = {}, by = alice) =>
  signMailProfile(by, { ...CONTENT, ...change }, person.root.scalar)

/** The same members with others in their place, signed by the same key. */
function altered(change: { readonly [member: string]: Writable | undefined }, by = alice): Uint8Array {
  const vouched = Buffer.concat([Buffer.from(`ProfileMailPublic 2\0${ALICE}\0`), by.profile.binaryUdf])
  const members = {
    Version: 2,
    Address: ALICE,
    Name: "Alice",
    IssuedAt: NOW.toISOString(),
    Profile: by.profile.envelope,
    Root: root,
    RootSignature: signP256(person.root.scalar, vouched, "raw"),
    Connections: [{ Protocol: "Mesh", Prefer: "encrypt", Service: SERVICE, DeviceUdf: eve.profile.udf }],
    ...change,
  }
  return signObject("ProfileMailPublic", members, [signerWith(by.administrator)], { created: NOW })
}

describe("a mail profile of version 2", () => {
  test("says what its owner has signed, and by whom it is known in both versions", () => {
    const envelope = signed()
    expect(verifyMailProfile(envelope)).toEqual({
      version: 2,
      address: ALICE,
      name: "Alice",
      profile: alice.profile,
      udf: keyFingerprint(p256PublicPoint(person.root.scalar)),
      root,
      issuedAt: NOW,
      connection: [{ ...MESH, serviceUdf: service(2).profile.udf }, SMIME],
      envelope,
    })
  })

  test("as another implementation writes it", () => {
    expect(verifyMailProfile(altered({ Unknown: "member" })).connection).toHaveLength(1)
  })

  test("leaves out ways that are not known", () => {
    const others = [
      { Protocol: "XMPP", Encrypt: "OMEMO" },
      { Protocol: "SMTP", Encrypt: "PKZIP" },
      { Protocol: "SMTP" },
    ]
    expect(verifyMailProfile(altered({ Connections: others })).connection).toEqual([])
  })

  const rows: [name: string, envelope: () => Uint8Array, code: string][] = [
    ["of another version", () => altered({ Version: 3 }), "MESH_OBJECT_INVALID"],
    ["of another address than its account's", () => altered({ Address: "bob@example.test" }), "MESH_OBJECT_INVALID"],
    ["whose root has signed nothing", () => altered({ RootSignature: new Uint8Array(64) }), "MESH_UNTRUSTED"],
    ["with another root", () => altered({ Root: person.intermediate.certificate }), "MESH_UNTRUSTED"],
    ["without a root", () => altered({ Root: undefined }), "MESH_OBJECT_INVALID"],
    ["that another account has signed", () => altered({ Profile: alice.profile.envelope }, eve), "MESH_UNTRUSTED"],
    ["without a time", () => altered({ IssuedAt: "yesterday" }), "MESH_OBJECT_INVALID"],
    ["with a service over plain HTTP", () => mesh({ Service: "http://example.test/" }), "MESH_OBJECT_INVALID"],
    ["with a service that has a query", () => mesh({ Service: `${SERVICE}?x` }), "MESH_OBJECT_INVALID"],
    ["with a service that has a user", () => mesh({ Service: "https://a@example.test/" }), "MESH_OBJECT_INVALID"],
    ["with a device that has no UDF", () => mesh({ DeviceUdf: "laptop" }), "UDF_MALFORMED"],
    ["that prefers nothing", () => mesh({ Prefer: undefined }), "MESH_OBJECT_INVALID"],
    ["that requires something unknown", () => mesh({ Require: "a stamp" }), "MESH_OBJECT_INVALID"],
    ["with a Mesh connection, of an account without a service", () => signed({}, eve), "MESH_OBJECT_INVALID"],
    [
      "with 33 connections",
      () => signed({ connection: Array.from({ length: 33 }, () => SMIME) }),
      "MESH_OBJECT_INVALID",
    ],
    ["that is too large", () => signed({ name: "x".repeat(65_536) }), "MESH_OBJECT_INVALID"],
  ]
  const mesh = (change: object) =>
    altered({
      Connections: [{ Protocol: "Mesh", Prefer: "encrypt", Service: SERVICE, DeviceUdf: eve.profile.udf, ...change }],
    })

  test.each(rows)("is refused: %s", (_, envelope, code) => {
    expect(() => verifyMailProfile(envelope())).toThrow(expect.objectContaining({ code }))
  })

  test("of 32 connections all are read", () => {
    expect(verifyMailProfile(signed({ connection: Array.from({ length: 32 }, () => SMIME) })).connection).toHaveLength(
      32,
    )
  })

  test("its root cannot be made to vouch for another account", () => {
    const { members } = readSigned(signed(), ["ProfileMailPublic"])
    const stolen = members.members.get("RootSignature")
    const RootSignature = stolen?.kind === "string" ? stolen.text : ""
    expect(() => verifyMailProfile(altered({ RootSignature }, eve))).toThrow(
      expect.objectContaining({ code: "MESH_UNTRUSTED" }),
    )
  })
})
