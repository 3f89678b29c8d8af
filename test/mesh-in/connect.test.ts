import { afterAll, beforeEach, describe, expect, test } from "vitest"
import type { Signer } from "../../src/crypto/dare/signature.ts"
import { memberOf, octetsOf } from "../../src/crypto/jsonb/value.ts"
import { SEED_SPECIFIER } from "../../src/crypto/udf/seed.ts"
import { binaryUdf, presentUdf, UDF_TYPE } from "../../src/crypto/udf/udf.ts"
import { makeConnectionRequest, readAcknowledgement } from "../../src/mesh/connecting.ts"
import { signerWith } from "../../src/mesh/key-data.ts"
import { envelopeIdOf, responseIdOf } from "../../src/mesh/message-id.ts"
import { deviceKeys, makeProfileDevice } from "../../src/mesh/profile-make.ts"
import type { MeshAnswer } from "../../src/mesh/protocol/answer.ts"
import { writeRequest } from "../../src/mesh/protocol/request.ts"
import { readSigned, signObject } from "../../src/mesh/signed.ts"
import { bindHandlers } from "../../src/mesh-in/bind.ts"
import { CONNECT, connectHandlers, MAX_REQUESTS_A_DAY } from "../../src/mesh-in/connect.ts"
import { account, CREATED } from "../mesh/people.ts"
import { administratorSigner, answering, carol, home, NOON, phone, phoneSigner, terms } from "../mesh/protocol-world.ts"
import { type Asking, asked, carolsHome, plain } from "./world.ts"

const parts = await carolsHome()
const { stores } = parts
afterAll(() => parts.opened[Symbol.asyncDispose]())
beforeEach(() => {
  stores.remove(carol.profile.address)
  clock.now = NOON
})

let removed: string[] = []
const clock = { now: NOON }
const { ask, send } = asked(
  {
    ...connectHandlers({
      ...parts,
      own: answering,
      random: (octets) => new Uint8Array(octets).fill(7),
      countSince: (...of) => stores.countSince(...of),
    }),
    ...bindHandlers({
      ...parts,
      own: answering,
      address: "https://mesh.two.example/.well-known/mmm/",
      remove: (address) => void removed.push(address),
    }),
  },
  clock,
)

const seed = { specifier: SEED_SPECIFIER.profileDevice, octets: new Uint8Array(32).fill(140) }
const tablet = makeProfileDevice(seed, CREATED)
const tabletSigner = signerWith(deviceKeys(seed).signature)
const messageId = (octet: number) => presentUdf(binaryUdf(UDF_TYPE.nonce, new Uint8Array(16).fill(octet)))

function requestConnection(octet = 1, address = carol.profile.address, signer: Signer = tabletSigner): Uint8Array {
  return makeConnectionRequest(
    {
      messageId: messageId(octet),
      accountAddress: address,
      device: tablet,
      clientNonce: new Uint8Array(16).fill(3),
      pinId: null,
      pinWitness: null,
    },
    signer,
    CREATED,
  )
}
const connecting = (envelope = requestConnection(), signers = [tabletSigner]): Asking => ({
  members: { Account: carol.profile.address, EnvelopedRequestConnection: envelope },
  signers,
})
const completing = (octet = 1, signers = [tabletSigner]): Asking => ({
  members: { Account: carol.profile.address, ResponseId: responseIdOf(messageId(octet)) },
  signers,
})
const envelopeIn = (answer: MeshAnswer, name: string) => memberOf(answer.members, name, octetsOf) ?? new Uint8Array()

/** The administrator's answer, as his device writes it into Local. */
function respond(octet: number, signer = administratorSigner, id = responseIdOf(messageId(octet))): void {
  const content = signObject("RespondConnection", { MessageId: id, Result: "Accept" }, [signer], { created: CREATED })
  const name = envelopeIdOf(responseIdOf(messageId(octet)))
  stores.append(carol.profile.address, [{ store: "Local", expected: null, entries: [{ name, content }] }], NOON)
}

