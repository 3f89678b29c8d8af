import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { State } from "../../src/store/database.ts"
import { MeshStores } from "../../src/store/mesh-stores.ts"
import { hashPassword, People } from "../../src/store/people.ts"
import { PinnedCertificates } from "../../src/store/pinned-certificates.ts"
import { Presence } from "../../src/store/presence.ts"
import { RecryptionKeys } from "../../src/store/recryption-keys.ts"
import { openState, type StatePlace } from "../../src/store/state.ts"
import { KeptPolicies } from "../../src/store/sts-policies.ts"
import { KeptTlsResults } from "../../src/store/tls-results.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { Postgres, postgresPossible } from "../harness/postgres.ts"
import { postern } from "./postern.ts"

const AT = new Date("2026-01-02T03:04:05Z")
const ALICE = "alice@example.test"

describe.skipIf(!postgresPossible)("store copy", () => {
  let server: Postgres
  let folder: TemporaryFolder
  let place: StatePlace & { readonly store: { readonly kind: "postgres"; readonly url: string } }

  beforeAll(async () => {
    server = await Postgres.start()
    folder = await temporaryFolder()
    const store = await server.database()
    place = { data: folder.file("data"), store }
    toml("embedded.toml", "embedded:")
    toml("postgres.toml", store.url)
    const state = openState({ ...place, store: { kind: "embedded" } })
    fill(state)
    state.close()
  })

  afterAll(async () => {
    await server?.[Symbol.asyncDispose]()
    await folder?.[Symbol.asyncDispose]()
  })

  function toml(name: string, url: string): void {
    const text = `domains = ["example.test"]\ndata = "data"\nsecrets = "secrets"\n[store]\nurl = "${url}"\n`
    writeFileSync(folder.file(name), text)
  }

  function peopleOf(state: State): People {
    const recryptionKeys = new RecryptionKeys(state, folder.file("secrets/recryption"))
    return new People(state, { domains: ["example.test"], postmaster: null, recryptionKeys })
  }

  /** Something in every place. */
  function fill(state: State): void {
    const people = peopleOf(state)
    const octets = Uint8Array.of(0, 255)
    const key = { id: "k", format: "smime" as const, certificate: octets, current: true, addedAt: AT }
    const account = { name: "Ä", formats: ["smime" as const], root: octets, intermediate: octets, profile: "{}" }
    people.addAccount({ ...account, address: "zoe@example.test", keys: [] }, AT)
    people.addAccount({ ...account, address: ALICE, keys: [key] }, AT)
    for (const name of ["phone", "laptop"]) {
      const device = {
        id: name,
        account: ALICE,
        name,
        readOnly: false,
        certificates: [octets],
        signingCertificate: null,
      }
      people.addDevice({ ...device, login: null }, hashPassword(name), [{ keyId: "k", scalar: new Uint8Array(32) }], AT)
    }
    people.revokeDevice(ALICE, "phone", AT)
    people.addAlias("sales@example.test", [ALICE])
    new PinnedCertificates(state).add("x@elsewhere.test", "smime", octets, AT)
    new KeptPolicies(state).keep("b.test", {
      id: "1",
      policy: { mode: "enforce", mx: ["mx.b.test"], maxAgeSeconds: 86_400 },
      fetchedAt: AT,
    })
    const result = { day: "2026-01-02", domain: "b.test", policy: "{}", result: "r", mx: "", address: "", sessions: 1 }
    new KeptTlsResults(state).add([{ ...result, reason: "a\0b" }])
    state.sql.run`INSERT INTO applied_request (id, account, applied_at) VALUES ('r', ${ALICE}, 1)`
    state.sql.run`
      INSERT INTO mesh_account (account, name, profile, connection, activation, mail_profile)
      VALUES (${ALICE}, 'M', ${octets}, ${octets}, ${octets}, ${octets})`
    const entries = Array.from({ length: 450 }, (_, index) => ({ name: `${index}`, content: octets }))
    new MeshStores(state, 1_000_000).append(ALICE, [{ store: "Inbound", expected: null, entries }], AT)
  }
  const inbound = (state: State) => {
    const stores = new MeshStores(state, 1_000_000)
    return [stores.end(ALICE, "Inbound").frames, stores.newest(ALICE, "Inbound", "449")]
  }

  const copy = (config: string, ...args: readonly string[]) =>
    postern(["store", "copy", ...args, "--config", folder.file(config)])
  const textOf = (octets: Uint8Array) => Buffer.from(octets).toString()

  test("takes everything to PostgreSQL and back, so that devices log in as before and revoked ones do not", async () => {
    const there = await copy("postgres.toml", "embedded:", "--json")
    expect([there.code, there.stderr]).toEqual([0, ""])
    expect(JSON.parse(textOf(there.stdout))).toMatchObject({
      from: "embedded:",
      to: place.store.url,
      rows: {
        account: 2,
        device: 2,
        recryption_key: 1,
        tls_result: 1,
        applied_request: 1,
        setting: 1,
        mesh_frame: 451,
      },
    })
    const state = openState(place)
    expect(await login(state)).toEqual(["laptop", null])
    expect(
      peopleOf(state)
        .accounts()
        .map(({ address }) => address),
    ).toEqual(["zoe@example.test", ALICE])
    peopleOf(state).addAlias("more@example.test", [ALICE, "bob@else.test"], true)
    state.sql.run`INSERT INTO return_path (token, sender, used_at) VALUES ('abc', 'x@else.test', 5)`
    state.sql.run`INSERT INTO return_alias (name, alias, used_at) VALUES ('abcdef', 'sales@example.test', 6)`
    state.close()

    writeFileSync(folder.file("elsewhere.toml"), `domains = ["example.test"]\ndata = "other"\nsecrets = "secrets"\n`)
    const back = await copy("elsewhere.toml", place.store.url)
    expect([back.code, back.stderr]).toEqual([0, ""])
    expect(textOf(back.stdout)).toContain(`copied from ${place.store.url} to embedded:`)
    const again = openState({ data: folder.file("other"), store: { kind: "embedded" } })
    expect(await login(again)).toEqual(["laptop", null])
    expect(inbound(again)).toEqual([451, Uint8Array.of(0, 255)])
    expect([...peopleOf(again).aliases().keys()]).toEqual(["sales@example.test", "more@example.test"])
    expect(peopleOf(again).aliases().get("more@example.test")?.[1]).toEqual({
      address: "bob@else.test",
      forward: "clear",
    })
    expect(again.sql.get`SELECT * FROM return_path`).toEqual({ token: "abc", sender: "x@else.test", used_at: 5 })
    expect(again.sql.get`SELECT alias, used_at FROM return_alias`).toEqual({ alias: "sales@example.test", used_at: 6 })
    again.close()
  })

  async function login(state: State): Promise<(string | null)[]> {
    const people = peopleOf(state)
    return ["laptop", "phone"].map((name) => people.authenticate(ALICE, name)?.device.name ?? null)
  }

  test("refuses a target that holds something, and says what", async () => {
    const { code, stderr } = await copy("postgres.toml", "embedded:")
    expect([code, stderr]).toEqual([2, expect.stringMatching(/the target is not empty: it holds 2 of account/)])
  })

  test("refuses while a server runs, mail is on its way, or there is nothing to copy", async () => {
    const state = openState({ ...place, store: { kind: "embedded" } })
    const presence = new Presence(state, { roles: ["imap"], now: () => new Date(), onError: () => undefined })
    const running = await copy("postgres.toml", "embedded:")
    expect([running.code, running.stderr]).toEqual([2, expect.stringContaining(`process ${process.pid} on `)])
    presence[Symbol.dispose]()
    state.close()
    mkdirSync(folder.file("data/spool"), { recursive: true })
    writeFileSync(folder.file("data/spool/0123456789abcdef"), "")
    expect((await copy("postgres.toml", "embedded:")).stderr).toContain(
      "messages on their way: 1 in the spool of embedded:",
    )
    writeFileSync(
      folder.file("none.toml"),
      `domains = ["example.test"]\ndata = "none"\n[store]\nurl = "${place.store.url}"\n`,
    )
    expect((await copy("none.toml", "embedded:")).stderr).toContain("there is no state in")
  })

  test("the shared state belongs to one folder of secrets: another, or one that is not mounted, is refused", async () => {
    const list = (config: string) => postern(["device", "list", ALICE, "--config", folder.file(config)])
    expect((await list("postgres.toml")).code).toBe(0)
    const text = readFileSync(folder.file("postgres.toml"), "utf8")
    writeFileSync(folder.file("unmounted.toml"), text.replace('"secrets"', '"empty"'))
    const { code, stderr } = await list("unmounted.toml")
    expect([code, stderr]).toEqual([1, expect.stringMatching(/empty: is not the folder of secrets .* mounted\?/)])
    expect((await list("postgres.toml")).code).toBe(0)
  })

  test.each([
    ["the place itself", "embedded.toml", ["embedded:"], 2, /names embedded: already/],
    ["no place", "postgres.toml", ["mysql://x"], 2, /<from> is "embedded:" or "postgres:/],
    ["a password in the URL", "embedded.toml", ["postgres://u:p@localhost/x"], 2, /<from> is/],
    [
      "a password file that is not there",
      "embedded.toml",
      ["postgres://u@127.0.0.1:1/x", "--password-file", "/no"],
      1,
      /postgres: connect/,
    ],
    ["help", "embedded.toml", ["--help"], 0, /^$/],
  ] as const)("%s", async (_what, config, args, code, stderr) => {
    const finished = await copy(config, ...args)
    expect([finished.code, finished.stderr]).toEqual([code, expect.stringMatching(stderr)])
  })
})
