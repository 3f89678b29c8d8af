import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { deriveEnvelopeSecrets } from "../../src/crypto/dare/seal.ts"
import { activatedPublicKeys, activationSeed, makeActivation } from "../../src/mesh/activation.ts"
import { makeConnectionDevice } from "../../src/mesh/connection.ts"
import type { Profile } from "../../src/mesh/profile.ts"
import { checkSigned, readSigned, signObject } from "../../src/mesh/signed.ts"
import { checkGatewayConnection, type MeshHost, openConnectedHost, openMeshHost } from "../../src/store/mesh-host.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { type Account, account, CREATED, connectedDevice } from "../mesh/people.ts"

const alice = account("alice@example.test", 1)
const NOW = new Date("2026-11-26T12:00:00Z")
const NEXT_YEAR = new Date("2027-11-26T12:00:00Z")
const seedOf = (octet: number) => activationSeed(new Uint8Array(32).fill(octet))

/** What an owner signs who connects a device. */
function connected(to: Account, device: Profile, octet = 5) {
  const keys = activatedPublicKeys(device, seedOf(octet))
  const terms = { roles: ["send-mail"], created: CREATED, notOnOrAfter: NEXT_YEAR }
  return {
    profile: to.profile,
    connection: makeConnectionDevice(to, { profile: device, keys }, terms),
    activation: activationFor(to, device, octet),
  }
}

function activationFor(by: Account, device: Profile, octet: number): Uint8Array {
  const secrets = deriveEnvelopeSecrets(new Uint8Array(32).fill(6), "test")
  return makeActivation(by, device, seedOf(octet), { secrets, created: CREATED })
}

async function withHost(act: (host: MeshHost, secrets: string) => void): Promise<void> {
  await using folder = await temporaryFolder()
  act(openMeshHost(folder.file("secrets"), NOW), folder.file("secrets"))
}

describe("what this gateway is in the Mesh", () => {
  test("is made once, for its owner's eyes only, and is the same octets ever after", () =>
    withHost((host, secrets) => {
      const again = openMeshHost(secrets, NEXT_YEAR)
      expect(again.service.profile).toEqual(host.service.profile)
      expect(again.device.profile).toEqual(host.device.profile)
      expect(statSync(`${secrets}/mesh/host.json`).mode & 0o777).toBe(0o600)
    }))

  test("is made only where nobody is connected to another", async () => {
    await using folder = await temporaryFolder()
    const secrets = folder.file("secrets")
    const any = (connected: boolean) => ({ any: () => connected })
    expect(() => openConnectedHost(secrets, any(true), NOW)).toThrow(
      expect.objectContaining({ code: "MESH_HOST_MISSING", message: expect.stringContaining("mesh/host.json") }),
    )
    expect(existsSync(secrets)).toBe(false)
    const made = openConnectedHost(secrets, any(false), NOW)
    expect(openConnectedHost(secrets, any(true), NOW).device.profile).toEqual(made.device.profile)
  })

  test("differs from every other", () =>
    withHost((one) =>
      withHost((other) => {
        expect(other.service.profile.udf).not.toBe(one.service.profile.udf)
        expect(other.device.profile.udf).not.toBe(one.device.profile.udf)
      }),
    ))

  test.each(["", "{}", '{"version":"2"}', "x"])("damaged, is no other one: %j", (content) =>
    withHost((_, secrets) => {
      const path = `${secrets}/mesh/host.json`
      writeFileSync(path, content)
      expect(() => openMeshHost(secrets, NOW)).toThrow(expect.objectContaining({ code: "STATE_CORRUPT" }))
      expect(readFileSync(path, "utf8")).toBe(content)
    }),
  )

  test("signs as the service whose profile says so", () =>
    withHost(({ service }) => {
      const signed = signObject("Test", {}, [service.signer], { created: NOW })
      checkSigned(readSigned(signed, ["Test"]).end, service.profile.keys.signature)
    }))
})

describe("for an account", () => {
  test("signs with the key that the connection names", () =>
    withHost((host) => {
      const mine = connected(alice, host.device.profile)
      const { keys, roles } = checkGatewayConnection(host, mine, NOW)
      expect(roles).toEqual(["send-mail"])
      const signed = signObject("Test", {}, [host.signerOf(mine)], { created: NOW })
      checkSigned(readSigned(signed, ["Test"]).end, keys.signature)
    }))

  test.each<[name: string, make: (device: Profile) => ReturnType<typeof connected>, code: string]>([
    ["another device", () => connected(alice, connectedDevice(alice, 40, []).profile), "MESH_UNTRUSTED"],
    [
      "another account",
      (device) => ({ ...connected(account("bob@example.test", 3), device), profile: alice.profile }),
      "MESH_UNTRUSTED",
    ],
    [
      "other keys",
      (device) => ({ ...connected(alice, device), activation: activationFor(alice, device, 9) }),
      "MESH_UNTRUSTED",
    ],
    [
      "an activation for another device",
      (device) => ({
        ...connected(alice, device),
        activation: connected(alice, connectedDevice(alice, 40, []).profile).activation,
      }),
      "DECRYPTION_FAILED",
    ],
    [
      "an activation by somebody else",
      (device) => ({
        ...connected(alice, device),
        activation: activationFor(account("bob@example.test", 3), device, 5),
      }),
      "MESH_UNTRUSTED",
    ],
  ])("refuses a connection of %s", (_, make, code) =>
    withHost((host) => {
      const wrong = make(host.device.profile)
      expect(() => checkGatewayConnection(host, wrong, NOW)).toThrow(expect.objectContaining({ code }))
    }),
  )

  test("refuses a connection whose time is over", () =>
    withHost((host) => {
      const mine = connected(alice, host.device.profile)
      expect(() => checkGatewayConnection(host, mine, NEXT_YEAR)).toThrow(
        expect.objectContaining({ code: "MESH_EXPIRED" }),
      )
    }))
})
