import { afterAll, beforeEach, describe, expect, test } from "vitest"
import { readEnvelope } from "../../src/crypto/dare/envelope.ts"
import type { Signer } from "../../src/crypto/dare/signature.ts"
import { memberOf, octetsOf } from "../../src/crypto/jsonb/value.ts"
import { SEED_SPECIFIER } from "../../src/crypto/udf/seed.ts"
import { binaryUdf, presentUdf, UDF_TYPE } from "../../src/crypto/udf/udf.ts"
import { solving } from "../../src/mesh/admission.ts"
import { type ConnectionRequest, makeConnectionRequest, readAcknowledgement } from "../../src/mesh/connecting.ts"
import { signerWith } from "../../src/mesh/key-data.ts"
import { envelopeIdOf, responseIdOf } from "../../src/mesh/message-id.ts"
import { type PinAction, pinId, pinWitness, saltedPin } from "../../src/mesh/pin.ts"
import { deviceKeys, makeProfileDevice } from "../../src/mesh/profile-make.ts"
import type { MeshAnswer } from "../../src/mesh/protocol/answer.ts"
import { writeRequest } from "../../src/mesh/protocol/request.ts"
import { readSigned, signObject } from "../../src/mesh/signed.ts"
import { messagePinMembers } from "../../src/mesh/spool-messages.ts"
import { bindHandlers } from "../../src/mesh-in/bind.ts"
import { CONNECT, connectHandlers } from "../../src/mesh-in/connect.ts"
import { FREE_A_DAY, MOST_A_DAY, MOST_OF_NETWORK, STRANGERS_A_DAY } from "../../src/mesh-in/connect-room.ts"
import { account, CREATED } from "../mesh/people.ts"
import { administratorSigner, answering, carol, home, NOON, phone, phoneSigner, terms } from "../mesh/protocol-world.ts"
import { type Asking, asked, carolsHome, plain } from "./world.ts"

const parts = await carolsHome(4_000_000)
const { stores } = parts
afterAll(() => parts.opened[Symbol.asyncDispose]())
beforeEach(() => {
  stores.remove(carol.profile.address)
  networks.clear()
  clock.now = NOON
})

/** What came of each network since the test began. */
const networks = new Map<string, number>()

