import { afterAll, describe, expect, test } from "vitest"
import { deriveEnvelopeSecrets } from "../../src/crypto/dare/seal.ts"
import { randomP256Scalar } from "../../src/crypto/primitives/p256.ts"
import { escrowSeed } from "../../src/crypto/shamir/escrow.ts"
import { parseSeed, SEED_SPECIFIER } from "../../src/crypto/udf/seed.ts"
import { GatewayError } from "../../src/errors.ts"
import {
  additionOf,
  connectAccount,
  leaveMesh,
  makeAccount,
  profilesOf,
  rekeyAccount,
  renewAccount,
  requestOf,
} from "../../src/identity/account.ts"
import { applyRequest } from "../../src/identity/apply.ts"
import { restorePerson } from "../../src/identity/escrow.ts"
import { signMailProfile, verifyMailProfile } from "../../src/identity/mail-profile.ts"
import { administered, isConnected, leftMesh } from "../../src/identity/mesh-account.ts"
import { formatMeshGateway, type MeshGateway, readMeshGateway } from "../../src/identity/mesh-gateway.ts"
import type { Person } from "../../src/identity/person.ts"
import { verifyProfile } from "../../src/identity/profile.ts"
import { verifyRequest } from "../../src/identity/requests.ts"
import { activatedPublicKeys, activationSeed, makeActivation } from "../../src/mesh/activation.ts"
import { type AdministeredAccount, makeConnectionDevice, verifyConnectionDevice } from "../../src/mesh/connection.ts"
import { verifyProfileDevice, verifyProfileUser } from "../../src/mesh/profile.ts"
import { makeProfileDevice, makeProfileUser } from "../../src/mesh/profile-make.ts"
import { GatewayKeys } from "../../src/store/gateway-keys.ts"
import { type MeshAccountRecord, MeshAccounts } from "../../src/store/mesh-accounts.ts"
import { type MeshHost, openMeshHost } from "../../src/store/mesh-host.ts"
import { People } from "../../src/store/people.ts"
import { RecryptionKeys } from "../../src/store/recryption-keys.ts"
import { openEmbeddedState } from "../../src/store/state.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { account, service } from "../mesh/people.ts"
import { makingAt, NOW } from "./people.ts"

const LATER = new Date(NOW.getTime() + 86_400_000)
const SOON = new Date(NOW.getTime() + 1_000)
const ALICE = "alice@example.test"
const SERVICE = "https://mesh.example.test/.well-known/mmm/"

/** A gateway that takes part in the Mesh, with nobody at it. */
async function gateway() {
  const folder = await temporaryFolder()
  const database = openEmbeddedState(folder.file("data"))
  const recryptionKeys = new RecryptionKeys(database, folder.file("recryption"))
  const gatewayKeys = new GatewayKeys(folder.file("signing"))
  const people = new People(database, { domains: ["example.test"], postmaster: null, recryptionKeys })
  const host = openMeshHost(folder.file("secrets"), NOW)
  const apply = (request: string) => applyRequest({ people, gatewayKeys, database, meshHost: () => host }, request, NOW)
  return {
    people,
    host,
    told: toldOf(host),
    mesh: new MeshAccounts(database),
    apply,
    withoutPart: (request: string) => applyRequest({ people, gatewayKeys, database }, request, NOW),
    codeOf: (request: string): string => codeOf(() => apply(request)),
    [Symbol.asyncDispose]: async () => {
      database.close()
      await folder[Symbol.asyncDispose]()
    },
  }
}

function toldOf({ service, device }: MeshHost): MeshGateway {
  return { address: SERVICE, service: service.profile.envelope, device: device.profile.envelope }
}

function codeOf(act: () => void): string {
  try {
    act()
    return "none"
  } catch (error) {
    return error instanceof GatewayError ? error.code : String(error)
  }
}

const UNCHANGED = { certificates: [], profile: null, mailProfile: null } as const
const SMIME = { address: ALICE, name: "Alice", formats: ["smime"] } as const
const makeAlice = (told: MeshGateway) =>
  makeAccount({ ...SMIME, formats: ["smime", "openpgp"], gateway: told }, makingAt())

