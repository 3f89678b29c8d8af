import { readFileSync, writeFileSync } from "node:fs"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { verifyMailProfile } from "../../src/identity/mail-profile.ts"
import { makeInstance, mustPostern, postern, type TestInstance } from "./postern.ts"

const ALICE = "alice@example.test"
const SERVICE = "https://mesh.example.test/.well-known/mmm/"

let instance: TestInstance
beforeAll(async () => {
  instance = await makeInstance()
  await here("account", "add", ALICE)
})
afterAll(() => instance[Symbol.dispose]())

const here = (...args: string[]) => mustPostern([...args, ...instance.config])

/** What another gateway is in the Mesh. */
async function otherHost(): Promise<Uint8Array> {
  using other = await makeInstance()
  await mustPostern(["account", "gateway", other.file("gateway.json"), ...other.config])
  return readFileSync(other.file("secrets/mesh/host.json"))
}

/** What `check` finds of the account. */
async function checked(): Promise<unknown> {
  const { stdout } = await postern(["check", "--no-dns", "--json", ...instance.config])
  const findings = JSON.parse(Buffer.from(stdout).toString()) as readonly { readonly about: string }[]
  return findings.filter(({ about }) => about === `mesh account of ${ALICE}`)
}

describe("a gateway that gets a service of the Mesh", () => {
  test("lists it in nobody's profile before it has one", async () => {
    expect(await checked()).toEqual([])
    expect(await here("profile", "show", ALICE)).not.toContain("over the Mesh")
  })

  test("is told whose profile does not say so yet, and connecting the account anew says it", async () => {
    const toml = instance.file("postern.toml")
    writeFileSync(toml, `${readFileSync(toml, "utf8")}\n[mesh]\nservice = "${SERVICE}"\n`)
    expect(await checked()).toMatchObject([{ state: "wrong", text: expect.stringContaining("has no service") }])
    expect(await here("account", "mesh", ALICE)).toContain(`service: ${SERVICE}`)
    expect(await checked()).toMatchObject([{ state: "ok", text: expect.stringMatching(/^connected until \d{4}-/) }])
    const { mailProfile } = JSON.parse(await here("profile", "show", ALICE, "--json"))
    const [first] = verifyMailProfile(Buffer.from(mailProfile)).connection
    expect(first).toMatchObject({ protocol: "Mesh", service: SERVICE })
    expect(await here("profile", "show", ALICE)).toContain(`over the Mesh: ${SERVICE}, prefers encrypt`)
  })

  test("that has lost what it was is told that accounts are another's, and connects them anew", async () => {
    const path = instance.file("secrets/mesh/host.json")
    const kept = readFileSync(path)
    writeFileSync(path, await otherHost())
    expect(await checked()).toMatchObject([{ state: "wrong", text: expect.stringContaining("another device") }])
    await here("account", "mesh", ALICE)
    expect(await checked()).toMatchObject([{ state: "ok" }])
    writeFileSync(path, kept)
    expect(await checked()).toMatchObject([{ state: "wrong" }])
  })
})

describe("an account that leaves the Mesh", () => {
  const shown = async () => JSON.parse(await here("account", "show", ALICE, "--json")).mesh

  test("is told so, lists no service, and is not asked to come back", async () => {
    await here("account", "mesh", ALICE)
    const { udf } = await shown()
    expect(await here("account", "mesh", ALICE, "--leave")).toContain(`${udf} has left the Mesh`)
    expect(await shown()).toEqual({ udf, service: null, connectedUntil: null })
    expect(await here("account", "show", ALICE)).toContain(`Mesh: ${udf}, has left`)
    expect(await here("profile", "show", ALICE)).not.toContain("over the Mesh")
    expect(await checked()).toMatchObject([{ state: "note", text: "has left" }])
  })

  test("stays away when it is renewed, and comes back under its name when it is told to", async () => {
    const { udf } = await shown()
    await here("account", "renew", ALICE)
    expect(await shown()).toMatchObject({ udf, service: null })
    await here("account", "mesh", ALICE)
    expect((await shown()).udf).toBe(udf)
    expect(await checked()).toMatchObject([{ state: "ok" }])
  })

  test("says it as JSON, and by a request that is carried to the server", async () => {
    const { udf } = await shown()
    const file = instance.file("leave.request")
    const said = await here("account", "mesh", ALICE, "--leave", "--json", "--offline", file)
    expect(JSON.parse(said)).toEqual({ address: ALICE, mesh: udf, service: null })
    expect((await shown()).service).not.toBeNull()
    await here("accept", file)
    expect((await shown()).service).toBeNull()
  })

  test("never had a part, or names a gateway: refused", async () => {
    const { code, stderr } = await postern(["account", "mesh", ALICE, "--leave", "--gateway", "x", ...instance.config])
    expect([code, Buffer.from(stderr).toString()]).toEqual([2, expect.stringContaining("--leave")])
  })
})
