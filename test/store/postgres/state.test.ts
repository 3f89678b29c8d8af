import { afterAll, describe, expect, test } from "vitest"
import { textIn } from "../../../src/store/database.ts"
import { openState } from "../../../src/store/state.ts"
import { databaseOf, Postgres, postgresPossible } from "../../harness/postgres.ts"
import { contactsConformance } from "../conformance/contacts.ts"
import { databaseConformance } from "../conformance/database.ts"
import type { StateDriver } from "../conformance/driver.ts"
import { keysConformance } from "../conformance/keys.ts"
import { keyserverRequestsConformance } from "../conformance/keyserver-requests.ts"
import { meshAccountsConformance } from "../conformance/mesh-accounts.ts"
import { meshMailConformance } from "../conformance/mesh-mail.ts"
import { meshStoresConformance } from "../conformance/mesh-stores.ts"
import { peopleConformance } from "../conformance/people.ts"
import { pinnedCertificatesConformance } from "../conformance/pinned-certificates.ts"
import { presenceConformance } from "../conformance/presence.ts"
import { returnPathsConformance } from "../conformance/return-paths.ts"
import { stsPoliciesConformance } from "../conformance/sts-policies.ts"
import { tlsResultsConformance } from "../conformance/tls-results.ts"
import { upstreamCredentialsConformance } from "../conformance/upstream-credentials.ts"

describe.skipIf(!postgresPossible)("the state in PostgreSQL", async () => {
  if (!postgresPossible) return
  const server = await Postgres.start()
  const store = await server.database()
  // One for all tests: a thread for each takes longer than most of them.
  let state = openState({ data: "", store })
  afterAll(async () => {
    state.close()
    await administrator.end()
    await server[Symbol.asyncDispose]()
  })

  const administrator = await server.client(databaseOf(store))
  const query = async (text: string) => (await administrator.query<Record<string, unknown>>(text)).rows
  const tables = (await query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
    .map(({ tablename }) => String(tablename))
    .filter((name) => !["schema_version", "setting", "change"].includes(name))

  const driver: StateDriver = {
    name: "PostgreSQL",
    async empty(data) {
      if (!state.isOpen) state = openState({ data, store })
      // Quicker than TRUNCATE, which makes new files. What names others goes before them.
      await query(["recryption_key", ...tables].map((table) => `DELETE FROM ${table}`).join("; "))
      return {
        state,
        place: { data, store },
        async holds(octets) {
          const rows = await query(tables.map((table) => `SELECT t::text AS row FROM ${table} t`).join(" UNION ALL "))
          const text = rows.map(({ row }) => String(row))
          const wanted = [Buffer.from(octets).toString("utf8"), Buffer.from(octets).toString("hex")]
          return text.some((row) => wanted.some((one) => row.includes(one)))
        },
        [Symbol.asyncDispose]: async () => undefined,
      }
    },
  }

  describe("database", () => databaseConformance(driver))

  test("waits for the disk at each commit, but for those that need not", async () => {
    const { state } = await driver.empty("")
    const waits = () => textIn(state.sql.get`SHOW synchronous_commit`, "synchronous_commit")
    expect([state.transaction(waits), state.transaction(waits, "later"), waits()]).toEqual(["on", "off", "on"])
  })

  describe("stores of the Mesh", () => meshStoresConformance(driver))
  describe("people", () => peopleConformance(driver))
  describe("pinned certificates", () => pinnedCertificatesConformance(driver))
  describe("Mesh accounts", () => meshAccountsConformance(driver))
  describe("mail over the Mesh", () => meshMailConformance(driver))
  describe("Mesh contacts", () => contactsConformance(driver))
  describe("presence", () => presenceConformance(driver))
  describe("reverse-paths", () => returnPathsConformance(driver))
  describe("upstream credentials", () => upstreamCredentialsConformance(driver))
  describe("requests to keyservers", () => keyserverRequestsConformance(driver))
  describe("policies of MTA-STS", () => stsPoliciesConformance(driver))
  describe("keys of other people", () => keysConformance(driver))
  describe("results of TLS", () => tlsResultsConformance(driver))
})
