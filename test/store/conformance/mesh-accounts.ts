import { afterEach, beforeEach, describe, expect, test } from "vitest"
import type { ProfileUser } from "../../../src/mesh/profile.ts"
import type { State } from "../../../src/store/database.ts"
import { MeshAccounts } from "../../../src/store/mesh-accounts.ts"
import { People } from "../../../src/store/people.ts"
import { type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import { account } from "../../mesh/people.ts"
import type { StateDriver, TestState } from "./driver.ts"

/** What Mesh accounts of our people promise, whatever keeps them. */
export function meshAccountsConformance(driver: StateDriver): void {
  const AT = new Date("2026-11-26T10:00:00Z")
  const ALICE = "alice@example.test"
  const alice = account(ALICE, 1).profile

  let folder: TemporaryFolder
  let opened: TestState
  let database: State
  let people: People
  let accounts: MeshAccounts

  beforeEach(async () => {
    folder = await temporaryFolder()
    opened = await driver.empty(folder.file("data"))
    database = opened.state
    people = new People(database, { domains: ["example.test"], postmaster: null, recryptionKeys: null })
    accounts = new MeshAccounts(database)
    addAccount(ALICE)
  })

  afterEach(async () => {
    await opened[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  function addAccount(address: string): void {
    const some = Uint8Array.of(4)
    const rest = { name: "", formats: ["smime"], root: some, intermediate: some, keys: [], profile: "{}" } as const
    people.addAccount({ address, ...rest }, AT)
  }

  const recordOf = ({ envelope }: ProfileUser, octet = 7) => ({
    profile: envelope,
    connection: Uint8Array.of(octet),
    activation: Uint8Array.of(8),
    mailProfile: Uint8Array.of(9),
  })

  describe("Mesh accounts", () => {
    test("are found by address and by UDF, in every process, and what is put later takes their place", () => {
      expect(accounts.of(ALICE)).toBeNull()
      expect(accounts.byUdf(alice.udf)).toBeNull()
      accounts.put(recordOf(alice))
      const other = new MeshAccounts(database)
      expect(other.of("Alice@Example.test")).toMatchObject({
        address: ALICE,
        udf: alice.udf,
        connection: Uint8Array.of(7),
      })
      expect(other.byUdf(alice.udf)?.profile.envelope).toEqual(alice.envelope)
      accounts.put(recordOf(alice, 70))
      expect(other.of(ALICE)?.connection).toEqual(Uint8Array.of(70))
      accounts.republish(ALICE, Uint8Array.of(90))
      expect(other.of(ALICE)).toMatchObject({ connection: Uint8Array.of(70), mailProfile: Uint8Array.of(90) })
    })

    test.each([
      ["in lower case without dashes", (udf: string) => udf.toLowerCase().replaceAll("-", ""), true],
      ["with 130 bits", (udf: string) => udf.replaceAll("-", "").slice(0, 26), true],
      ["with too few bits", (udf: string) => udf.replaceAll("-", "").slice(0, 25), false],
      ["with another last character", (udf: string) => udf.slice(0, -1) + (udf.endsWith("A") ? "B" : "A"), false],
      ["that is none", () => "alice", false],
      ["that is empty", () => "", false],
    ])("a UDF %s", (_, written, found) => {
      accounts.put(recordOf(alice))
      expect(accounts.byUdf(written(alice.udf)) !== null).toBe(found)
    })

    test("whom nobody is is not remembered: strangers ask for any number of them", () => {
      expect(accounts.of(ALICE)).toBeNull()
      database.sql.run`
        INSERT INTO mesh_account (account, name, profile, connection, activation, mail_profile)
        VALUES (${ALICE}, 'A', ${alice.envelope}, ${alice.envelope}, ${alice.envelope}, ${alice.envelope})`
      expect(accounts.of(ALICE)?.udf).toBe(alice.udf)
    })

    test("an address that is none has no account", () => expect(accounts.of("alice")).toBeNull())

    test("each change moves the sequence, but for what is left with us", () => {
      const moved = (act: () => void): boolean => {
        const before = database.changeSequence()
        act()
        return database.changeSequence() !== before
      }
      expect(moved(() => accounts.put(recordOf(alice)))).toBe(true)
      expect(moved(() => accounts.republish(ALICE, Uint8Array.of(1)))).toBe(true)
      expect(moved(() => accounts.putEscrow(ALICE, Uint8Array.of(1)))).toBe(false)
      expect(moved(() => void accounts.remove(ALICE))).toBe(true)
    })

    test("what is left with us is read back, replaced, and goes with the account", () => {
      accounts.put(recordOf(alice))
      expect(accounts.escrow(ALICE)).toBeNull()
      for (const octet of [1, 2]) accounts.putEscrow(ALICE, Uint8Array.of(octet))
      expect(accounts.escrow(ALICE)).toEqual(Uint8Array.of(2))
      accounts.put(recordOf(alice, 70))
      expect(accounts.escrow(ALICE)).toEqual(Uint8Array.of(2))
      expect([accounts.remove(ALICE), accounts.remove(ALICE)]).toEqual([true, false])
      expect(accounts.escrow(ALICE)).toBeNull()
      expect(accounts.of(ALICE)).toBeNull()
    })

    test("one that leaves is found as what it published last, by nothing else, and what is left with us stays", () => {
      accounts.put(recordOf(alice))
      accounts.putEscrow(ALICE, Uint8Array.of(1))
      const other = new MeshAccounts(database)
      expect([other.any(), other.of(ALICE)?.udf]).toEqual([true, alice.udf])
      accounts.leave({ profile: alice.envelope, mailProfile: Uint8Array.of(10) })
      expect([other.any(), other.of(ALICE), other.byUdf(alice.udf)]).toEqual([false, null, null])
      expect(other.publishedOf(ALICE)).toMatchObject({ udf: alice.udf, mailProfile: Uint8Array.of(10) })
      accounts.putEscrow(ALICE, Uint8Array.of(2))
      expect(other.escrow(ALICE)).toEqual(Uint8Array.of(2))
      accounts.put(recordOf(alice))
      expect([other.any(), other.of(ALICE)?.udf]).toEqual([true, alice.udf])
    })

    test("go with the account behind them", () => {
      accounts.put(recordOf(alice))
      accounts.putEscrow(ALICE, Uint8Array.of(1))
      people.removeAccount(ALICE)
      expect([accounts.of(ALICE), accounts.byUdf(alice.udf), accounts.escrow(ALICE)]).toEqual([null, null, null])
    })

    test("are nobody's without an account, and no two accounts have one UDF", () => {
      const refuses = (what: RegExp, act: () => void) => expect(act).toThrow(what)
      refuses(/unknown/, () => accounts.put(recordOf(account("bob@example.test", 3).profile)))
      refuses(/no part in the Mesh/, () => accounts.republish(ALICE, Uint8Array.of(1)))
      refuses(/no part in the Mesh/, () => accounts.putEscrow(ALICE, Uint8Array.of(1)))
      refuses(/./, () => accounts.put({ ...recordOf(alice), profile: Uint8Array.of(91, 93) }))
      addAccount("bob@example.test")
      accounts.put(recordOf(alice))
      refuses(/another account/, () => accounts.put(recordOf(account("bob@example.test", 1).profile)))
      expect(accounts.of("bob@example.test")).toBeNull()
    })
  })
}
