import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { describe, expect, test } from "vitest"
import { hmacKey, hmacSha256 } from "../../src/crypto/primitives/hash.ts"
import { changing, octetsIn, type State } from "../../src/store/database.ts"
import { hashPassword, People } from "../../src/store/people.ts"
import { openDatabase } from "../../src/store/sqlite.ts"
import { openState, STATE_MIGRATIONS } from "../../src/store/state.ts"
import { UpstreamCredentials } from "../../src/store/upstream-credentials.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { contactsConformance } from "./conformance/contacts.ts"
import { databaseConformance } from "./conformance/database.ts"
import type { StateDriver } from "./conformance/driver.ts"
import { keysConformance } from "./conformance/keys.ts"
import { keyserverRequestsConformance } from "./conformance/keyserver-requests.ts"
import { meshAccountsConformance } from "./conformance/mesh-accounts.ts"
import { meshMailConformance } from "./conformance/mesh-mail.ts"
import { meshStoresConformance } from "./conformance/mesh-stores.ts"
import { peopleConformance } from "./conformance/people.ts"
import { pinnedCertificatesConformance } from "./conformance/pinned-certificates.ts"
import { presenceConformance } from "./conformance/presence.ts"
import { returnPathsConformance } from "./conformance/return-paths.ts"
import { stsPoliciesConformance } from "./conformance/sts-policies.ts"
import { tlsResultsConformance } from "./conformance/tls-results.ts"
import { upstreamCredentialsConformance } from "./conformance/upstream-credentials.ts"

const embedded: StateDriver = {
  name: "embedded",
  async empty(data) {
    const place = { data, store: { kind: "embedded" } } as const
    const state = openState(place)
    return {
      state,
      place,
      holds: async (octets) =>
        readdirSync(data).some((name) => readFileSync(join(data, name)).includes(Buffer.from(octets))),
      [Symbol.asyncDispose]: async () => state.close(),
    }
  },
}

describe("the state in SQLite", () => {
  describe("database", () => databaseConformance(embedded))
  describe("stores of the Mesh", () => meshStoresConformance(embedded))
  describe("people", () => peopleConformance(embedded))
  describe("pinned certificates", () => pinnedCertificatesConformance(embedded))
  describe("Mesh accounts", () => meshAccountsConformance(embedded))
  describe("mail over the Mesh", () => meshMailConformance(embedded))
  describe("Mesh contacts", () => contactsConformance(embedded))
  describe("presence", () => presenceConformance(embedded))
  describe("reverse-paths", () => returnPathsConformance(embedded))
  describe("upstream credentials", () => upstreamCredentialsConformance(embedded))
  describe("policies of MTA-STS", () => stsPoliciesConformance(embedded))
  describe("keys of other people", () => keysConformance(embedded))
  describe("requests to keyservers", () => keyserverRequestsConformance(embedded))
  describe("results of TLS", () => tlsResultsConformance(embedded))
})

test.each(STATE_MIGRATIONS.map((_, version) => version).slice(1))(
  "people and devices of a state of version %i are there, and log in; a program of that version leaves the new one alone",
  async (version) => {
    await using folder = await temporaryFolder()
    const path = folder.file("state.db")
    const older = () => openDatabase(path, STATE_MIGRATIONS.slice(0, version))
    const before = older()
    before.sql.run`
      INSERT INTO account (address, name, formats, root, intermediate, profile, added_at)
      VALUES ('a@example.test', '', 'smime', ${Uint8Array.of(1)}, ${Uint8Array.of(1)}, '{}', 0)`
    const key = octetsIn(before.sql.get`SELECT value FROM setting WHERE name = 'password key'`, "value")
    const password = hmacSha256(hmacKey(key)).update(hashPassword("secret")).digest()
    before.sql.run`
      INSERT INTO device (id, account, name, read_only, password, added_at)
      VALUES ('one', 'a@example.test', 'phone', 0, ${password}, 0)`
    before.close()
    const logsIn = () => {
      const state = openState({ data: folder.path, store: { kind: "embedded" } })
      const people = new People(state, { domains: ["example.test"], postmaster: null, recryptionKeys: null })
      const found = people.authenticate("a@example.test", "secret")
      state.close()
      return found?.device.name
    }
    expect(logsIn()).toBe("phone")
    expect(older).toThrow(expect.objectContaining({ code: "STATE_VERSION" }))
    expect(logsIn()).toBe("phone")
  },
)

test("a state that runs on sees its own changes at once, and another's soon: what it believes meanwhile, it believed before", async () => {
  await using folder = await temporaryFolder()
  const place = { data: folder.path, store: { kind: "embedded" } } as const
  const [one, other] = [openState(place, { runsOn: true }), openState(place)]
  const move = (state: State) => changing(state, () => undefined)
  const before = one.changeSequence()
  move(one)
  expect([one.changeSequence(), other.changeSequence()]).toEqual([before + 1, before + 1])
  move(other)
  expect(other.changeSequence()).toBe(before + 2)
  // In a transaction nothing is believed.
  expect(one.transaction(() => one.changeSequence())).toBe(before + 2)
  move(other)
  expect([before + 2, before + 3]).toContain(one.changeSequence())
  await expect.poll(() => one.changeSequence(), { interval: 1, timeout: 1_000 }).toBe(before + 3)
  one.close()
  other.close()
})

test("a claim reads the time when nobody else can claim, or another of that moment looked like one of a clock put back", async () => {
  await using folder = await temporaryFolder()
  await using opened = await embedded.empty(folder.file("data"))
  const at = new Date("2026-01-02T03:04:05Z")
  opened.state.sql.run`
    INSERT INTO account (address, name, formats, root, intermediate, profile, added_at)
    VALUES ('a@example.test', '', '', ${Uint8Array.of(1)}, ${Uint8Array.of(1)}, '', 0)`
  const credentials = new UpstreamCredentials(opened.state, folder.file("upstream"))
  credentials.set("a@example.test", { kind: "password", user: "a", password: "b" }, at)
  const { id } = credentials.read("a@example.test") ?? { id: "" }
  const other = new DatabaseSync(folder.file("data/state.db"))
  other.exec("PRAGMA busy_timeout = 0")
  const excluded = () => {
    expect(() => other.exec("BEGIN IMMEDIATE")).toThrow(/locked/)
    return at
  }
  expect(credentials.claim("a@example.test", id, excluded, 20_000)).toEqual(new Date(at.getTime() + 20_000))
  other.close()
})