describe("an account in the Mesh", () => {
  test("has a profile of its own, and the gateway is a device of it that may send mail and nothing else", async () => {
    await using there = await gateway()
    const { person, request } = await makeAlice(there.told)
    there.apply(request)
    const account = there.mesh.of(ALICE)
    if (account === null) throw new Error("no account")
    expect(account.profile).toMatchObject({ address: ALICE, serviceUdf: there.host.service.profile.udf })
    expect(there.mesh.byUdf(account.udf)).toBe(account)
    const connection = verifyConnectionDevice(account.connection, account.profile, NOW)
    expect(connection).toMatchObject({ roles: ["send-mail"], subject: there.host.device.profile.udf })
    expect(there.host.signerOf(account).kid).toBe(connection.keys.signature.udf)
    const published = verifyMailProfile(account.mailProfile)
    expect(published).toMatchObject({
      address: ALICE,
      name: "Alice",
      issuedAt: NOW,
      udf: verifyProfile(there.people.account(ALICE)?.profile ?? "").udf,
    })
    expect(published.connection.map(({ protocol }) => protocol)).toEqual(["Mesh", "SMTP", "SMTP"])
    expect(published.connection[0]).toMatchObject({
      service: SERVICE,
      serviceUdf: there.host.service.profile.udf,
      deviceUdf: there.host.device.profile.udf,
    })
    expect(published.connection.slice(1)).toEqual(verifyProfile(there.people.account(ALICE)?.profile ?? "").connection)
    expect(person.mesh?.profile).toEqual(account.profile.envelope)
  })

  test("no private key of the person's is in the request", async () => {
    await using there = await gateway()
    const { person, request } = await makeAlice(there.told)
    const payload = Buffer.from(JSON.parse(request).payload, "base64url").toString()
    const secrets = [person.root.scalar, person.smime[0]?.scalar, person.mesh?.gateway?.activation]
    for (const secret of secrets) expect(payload).not.toContain(Buffer.from(secret ?? []).toString("base64"))
    expect(payload).not.toContain(person.mesh?.seed)
  })

  test("made before, it gets its part with a request of its own, or with the next renewal", async () => {
    await using there = await gateway()
    const made = await makeAccount(SMIME, makingAt())
    there.apply(made.request)
    expect(there.mesh.of(ALICE)).toBeNull()
    const renewed = await renewAccount(made.person, makingAt(LATER), there.told)
    const connected = connectAccount(made.person, there.told, makingAt(SOON))
    there.apply(connected.request)
    expect(there.mesh.of(ALICE)?.profile.envelope).toEqual(connected.person.mesh?.profile)
    const published = verifyProfile(there.people.account(ALICE)?.profile ?? "")
    expect(verifyMailProfile(there.mesh.of(ALICE)?.mailProfile ?? new Uint8Array()).issuedAt).toEqual(
      published.issuedAt,
    )
    expect(there.codeOf(renewed.request)).toBe("MESH_UNTRUSTED")
  })

  test("renewed, it stays what it is, and so do the gateway's keys in it", async () => {
    await using there = await gateway()
    const made = await makeAlice(there.told)
    there.apply(made.request)
    const before = there.mesh.of(ALICE)
    there.apply((await renewAccount(made.person, makingAt(LATER))).request)
    const after = there.mesh.of(ALICE)
    if (before === null || after === null) throw new Error("no account")
    expect(after.udf).toBe(before.udf)
    expect(there.host.signerOf(after).kid).toBe(there.host.signerOf(before).kid)
    const endOf = ({ connection, profile }: typeof after) =>
      verifyConnectionDevice(connection, profile, NOW).keys.signature.notOnOrAfter?.getTime() ?? 0
    expect(endOf(after)).toBeGreaterThan(endOf(before))
  })

  test("rekeyed, both versions of the mail profile name the new key", async () => {
    await using there = await gateway()
    const made = await makeAlice(there.told)
    there.apply(made.request)
    there.apply((await rekeyAccount(made.person, makingAt(LATER))).request)
    const version2 = verifyMailProfile(there.mesh.of(ALICE)?.mailProfile ?? new Uint8Array())
    expect(version2.issuedAt).toEqual(LATER)
    expect(version2.connection.slice(1)).toEqual(verifyProfile(there.people.account(ALICE)?.profile ?? "").connection)
  })

  test("connected to another gateway, it has the same name there, and the old one's device is in no profile", async () => {
    await using here = await gateway()
    await using there = await gateway()
    const made = await makeAlice(here.told)
    here.apply(made.request)
    const moved = connectAccount(made.person, there.told, makingAt(LATER))
    expect(here.codeOf(moved.request)).toBe("REQUEST_INVALID")
    there.apply(additionOf(moved.person, makingAt(LATER)))
    expect(there.mesh.of(ALICE)?.udf).toBe(here.mesh.of(ALICE)?.udf)
    const [first] = verifyMailProfile(there.mesh.of(ALICE)?.mailProfile ?? new Uint8Array()).connection
    expect(first).toMatchObject({ deviceUdf: there.host.device.profile.udf })
  })
})

