import { linkSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { sha256 } from "../../../src/crypto/primitives/hash.ts"
import { hasCode } from "../../../src/errors.ts"
import { formatAddress, parseAddress } from "../../../src/message/address.ts"
import { octetsIn, type State, textIn } from "../../../src/store/database.ts"
import { type AccountKey, hashPassword, People } from "../../../src/store/people.ts"
import { RecryptionKeys } from "../../../src/store/recryption-keys.ts"
import type { Meaning } from "../../../src/store/resolve.ts"
import { openState } from "../../../src/store/state.ts"
import type { StateDriver, TestState } from "./driver.ts"

/** What people, devices and recryption keys promise, whatever keeps them. */
export function peopleConformance(driver: StateDriver): void {
  const AT = new Date("2026-01-02T03:04:05Z")
  const PASSWORD = "abcdefghijklmnopqrstuvwx"
  let folder: string
  let opened: TestState
  let database: State

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), "postern-people-"))
    opened = await driver.empty(join(folder, "data"))
    database = opened.state
  })

  afterEach(async () => {
    await opened[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true })
  })

  function open(postmaster: string | null = null, on = database): People {
    const recryptionKeys = new RecryptionKeys(on, join(folder, "secrets", "recryption"))
    return new People(on, { domains: ["example.test", "other.test"], postmaster, recryptionKeys })
  }

  function key(id: string, current = true): AccountKey {
    return { id, format: "smime", certificate: Uint8Array.of(1, 2, 3), current, addedAt: AT }
  }

  function addAccount(people: People, address: string): void {
    const some = Uint8Array.of(4)
    people.addAccount(
      {
        address,
        name: "Ä",
        formats: ["smime", "openpgp"],
        root: some,
        intermediate: some,
        keys: [key(`key of ${address}`)],
        profile: "{}",
      },
      AT,
    )
  }

  function addDevice(people: People, account: string, name: string, password = PASSWORD + name): Uint8Array {
    const scalar = new Uint8Array(32).fill(name.length)
    const id = `${account}/${name}/${people.devices(account).length}`
    const login = { key: sha256(Buffer.from(id)), notAfter: AT }
    const device = {
      id,
      account,
      name,
      readOnly: false,
      certificates: [Uint8Array.of(9)],
      signingCertificate: null,
      login,
    }
    people.addDevice(device, hashPassword(password), [{ keyId: `key of ${account}`, scalar }], AT)
    return scalar
  }

  function here(...accounts: readonly string[]): Meaning {
    return { kind: "accounts", accounts, forwards: [] }
  }

  function forwardsOf(meaning: Meaning): readonly (readonly [target: string, clear: boolean])[] {
    return meaning.kind === "accounts"
      ? meaning.forwards.map(({ target, clear }) => [formatAddress(target), clear] as const)
      : []
  }

  function code(act: () => unknown): string | null {
    try {
      act()
      return null
    } catch (error) {
      return error instanceof Error && "code" in error ? String(error.code) : "not ours"
    }
  }

  describe("accounts", () => {
    test("are read back as added, by any spelling of the address", () => {
      const people = open()
      addAccount(people, "Alice@Example.Test")
      expect(people.account("ALICE@example.test")).toEqual({
        address: "alice@example.test",
        name: "Ä",
        formats: ["smime", "openpgp"],
        root: Uint8Array.of(4),
        intermediate: Uint8Array.of(4),
        keys: [key("key of Alice@Example.Test")],
        profile: "{}",
        addedAt: AT,
      })
      expect(people.account("nobody@example.test")).toBeNull()
      expect(people.account("no address")).toBeNull()
    })

    test("exist once, in our domains, and apart from aliases", () => {
      const people = open()
      addAccount(people, "a@example.test")
      people.addAlias("b@example.test", ["a@example.test"])
      expect(code(() => addAccount(people, "A@example.test"))).toBe("ACCOUNT_EXISTS")
      expect(code(() => addAccount(people, "b@example.test"))).toBe("ALIAS_EXISTS")
      expect(code(() => addAccount(people, "a@elsewhere.test"))).toBe("ACCOUNT_UNKNOWN")
      expect(code(() => people.addAlias("a@example.test", ["a@example.test"]))).toBe("ACCOUNT_EXISTS")
      expect(code(() => people.addAlias("c@example.test", ["typo@example.test"]))).toBe("ACCOUNT_UNKNOWN")
    })

    test("change by what is given, and move the sequence", () => {
      const people = open()
      addAccount(people, "a@example.test")
      const before = people.changeSequence()
      people.updateAccount("a@example.test", { profile: "new" })
      expect(people.account("a@example.test")).toMatchObject({ profile: "new", name: "Ä" })
      expect(people.changeSequence()).toBeGreaterThan(before)
      expect(code(() => people.updateAccount("b@example.test", {}))).toBe("ACCOUNT_UNKNOWN")
    })

    test("rekeying keeps the old key and gives each device a scalar for the new one", () => {
      const people = open()
      addAccount(people, "a@example.test")
      const old = addDevice(people, "a@example.test", "phone")
      const device = people.devices("a@example.test")[0]
      if (!device) throw new Error("no device")
      const scalar = new Uint8Array(32).fill(77)
      people.addAccountKey("a@example.test", key("second"), [{ device: device.id, scalar }])
      expect(people.account("a@example.test")?.keys.map((k) => [k.id, k.current])).toEqual([
        ["key of a@example.test", false],
        ["second", true],
      ])
      expect(people.recryptionScalars(device).map((one) => [one.key.id, one.scalar])).toEqual([
        ["key of a@example.test", old],
        ["second", scalar],
      ])
    })

    test("when removed leave nothing usable", () => {
      const people = open()
      addAccount(people, "a@example.test")
      addDevice(people, "a@example.test", "phone")
      people.addAlias("b@example.test", ["a@example.test"])
      people.removeAccount("a@example.test")
      expect(people.authenticate("a@example.test", `${PASSWORD}phone`)).toBeNull()
      expect(people.resolve(parseAddress("b@example.test"))).toEqual({ kind: "unknown" })
      expect(readdirSync(join(folder, "secrets", "recryption"))).toEqual(["destroyed"])
      expect(database.sql.all`SELECT * FROM recryption_key`).toEqual([])
      addAccount(people, "a@example.test")
      expect(people.devices("a@example.test")).toEqual([])
    })
  })

  describe("devices", () => {
    test("authenticate with their own password only", () => {
      const people = open()
      addAccount(people, "a@example.test")
      addAccount(people, "b@example.test")
      addDevice(people, "a@example.test", "phone")
      expect(people.authenticate("A@Example.test", `${PASSWORD}phone`)).toMatchObject({
        account: { address: "a@example.test" },
        device: { name: "phone", readOnly: false },
      })
      for (const [user, password] of [
        ["a@example.test", PASSWORD],
        ["a@example.test", ""],
        ["b@example.test", `${PASSWORD}phone`],
        ["nobody@example.test", `${PASSWORD}phone`],
        ["a@example.test\0", `${PASSWORD}phone`],
        ["", `${PASSWORD}phone`],
      ] as const)
        expect(people.authenticate(user, password)).toBeNull()
    })

    test("are known by the key of their login certificate while they live, and no two by the same", () => {
      const people = open()
      addAccount(people, "a@example.test")
      addDevice(people, "a@example.test", "phone")
      addDevice(people, "a@example.test", "laptop")
      const [phone, laptop] = people.devices("a@example.test")
      if (!phone?.login || !laptop?.login) throw new Error("no device")
      expect(people.deviceOfKey(phone.login.key)).toMatchObject({ device: { name: "phone", login: { notAfter: AT } } })
      expect(people.deviceOfKey(sha256(Buffer.from("somebody")))).toBeNull()
      const nothing = { certificate: null, signingCertificate: null, login: null }
      expect(code(() => people.renewDevice(phone.id, { ...nothing, login: laptop.login }))).toBe("DEVICE_EXISTS")
      const later = new Date(AT.getTime() + 86_400_000)
      people.renewDevice(phone.id, { ...nothing, login: { ...phone.login, notAfter: later } })
      people.renewDevice(phone.id, nothing)
      expect(people.deviceOfKey(phone.login.key)?.device.login?.notAfter).toEqual(later)
      people.revokeDevice("a@example.test", "phone", AT)
      expect(people.deviceOfKey(phone.login.key)).toBeNull()
      expect(people.device("a@example.test", "phone")?.login).toBeNull()
    })

    test("have a name that is safe in files and headers, and is theirs alone while they live", () => {
      const people = open()
      addAccount(people, "a@example.test")
      for (const name of ["", "a b", "../x", "é", "x".repeat(65)])
        expect(code(() => addDevice(people, "a@example.test", name))).toBe("USAGE")
      addDevice(people, "a@example.test", "x".repeat(64))
      addDevice(people, "a@example.test", "phone")
      expect(code(() => addDevice(people, "a@example.test", "phone", "other"))).toBe("DEVICE_EXISTS")
      expect(code(() => addDevice(people, "b@example.test", "phone"))).toBe("ACCOUNT_UNKNOWN")
      people.revokeDevice("a@example.test", "phone", AT)
      addDevice(people, "a@example.test", "phone", "other")
      expect(people.device("a@example.test", "phone")?.revokedAt).toBeNull()
      expect(people.devices("a@example.test")).toHaveLength(3)
    })

    test("once revoked are locked out, for ever, also in other processes", async () => {
      const people = open()
      addAccount(people, "a@example.test")
      const scalar = addDevice(people, "a@example.test", "phone")
      const elsewhere = openState(opened.place)
      const others = open(null, elsewhere)
      const device = others.authenticate("a@example.test", `${PASSWORD}phone`)?.device
      if (!device) throw new Error("no device")
      expect(others.recryptionScalars(device)[0]?.scalar).toEqual(scalar)
      people.revokeDevice("a@example.test", "phone", AT)
      await expect.poll(() => others.authenticate("a@example.test", `${PASSWORD}phone`)).toBeNull()
      expect(others.recryptionScalars(device)).toEqual([])
      expect(others.device("a@example.test", "phone")?.revokedAt).toEqual(AT)
      expect(code(() => people.revokeDevice("a@example.test", "phone", AT))).toBe("DEVICE_UNKNOWN")
      elsewhere.close()
    })

    test("keep neither password nor scalar readable", async () => {
      const people = open()
      addAccount(people, "a@example.test")
      const scalar = addDevice(people, "a@example.test", "phone-with-a-name")
      expect(await opened.holds(Buffer.from("phone-with-a-name"))).toBe(true)
      expect(await opened.holds(Buffer.from(PASSWORD))).toBe(false)
      expect(await opened.holds(hashPassword(`${PASSWORD}phone-with-a-name`))).toBe(false)
      expect(await opened.holds(scalar)).toBe(false)
    })
  })

  describe("a recryption key", () => {
    const keyFiles = () => readdirSync(join(folder, "secrets", "recryption")).filter((name) => name.endsWith(".key"))

    test("has a wrapping key of its own, for the owner alone, and is worthless without it", () => {
      const people = open()
      addAccount(people, "a@example.test")
      addDevice(people, "a@example.test", "phone")
      addDevice(people, "a@example.test", "laptop")
      expect(keyFiles()).toHaveLength(2)
      for (const name of keyFiles())
        expect(statSync(join(folder, "secrets", "recryption", name)).mode & 0o777).toBe(0o600)
      for (const name of keyFiles()) writeFileSync(join(folder, "secrets", "recryption", name), new Uint8Array(32))
      for (const device of people.devices("a@example.test"))
        expect(code(() => people.recryptionScalars(device))).toBe("STATE_CORRUPT")
    })

    test("does not open as another device's", () => {
      const people = open()
      addAccount(people, "a@example.test")
      addDevice(people, "a@example.test", "phone")
      addDevice(people, "a@example.test", "laptop")
      const [phone, laptop] = people.devices("a@example.test")
      if (!phone || !laptop) throw new Error("two devices")
      database.sql.run`DELETE FROM recryption_key WHERE device = ${laptop.id}`
      database.sql.run`UPDATE recryption_key SET device = ${laptop.id}`
      expect(code(() => people.recryptionScalars(laptop))).toBe("STATE_CORRUPT")
    })

    test("is overwritten before its name goes", () => {
      const people = open()
      addAccount(people, "a@example.test")
      addDevice(people, "a@example.test", "phone")
      const [name = ""] = keyFiles()
      // A second name for the same file shows what is in it afterwards.
      linkSync(join(folder, "secrets", "recryption", name), join(folder, "seen"))
      const before = readFileSync(join(folder, "seen"))
      people.revokeDevice("a@example.test", "phone", AT)
      expect(keyFiles()).toEqual([])
      expect(readFileSync(join(folder, "seen"))).toHaveLength(32)
      expect(readFileSync(join(folder, "seen")).equals(before)).toBe(false)
    })
  })

  describe("a revocation is finished at the next start", () => {
    test("when a crash came after the keys were destroyed", () => {
      const people = open()
      addAccount(people, "a@example.test")
      addDevice(people, "a@example.test", "phone")
      addDevice(people, "a@example.test", "laptop")
      // What a crash leaves: files gone and recorded, rows rolled back.
      const id = people.device("a@example.test", "phone")?.id ?? ""
      const keys = new RecryptionKeys(database, join(folder, "secrets", "recryption"))
      expect(() =>
        database.transaction(() => {
          keys.destroy(id)
          throw new Error("crash")
        }),
      ).toThrow("crash")
      const restarted = open()
      expect(restarted.device("a@example.test", "phone")?.revokedAt).not.toBeNull()
      expect(restarted.authenticate("a@example.test", `${PASSWORD}phone`)).toBeNull()
      expect(restarted.authenticate("a@example.test", `${PASSWORD}laptop`)).not.toBeNull()
      expect(database.sql.all`SELECT device FROM recryption_key`).toHaveLength(1)
    })

    test("when data/ came back from an older copy", () => {
      addAccount(open(), "a@example.test")
      addDevice(open(), "a@example.test", "phone")
      const row = database.sql.get`SELECT * FROM recryption_key`
      const device = database.sql.get`SELECT * FROM device`
      open().revokeDevice("a@example.test", "phone", AT)
      database.sql.run`UPDATE device SET revoked_at = NULL, password = ${octetsIn(device, "password")}`
      database.sql.run`
      INSERT INTO recryption_key (id, device, account_key, wrapped)
      VALUES (${textIn(row, "id")}, ${textIn(row, "device")}, ${textIn(row, "account_key")}, ${octetsIn(row, "wrapped")})`
      expect(open().authenticate("a@example.test", `${PASSWORD}phone`)).toBeNull()
    })
  })

  describe("an address means", () => {
    const rows: [address: string, want: readonly string[] | "unknown" | "foreign"][] = [
      ["a@example.test", ["a@example.test"]],
      ["A+news@EXAMPLE.test", ["a@example.test"]],
      ["both@example.test", ["a@example.test", "b@example.test"]],
      ["all+x@example.test", ["a@example.test", "b@example.test"]],
      ["tagged@example.test", ["b@example.test"]],
      ["loop@example.test", "unknown"],
      ["nobody@example.test", "unknown"],
      ["a@other.test", "unknown"],
      ["a@elsewhere.test", "foreign"],
      ["postmaster@[127.0.0.1]", "foreign"],
      ["Postmaster@example.test", ["a@example.test"]],
      ["postmaster+x@other.test", ["a@example.test"]],
    ]
    for (const [address, want] of rows)
      test(address, () => {
        const people = open()
        addAccount(people, "a@example.test")
        addAccount(people, "b@example.test")
        people.addAlias("both@example.test", ["a@example.test", "b@example.test"])
        people.addAlias("all@example.test", ["both@example.test", "b@example.test"])
        people.addAlias("tagged@example.test", ["b+tag@example.test"])
        // Only a hand in the database makes a loop: targets must exist.
        database.sql
          .run`INSERT INTO alias_target (alias, target) VALUES ('loop@example.test', 'pool@example.test'), ('pool@example.test', 'loop@example.test')`
        people.updateAccount("a@example.test", {})
        const meaning = people.resolve(parseAddress(address))
        expect(meaning).toEqual(typeof want === "string" ? { kind: want } : here(...want))
      })

    test("an alias that leads elsewhere, alone and beside accounts; several ways to somebody are one, in clear if all are", () => {
      const people = open()
      addAccount(people, "a@example.test")
      people.addAlias("away@example.test", ["Bob@Else.test", "bob@else.test", "bob@third.test"])
      people.addAlias("open@example.test", ["bob@else.test", "a@example.test", "carol@else.test"], true)
      people.addAlias("team@example.test", ["away@example.test", "open@example.test"])
      const forwards = (address: string) => forwardsOf(people.resolve(parseAddress(address)))
      expect(forwards("away+tag@example.test")).toEqual([
        ["bob@else.test", false],
        ["bob@third.test", false],
      ])
      expect(people.resolve(parseAddress("open@example.test"))).toMatchObject({ accounts: ["a@example.test"] })
      expect(forwards("open@example.test")).toEqual([
        ["bob@else.test", true],
        ["carol@else.test", true],
      ])
      expect(forwards("team@example.test")).toEqual([
        ["bob@else.test", false],
        ["bob@third.test", false],
        ["carol@else.test", true],
      ])
      expect(people.aliases().get("open@example.test")).toEqual([
        { address: "bob@else.test", forward: "clear" },
        { address: "a@example.test", forward: null },
        { address: "carol@else.test", forward: "clear" },
      ])
      expect(code(() => people.addAlias("x@example.test", ["a@example.test"], true))).toBe("USAGE")
      expect(code(() => people.addAlias("x@example.test", ["no address"]))).toBe("ADDRESS_SYNTAX")
    })

    test("what is elsewhere no longer, since its domain has become ours, is nobody or somebody here; nobody's domain lost makes a forward", () => {
      const people = open()
      addAccount(people, "a@example.test")
      addAccount(people, "b@other.test")
      people.addAlias("x@example.test", ["a@late.test", "c@else.test"])
      people.addAlias("y@example.test", ["b@other.test", "a@example.test"])
      const domains = ["example.test", "late.test"]
      const now = new People(database, { domains, postmaster: null, recryptionKeys: null })
      expect(forwardsOf(now.resolve(parseAddress("x@example.test")))).toEqual([["c@else.test", false]])
      expect(forwardsOf(now.resolve(parseAddress("y@example.test")))).toEqual([])
    })

    test("postmaster: the configured one, unless it is gone; nobody while there are no accounts", () => {
      expect(open().resolve(parseAddress("postmaster@example.test"))).toEqual({ kind: "unknown" })
      const people = open("b@example.test")
      addAccount(people, "a@example.test")
      addAccount(people, "b@example.test")
      const postmaster = () => people.resolve(parseAddress("postmaster@other.test"))
      expect(postmaster()).toEqual(here("b@example.test"))
      people.removeAccount("b@example.test")
      expect(postmaster()).toEqual(here("a@example.test"))
      people.addAlias("postmaster@other.test", ["P@else.test"])
      expect(forwardsOf(postmaster())).toEqual([["P@else.test", false]])
    })
  })

  test("a role without recryption keys can resolve and authenticate, and no more", () => {
    addAccount(open(), "a@example.test")
    addDevice(open(), "a@example.test", "phone")
    const people = new People(database, { domains: ["example.test"], postmaster: null, recryptionKeys: null })
    const found = people.authenticate("a@example.test", `${PASSWORD}phone`)
    if (!found) throw new Error("not authenticated")
    expect(() => people.recryptionScalars(found.device)).toThrow(
      expect.toSatisfy((error: unknown) => hasCode(error, "STATE_CORRUPT")),
    )
  })
}
