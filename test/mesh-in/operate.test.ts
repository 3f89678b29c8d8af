import { afterAll, beforeEach, describe, expect, test } from "vitest"
import { openingKey } from "../../src/crypto/dare/agreement.ts"
import { deriveEnvelopeSecrets } from "../../src/crypto/dare/seal.ts"
import { memberOf } from "../../src/crypto/jsonb/value.ts"
import type { Writable } from "../../src/crypto/jsonb/write.ts"
import { keyUdf } from "../../src/crypto/mesh-keys/fingerprint.ts"
import type { PrivateKey } from "../../src/crypto/mesh-keys/key.ts"
import { agreementOf, ephemeralOf, publicKeyOf } from "../../src/crypto/mesh-keys/use.ts"
import { agreementContribution, combineAgreement } from "../../src/crypto/threshold/agreement.ts"
import { splitKey } from "../../src/crypto/threshold/split.ts"
import { type Capability, type DecryptCapability, makeCapability } from "../../src/mesh/capability.ts"
import { signerWith } from "../../src/mesh/key-data.ts"
import { makeKeyShare } from "../../src/mesh/key-share.ts"
import { ROLE_MESSAGE } from "../../src/mesh/mail/check.ts"
import { serviceKeys } from "../../src/mesh/profile-make.ts"
import { writeRequest } from "../../src/mesh/protocol/request.ts"
import { operateWith } from "../../src/mesh-in/operate.ts"
import { account, CREATED, connectedDevice } from "../mesh/people.ts"
import { administratorSigner, carol, home, phone, phoneSigner, stranger, terms } from "../mesh/protocol-world.ts"
import { type Asking, asked, carolsHome, plain } from "./world.ts"

const parts = await carolsHome()
const { stores } = parts
afterAll(() => parts.opened[Symbol.asyncDispose]())
const keys = [openingKey(home.profile.keys.encryption.udf, serviceKeys(home.seed).encryption)]
const { ask, send } = asked({ Operate: operateWith({ ...parts, keys }) })

/** Carol's group key, in two halves: the members' and the service's. */
const group: PrivateKey = { kind: "seed", curve: "X448", octets: new Uint8Array(56).fill(21) }
const [members, services] = splitKey(group, 2, (octets) => new Uint8Array(octets).fill(22)) as [PrivateKey, PrivateKey]
const keyId = keyUdf(publicKeyOf(members), 2024)
const ephemeral = ephemeralOf("X448", new Uint8Array(56).fill(23))

/** A member of the group whose account is elsewhere, with two devices. */
const dave = account("dave@three.example", 8)
const laptop = connectedDevice(dave, 160, [ROLE_MESSAGE])
const other = connectedDevice(dave, 170, [ROLE_MESSAGE])
const laptopSigner = signerWith(laptop.keys.signature)
const idOf = (device: typeof laptop) => keyUdf(device.publicKeys.authentication, 2024)

let secretsMade = 0
const shareOf = (administrator = carol.administrator, id = keyId, service = home.profile) =>
  makeKeyShare({ administrator }, id, services, service, {
    secrets: deriveEnvelopeSecrets(new Uint8Array(32).fill(++secretsMade), "share"),
    created: CREATED,
  })
const granted: DecryptCapability = {
  kind: "decrypt",
  id: keyId,
  isActive: true,
  issued: CREATED,
  granteeUdf: dave.profile.udf,
  authenticationId: idOf(laptop),
  share: shareOf(),
}
function grant(change: Partial<DecryptCapability> = {}): void {
  put({ ...granted, ...change })
}
function put(capability: Capability, signer = administratorSigner): void {
  const content = makeCapability(capability, signer)
  const entries = [{ name: capability.id, content }]
  stores.append(carol.profile.address, [{ store: "Access", expected: null, entries }], CREATED)
}
beforeEach(() => stores.remove(carol.profile.address))

const agreement = (id: string = keyId, octets = ephemeral.publicKey.octets) => ({
  CryptographicOperationKeyAgreement: { KeyId: id, PublicKey: { PublicKeyECDH: { crv: "X448", Public: octets } } },
})
function operating(change: { [name: string]: Writable | undefined } = {}, signers = [laptopSigner]): Asking {
  const basic = {
    Account: carol.profile.address,
    EnvelopedProfileAccount: dave.profile.envelope,
    EnvelopedConnectionDevice: laptop.connection,
    Operations: [agreement()],
  }
  return { members: { ...basic, ...change }, signers }
}