describe("an account that leaves the Mesh", () => {
  const LATER_STILL = new Date(LATER.getTime() + 1_000)

  /** Everything in the account's catalogs and what is left of its keyring stays with it. */
  async function left() {
    const there = await gateway()
    const made = await makeAlice(there.told)
    there.apply(made.request)
    const away = leaveMesh(made.person, makingAt(LATER))
    there.apply(away.request)
    return { there, before: made.person, person: away.person, request: away.request }
  }

  test("takes no part any more, and what is published of it says so, under its name and newer than before", async () => {
    const { there, before } = await left()
    await using _ = there
    expect([there.mesh.of(ALICE), there.mesh.byUdf(nameOf(before)), there.mesh.any()]).toEqual([null, null, false])
    const published = verifyMailProfile(there.mesh.publishedOf(ALICE)?.mailProfile ?? new Uint8Array())
    expect(published.profile).toMatchObject({ udf: nameOf(before), serviceUdf: null })
    expect(published.issuedAt).toEqual(LATER)
    const first = verifyProfile(there.people.account(ALICE)?.profile ?? "")
    expect(first.issuedAt).toEqual(LATER)
    expect(published.connection).toEqual(first.connection)
    expect(published.connection.map(({ protocol }) => protocol)).toEqual(["SMTP", "SMTP"])
  })

  test("keeps its seed, and what the server keeps for a lost keyring goes on with it", async () => {
    const { there, before, person } = await left()
    await using _ = there
    expect(person.mesh).toMatchObject({ seed: before.mesh?.seed, gateway: null })
    const rekeyed = await rekeyAccount(person, makingAt(LATER_STILL))
    there.apply(rekeyed.request)
    const seed = before.mesh?.seed ?? ""
    const shares = escrowSeed(parseSeed(seed), 2, 3, makingAt().random)
    const restored = restorePerson(ALICE, shares, there.mesh.escrow(ALICE) ?? new Uint8Array())
    expect(restored.smime.map(({ id }) => id)).toEqual(rekeyed.person.smime.map(({ id }) => id))
    expect(restored.mesh?.gateway).toBeNull()
  })

  test("rekeyed and renewed it stays away, and both versions of its profile name its keys", async () => {
    const { there, person } = await left()
    await using _ = there
    const rekeyed = await rekeyAccount(person, makingAt(LATER_STILL))
    there.apply(rekeyed.request)
    const again = new Date(LATER_STILL.getTime() + 1_000)
    there.apply((await renewAccount(rekeyed.person, makingAt(again), there.told)).request)
    expect(there.mesh.of(ALICE)).toBeNull()
    const published = verifyMailProfile(there.mesh.publishedOf(ALICE)?.mailProfile ?? new Uint8Array())
    expect(published.issuedAt).toEqual(again)
    expect(published.connection).toEqual(verifyProfile(there.people.account(ALICE)?.profile ?? "").connection)
  })

  test("joins again with its seed, under its name, and the gateway's keys in it are others", async () => {
    const { there, before, person } = await left()
    await using _ = there
    const back = connectAccount(person, there.told, makingAt(LATER_STILL))
    there.apply(back.request)
    const account = there.mesh.of(ALICE)
    expect(account?.udf).toBe(nameOf(before))
    expect(verifyMailProfile(account?.mailProfile ?? new Uint8Array()).connection[0]).toMatchObject({
      service: SERVICE,
    })
    expect(back.person.mesh?.gateway?.activation).not.toEqual(before.mesh?.gateway?.activation)
    // Of another seed it is another's account, now as before.
    const stranger = connectAccount({ ...person, mesh: null }, there.told, makingAt(LATER_STILL))
    expect(there.codeOf(stranger.request)).toBe("MESH_UNTRUSTED")
  })

  test("is not brought back by what was signed before", async () => {
    const { there, before } = await left()
    await using _ = there
    expect(there.codeOf(connectAccount(before, there.told, makingAt(SOON)).request)).toBe("REQUEST_INVALID")
    const rekeyed = await rekeyAccount(before, makingAt(LATER_STILL))
    expect(there.codeOf(rekeyed.request)).toBe("REQUEST_INVALID")
    expect(there.mesh.of(ALICE)).toBeNull()
  })

  test("may say so again, and where the server has forgotten that it ever had a part", async () => {
    const { there, person } = await left()
    await using _ = there
    there.apply(leaveMesh(person, makingAt(LATER_STILL)).request)
    there.mesh.remove(ALICE)
    there.apply(leaveMesh(person, makingAt(LATER_STILL)).request)
    expect(there.mesh.publishedOf(ALICE)?.udf).toBe(nameOf(person))
  })

  test("the server has not heard of it: the next request of its owner says so", async () => {
    await using there = await gateway()
    const made = await makeAlice(there.told)
    there.apply(made.request)
    const { person } = leaveMesh(made.person, makingAt(LATER))
    there.apply((await rekeyAccount(person, makingAt(LATER_STILL))).request)
    expect(there.mesh.of(ALICE)).toBeNull()
  })

  test("made again at a server that has lost it, it has left there, too", async () => {
    await using there = await gateway()
    const { person } = leaveMesh((await makeAlice(there.told)).person, makingAt(LATER))
    there.apply(additionOf(person, makingAt(LATER)))
    expect([there.mesh.of(ALICE), there.mesh.publishedOf(ALICE)?.udf]).toEqual([null, nameOf(person)])
  })

  test("never had a part: there is nothing to leave", async () => {
    const { person } = await makeAccount(SMIME, makingAt())
    expect(codeOf(() => leaveMesh(person, makingAt()))).toBe("ACCOUNT_UNKNOWN")
  })

  test.each<[name: string, change: (owner: ReturnType<typeof ownerOf>) => Uint8Array | null, code: string]>([
    ["has no mail profile", () => null, "REQUEST_INVALID"],
    ["names a service still", (owner) => owner.mailProfile({}), "REQUEST_INVALID"],
    ["names a service in the account's profile", (owner) => owner.mailProfile({ connection: [] }), "REQUEST_INVALID"],
    [
      "is another account's",
      (owner) => owner.mailProfile({ by: account(ALICE, 9, null), connection: [] }),
      "REQUEST_INVALID",
    ],
    [
      "is of another address",
      (owner) => owner.mailProfile({ by: account("eve@example.test", 9, null), connection: [] }),
      "REQUEST_INVALID",
    ],
    [
      "is vouched for by another root",
      (owner) => owner.mailProfile({ by: owner.left, connection: [], scalar: randomP256Scalar() }),
      "MESH_UNTRUSTED",
    ],
    [
      "is older than the published one",
      (owner) => owner.mailProfile({ by: owner.left, connection: [], issuedAt: new Date(NOW.getTime() - 1) }),
      "REQUEST_INVALID",
    ],
  ])("is refused when what it leaves with %s", async (_, change, code) => {
    await using there = await gateway()
    const made = await makeAlice(there.told)
    there.apply(made.request)
    const { person } = leaveMesh(made.person, makingAt())
    const mailProfile = change(ownerOf(made.person, there.told))
    const request = { kind: "account-mesh-leave", ...UNCHANGED, mailProfile } as const
    expect(there.codeOf(requestOf(person, request, makingAt()))).toBe(code)
    expect(there.mesh.of(ALICE)).not.toBeNull()
  })
})

