import { expect, test } from "vitest"
import { octetsAtHand } from "../../../src/crypto/dare/sequence/read.ts"
import { openSequence, verifySequence } from "../../../src/crypto/dare/sequence/verify.ts"
import type { State } from "../../../src/store/database.ts"
import { MeshRequests } from "../../../src/store/mesh-requests.ts"
import { MeshStores, type StoreEnd } from "../../../src/store/mesh-stores.ts"
import { temporaryFolder } from "../../harness/peers.ts"
import type { StateDriver } from "./driver.ts"

const ALICE = "alice@example.test"
const AT = new Date("2026-11-26T12:00:00Z")
const entry = (text: string, name = text) => ({ name, content: new Uint8Array(Buffer.from(text)) })
const ZEROS = new Uint8Array(64)

/** Accounts, as far as stores need them. */
export function insertMeshAccounts({ sql }: State, ...addresses: readonly string[]): void {
  const one = Uint8Array.of(1)
  for (const address of addresses) {
    sql.run`
      INSERT INTO account (address, name, formats, root, intermediate, profile, added_at) VALUES (${address}, '', '', ${one}, ${one}, '', 0)`
    sql.run`
      INSERT INTO mesh_account (account, name, profile, connection, activation, mail_profile)
      VALUES (${address}, ${address}, ${one}, ${one}, ${one}, ${one})`
  }
}