describe("the service's share of a key", () => {
  test("with the member's makes the agreement that the whole key makes", async () => {
    grant()
    const answer = await ask("Operate", operating())
    expect(answer.outcome).toBe("Success")
    const [result] = plain(answer.members.members.get("Results")) as {
      CryptographicResultKeyAgreement: { KeyAgreement: { KeyAgreementECDH: { Result: Uint8Array } } }
    }[]
    const half = result?.CryptographicResultKeyAgreement.KeyAgreement.KeyAgreementECDH.Result ?? new Uint8Array()
    const own = agreementContribution(members)(ephemeral.publicKey.octets)
    const whole = agreementOf(group)(ephemeral.publicKey.octets)
    expect(Buffer.compare(combineAgreement("X448", [own, half]), whole)).toBe(0)
  })

  test("several at once, all or none", async () => {
    grant()
    const twice = await ask("Operate", operating({ Operations: [agreement(), agreement()] }))
    expect(plain(memberOf(twice.members, "Results", (value) => value) ?? undefined)).toHaveLength(2)
    expect((await ask("Operate", operating({ Operations: [agreement(), agreement("MAAA")] }))).outcome).toBe(
      "NotAuthorized",
    )
  })

  const eve = account("eve@three.example", 9)
  const denials: [string, () => void, Asking, string][] = [
    ["nobody whom no capability names", () => undefined, operating(), "NotAuthorized"],
    [
      "another account, which knows the KeyId",
      () => grant({ granteeUdf: eve.profile.udf }),
      operating(),
      "NotAuthorized",
    ],
    [
      "the grantee in whose name another signs",
      grant,
      operating({ EnvelopedConnectionDevice: undefined }, [signerWith(eve.administrator)]),
      "Forged",
    ],
    ["an unsigned request", grant, operating({}, []), "Unsigned"],
    ["a request that another device has signed", grant, operating({}, [phoneSigner]), "Forged"],
    [
      "another device of the grantee",
      grant,
      operating({ EnvelopedConnectionDevice: other.connection }, [signerWith(other.keys.signature)]),
      "NotAuthorized",
    ],
    [
      "the grantee's administrator, where a device is named",
      grant,
      operating({ EnvelopedConnectionDevice: undefined }, [signerWith(dave.administrator)]),
      "NotAuthorized",
    ],
    [
      "an account elsewhere, whose revoked devices nobody knows, where none is named",
      () => grant({ authenticationId: null }),
      operating(),
      "NotAuthorized",
    ],
    ["a capability that was taken back", () => grant({ isActive: false }), operating(), "NotAuthorized"],
    ["a capability that the administrator has not signed", () => put(granted, phoneSigner), operating(), "Malformed"],
    [
      "a capability of another kind",
      () => put({ kind: "access", id: keyId, isActive: true, issued: CREATED, rights: ["mmm_o_Operate"] }),
      operating(),
      "NotAuthorized",
    ],
    [
      "a share that another's administrator has made",
      () => grant({ share: shareOf(eve.administrator) }),
      operating(),
      "Malformed",
    ],
    ["a share of another key", () => grant({ share: shareOf(undefined, "MAAA") }), operating(), "Malformed"],
    [
      "a share for another service",
      () => grant({ share: shareOf(undefined, undefined, stranger.profile) }),
      operating(),
      "Malformed",
    ],
    ["a point of small order", grant, operating({ Operations: [agreement(keyId, new Uint8Array(57))] }), "Malformed"],
    ["nothing", grant, operating({ Operations: [] }), "Malformed"],
    ["more than sixteen", grant, operating({ Operations: Array.from({ length: 17 }, () => agreement()) }), "Malformed"],
  ]
  test.each(denials)("is not used for %s", async (_, given, asking, outcome) => {
    given()
    expect((await ask("Operate", asking)).outcome).toBe(outcome)
  })

  test("is not used for a request that came before", async () => {
    grant()
    const octets = writeRequest("Operate", operating().members ?? {}, terms(), [laptopSigner])
    expect((await send("Operate", octets)).outcome).toBe("Success")
    expect((await send("Operate", octets)).outcome).toBe("Replayed")
  })

  test("of an account here any device is served that may operate, until it is revoked", async () => {
    grant({ granteeUdf: carol.profile.udf, authenticationId: null })
    const own = operating(
      { EnvelopedProfileAccount: carol.profile.envelope, EnvelopedConnectionDevice: phone.connection },
      [phoneSigner],
    )
    const access = {
      kind: "access",
      id: idOf(phone),
      isActive: true,
      issued: CREATED,
      rights: ["mmm_o_Operate"],
    } as const
    expect((await ask("Operate", own)).outcome).toBe("NotAuthorized")
    put(access)
    expect((await ask("Operate", own)).outcome).toBe("Success")
    put({ ...access, isActive: false })
    expect((await ask("Operate", own)).outcome).toBe("NotAuthorized")
  })
})
