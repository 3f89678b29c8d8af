import { afterAll, beforeEach, describe, expect, test } from "vitest"
import { octetsAtHand } from "../../src/crypto/dare/sequence/read.ts"
import { verifySequence } from "../../src/crypto/dare/sequence/verify.ts"
import { itemsOf, memberOf, objectOf, octetsOf } from "../../src/crypto/jsonb/value.ts"
import { keyUdf } from "../../src/crypto/mesh-keys/fingerprint.ts"
import { makeCapability } from "../../src/mesh/capability.ts"
import { signerWith } from "../../src/mesh/key-data.ts"
import { ROLE_MESSAGE } from "../../src/mesh/mail/check.ts"
import type { MeshAnswer } from "../../src/mesh/protocol/answer.ts"
import { writeRequest } from "../../src/mesh/protocol/request.ts"
import { signObject } from "../../src/mesh/signed.ts"
import { storeHandlers } from "../../src/mesh-in/stores.ts"
import { account, CREATED, connectedDevice } from "../mesh/people.ts"
import { administratorSigner, carol, NOON, phone, phoneSigner, stranger, terms } from "../mesh/protocol-world.ts"
import { type Asking, asked, carolsHome, plain } from "./world.ts"

const parts = await carolsHome()
const { stores } = parts
afterAll(() => parts.opened[Symbol.asyncDispose]())
beforeEach(() => stores.remove(carol.profile.address))
const { ask, send } = asked(storeHandlers(parts))

const ALL = ["Status", "Download", "Transact"].map((operation) => `mmm_o_${operation}`)
const ZEROS = new Uint8Array(64)
const at = (seconds: number) => new Date(CREATED.getTime() + seconds * 1000)
const phoneId = keyUdf(phone.publicKeys.authentication, 2024)

/** What the administrator says of a device. */
function access(change: Partial<{ id: string; isActive: boolean; issued: Date; rights: readonly string[] }> = {}) {
  const capability = { kind: "access", id: phoneId, isActive: true, issued: CREATED, rights: ALL, ...change } as const
  return makeCapability(capability, administratorSigner)
}
const update = (store: string, envelopes: readonly Uint8Array[], end: End = { Index: 0, Digest: ZEROS }) => ({
  Store: store,
  ...end,
  Envelopes: envelopes,
})
const byAdministrator = (members: Asking["members"]): Asking => ({
  members: { Account: carol.profile.address, ...members },
  signers: [administratorSigner],
})
const byPhone = (members: Asking["members"] = {}): Asking => ({
  members: { Account: carol.profile.address, EnvelopedConnectionDevice: phone.connection, ...members },
  signers: [phoneSigner],
})
const grant = (...entries: readonly Uint8Array[]) =>
  ask("Transact", byAdministrator({ Updates: [update("Access", entries, endOf("Access"))] }))
interface End {
  readonly Index: number
  readonly Digest: Uint8Array
}
function endOf(store: string): End {
  const { frames, digest } = stores.end(carol.profile.address, store)
  return { Index: frames, Digest: digest }
}
const note = (text: string) => signObject("MessageComplete", { Text: text }, [phoneSigner], { created: CREATED })
function frames(answer: MeshAnswer, index = 0) {
  const [item] = (memberOf(answer.members, "Updates", itemsOf) ?? []).slice(index)
  const object = item === undefined ? null : objectOf(item, "Updates")
  const list = object === null ? null : memberOf(object, "Frames", itemsOf)
  return {
    Frames: (list ?? []).map((one) => octetsOf(one, "Frames")),
    Partial: object?.members.get("Partial")?.kind === "boolean" && plain(object.members.get("Partial")),
  }
}