describe("a device that wants to be connected", () => {
  test("is acknowledged with the witness of both, and the account's devices see it", async () => {
    const answer = await ask("Connect", connecting())
    expect(answer.outcome).toBe("Success")
    const envelope = envelopeIn(answer, "EnvelopedAcknowledgeConnection")
    const { witness, request } = readAcknowledgement(envelope, carol.profile, home.profile)
    expect(request.device.udf).toBe(tablet.udf)
    expect(witness).toMatch(/^([A-Z2-7]{4}-){6}[A-Z2-7]{4}$/)
    expect(stores.newest(carol.profile.address, CONNECT, responseIdOf(messageId(1)))).toEqual(envelope)
    expect(plain(answer.members)).toMatchObject({ EnvelopedProfileAccount: carol.profile.envelope })
  })

  test("that asks again hears the same, and there is one request", async () => {
    const first = envelopeIn(await ask("Connect", connecting()), "EnvelopedAcknowledgeConnection")
    clock.now = new Date(NOON.getTime() + 60_000)
    expect(envelopeIn(await ask("Connect", connecting()), "EnvelopedAcknowledgeConnection")).toEqual(first)
    expect(stores.end(carol.profile.address, CONNECT).frames).toBe(2)
  })

  test("is one of sixteen in a day", async () => {
    for (let octet = 1; octet <= MAX_REQUESTS_A_DAY; octet++)
      expect((await ask("Connect", connecting(requestConnection(octet)))).outcome).toBe("Success")
    expect((await ask("Connect", connecting(requestConnection(99)))).outcome).toBe("TooMany")
    clock.now = new Date(NOON.getTime() + 86_401_000)
    const later = { ...connecting(requestConnection(99)), terms: { time: clock.now } }
    expect((await ask("Connect", later)).outcome).toBe("Success")
  })

  const rows: [string, Asking, string][] = [
    ["unsigned", connecting(undefined, []), "Unsigned"],
    ["forged: the request is another device's", connecting(undefined, [phoneSigner]), "Forged"],
    ["a request that the device has not signed", connecting(requestConnection(1, undefined, phoneSigner)), "Malformed"],
    ["a request to another account", connecting(requestConnection(1, "bob@two.example")), "Malformed"],
    ["no request", connecting(Uint8Array.of(1)), "Malformed"],
    ["more than a request has", connecting(new Uint8Array(16_385)), "TooLarge"],
    [
      "to nobody here",
      { ...connecting(), members: { ...connecting().members, Account: "x@two.example" } },
      "AccountUnknown",
    ],
  ]
  test.each(rows)("%s: refused", async (_, asking, outcome) => {
    expect((await ask("Connect", asking)).outcome).toBe(outcome)
    expect(stores.ends(carol.profile.address)).toEqual([])
  })

  test("replayed: refused", async () => {
    const octets = writeRequest("Connect", connecting().members ?? {}, terms(), [tabletSigner])
    expect((await send("Connect", octets)).outcome).toBe("Success")
    expect((await send("Connect", octets)).outcome).toBe("Replayed")
  })
})

describe("the answer to it", () => {
  test("is waited for, and then given to that device", async () => {
    await ask("Connect", connecting())
    expect((await ask("Complete", completing())).outcome).toBe("Later")
    respond(1)
    const answer = await ask("Complete", completing())
    expect(answer.outcome).toBe("Success")
    const { members } = readSigned(envelopeIn(answer, "EnvelopedRespondConnection"), ["RespondConnection"])
    expect(plain(members)).toMatchObject({ Result: "Accept" })
  })

  const rows: [string, Asking, string][] = [
    ["unsigned", completing(1, []), "Unsigned"],
    ["another device", completing(1, [phoneSigner]), "Forged"],
    ["to what was not asked", completing(2), "NotFound"],
  ]
  test.each(rows)("%s: not given", async (_, asking, outcome) => {
    await ask("Connect", connecting())
    respond(1)
    expect((await ask("Complete", asking)).outcome).toBe(outcome)
  })

  test("is the administrator's, and to this request", async () => {
    await ask("Connect", connecting())
    respond(1, phoneSigner)
    expect((await ask("Complete", completing())).outcome).toBe("Malformed")
    respond(1, administratorSigner, messageId(50))
    expect((await ask("Complete", completing())).outcome).toBe("NotFound")
  })
})

describe("binding", () => {
  const profile = (of = carol) => ({ Account: carol.profile.address, EnvelopedProfileAccount: of.profile.envelope })
  const mallory = account("carol@two.example", 7)

  test("tells an account of ours its host", async () => {
    const answer = await ask("BindAccount", { members: profile(), signers: [administratorSigner] })
    expect(answer.outcome).toBe("Success")
    const { members } = readSigned(envelopeIn(answer, "EnvelopedAccountHostAssignment"), ["AccountHostAssignment"])
    expect(plain(members)).toMatchObject({
      AccountAddess: "carol@two.example",
      HostAddresses: ["https://mesh.two.example/.well-known/mmm/"],
    })
  })

  const rows: [string, Asking, string][] = [
    ["unsigned", { members: profile() }, "Unsigned"],
    ["forged", { members: profile(), signers: [phoneSigner] }, "Forged"],
    [
      "by a device",
      { members: { ...profile(), EnvelopedConnectionDevice: phone.connection }, signers: [phoneSigner] },
      "NotAuthorized",
    ],
    [
      "another's profile under this address",
      { members: profile(mallory), signers: [signerWith(mallory.administrator)] },
      "Refused",
    ],
  ]
  test.each(rows)("%s: refused", async (_, asking, outcome) => {
    expect((await ask("BindAccount", asking)).outcome).toBe(outcome)
  })

  test("replayed: refused", async () => {
    const octets = writeRequest("BindAccount", profile(), terms(), [administratorSigner])
    expect((await send("BindAccount", octets)).outcome).toBe("Success")
    expect((await send("BindAccount", octets)).outcome).toBe("Replayed")
  })

  test("is ended by the administrator and nobody else", async () => {
    removed = []
    const members = { Account: carol.profile.address }
    const byPhone = { members: { ...members, EnvelopedConnectionDevice: phone.connection }, signers: [phoneSigner] }
    expect((await ask("UnbindAccount", byPhone)).outcome).toBe("DeviceUnknown")
    expect((await ask("UnbindAccount", { members })).outcome).toBe("Unsigned")
    expect(removed).toEqual([])
    expect((await ask("UnbindAccount", { members, signers: [administratorSigner] })).outcome).toBe("Success")
    expect(removed).toEqual([carol.profile.address])
  })
})