export function meshStoresConformance(driver: StateDriver): void {
  const withStores = async (act: (stores: MeshStores, state: State) => unknown, maxOctets = 100_000) => {
    await using folder = await temporaryFolder()
    await using opened = await driver.empty(folder.file("data"))
    insertMeshAccounts(opened.state, ALICE, "bob@example.test")
    await act(new MeshStores(opened.state, maxOctets), opened.state)
  }
  const put = (stores: MeshStores, store: string, ...texts: readonly string[]) =>
    stores.append(ALICE, [{ store, expected: null, entries: texts.map((text) => entry(text)) }], AT)
  const all = (stores: MeshStores, store: string) =>
    Buffer.concat([...stores.frames(ALICE, store, 0, 1_000_000).frames])

  test("a store that nobody has begun ends before its first frame", () =>
    withStores((stores) => {
      expect(stores.ends(ALICE)).toEqual([])
      expect(stores.end(ALICE, "Inbound")).toEqual({ store: "Inbound", frames: 0, digest: ZEROS })
      expect(stores.frames(ALICE, "Inbound", 0, 100)).toEqual({ first: 0, frames: [], isPartial: false })
      expect(stores.newest(ALICE, "Inbound", "a")).toBeNull()
    }))

  test("its frames are a DARE sequence, linked from the first to the last, and its end is what that says", () =>
    withStores(async (stores) => {
      for (const text of ["one", "two", "three", "four", "five"]) put(stores, "Inbound", text)
      put(stores, "Inbound", "six", "seven")
      const octets = octetsAtHand(all(stores, "Inbound"))
      const frames = verifySequence(octets)
      let apex: Uint8Array | null | undefined = null
      for await (const { link, frame } of frames) {
        expect(link).toBe("linked")
        apex = frame.trailer?.apexDigest
      }
      const { links, truncatedOctets } = await openSequence(octets)
      expect([links.index, truncatedOctets]).toEqual([8, 0])
      expect(stores.end(ALICE, "Inbound")).toEqual({
        store: "Inbound",
        frames: 8,
        digest: new Uint8Array(apex ?? ZEROS),
      })
      expect(stores.octets(ALICE)).toBe(octets.sizeOctets)
    }))

  test("the newest entry of a name counts; other stores and accounts have their own", () =>
    withStores((stores) => {
      const update = (text: string) => ({ store: "Access", expected: null, entries: [entry(text, "device")] })
      stores.append(ALICE, [update("first")], AT)
      stores.append(ALICE, [update("second")], AT)
      stores.append("bob@example.test", [update("bob's")], AT)
      expect(stores.newest(ALICE, "Access", "device")).toEqual(new Uint8Array(Buffer.from("second")))
      expect(stores.newest(ALICE, "Local", "device")).toBeNull()
      expect(stores.newest("bob@example.test", "Access", "device")).toEqual(new Uint8Array(Buffer.from("bob's")))
    }))

  const wrong: [string, (end: StoreEnd) => Pick<StoreEnd, "frames" | "digest">][] = [
    ["another index", (end) => ({ ...end, frames: end.frames + 1 })],
    ["another digest", (end) => ({ ...end, digest: ZEROS })],
    ["the end before this one", (end) => ({ ...end, frames: end.frames - 1 })],
  ]
  test.each(wrong)("with %s nothing is appended, to no store", (_, expected) =>
    withStores((stores) => {
      put(stores, "Inbound", "one")
      const end = stores.end(ALICE, "Inbound")
      const before = stores.ends(ALICE)
      const updates = [
        { store: "Local", expected: { frames: 0, digest: ZEROS }, entries: [entry("local")] },
        { store: "Inbound", expected: expected(end), entries: [entry("two")] },
      ]
      expect(stores.append(ALICE, updates, AT)).toEqual({
        kind: "conflict",
        stores: [{ store: "Local", frames: 0, digest: ZEROS }, end],
      })
      expect(stores.ends(ALICE)).toEqual(before)
    }),
  )

  test("of two that expect the same end one is appended", () =>
    withStores((stores) => {
      const { frames, digest } = stores.end(ALICE, "Contact")
      const update = (text: string) => [{ store: "Contact", expected: { frames, digest }, entries: [entry(text)] }]
      expect(stores.append(ALICE, update("one"), AT).kind).toBe("appended")
      expect(stores.append(ALICE, update("two"), AT)).toEqual({
        kind: "conflict",
        stores: [stores.end(ALICE, "Contact")],
      })
      expect(stores.newest(ALICE, "Contact", "two")).toBeNull()
    }))

  test("what is appended says where the stores end now", () =>
    withStores((stores) => {
      const result = put(stores, "Local", "one")
      expect(result).toEqual({ kind: "appended", stores: [stores.end(ALICE, "Local")] })
      const { frames, digest } = stores.end(ALICE, "Local")
      expect(
        stores.append(ALICE, [{ store: "Local", expected: { frames, digest }, entries: [entry("two")] }], AT).kind,
      ).toBe("appended")
    }))

  test("an account has no more than it may, and then is told so", () =>
    withStores((stores) => {
      expect(put(stores, "Inbound", "x".repeat(500)).kind).toBe("appended")
      const octets = stores.octets(ALICE)
      expect(put(stores, "Local", "x".repeat(500))).toEqual({ kind: "full" })
      expect(stores.octets(ALICE)).toBe(octets)
      expect(
        stores.append("bob@example.test", [{ store: "Local", expected: null, entries: [entry("x")] }], AT).kind,
      ).toBe("appended")
    }, 1_500))

  test("what others send leaves room for what the account's own devices write", () =>
    withStores((stores) => {
      for (let sent = 0; sent < 20; sent += 1) put(stores, "Inbound", "x".repeat(200))
      expect(put(stores, "Inbound", "x".repeat(200))).toEqual({ kind: "full" })
      const { frames, digest } = stores.end(ALICE, "Access")
      const revoked = { store: "Access", expected: { frames, digest }, entries: [entry("revoked")] }
      expect(stores.append(ALICE, [revoked], AT).kind).toBe("appended")
    }, 8_000))

  test("frames are given out in their order, as many as are wanted, and one at least", () =>
    withStores((stores) => {
      put(stores, "Inbound", "one", "two", "three")
      const size = stores.frames(ALICE, "Inbound", 1, 1).frames[0]?.length ?? 0
      expect(stores.frames(ALICE, "Inbound", 1, 1)).toMatchObject({ first: 1, isPartial: true })
      expect(stores.frames(ALICE, "Inbound", 1, size).frames.length).toBe(1)
      const last = stores.frames(ALICE, "Inbound", 3, 1)
      expect([last.frames.length, last.isPartial]).toEqual([1, false])
      expect(stores.frames(ALICE, "Inbound", 4, 1).frames).toEqual([])
    }))

  test("entries are counted by when they came", () =>
    withStores((stores) => {
      put(stores, "Inbound", "one", "two")
      expect(stores.countSince(ALICE, "Inbound", AT)).toBe(2)
      expect(stores.countSince(ALICE, "Inbound", new Date(AT.getTime() + 1))).toBe(0)
    }))

  test("the oldest are dropped, of all accounts, and nothing else changes", () =>
    withStores((stores, state) => {
      const later = (ms: number) => new Date(AT.getTime() + ms)
      const putAt = (account: string, store: string, text: string, at: Date) =>
        stores.append(account, [{ store, expected: null, entries: [entry(text)] }], at)
      for (const [index, text] of ["one", "two", "three", "four"].entries())
        putAt(ALICE, "Inbound", text, later(index * 10))
      putAt("bob@example.test", "Inbound", "old", AT)
      putAt(ALICE, "Local", "old", AT)
      const whole = stores.frames(ALICE, "Inbound", 0, 10_000).frames
      const [end, before] = [stores.end(ALICE, "Inbound"), stores.octets(ALICE)]
      expect(stores.drop("Inbound", later(20), 100)).toBe(false)
      expect(stores.end(ALICE, "Inbound")).toEqual(end)
      expect(stores.octets(ALICE)).toBe(before - Buffer.concat(whole.slice(0, 3)).length)
      expect(stores.frames(ALICE, "Inbound", 0, 10_000)).toEqual({ first: 3, frames: whole.slice(3), isPartial: false })
      expect(stores.frames(ALICE, "Inbound", 0, 1)).toEqual({ first: 3, frames: [whole[3]], isPartial: true })
      expect(stores.frames(ALICE, "Inbound", 4, 10_000)).toEqual({
        first: 4,
        frames: whole.slice(4),
        isPartial: false,
      })
      expect(stores.frames("bob@example.test", "Inbound", 0, 100).frames).toEqual([])
      expect([stores.newest(ALICE, "Inbound", "two"), stores.newest(ALICE, "Local", "old")]).toEqual([
        null,
        new Uint8Array(Buffer.from("old")),
      ])
      // What comes later is linked to what was dropped.
      putAt(ALICE, "Inbound", "five", later(50))
      putAt("bob@example.test", "Inbound", "new", later(50))
      const fresh = new MeshStores(state, 100_000)
      fresh.append(ALICE, [{ store: "Local", expected: null, entries: [entry("x")] }], AT)
      for (const text of ["one", "two", "three", "four", "five"]) put(fresh, "Archive", text)
      expect(stores.end(ALICE, "Archive")).toEqual({ ...stores.end(ALICE, "Inbound"), store: "Archive" })
    }))

  test("of many some are dropped at once, the oldest first", () =>
    withStores((stores) => {
      for (let second = 0; second < 5; second++)
        stores.append(
          second % 2 === 0 ? ALICE : "bob@example.test",
          [{ store: "Inbound", expected: null, entries: [entry(`${second}`)] }],
          new Date(AT.getTime() + second * 1000),
        )
      const due = new Date(AT.getTime() + 60_000)
      const left = () =>
        [ALICE, "bob@example.test"].map((one) => stores.frames(one, "Inbound", 0, 10_000).frames.length)
      expect(left()).toEqual([4, 3])
      expect(stores.drop("Inbound", due, 3)).toBe(true)
      expect(left()).toEqual([2, 2])
      expect(stores.drop("Inbound", due, 3)).toBe(true)
      expect(left()).toEqual([1, 0])
      expect(stores.drop("Inbound", due, 3)).toBe(false)
      expect(left()).toEqual([0, 0])
      expect(stores.drop("Inbound", due, 3)).toBe(false)
    }))

  test("they end with the account, or when it is said", () =>
    withStores((stores, state) => {
      put(stores, "Inbound", "one")
      stores.append("bob@example.test", [{ store: "Local", expected: null, entries: [entry("x")] }], AT)
      stores.remove(ALICE)
      state.sql.run`DELETE FROM account WHERE address = 'bob@example.test'`
      expect([stores.ends(ALICE), stores.ends("bob@example.test")]).toEqual([[], []])
      expect(state.sql.all`SELECT * FROM mesh_frame`).toEqual([])
    }))

  test("a request is new once, until it could not be sent again", () =>
    withStores(async (_, state) => {
      const [first, second] = [new MeshRequests(state), new MeshRequests(state)]
      const later = (ms: number) => new Date(AT.getTime() + ms)
      expect(await first.remember(ZEROS, later(1_000), AT)).toBe(true)
      expect(await second.remember(ZEROS, later(1_000), later(1_000))).toBe(false)
      expect(await second.remember(Uint8Array.of(1), later(5_000), later(1_001))).toBe(true)
      expect(await first.remember(ZEROS, later(5_000), later(1_001))).toBe(true)
    }))

  test("of two that are the same and come at once one is new", () =>
    withStores(async (_, state) => {
      const [first, second] = [new MeshRequests(state), new MeshRequests(state)]
      const at = (requests: MeshRequests) => requests.remember(ZEROS, AT, AT)
      expect((await Promise.all([at(first), at(first), at(second)])).toSorted()).toEqual([false, false, true])
    }))
}