describe("who may ask for an account's stores", () => {
  test("the administrator; a device once he has said so", async () => {
    expect((await ask("Status", byPhone())).outcome).toBe("DeviceUnknown")
    expect((await grant(access())).outcome).toBe("Success")
    const answer = await ask("Status", byPhone())
    expect(answer.outcome).toBe("Success")
    expect(plain(answer.members)).toMatchObject({ StoreStatus: [{ Store: "Access", ...endOf("Access") }] })
  })

  const other = connectedDevice(carol, 120, [ROLE_MESSAGE])
  const mallory = account("mallory@two.example", 6)
  const malloryPhone = connectedDevice(mallory, 130, [ROLE_MESSAGE])
  const rows: [string, Asking, string][] = [
    ["unsigned", { ...byPhone(), signers: [] }, "Unsigned"],
    ["forged: signed by another device", { ...byPhone(), signers: [signerWith(other.keys.signature)] }, "Forged"],
    [
      "another device, which is connected and has no entry",
      { ...byPhone({ EnvelopedConnectionDevice: other.connection }), signers: [signerWith(other.keys.signature)] },
      "DeviceUnknown",
    ],
    [
      "a device of another account",
      {
        ...byPhone({ EnvelopedConnectionDevice: malloryPhone.connection }),
        signers: [signerWith(malloryPhone.keys.signature)],
      },
      "DeviceUnknown",
    ],
    [
      "another account's administrator",
      { ...byAdministrator({}), signers: [signerWith(mallory.administrator)] },
      "Forged",
    ],
    ["for another target", { ...byPhone(), terms: { target: stranger.profile.udf } }, "OtherTarget"],
    ["old", { ...byPhone(), terms: { time: new Date(NOON.getTime() - 301_000) } }, "Old"],
    ["of the future", { ...byPhone(), terms: { time: new Date(NOON.getTime() + 61_000) } }, "Future"],
    ["for nobody here", byPhone({ Account: "nobody@two.example" }), "AccountUnknown"],
  ]
  test.each(rows)("%s: refused", async (_, asking, outcome) => {
    await grant(access())
    expect((await ask("Status", asking)).outcome).toBe(outcome)
  })

  test("replayed: refused", async () => {
    await grant(access())
    const octets = writeRequest("Status", byPhone().members ?? {}, terms(), [phoneSigner])
    expect((await send("Status", octets)).outcome).toBe("Success")
    expect((await send("Status", octets)).outcome).toBe("Replayed")
  })

  test("a revoked device: refused, and what let it in before cannot be put back", async () => {
    const entry = access()
    await grant(entry)
    await grant(access({ isActive: false, issued: at(60) }))
    expect((await ask("Status", byPhone())).outcome).toBe("DeviceRevoked")
    expect((await grant(entry)).outcome).toBe("Malformed")
    expect((await grant(access({ issued: at(60) }))).outcome).toBe("Malformed")
    expect((await ask("Status", byPhone())).outcome).toBe("DeviceRevoked")
    expect((await grant(access({ issued: at(61) }))).outcome).toBe("Success")
    expect((await ask("Status", byPhone())).outcome).toBe("Success")
  })

  test("a device has the rights that it was given", async () => {
    await grant(access({ rights: ["mmm_o_Status"] }))
    expect((await ask("Status", byPhone())).outcome).toBe("Success")
    expect((await ask("Transact", byPhone({ Updates: [update("Local", [note("one")])] }))).outcome).toBe(
      "NotAuthorized",
    )
  })

  test("a device gives no rights, not to itself either", async () => {
    await grant(access({ rights: ["mmm_o_Transact"] }))
    const own = makeCapability({ kind: "access", id: phoneId, isActive: true, issued: at(9), rights: ALL }, phoneSigner)
    const updates = { Updates: [update("Access", [own], endOf("Access"))] }
    expect((await ask("Transact", byPhone(updates))).outcome).toBe("Malformed")
  })
})

describe("Transact", () => {
  const put = (updates: readonly ReturnType<typeof update>[]) => ask("Transact", byAdministrator({ Updates: updates }))

  test("appends where the stores end, and says where they end then", async () => {
    const answer = await put([update("Local", [note("one"), note("two")]), update("Contact", [note("three")])])
    expect(answer.outcome).toBe("Success")
    expect(plain(answer.members)).toMatchObject({
      StoreStatus: [
        { Store: "Local", ...endOf("Local") },
        { Store: "Contact", ...endOf("Contact") },
      ],
    })
    expect([endOf("Local").Index, endOf("Contact").Index]).toEqual([3, 2])
  })

  test.each([
    ["another index", () => ({ ...endOf("Local"), Index: 1 })],
    ["another digest", () => ({ ...endOf("Local"), Digest: ZEROS })],
  ])("with %s nothing is appended, to no store, and it is told where they end", async (_, end) => {
    await put([update("Local", [note("one")])])
    const before = endOf("Local")
    const answer = await put([update("Contact", [note("x")]), update("Local", [note("two")], end())])
    expect(answer.outcome).toBe("Conflict")
    expect(plain(answer.members)).toMatchObject({
      StoreStatus: [
        { Store: "Contact", Index: 0 },
        { Store: "Local", ...before },
      ],
    })
    expect([endOf("Local"), endOf("Contact").Index]).toEqual([before, 0])
  })

  test("of two at once, one is done and the other told of a conflict", async () => {
    const both = await Promise.all([put([update("Local", [note("one")])]), put([update("Local", [note("two")])])])
    expect(both.map(({ outcome }) => outcome).toSorted()).toEqual(["Conflict", "Success"])
    expect(endOf("Local").Index).toBe(2)
  })

  const long = signObject(
    "MessageComplete",
    { Text: new Uint8Array(33_000) },
    [phoneSigner],
    { created: CREATED },
    "json-b",
  )
  const rows: [string, readonly object[], string][] = [
    ["over 32 KB", [update("Local", [long])], "TooLarge"],
    ["nothing", [], "Malformed"],
    ["no envelopes", [update("Local", [])], "Malformed"],
    ["what is no envelope", [update("Local", [Uint8Array.of(1)])], "Malformed"],
    ["a store twice", [update("Local", [note("a")]), update("Local", [note("b")])], "Malformed"],
    ["a store that there is not", [update("Cupboard", [note("a")])], "Malformed"],
    ["Outbound, which nobody would send", [update("Outbound", [note("a")])], "Malformed"],
  ]
  test.each(rows)("%s: refused", async (_, updates, outcome) => {
    expect((await put(updates as ReturnType<typeof update>[])).outcome).toBe(outcome)
    expect(stores.ends(carol.profile.address)).toEqual([])
  })
})

