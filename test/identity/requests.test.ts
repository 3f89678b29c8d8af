import { describe, expect, test } from "vitest"
import { publicKeyFingerprint, readCertificate } from "../../src/crypto/cms/certificate.ts"
import { p256PublicPoint } from "../../src/crypto/primitives/p256.ts"
import { GatewayError } from "../../src/errors.ts"
import { makeAccount, rekeyAccount, renewAccount, requestOf } from "../../src/identity/account.ts"
import { applyRequest } from "../../src/identity/apply.ts"
import { renewDevice, revokeDevice } from "../../src/identity/device.ts"
import { verifyProfile } from "../../src/identity/profile.ts"
import { signRequest, verifyRequest } from "../../src/identity/requests.ts"
import { GatewayKeys } from "../../src/store/gateway-keys.ts"
import { People } from "../../src/store/people.ts"
import { RecryptionKeys } from "../../src/store/recryption-keys.ts"
import { openEmbeddedState } from "../../src/store/state.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { makeAlice, makeFullDevice, makingAt, NOW } from "./people.ts"

const LATER = new Date(NOW.getTime() + 86_400_000)

/** The server's side, with nobody in it. */
async function server() {
  const folder = await temporaryFolder()
  const database = openEmbeddedState(folder.file("data"))
  const recryptionKeys = new RecryptionKeys(database, folder.file("secrets"))
  const gatewayKeys = new GatewayKeys(folder.file("signing"))
  const people = new People(database, { domains: ["example.test"], postmaster: null, recryptionKeys })
  return {
    people,
    gatewayKeys,
    database,
    apply: (request: string) => applyRequest({ people, gatewayKeys, database }, request, NOW),
    codeOf: (request: string): string => {
      try {
        applyRequest({ people, gatewayKeys, database }, request, NOW)
        return "none"
      } catch (error) {
        return error instanceof GatewayError ? error.code : String(error)
      }
    },
    [Symbol.asyncDispose]: async () => {
      database.close()
      await folder[Symbol.asyncDispose]()
    },
  }
}

/** The request with one member of its payload replaced, its signature as it was. */
function tampered(request: string, change: (payload: Record<string, unknown>) => void): string {
  const document = JSON.parse(request)
  const payload = JSON.parse(Buffer.from(document.payload, "base64url").toString())
  change(payload)
  return JSON.stringify({ ...document, payload: Buffer.from(JSON.stringify(payload)).toString("base64url") })
}

