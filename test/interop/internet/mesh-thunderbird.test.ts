import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { filesShowing, makeCanary, shows } from "../../harness/canary.ts"
import { peer } from "../../harness/peers.ts"
import { Thunderbird } from "../../harness/thunderbird.ts"
import { ALICE, BOB, type Device, type MeshGateway, MeshWorld, meshWorldPossible } from "./mesh-world.ts"

const OK = "message-encrypted-ok.svg"
const secret = makeCanary()
const possible = meshWorldPossible && peer("thunderbird") && peer("Xvfb")

describe.skipIf(!possible)("an unmodified Thunderbird at either end, and the Mesh between", () => {
  const stack = new AsyncDisposableStack()
  let world: MeshWorld
  let bob: Device
  let alices: Thunderbird
  let bobs: Thunderbird

  beforeAll(async () => {
    world = stack.use(await MeshWorld.start())
    const { one, two } = world
    await one.instance.must("account", "add", ALICE, "--name", "Alice Example")
    await two.instance.must("account", "add", BOB, "--name", "Bob Example")
    const alice = await one.instance.device(ALICE, "laptop")
    bob = await two.instance.device(BOB, "laptop")
    await world.serve()
    const programs = [program(world, one, alice, "Alice Example"), program(world, two, bob, "Bob Example")] as const
    const started = await Promise.allSettled(programs)
    for (const one of started) if (one.status === "fulfilled") stack.use(one.value)
    ;[alices, bobs] = await Promise.all(programs)
  }, 120_000)
  afterAll(() => stack.disposeAsync())

  test.each([
    ["short", 0],
    ["longer than a message of the Mesh", 60_000],
  ])("what Alice writes, Bob reads with the padlock, %s", async (_, sizeOctets) => {
    const text = `${secret.text} to Bob.`
    const filler = "0123456789 abcdefghijklmnopqrstuvwxyz\n".repeat(Math.ceil(sizeOctets / 38))
    // The person sees nothing of encryption: her gateway does it.
    expect(await alices.write({ to: BOB, subject: "from Alice", body: `${filler}${text}` })).toMatchObject({
      encrypt: false,
      notices: [],
    })
    const sent = await alices.send()
    const shown = await bobs.show("Inbox", sent, text)
    expect(shown).toMatchObject({ encryption: OK, signature: "", technology: "S/MIME", subject: "from Alice" })
    const { octets } = await world.inMailbox(bob, `<${sent}>`)
    expect(octets.toString("latin1")).toMatch(
      /^Authentication-Results: mail\.two\.test;\s+mesh=pass [^;]*header\.from=alice@one\.test/m,
    )
  })

  test("an answer takes the same way back", async () => {
    // An answer to what was encrypted is to be encrypted by Thunderbird itself, to a certificate that it does not have: Bob leaves that to his gateway.
    await bobs.reply()
    expect(await bobs.encrypt(false)).toMatchObject({ encrypt: false, sign: false })
    const sent = await bobs.send()
    const shown = await alices.show("Inbox", sent, secret.text)
    expect(shown).toMatchObject({ encryption: OK, technology: "S/MIME", subject: "Re: from Alice" })
  })

  test("nobody between them saw it, and it lies open in neither data/", () => {
    expect(world.tapped.length).toBeGreaterThan(0)
    expect(shows(Buffer.concat(world.tapped), secret)).toBe(false)
    for (const { instance } of [world.one, world.two]) {
      expect(filesShowing([join(instance.folder, "data")], [secret])).toEqual([])
      expect(shows(instance.log, secret)).toBe(false)
    }
  })
})

async function program(
  world: MeshWorld,
  { authority }: MeshGateway,
  device: Device,
  fullName: string,
): Promise<Thunderbird> {
  return Thunderbird.start(await world.fromOutside(device), authority, { fullName, keepsMessages: true })
}
