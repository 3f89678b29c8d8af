import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { makeCanary, shows } from "../../harness/canary.ts"
import { eventually } from "../../harness/instance.ts"
import {
  ALICE,
  aliceAndBob,
  BOB,
  type Device,
  events,
  type MeshGateway,
  MeshWorld,
  meshWorldPossible,
  retry,
} from "./mesh-world.ts"

const secret = makeCanary()
const stack = new AsyncDisposableStack()
let world: MeshWorld
let alice: Device
let bob: Device

beforeAll(async () => {
  if (!meshWorldPossible) return
  world = stack.use(await MeshWorld.start())
  const people = await aliceAndBob(world)
  alice = people.alice
  bob = people.bob
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

/** What Alice's gateway has tried over the Mesh in vain. */
const notTaken = () => events(world.one, "mesh.not-taken")

describe.skipIf(!meshWorldPossible)("an account that leaves the Mesh", () => {
  let udf: string

  test("is written to over it before", async () => {
    await send(alice, BOB, "before")
    expect(await came(bob, "before")).toBe("mesh")
    await send(bob, ALICE, "before-too")
    expect(await came(alice, "before-too")).toBe("mesh")
    udf = (await meshOf(world.two, BOB)).udf
  })

  test("has mail of its own that waits to go over the Mesh: it goes by SMTP instead, encrypted", async () => {
    world.cut(true)
    const id = await send(alice, BOB, "waiting")
    await eventually("an attempt", () => attempts(world.one, id)[0])
    expect(attempts(world.one, id)).toMatchObject([{ outcome: "retry" }])
    await world.one.instance.must("account", "mesh", ALICE, "--leave")
    await retry(world.one, id)
    expect(await came(bob, "waiting")).toBe("smtp")
    world.cut(false)
  })

  test("and is back: Bob's gateway takes what Alice's sends with other keys", async () => {
    await world.one.instance.must("account", "mesh", ALICE)
    await send(alice, BOB, "back")
    expect(await came(bob, "back")).toBe("mesh")
  })

  test("reads what it was sent before", async () => {
    await world.two.instance.must("account", "mesh", BOB, "--leave")
    expect(await came(bob, "before")).toBe("mesh")
  })

  test("is told of to a sender who keeps its old profile, and his long mail comes by SMTP, encrypted", async () => {
    await send(alice, BOB, "after", 100_000)
    expect(await came(bob, "after")).toBe("smtp")
    expect(notTaken()).toMatchObject([{ because: expect.stringContaining("AccountUnknown") }])
  })

  test("has published that, which he has read since: his next mail does not try", async () => {
    await send(alice, BOB, "after-that")
    expect(await came(bob, "after-that")).toBe("smtp")
    expect(notTaken()).toHaveLength(1)
  })

  test("sends its own mail by SMTP, encrypted", async () => {
    const before = events(world.one, "mesh.mail").length
    await send(bob, ALICE, "of-his")
    expect(await came(alice, "of-his")).toBe("smtp")
    expect(events(world.one, "mesh.mail")).toHaveLength(before)
  })

  test("joins again under its name, and is written to over the Mesh by whoever asks anew", async () => {
    await world.two.instance.must("account", "mesh", BOB)
    expect((await meshOf(world.two, BOB)).udf).toBe(udf)
    // What is kept of Bob would hold for a day.
    world.one.instance.configure("[keys]", '[keys]\nkeep = "1s"')
    await eventually("the configuration", () => events(world.one, "config.reloaded")[0])
    const over = Date.now() + 1_200
    await eventually("what was kept is over", () => Date.now() > over)
    await send(alice, BOB, "again")
    expect(await came(bob, "again")).toBe("mesh")
  })

  test("shows its text in neither log", () => {
    for (const { instance } of [world.one, world.two]) expect(shows(instance.log, secret)).toBe(false)
  })
})