function nameOf({ mesh }: Person): string {
  return verifyProfileUser(mesh?.profile ?? new Uint8Array(), null).udf
}

/** An account that is connected, and what its owner could sign instead. */
function ownerOf(person: Person, told: MeshGateway) {
  if (!isConnected(person)) throw new Error("not in the Mesh")
  const seed = parseSeed(person.mesh.seed)
  const device = verifyProfileDevice(told.device, null)
  const activation = activationSeed(person.mesh.gateway.activation)
  const own = administered(person.mesh)
  return {
    connection: (roles: readonly string[], notOnOrAfter = LATER) =>
      makeConnectionDevice(
        own,
        { profile: device, keys: activatedPublicKeys(device, activation) },
        { roles, created: NOW, notOnOrAfter },
      ),
    profile: (change: { readonly address?: string; readonly serviceUdf?: null }) =>
      makeProfileUser(seed, { address: ALICE, serviceUdf: own.profile.serviceUdf, created: NOW, ...change }).envelope,
    activation: (by: AdministeredAccount) =>
      makeActivation(by, device, activation, {
        secrets: deriveEnvelopeSecrets(new Uint8Array(32), "test"),
        created: NOW,
      }),
    mailProfile: (change: {
      readonly deviceUdf?: string
      readonly by?: AdministeredAccount
      readonly scalar?: Uint8Array
      readonly connection?: []
      readonly issuedAt?: Date
    }) => {
      const { by = own, deviceUdf = device.udf, scalar = person.root.scalar, issuedAt = NOW } = change
      const mesh = { protocol: "Mesh", prefer: "encrypt", require: null, service: SERVICE, deviceUdf } as const
      const root = person.root.certificate
      return signMailProfile(by, { name: "", root, issuedAt, connection: change.connection ?? [mesh] }, scalar)
    },
    left: administered(leftMesh(ALICE, person.mesh, makingAt())),
  }
}