describe("requests", () => {
  test("an account and a device come into being, and the device's password works", async () => {
    await using there = await server()
    const account = await makeAlice("smime", "openpgp")
    there.apply(account.request)
    const made = await makeFullDevice(account.person, "laptop")
    there.apply(made.request)
    const found = there.people.authenticate("alice@example.test", made.device.password)
    expect(found?.device).toMatchObject({ name: "laptop", id: made.device.id })
    expect(found?.account.keys.map((key) => [key.format, key.current])).toEqual([
      ["smime", true],
      ["openpgp", true],
    ])
    if (found) expect(there.people.recryptionScalars(found.device).length).toBe(2)
    expect(verifyProfile(found?.account.profile ?? "").connection.map((entry) => entry.encrypt)).toEqual([
      "S/MIME",
      "OpenPGP",
    ])
  })

  test("no request holds a secret that stays with the owner", async () => {
    const account = await makeAlice("smime", "openpgp")
    const made = await makeFullDevice(account.person, "laptop")
    const rekeyed = await rekeyAccount(made.person, makingAt(LATER))
    const secrets = [
      ...[rekeyed.person.root, rekeyed.person.intermediate, ...rekeyed.person.smime].map((pair) => pair.scalar),
      ...(rekeyed.person.openpgp?.keys ?? []).map((key) => key.scalar),
      ...rekeyed.person.devices.flatMap((device) => [
        device.decryption?.scalar,
        device.signing.scalar,
        device.login?.scalar,
        ...(device.openpgp?.scalars ?? []).map((one) => one.scalar),
      ]),
    ]
    expect(secrets.length).toBe(11)
    const texts = [account, made, rekeyed].map(({ request }) =>
      Buffer.from(JSON.parse(request).payload, "base64url").toString(),
    )
    for (const text of texts) {
      for (const secret of secrets) expect(text.includes(Buffer.from(secret ?? []).toString("base64"))).toBe(false)
      expect(text.includes(made.device.password)).toBe(false)
    }
  })

  test("applied once; tampered and foreign ones refused", async () => {
    await using there = await server()
    const account = await makeAlice("smime")
    const mallory = await makeAlice("smime")
    const made = await makeFullDevice(account.person, "laptop")
    const foreign = await makeFullDevice(mallory.person, "laptop")
    expect(there.codeOf(made.request)).toBe("ACCOUNT_UNKNOWN")
    expect(there.codeOf(tampered(account.request, (payload) => (payload["name"] = "Mallory")))).toBe("REQUEST_INVALID")
    there.apply(account.request)
    expect(there.codeOf(account.request)).toBe("REQUEST_INVALID")
    expect(there.codeOf(mallory.request)).toBe("ACCOUNT_EXISTS")
    expect(there.codeOf(foreign.request)).toBe("REQUEST_INVALID")
    expect(there.codeOf(tampered(made.request, (payload) => (payload["passwordHash"] = "AAAA")))).toBe(
      "REQUEST_INVALID",
    )
    expect(there.people.devices("alice@example.test")).toEqual([])
    there.apply(made.request)
    there.people.revokeDevice("alice@example.test", "laptop", NOW)
    expect(there.codeOf(made.request)).toBe("REQUEST_INVALID")
    // The same device in a fresh request is a replay with other words.
    const again = verifyRequest(made.request, () => account.person.root.certificate).request
    expect(there.codeOf(requestOf(made.person, again.change, makingAt()))).toBe("REQUEST_INVALID")
    expect(there.people.authenticate("alice@example.test", made.device.password)).toBeNull()
  })

  test("what fails leaves nothing behind, and may be tried again", async () => {
    await using there = await server()
    const account = await makeAlice("smime")
    there.apply(account.request)
    const first = await makeFullDevice(account.person, "laptop")
    const second = await makeFullDevice(account.person, "laptop")
    there.apply(first.request)
    expect(there.codeOf(second.request)).toBe("DEVICE_EXISTS")
    there.people.revokeDevice("alice@example.test", "laptop", NOW)
    expect(there.codeOf(second.request)).toBe("none")
  })

  test("certificates and profiles of others are refused", async () => {
    await using there = await server()
    const account = await makeAlice("smime")
    const bob = await makeAccount({ address: "bob@example.test", name: "Bob", formats: ["smime"] }, makingAt())
    const { request } = verifyRequest(account.request, () => null)
    const { request: other } = verifyRequest(bob.request, () => null)
    if (request.change.kind !== "account-add" || other.change.kind !== "account-add") throw new Error("unreachable")
    const point = p256PublicPoint(account.person.root.scalar)
    const signed = (change: object) =>
      signRequest(
        { ...request, change: { ...request.change, ...change } as typeof request.change },
        point,
        account.person.root.scalar,
      )
    expect(there.codeOf(signed({ keys: other.change.keys }))).toBe("REQUEST_INVALID")
    expect(there.codeOf(signed({ profile: other.change.profile }))).toBe("REQUEST_INVALID")
    expect(there.codeOf(signed({ keys: [] }))).toBe("REQUEST_INVALID")
    expect(there.codeOf(signed({ formats: ["smime", "smime"] }))).toBe("REQUEST_INVALID")
    const outside = await makeAccount({ address: "alice@other.test", name: "", formats: ["smime"] }, makingAt())
    expect(there.codeOf(outside.request)).toBe("ACCOUNT_UNKNOWN")
  })

  test("rekey: a new current key, scalars for live devices, and no way back to the old profile", async () => {
    await using there = await server()
    const account = await makeAlice("smime", "openpgp")
    there.apply(account.request)
    const laptop = await makeFullDevice(account.person, "laptop")
    const phone = await makeFullDevice(laptop.person, "phone")
    for (const { request } of [laptop, phone]) there.apply(request)
    const rekeyed = await rekeyAccount(phone.person, makingAt(LATER))
    there.people.revokeDevice("alice@example.test", "phone", NOW)
    const renewedBefore = await renewAccount(phone.person, makingAt())
    there.apply(rekeyed.request)
    const keys = there.people.account("alice@example.test")?.keys ?? []
    expect(keys.map((key) => [key.format, key.current])).toEqual([
      ["smime", false],
      ["openpgp", false],
      ["smime", true],
      ["openpgp", true],
    ])
    const [live, revoked] = ["laptop", "phone"].map((name) => there.people.device("alice@example.test", name))
    if (!live || !revoked) throw new Error("unreachable")
    expect(
      there.people
        .recryptionScalars(live)
        .map(({ key }) => key.id)
        .toSorted(),
    ).toEqual(keys.map((key) => key.id).toSorted())
    expect(there.people.recryptionScalars(revoked)).toEqual([])
    expect(there.codeOf(renewedBefore.request)).toBe("REQUEST_INVALID")
  })

  test("renewing keeps keys and serial numbers", async () => {
    await using there = await server()
    const account = await makeAlice("smime", "openpgp")
    const made = await makeFullDevice(account.person, "laptop")
    for (const { request } of [account, made]) there.apply(request)
    const nearEnd = new Date(NOW.getTime() + 700 * 86_400_000)
    const renewed = await renewAccount(made.person, makingAt(nearEnd))
    there.apply(renewed.request)
    const device = await renewDevice(renewed.person, "laptop", makingAt(nearEnd))
    there.apply(device.request)
    const pairs = [
      [made.person.smime[0], renewed.person.smime[0]],
      [made.device.decryption, device.device.decryption],
      [made.device.signing, device.device.signing],
      [made.person.intermediate, renewed.person.intermediate],
    ] as const
    for (const [before, after] of pairs) {
      if (!before || !after) throw new Error("unreachable")
      const [old, fresh] = [readCertificate(before.certificate), readCertificate(after.certificate)]
      expect(fresh.identity).toEqual(old.identity)
      expect(fresh.subjectPublicKeyInfo).toEqual(old.subjectPublicKeyInfo)
      expect(fresh.notAfter > old.notAfter).toBe(true)
    }
    expect(renewed.person.root).toEqual(made.person.root)
    expect(there.people.device("alice@example.test", "laptop")?.certificates.length).toBe(2)
    // Nine years on the root would end before what it issues.
    const late = await renewAccount(renewed.person, makingAt(new Date("2035-06-01T00:00:00Z")))
    there.apply(late.request)
    expect(late.person.root.scalar).toEqual(renewed.person.root.scalar)
    expect(readCertificate(late.person.root.certificate).notAfter > new Date("2045-05-01")).toBe(true)
  })

  test("a device's login key comes with it, outlives its certificates, and ends with it", async () => {
    await using there = await server()
    const account = await makeAlice("openpgp")
    const made = await makeFullDevice(account.person, "laptop")
    for (const { request } of [account, made]) there.apply(request)
    const certificate = readCertificate(made.device.login?.certificate ?? new Uint8Array())
    const known = () => there.people.deviceOfKey(publicKeyFingerprint(certificate))
    expect(known()).toMatchObject({ account: { address: "alice@example.test" }, device: { name: "laptop" } })
    expect(known()?.device.login?.notAfter).toEqual(certificate.notAfter)
    const rekeyed = await rekeyAccount(made.person, makingAt(LATER))
    const renewed = await renewDevice(rekeyed.person, "laptop", makingAt(LATER))
    for (const { request } of [rekeyed, renewed]) there.apply(request)
    expect(known()?.device.login?.notAfter).toEqual(new Date(certificate.notAfter.getTime() + 86_400_000))
    expect(renewed.device.login?.scalar).toEqual(made.device.login?.scalar)
    there.apply((await revokeDevice(renewed.person, "laptop", makingAt(LATER))).request)
    expect(known()).toBeNull()
  })

  test("a device of a version without login certificates gets one when it is renewed", async () => {
    await using there = await server()
    const account = await makeAlice("openpgp")
    const made = await makeFullDevice(account.person, "laptop")
    for (const { request } of [account, made]) there.apply(request)
    const devices = made.person.devices.map((device) => ({ ...device, login: null }))
    const { device, request } = await renewDevice({ ...made.person, devices }, "laptop", makingAt(LATER))
    there.apply(request)
    const key = publicKeyFingerprint(readCertificate(device.login?.certificate ?? new Uint8Array()))
    expect(there.people.deviceOfKey(key)?.device.name).toBe("laptop")
  })

  test("revoke from the owner's side, after an administrator was first", async () => {
    await using there = await server()
    const account = await makeAlice("openpgp")
    const made = await makeFullDevice(account.person, "laptop")
    for (const { request } of [account, made]) there.apply(request)
    there.people.revokeDevice("alice@example.test", "laptop", NOW)
    const revoked = await revokeDevice(made.person, "laptop", makingAt(LATER))
    const before = there.people.account("alice@example.test")?.keys[0]?.certificate
    there.apply(revoked.request)
    expect(there.people.account("alice@example.test")?.keys[0]?.certificate).not.toEqual(before)
  })
})

test("whatever else is no request", () => {
  const rows = ["", "{}", "[]", "null", "{", '{"payload":"","protected":"","signature":""}', "x".repeat(2_000_000)]
  for (const text of rows)
    expect(() => verifyRequest(text, () => null)).toThrow(expect.objectContaining({ code: "REQUEST_INVALID" }))
})
