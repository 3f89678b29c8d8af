import { afterAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/load.ts"
import { signMailProfile } from "../../src/identity/mail-profile.ts"
import type { UsableKey } from "../../src/profiles/key.ts"
import type { Resolution } from "../../src/profiles/resolution.ts"
import { openMeshHost } from "../../src/store/mesh-host.ts"
import { openState } from "../../src/store/state.ts"
import { meshSenders } from "../../src/wire/mesh-senders.ts"
import { makePerson } from "../crypto/cms/alice.ts"
import { temporaryFolder } from "../harness/peers.ts"
import { account, service } from "../mesh/people.ts"
import { UNKNOWN } from "../profiles/unknown.ts"

const BOB = "bob@two.example"
const NOW = new Date("2026-11-27T12:00:00Z")
const two = service(70)
const [before, now] = [account(BOB, 2, two.profile.udf), account(BOB, 3, two.profile.udf)]

const folder = await temporaryFolder()
const config = { ...parseConfig('domains = ["one.example"]', "/x"), secrets: folder.file("secrets") }
const database = openState({ data: folder.path, store: { kind: "embedded" } })
afterAll(async () => {
  database.close()
  await folder[Symbol.asyncDispose]()
})

/** What the sources say of Bob: the profile that he had before. */
function find(unanswered: Resolution["unanswered"], udf: string) {
  const person = makePerson(BOB, "Bob")
  const mesh = { protocol: "Mesh", prefer: "encrypt", require: null } as const
  const overMesh = { ...mesh, service: "https://mail.two.example/.well-known/mmm/", deviceUdf: two.profile.udf }
  const content = { name: "Bob", root: person.root.der, issuedAt: NOW, connection: [overMesh] }
  const octets = signMailProfile(before, content, person.rootScalar)
  const keys = [{ format: "mesh", octets } as unknown as UsableKey]
  const look = async () => ({ ...UNKNOWN, address: BOB, keys, unanswered })
  return meshSenders({ config, database }, openMeshHost(config.secrets, NOW), { resolve: look, ask: look }).find(
    BOB,
    udf,
    "before",
  )
}

test("a sender is known by the profile that his domain publishes, with his gateway's device", async () => {
  expect(await find([], before.profile.udf)).toMatchObject({
    profile: { udf: before.profile.udf },
    gatewayDevice: two.profile.udf,
  })
})

test("a profile that everybody has answered about and nobody names is nobody's", async () => {
  expect(await find([], now.profile.udf)).toBeNull()
})

test("while a source is silent that one is named by nobody is not known", async () => {
  const silent = [{ source: "profile", trust: "domain", because: "timed out" }] as const
  await expect(find(silent, now.profile.udf)).rejects.toMatchObject({ code: "KEY_SOURCE_SILENT" })
})