describe("a request about the Mesh is refused", () => {
  const stranger = account(ALICE, 9)
  /** An account that has no part in the Mesh yet, and what its owner would have it connected with. */
  const known = connectable()
  afterAll(async () => await (await known).there[Symbol.asyncDispose]())

  async function connectable() {
    const there = await gateway()
    const { person, request } = await makeAccount({ ...SMIME, gateway: there.told }, makingAt())
    const { change } = verifyRequest(request, () => null).request
    if (change.kind !== "account-add" || change.mesh === null) throw new Error("no record")
    there.apply(additionOf({ ...person, mesh: null }, makingAt()))
    return { there, person, mesh: change.mesh }
  }

  test("where the server has no part in it", async () => {
    await using there = await gateway()
    const { request } = await makeAlice(there.told)
    expect(codeOf(() => there.withoutPart(request))).toBe("REQUEST_INVALID")
    expect([there.people.account(ALICE), there.mesh.of(ALICE)]).toEqual([null, null])
  })

  test("once another profile is the account's", async () => {
    await using there = await gateway()
    const made = await makeAlice(there.told)
    there.apply(made.request)
    const other = connectAccount({ ...made.person, mesh: null }, there.told, makingAt(LATER))
    expect(there.codeOf(other.request)).toBe("MESH_UNTRUSTED")
  })

  test("when a mail profile in it is older than the published one, though all else is newer", async () => {
    await using there = await gateway()
    const made = await makeAlice(there.told)
    there.apply(additionOf(made.person, makingAt(LATER)))
    expect(there.codeOf(connectAccount(made.person, there.told, makingAt()).request)).toBe("REQUEST_INVALID")
    const account = there.mesh.of(ALICE)
    if (account === null) throw new Error("no account")
    const stale = ownerOf(made.person, there.told).mailProfile({ issuedAt: NOW })
    const mesh = { ...account, profile: account.profile.envelope, mailProfile: stale }
    const changes = [
      { kind: "account-mesh", mesh, ...UNCHANGED },
      { kind: "account-rekey", keys: [], scalars: [], ...UNCHANGED, mailProfile: stale },
    ] as const
    const codes = changes.map((change) => there.codeOf(requestOf(made.person, change, makingAt(LATER))))
    expect(codes).toEqual(["REQUEST_INVALID", "REQUEST_INVALID"])
    expect(there.mesh.of(ALICE)?.mailProfile).toEqual(account.mailProfile)
  })

  type Change = (mesh: MeshAccountRecord, owner: ReturnType<typeof ownerOf>) => Partial<MeshAccountRecord>
  test.each<[name: string, change: Change, code: string]>([
    [
      "lets the gateway do more",
      (_, owner) => ({ connection: owner.connection(["send-mail", "message"]) }),
      "REQUEST_INVALID",
    ],
    ["lets it do nothing", (_, owner) => ({ connection: owner.connection([]) }), "REQUEST_INVALID"],
    ["is over", (_, owner) => ({ connection: owner.connection(["send-mail"], NOW) }), "MESH_EXPIRED"],
    [
      "has a profile of another address",
      (_, owner) => ({ profile: owner.profile({ address: "eve@example.test" }) }),
      "REQUEST_INVALID",
    ],
    [
      "has a profile without a service",
      (_, owner) => ({ profile: owner.profile({ serviceUdf: null }) }),
      "REQUEST_INVALID",
    ],
    ["has a profile of another account", () => ({ profile: stranger.profile.envelope }), "REQUEST_INVALID"],
    [
      "has an activation by another account",
      (_, owner) => ({ activation: owner.activation(stranger) }),
      "MESH_UNTRUSTED",
    ],
    [
      "has a mail profile with another device",
      (_, owner) => ({ mailProfile: owner.mailProfile({ deviceUdf: stranger.profile.udf }) }),
      "REQUEST_INVALID",
    ],
    [
      "has a mail profile that another root vouches for",
      (_, owner) => ({ mailProfile: owner.mailProfile({ scalar: randomP256Scalar() }) }),
      "MESH_UNTRUSTED",
    ],
    ["has a damaged mail profile", (mesh) => ({ mailProfile: mesh.mailProfile.subarray(1) }), "JSONB_SYNTAX"],
  ])("when it %s", async (_, change, code) => {
    const { there, person, mesh } = await known
    const record = { ...mesh, ...change(mesh, ownerOf(person, there.told)) }
    expect(there.codeOf(requestOf(person, { kind: "account-mesh", mesh: record, ...UNCHANGED }, makingAt()))).toBe(code)
    expect(there.mesh.of(ALICE)).toBeNull()
  })
})