let removed: string[] = []
const clock = { now: NOON }
const { ask, send } = asked(
  {
    ...connectHandlers({
      ...parts,
      own: answering,
      random: (octets) => new Uint8Array(octets).fill(7),
      countSince: (...of) => stores.countSince(...of),
      networks: {
        of: async (key) => networks.get(key) ?? 0,
        async add(key) {
          const count = (networks.get(key) ?? 0) + 1
          networks.set(key, count)
          return count
        },
      },
      admissionKey: new Uint8Array(32).fill(3),
      workOf: ({ waiting }) => waiting / 8,
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

function requestConnection(
  octet = 1,
  address = carol.profile.address,
  signer: Signer = tabletSigner,
  pin: Pick<ConnectionRequest, "pinId" | "pinWitness"> = { pinId: null, pinWitness: null },
): Uint8Array {
  return makeConnectionRequest(
    {
      messageId: messageId(octet),
      accountAddress: address,
      device: tablet,
      clientNonce: new Uint8Array(16).fill(3),
      ...pin,
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

  test("that asks twice at once is asked for once", async () => {
    const asking = { ...connecting(), network: "one" }
    const answers = await Promise.all([ask("Connect", asking), ask("Connect", asking)])
    expect(answers.map(({ outcome }) => outcome)).toEqual(["Success", "Success"])
    expect(stores.end(carol.profile.address, CONNECT).frames).toBe(2)
  })

  test("does not get a name that another device asks under at the same moment", async () => {
    const otherSeed = { ...seed, octets: new Uint8Array(32).fill(141) }
    const other = {
      profile: makeProfileDevice(otherSeed, CREATED),
      signer: signerWith(deviceKeys(otherSeed).signature),
    }
    const terms = { messageId: messageId(1), accountAddress: carol.profile.address, pinId: null, pinWitness: null }
    const nonce = { clientNonce: new Uint8Array(16).fill(3) }
    const envelope = makeConnectionRequest({ ...terms, ...nonce, device: other.profile }, other.signer, CREATED)
    const askings = [connecting(), connecting(envelope, [other.signer])]
    const answers = await Promise.all(askings.map((asking) => ask("Connect", { ...asking, network: "one" })))
    expect(answers.map(({ outcome }) => outcome).toSorted()).toEqual(["Refused", "Success"])
  })

  describe("of many that strangers fill a day with", () => {
    const outcomeOf = async (octet: number, network: string, more: Asking = {}) =>
      (await ask("Connect", { ...connecting(requestConnection(octet)), network, ...more })).outcome

    /** A request that is worked for, where that is asked. */
    async function worked(octet: number, network: string): Promise<string> {
      const asking = { ...connecting(requestConnection(octet)), network }
      const first = await ask("Connect", asking)
      if (first.outcome !== "Admission") return first.outcome
      const challenge = memberOf(first.members, "Challenge", octetsOf) ?? new Uint8Array()
      const solution = solving(challenge)?.find((step) => step !== null)
      const members = { ...asking.members, Admission: solution ?? undefined }
      return (await ask("Connect", { ...asking, members, terms: { nonce: Buffer.alloc(16, octet) } })).outcome
    }

    /** As many as come without work, of as few networks as may. */
    async function fill(): Promise<void> {
      for (let octet = 1; octet <= FREE_A_DAY; octet++)
        expect(await outcomeOf(octet, `n${Math.floor((octet - 1) / MOST_OF_NETWORK)}`)).toBe("Success")
    }

    test("of one network four are taken", async () => {
      for (let octet = 1; octet <= MOST_OF_NETWORK; octet++) expect(await outcomeOf(octet, "one")).toBe("Success")
      expect(await outcomeOf(50, "one")).toBe("TooMany")
      expect(await outcomeOf(50, "two")).toBe("Success")
    })

    test("of one network four are taken, also when many come at once", async () => {
      const octets = Array.from({ length: 12 }, (_, index) => index + 1)
      const outcomes = await Promise.all(octets.map((octet) => outcomeOf(octet, "one")))
      expect(outcomes.filter((outcome) => outcome === "Success")).toHaveLength(MOST_OF_NETWORK)
    })

    test("one from a network that has not asked is taken for work, and no second; another's work is none", async () => {
      await fill()
      expect(await outcomeOf(50, "n0")).toBe("TooMany")
      expect(await outcomeOf(50, "honest")).toBe("Admission")
      expect(await worked(50, "honest")).toBe("Success")
      expect(await outcomeOf(51, "honest")).toBe("TooMany")
      const forged = { ...connecting(requestConnection(52)).members, Admission: new Uint8Array(50) }
      expect(await outcomeOf(52, "other", { members: forged })).toBe("Admission")
    })

    test("there are no more than the store can bear; the next day others", async () => {
      await fill()
      for (let octet = FREE_A_DAY + 1; octet <= STRANGERS_A_DAY; octet++)
        expect(await worked(octet, `m${octet}`)).toBe("Success")
      expect(await worked(99, "honest")).toBe("TooMany")
      clock.now = new Date(NOON.getTime() + 86_401_000)
      expect(await outcomeOf(99, "honest", { terms: { time: clock.now } })).toBe("Success")
    })

    const PIN = "ADE7-4VMG-Q2MG-IDHU-3XKI-ZPEU-AE"
    const salted = saltedPin(PIN, "Device")

    /** What the account's administrator has put into Local for a device that is to come. */
    function invite({
      expires = new Date(NOON.getTime() + 60_000),
      by = administratorSigner,
      action = "Device" as PinAction,
    } = {}) {
      const { address } = carol.profile
      const pin = { account: address, expires, automatic: false, salted, action, roles: [] }
      const content = signObject("MessagePin", messagePinMembers(pin), [by], { created: CREATED })
      const entries = [{ name: envelopeIdOf(pinId(salted, address)), content }]
      stores.append(address, [{ store: "Local", expected: null, entries }], NOON)
    }

    const invited = (octet: number, witness?: Uint8Array): Asking => {
      const { address } = carol.profile
      const nonce = new Uint8Array(16).fill(3)
      const { payloadDigest } = readEnvelope(tablet.envelope)
      const pin = {
        pinId: pinId(salted, address),
        pinWitness: witness ?? pinWitness(salted, address, nonce, payloadDigest),
      }
      return connecting(requestConnection(octet, address, tabletSigner, pin))
    }

    test("one that shows a PIN of the account is taken when strangers have filled the day, from any network", async () => {
      invite()
      await fill()
      expect((await ask("Connect", { ...invited(60), network: "n0" })).outcome).toBe("Success")
    })

    test("whoever has the PIN does not fill the store either", async () => {
      invite()
      for (let octet = 1; octet <= MOST_A_DAY; octet++)
        expect((await ask("Connect", { ...invited(octet), network: "n0" })).outcome).toBe("Success")
      expect((await ask("Connect", invited(200))).outcome).toBe("TooMany")
    })

    test.each<[name: string, invite: () => void, asking: Asking]>([
      ["no PIN was given out", () => undefined, invited(60)],
      ["it does not know the PIN", () => invite(), invited(60, new Uint8Array(64))],
      ["its time is over", () => invite({ expires: NOON }), invited(60)],
      ["a device has given it out", () => invite({ by: phoneSigner }), invited(60)],
      ["it is for contacts", () => invite({ action: "Contact" }), invited(60)],
    ])("a PIN helps nobody when %s", async (_, made, asking) => {
      made()
      await fill()
      expect((await ask("Connect", { ...asking, network: "n0" })).outcome).toBe("TooMany")
    })
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
