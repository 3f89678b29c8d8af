import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import type { State } from "../../../src/store/database.ts"
import { People } from "../../../src/store/people.ts"
import { RecryptionKeys } from "../../../src/store/recryption-keys.ts"
import type { OAuthCredential, UpstreamCredential } from "../../../src/store/upstream-credential.ts"
import { UpstreamCredentials } from "../../../src/store/upstream-credentials.ts"
import { type TemporaryFolder, temporaryFolder } from "../../harness/peers.ts"
import type { StateDriver, TestState } from "./driver.ts"

/** What credentials of accounts elsewhere promise, whatever keeps them. */
export function upstreamCredentialsConformance(driver: StateDriver): void {
  const AT = new Date("2026-01-02T03:04:05Z")
  const ALICE = "alice@example.test"
  const PASSWORD: UpstreamCredential = { kind: "password", user: "alice", password: "correct horse battery" }
  const OAUTH: OAuthCredential = {
    kind: "oauth",
    user: "alice@gmail.example",
    tokenEndpoint: "https://oauth.example/token",
    clientId: "client",
    clientSecret: null,
    scope: "mail",
    refreshToken: "refresh battery",
    answer: null,
  }

  let folder: TemporaryFolder
  let opened: TestState
  let database: State
  let credentials: UpstreamCredentials

  beforeEach(async () => {
    folder = await temporaryFolder()
    opened = await driver.empty(folder.file("data"))
    database = opened.state
    credentials = new UpstreamCredentials(database, folder.file("upstream"))
    addAccount(ALICE)
  })

  afterEach(async () => {
    await opened[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  function people(): People {
    const recryptionKeys = new RecryptionKeys(database, folder.file("recryption"))
    return new People(database, {
      domains: ["example.test"],
      postmaster: null,
      recryptionKeys,
      upstreamCredentials: credentials,
    })
  }

  function addAccount(address: string): void {
    const some = Uint8Array.of(4)
    people().addAccount(
      { address, name: "", formats: ["smime"], root: some, intermediate: some, keys: [], profile: "{}" },
      AT,
    )
  }

  const keys = (): string[] => readdirSync(folder.file("upstream"))

  describe("credentials", () => {
    test("are read back as set, by every process, and another one takes their place", () => {
      expect(credentials.read(ALICE)).toBeNull()
      credentials.set(ALICE, PASSWORD, AT)
      const other = new UpstreamCredentials(database, folder.file("upstream"))
      expect(other.read(ALICE)).toMatchObject({ credential: PASSWORD, setAt: AT })
      credentials.set(ALICE, OAUTH, AT)
      expect(other.read(ALICE)).toMatchObject({ credential: OAUTH })
      expect(keys()).toHaveLength(1)
      expect(other.accounts()).toEqual([ALICE])
    })

    test("are of known accounts, and of what can be sent", () => {
      expect(() => credentials.set("bob@example.test", PASSWORD, AT)).toThrow(/bob@example.test: unknown/)
      const bad: UpstreamCredential[] = [
        { ...PASSWORD, user: "" },
        { ...PASSWORD, password: "a\r\nb" },
        { ...OAUTH, user: "a\x01b" },
        { ...OAUTH, refreshToken: "a\0" },
        { ...OAUTH, tokenEndpoint: "http://oauth.example/token" },
        { ...OAUTH, tokenEndpoint: "http://127.0.0.1.example/token" },
        { ...OAUTH, tokenEndpoint: "https://me:secret@oauth.example/token" },
        { ...OAUTH, tokenEndpoint: "gogle" },
      ]
      for (const credential of bad) expect(() => credentials.set(ALICE, credential, AT)).toThrow(/^(?:upstream|token)/)
      expect(credentials.read(ALICE)).toBeNull()
      for (const host of ["127.0.0.1:1", "localhost", "[::1]:8080"])
        credentials.set(ALICE, { ...OAUTH, tokenEndpoint: `http://${host}/token` }, AT)
    })

    test("stand nowhere in clear, and the state alone opens none", async () => {
      credentials.set(ALICE, PASSWORD, AT)
      expect(await opened.holds(Buffer.from("battery"))).toBe(false)
      for (const name of keys())
        expect(readFileSync(join(folder.file("upstream"), name)).includes("battery"), name).toBe(false)
      const copy = new UpstreamCredentials(database, folder.file("elsewhere"))
      expect(() => copy.read(ALICE)).toThrow(/cannot be opened, set it again/)
    })

    test("one that was moved to another account does not open", () => {
      addAccount("bob@example.test")
      credentials.set(ALICE, PASSWORD, AT)
      credentials.set("bob@example.test", OAUTH, AT)
      const [own = "", other = ""] = keys().sort()
      const content = readFileSync(join(folder.file("upstream"), own))
      writeFileSync(join(folder.file("upstream"), other), content)
      expect(["alice@example.test", "bob@example.test"].map(opens).sort()).toEqual([false, true])
    })

    test("removing destroys, and going back to an older data/ brings nothing back", () => {
      credentials.set(ALICE, PASSWORD, AT)
      const row = database.sql.get`SELECT * FROM upstream_credential`
      expect(credentials.remove(ALICE)).toBe(true)
      expect([credentials.remove(ALICE), credentials.read(ALICE), keys()]).toEqual([false, null, []])
      database.sql.run`INSERT INTO upstream_credential (account, id, key, sealed, set_at, asked_until)
      VALUES (${ALICE}, 'old', ${String(row?.["key"])}, ${row?.["sealed"] as Uint8Array}, 0, 0)`
      expect(opens(ALICE)).toBe(false)
    })

    test("removing the account destroys its credential; keys that a crash left go with the next change", () => {
      credentials.set(ALICE, PASSWORD, AT)
      people().removeAccount(ALICE)
      expect([keys(), credentials.accounts()]).toEqual([[], []])
      addAccount(ALICE)
      credentials.set(ALICE, PASSWORD, AT)
      const [key = ""] = keys()
      writeFileSync(join(folder.file("upstream"), key.replace(/-.*/, "-left.key")), "left by a crash")
      credentials.set(ALICE, PASSWORD, AT)
      expect(keys()).toHaveLength(1)
      expect(opens(ALICE)).toBe(true)
    })

    test("removing does not mind that nothing was ever set", () => {
      rmSync(folder.file("upstream"), { recursive: true, force: true })
      people().removeAccount(ALICE)
    })
  })

  describe("changes by the token endpoint", () => {
    const later = new Date(AT.getTime() + 20_000)

    test("replace what was read, unless somebody was faster", () => {
      credentials.set(ALICE, OAUTH, AT)
      const { id } = credentials.read(ALICE) ?? { id: "" }
      const rotated = { ...OAUTH, refreshToken: "second" }
      expect(credentials.replace(ALICE, id, rotated)).toBe(true)
      expect(credentials.replace(ALICE, id, { ...OAUTH, refreshToken: "third" })).toBe(false)
      expect(credentials.read(ALICE)).toMatchObject({ credential: rotated, setAt: AT })
      expect(keys()).toHaveLength(1)
    })

    test("one claims the right to ask, until it has replaced, given up, or failed to come back", () => {
      credentials.set(ALICE, OAUTH, AT)
      const { id } = credentials.read(ALICE) ?? { id: "" }
      const claim = (now: Date, of = id) => credentials.claim(ALICE, of, () => now, 20_000) !== null
      expect([claim(AT), claim(AT)]).toEqual([true, false])
      credentials.endClaim(ALICE, new Date(0))
      expect(claim(AT)).toBe(false)
      credentials.endClaim(ALICE, new Date(AT.getTime() + 20_000))
      expect([claim(AT), claim(later), claim(later)]).toEqual([true, true, false])
      // The clock is put back by a day, and nobody waits for that long.
      const yesterday = new Date(AT.getTime() - 86_400_000)
      expect([claim(yesterday), claim(yesterday)]).toEqual([true, false])
      credentials.replace(ALICE, id, OAUTH)
      expect(claim(later)).toBe(false)
      expect(claim(AT, credentials.read(ALICE)?.id)).toBe(true)
    })
  })

  function opens(account: string): boolean {
    try {
      return credentials.read(account) !== null
    } catch {
      return false
    }
  }
}