describe("what a gateway tells an owner", () => {
  const told = {
    address: SERVICE,
    service: service(3).profile.envelope,
    device: makeProfileDevice({ specifier: SEED_SPECIFIER.profileDevice, octets: new Uint8Array(32) }, NOW).envelope,
  }
  const text = formatMeshGateway(told)

  test("is read back", () => expect(readMeshGateway(text)).toEqual(told))

  test("may have no address, and no profile lists the Mesh then", async () => {
    const gateway = readMeshGateway(formatMeshGateway({ ...told, address: null }))
    const { mailProfile } = profilesOf((await makeAccount({ ...SMIME, gateway }, makingAt())).person, NOW)
    const { connection } = verifyMailProfile(mailProfile ?? new Uint8Array())
    expect(connection.map(({ protocol }) => protocol)).toEqual(["SMTP"])
  })

  test.each<[name: string, text: string, code: string]>([
    ["another document", text.replace("postern-mesh-gateway", "postern-gateway-key"), "REQUEST_INVALID"],
    ["of another version", text.replace('"version": 1', '"version": 2'), "REQUEST_INVALID"],
    ["with an address that is not https", text.replace("https://", "http://"), "REQUEST_INVALID"],
    ["with an address that ends otherwise", text.replace("/mmm/", "/mmm"), "REQUEST_INVALID"],
    ["without a device", text.replace('"device"', '"other"'), "REQUEST_INVALID"],
    ["with a device for a service", formatMeshGateway({ ...told, service: told.device }), "MESH_OBJECT_INVALID"],
    ["that is very long", text + " ".repeat(100_000), "REQUEST_INVALID"],
  ])("is refused: %s", (_, wrong, code) => expect(codeOf(() => readMeshGateway(wrong))).toBe(code))
})