describe("Download", () => {
  const select = (...selects: readonly object[]) => byAdministrator({ Select: selects as { Store: string }[] })

  test.each(["json", "json-b"] as const)(
    "in %s gives what a device has not, and together it is the sequence",
    async (form) => {
      for (let index = 0; index < 6; index++)
        stores.append(
          carol.profile.address,
          [{ store: "Inbound", expected: null, entries: [{ name: "", content: new Uint8Array(20_000) }] }],
          NOON,
        )
      const got: Uint8Array[] = []
      for (let rounds = 0; ; rounds++) {
        const octets = writeRequest(
          "Download",
          select({ Store: "Inbound", IndexMin: got.length }).members ?? {},
          terms(),
          [administratorSigner],
          form,
        )
        const part = frames(await send("Download", octets))
        got.push(...part.Frames)
        if (!part.Partial) break
        expect(rounds).toBeLessThan(10)
      }
      expect(got.length).toBe(endOf("Inbound").Index)
      for await (const { link } of verifySequence(octetsAtHand(Buffer.concat(got)))) expect(link).toBe("linked")
    },
  )

  test("where the first frames were dropped, it says where what is there begins", async () => {
    for (const [seconds, text] of ["one", "two", "three"].entries())
      stores.append(
        carol.profile.address,
        [{ store: "Inbound", expected: null, entries: [{ name: text, content: note(text) }] }],
        at(seconds),
      )
    stores.drop("Inbound", at(2), 10)
    const answer = await ask("Download", select({ Store: "Inbound", IndexMin: 1 }))
    const [given] = memberOf(answer.members, "Updates", itemsOf) ?? []
    expect(given && plain(given)).toMatchObject({ IndexMin: 3, Index: 4, Partial: false })
    expect(frames(answer).Frames).toHaveLength(1)
  })

  test("what fits no more is said to be there", async () => {
    const entries = [{ name: "", content: new Uint8Array(32_768) }]
    stores.append(
      carol.profile.address,
      ["Inbound", "Local"].map((store) => ({ store, expected: null, entries })),
      NOON,
    )
    const answer = await ask("Download", select({ Store: "Inbound" }, { Store: "Local" }))
    expect([frames(answer, 0).Frames.length, frames(answer, 0).Partial]).toEqual([2, false])
    expect([frames(answer, 1).Frames.length, frames(answer, 1).Partial]).toEqual([0, true])
  })

  test("a store that there is not", async () => {
    expect((await ask("Download", select({ Store: "Cupboard" }))).outcome).toBe("Malformed")
  })
})

describe("PublicRead", () => {
  test("gives anybody the profile, and what is public", async () => {
    await ask("Transact", byAdministrator({ Updates: [update("Public", [note("hello")])] }))
    const answer = await ask("PublicRead", {
      members: { Account: carol.profile.address, Select: [{ Store: "Public" }] },
    })
    expect(answer.outcome).toBe("Success")
    expect(plain(answer.members)).toMatchObject({ EnvelopedProfileAccount: new Uint8Array(carol.profile.envelope) })
    expect(frames(answer).Frames.length).toBe(2)
  })
  test("and nothing else", async () => {
    expect(
      (await ask("PublicRead", { members: { Account: carol.profile.address, Select: [{ Store: "Inbound" }] } }))
        .outcome,
    ).toBe("Malformed")
    expect((await ask("PublicRead", { members: { Account: "nobody@two.example" } })).outcome).toBe("AccountUnknown")
  })
})
