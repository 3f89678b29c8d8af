import { describe, expect, test } from "vitest"
import { GatewayError } from "../../src/errors.ts"
import { connectAccount, makeAccount, rekeyAccount } from "../../src/identity/account.ts"
import { revokeDevice } from "../../src/identity/device.ts"
import { checkEscrow, recoveryShares, restorePerson, sealEscrow } from "../../src/identity/escrow.ts"
import { formatJson } from "../../src/identity/json.ts"
import { administered, type MeshPerson } from "../../src/identity/mesh-account.ts"
import type { Person } from "../../src/identity/person.ts"
import { verifyRequest } from "../../src/identity/requests.ts"
import { activationSeed } from "../../src/mesh/activation.ts"
import { makeProfileDevice } from "../../src/mesh/profile-make.ts"
import { service } from "../mesh/people.ts"
import { makeFullDevice, makingAt, NOW } from "./people.ts"

const ALICE = "alice@example.test"
const device = { ...activationSeed(new Uint8Array(32).fill(7)), specifier: 0x100 }
const gateway = { address: null, service: service(2).profile.envelope, device: makeProfileDevice(device, NOW).envelope }
const account = { address: ALICE, name: "Alice", formats: ["smime", "openpgp"], gateway } as const

const made = await makeAccount(account, makingAt())
const alice = inMesh(made.person)
const eve = inMesh((await makeAccount({ ...account, formats: ["smime"] }, makingAt())).person)
const shares = recoveryShares(alice, 2, 3, makingAt())

function inMesh(person: Person): MeshPerson {
  if (person.mesh === null) throw new Error("not in the Mesh")
  return { ...person, mesh: person.mesh }
}

/** What a request leaves with the server. */
function escrowIn(request: string): Uint8Array {
  const { escrow } = verifyRequest(request, () => made.person.root.certificate).request
  if (escrow === null) throw new Error("no escrow")
  return escrow
}

/** As the keyring has it. */
const plain = (person: Person): unknown => JSON.parse(formatJson(person))

function codeOf(act: () => unknown): string {
  try {
    act()
    return "none"
  } catch (error) {
    return error instanceof GatewayError ? error.code : String(error)
  }
}

describe("what the server keeps of a keyring", () => {
  test.each([[[0, 1]], [[2, 0]], [[1, 2]], [[0, 1, 2]]])("is the person again with shares %j", (chosen) => {
    const some = chosen.map((index) => shares[index] ?? "")
    expect(plain(restorePerson(ALICE, some, escrowIn(made.request)))).toEqual(plain(alice))
  })

  test("comes with every request, as the person is after it, without devices that are revoked", async () => {
    const laptop = await makeFullDevice(alice, "laptop")
    const phone = await makeFullDevice(laptop.person, "phone")
    const revoked = await revokeDevice(phone.person, "laptop", makingAt())
    const rekeyed = await rekeyAccount(revoked.person, makingAt())
    const connected = connectAccount(rekeyed.person, gateway, makingAt())
    for (const { person, request } of [laptop, phone, revoked, rekeyed, connected]) {
      const devices = person.devices.filter(({ revokedAt }) => revokedAt === null)
      expect(plain(restorePerson(ALICE, shares, escrowIn(request)))).toEqual(plain({ ...person, devices }))
    }
  })

  test("shows nothing of what is in it", () => {
    const octets = Buffer.from(escrowIn(made.request))
    for (const secret of [
      alice.root.scalar,
      alice.mesh.gateway?.activation ?? [],
      alice.openpgp?.secretKey.subarray(0, 32) ?? [],
    ])
      for (const encoding of ["hex", "base64", "latin1"] as const)
        expect(octets.toString("latin1")).not.toContain(Buffer.from(secret).toString(encoding))
    expect(octets.toString("latin1")).not.toContain(alice.mesh.seed)
  })

  const escrow = escrowIn(made.request)
  /** The ciphertext ends well before the trailer. */
  const flipped = escrow.map((octet, at) => (at === escrow.length >> 1 ? octet ^ 1 : octet))
  test.each<[name: string, address: string, shares: readonly string[], escrow: Uint8Array, code: string]>([
    ["one share", ALICE, shares.slice(0, 1), escrow, "SHARES_INVALID"],
    ["shares of another account", ALICE, recoveryShares(eve, 2, 2, makingAt()), escrow, "SHARES_INVALID"],
    ["another account's escrow", ALICE, shares, sealEscrow(eve, makingAt()), "SHARES_INVALID"],
    ["what is no share", ALICE, ["MBQA", "MBQB"], escrow, "UDF_MALFORMED"],
    ["another address", "eve@example.test", shares, escrow, "MESH_UNTRUSTED"],
    ["an octet that has changed", ALICE, shares, flipped, "DARE_ALTERED"],
    [
      "an escrow of somebody else's content",
      ALICE,
      shares,
      sealEscrow({ ...alice, address: "eve@example.test" }, makingAt()),
      "MESH_UNTRUSTED",
    ],
    ["an escrow that is cut off", ALICE, shares, escrow.subarray(0, -9), "JSONB_SYNTAX"],
  ])("makes nobody of %s", (_, address, some, kept, code) => {
    expect(codeOf(() => restorePerson(address, some, kept))).toBe(code)
  })

  test.each<[name: string, escrow: () => Uint8Array, code: string]>([
    ["its owner has written", () => escrow, "none"],
    ["another account has written", () => sealEscrow(eve, makingAt()), "MESH_UNTRUSTED"],
    [
      "another account's administrator has written to itself",
      () => sealEscrow({ ...eve, mesh: { ...eve.mesh, profile: alice.mesh.profile } }, makingAt()),
      "MESH_UNTRUSTED",
    ],
    ["is over two megabytes", () => new Uint8Array(2_000_001), "MESH_OBJECT_INVALID"],
    ["is nothing", () => new Uint8Array(0), "JSONB_SYNTAX"],
  ])("the server looks at what it can: what %s", (_, kept, code) => {
    expect(codeOf(() => checkEscrow(kept(), administered(alice.mesh).profile))).toBe(code)
  })
})
