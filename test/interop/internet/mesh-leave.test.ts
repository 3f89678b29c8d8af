import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { makeCanary, shows } from "../../harness/canary.ts"
import { eventually } from "../../harness/instance.ts"
import { ALICE, BOB, type Device, events, type MeshGateway, MeshWorld, meshWorldPossible, retry } from "./mesh-world.ts"

const secret = makeCanary()
const stack = new AsyncDisposableStack()
let world: MeshWorld
let alice: Device
let bob: Device

beforeAll(async () => {
  if (!meshWorldPossible) return
  world = stack.use(await MeshWorld.start())
  await world.one.instance.must("account", "add", ALICE)
  // Who is first is postmaster, and gets mail of the gateway's own.
  await world.two.instance.must("account", "add", "admin@two.test")
  await world.two.instance.must("account", "add", BOB)
  alice = await world.one.instance.device(ALICE, "laptop")
  bob = await world.two.instance.device(BOB, "laptop")
  await world.serve()
}, 120_000)
afterAll(() => stack.disposeAsync())

const send = (from: Device, to: string, name: string, sizeOctets = 1_000) =>
  world.submit(
    from,
    [to],
    Buffer.from(
      `From: ${from.address}\r\nTo: ${to}\r\nSubject: ${name}\r\nDate: Fri, 27 Nov 2026 02:00:00 +0000\r\n` +
        `Message-ID: <${name}@leave.test>\r\n\r\n${`${secret.text} 0123456789\r\n`.repeat(Math.ceil(sizeOctets / 50))}`,
    ),
  )

/** How a message came that its reader has opened. */
async function came(to: Device, name: string): Promise<"mesh" | "smtp"> {
  const { octets, inside } = await world.inMailbox(to, `<${name}@leave.test>`)
  expect(inside.toString()).toContain(secret.text)
  expect(shows(octets, secret)).toBe(false)
  return /mesh=pass/.test(octets.toString("latin1")) ? "mesh" : "smtp"
}

const attempts = (gateway: MeshGateway, id: string) => events(gateway, "mail.attempt").filter((one) => one["id"] === id)

const meshOf = async ({ instance }: MeshGateway, address: string) =>
  JSON.parse(await instance.must("account", "show", address, "--json")).mesh as { udf: string; service: string | null }

describe.skipIf(!meshWorldPossible)("an account that leaves the Mesh", () => {
  let udf: string

  test("is written to over it before", async () => {
    await send(alice, BOB, "before")
    expect(await came(bob, "before")).toBe("mesh")
    await send(bob, ALICE, "before-too")
    expect(await came(alice, "before-too")).toBe("mesh")
    udf = (await meshOf(world.two, BOB)).udf
  })

  test("what it was sent before is read as before", async () => {
    await world.two.instance.must("account", "mesh", BOB, "--leave")
    expect(await came(bob, "before")).toBe("mesh")
  })

  test.each([
    ["short", 1_000],
    ["long", 100_000],
  ])(
    "a sender who keeps the old profile is told that nobody is there, and %s mail comes by SMTP, encrypted",
    async (name, sizeOctets) => {
      const before = events(world.one, "mesh.not-taken").length
      await send(alice, BOB, `after-${name}`, sizeOctets)
      expect(await came(bob, `after-${name}`)).toBe("smtp")
      expect(events(world.one, "mesh.not-taken")[before]).toMatchObject({
        because: expect.stringContaining("AccountUnknown"),
      })
    },
  )

  test("its own mail goes by SMTP, encrypted", async () => {
    const before = events(world.one, "mesh.mail").length
    await send(bob, ALICE, "of-his")
    expect(await came(alice, "of-his")).toBe("smtp")
    expect(events(world.one, "mesh.mail")).toHaveLength(before)
  })

  test("joined again it has its name, and is written to over the Mesh by whoever kept its profile", async () => {
    await world.two.instance.must("account", "mesh", BOB)
    expect((await meshOf(world.two, BOB)).udf).toBe(udf)
    await send(alice, BOB, "again")
    expect(await came(bob, "again")).toBe("mesh")
  })

  test("mail of its own that waits to go over the Mesh goes by SMTP instead, encrypted", async () => {
    world.cut(true)
    const id = await send(alice, BOB, "waiting")
    await eventually("an attempt", () => attempts(world.one, id)[0])
    expect(attempts(world.one, id)).toMatchObject([{ outcome: "retry" }])
    await world.one.instance.must("account", "mesh", ALICE, "--leave")
    await retry(world.one, id)
    expect(await came(bob, "waiting")).toBe("smtp")
    world.cut(false)
  })

  test("both are back, and Bob's gateway takes what Alice's sends as her new device", async () => {
    await world.one.instance.must("account", "mesh", ALICE)
    await send(alice, BOB, "back")
    expect(await came(bob, "back")).toBe("mesh")
  })

  test("a sender who asks anew finds a profile without the Mesh, and does not try", async () => {
    await world.two.instance.must("account", "mesh", BOB, "--leave")
    const before = [world.one, world.two].map((gateway) => events(gateway, "mesh.not-taken").length)
    // What is kept of Bob is of the time before, and holds for a day.
    world.one.instance.configure("[keys]", '[keys]\nkeep = "1s"')
    await eventually("the configuration", () => events(world.one, "config.reloaded")[0])
    await send(alice, BOB, "asked-anew")
    expect(await came(bob, "asked-anew")).toBe("smtp")
    expect([world.one, world.two].map((gateway) => events(gateway, "mesh.not-taken").length)).toEqual(before)
  })

  test("its text lies open in neither log", () => {
    for (const { instance } of [world.one, world.two]) expect(shows(instance.log, secret)).toBe(false)
  })
})
