import { readFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { filesShowing, makeCanary } from "../../harness/canary.ts"
import { eventually } from "../../harness/instance.ts"
import { joined } from "../../harness/pieces.ts"
import { ALICE, BOB, type Device, events, type MeshGateway, MeshWorld, meshWorldPossible, TWO } from "./mesh-world.ts"

const CAROL = `carol@${TWO.domain}`
const secret = makeCanary()

const stack = new AsyncDisposableStack()
let world: MeshWorld
let alice: Device
let bob: Device

beforeAll(async () => {
  if (!meshWorldPossible) return
  world = stack.use(
    await MeshWorld.start({ configured: (instance) => instance.configure('"everybody"', '"contacts"') }),
  )
  await world.one.instance.must("account", "add", ALICE)
  await world.two.instance.must("account", "add", BOB)
  await world.two.instance.must("account", "add", CAROL)
  alice = await world.one.instance.device(ALICE, "laptop")
  bob = await world.two.instance.device(BOB, "laptop")
  await world.serve()
}, 120_000)
afterAll(() => stack.disposeAsync())

interface Listed {
  readonly contacts: readonly { readonly address: string; readonly state: string; readonly udf: string }[]
}

/** Waits until a message of this address was taken for the account, and gives what is known of it then. */
async function taken(gateway: MeshGateway, account: string, address: string) {
  await eventually(`a contact message of ${address} to ${account}`, () =>
    events(gateway, "mesh.contact").find(
      (one) => one["account"] === account && one["address"] === address && one["outcome"] === "accepted",
    ),
  )
  const { contacts } = JSON.parse(await gateway.instance.must("contact", "list", account, "--json")) as Listed
  return contacts.find((one) => one.address === address)
}

function mail(name: string): Buffer {
  const head = `From: ${ALICE}\r\nTo: ${BOB}\r\nSubject: ${name}\r\nDate: Fri, 27 Nov 2026 02:00:00 +0000\r\nMessage-ID: <${name}@one.test>\r\n`
  return Buffer.from(`${head}Content-Type: text/plain\r\n\r\n${secret.text}\r\n`)
}

describe.skipIf(!meshWorldPossible)("contacts between two gateways", () => {
  test("a stranger's mail does not come in over the Mesh", async () => {
    await world.submit(alice, [BOB], mail("stranger"))
    await eventually("a refusal", () =>
      events(world.two, "mesh.mail").find(({ outcome, reason }) => outcome === "refused" && reason === "not a contact"),
    )
  })

  test("his request does, worked for, and Bob's device reads who asks; when Bob accepts, each is the other's contact", async () => {
    await world.one.instance.must("contact", "request", ALICE, BOB, "--text", "Hello Bob,\nwe met in Bern.")
    const asking = await taken(world.two, BOB, ALICE)
    expect(asking?.state).toBe("asking")
    const told = await eventually("Bob is told", () => events(world.two, "mesh.contact-told")[0])
    expect(told).toMatchObject({ account: BOB, address: ALICE, to: BOB })
    using session = await world.reading(bob)
    await eventually("the mail", async () => {
      await session.must("SELECT INBOX")
      return /^\* SEARCH.* \d+\r$/m.test(await session.must(`UID SEARCH SUBJECT "Contact request"`))
    })
    await world.two.instance.must("contact", "accept", BOB, asking?.udf ?? "")
    expect((await taken(world.one, ALICE, BOB))?.state).toBe("accepted")
    expect((await taken(world.two, BOB, ALICE))?.state).toBe("accepted")
  })

  test("then his mail comes in, and the answer to it", async () => {
    await world.submit(alice, [BOB], mail("contact"))
    const { inside, octets } = await world.inMailbox(bob, "<contact@one.test>")
    expect(inside.toString()).toContain(secret.text)
    expect(octets.toString("latin1").replace(/\r\n\s+/g, " ")).toMatch(/mesh=pass .*header\.from=alice@one\.test/)
  })

  test("whom Bob blocks is a stranger again", async () => {
    await world.two.instance.must("contact", "block", BOB, ALICE)
    const before = events(world.two, "mesh.mail").length
    await world.submit(alice, [BOB], mail("blocked"))
    const next = await eventually("an answer", () => events(world.two, "mesh.mail")[before])
    expect(next).toMatchObject({ outcome: "refused", reason: "not a contact" })
  })

  test("colleagues ask each other without leaving", async () => {
    await world.two.instance.must("contact", "request", CAROL, BOB, "--text", "Lunch?")
    expect((await taken(world.two, BOB, CAROL))?.state).toBe("asking")
    await world.two.instance.must("contact", "accept", BOB, CAROL)
    expect((await taken(world.two, CAROL, BOB))?.state).toBe("accepted")
  })

  test("a program with the token answers for the person, and one without does not", async () => {
    await world.one.instance.must("contact", "block", ALICE, BOB)
    const { instance } = world.one
    const token = readFileSync(join(instance.folder, "secrets/mesh/contact-api"), "utf8")
    const body = '{ "answer": "remove" }'
    const post = async (shown: string): Promise<string> => {
      const socket = await world.internet.connect("127.0.0.1", instance.port + 6)
      const head = `POST /api/v1/contacts/${ALICE}/${BOB} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${shown}\r\n`
      socket.end(
        `${head}Content-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
      )
      return Buffer.from(await joined(socket)).toString()
    }
    expect(await post("guessed")).toMatch(/^HTTP\/1\.1 401 /)
    expect(await post(token)).toMatch(/^HTTP\/1\.1 200 /)
    const { contacts } = JSON.parse(await instance.must("contact", "list", ALICE, "--json")) as Listed
    expect(contacts).toEqual([])
  })

  test("what is written lies open in neither data/", () => {
    for (const { instance } of [world.one, world.two])
      expect(filesShowing([join(instance.folder, "data")], [secret])).toEqual([])
  })
})
