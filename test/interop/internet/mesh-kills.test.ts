import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { postsIn } from "../../../src/mesh/protocol/post.ts"
import { readRequest } from "../../../src/mesh/protocol/request.ts"
import { eventually } from "../../harness/instance.ts"
import { inMailbox } from "../../soak/kill.ts"
import { type Between, between } from "./mesh-between.ts"
import { ALICE, BOB, type Device, type MeshGateway, MeshWorld, meshWorldPossible, ONE, TWO } from "./mesh-world.ts"

/** Longer than a message of the Mesh; and long enough to be met on its way. */
const [PUBLISHED, LONG] = [100_000, 20_000_000]

const stack = new AsyncDisposableStack()
let world: MeshWorld
let alice: Device

beforeAll(async () => {
  if (!meshWorldPossible) return
  world = stack.use(await MeshWorld.start())
  await world.one.instance.must("account", "add", ALICE)
  await world.two.instance.must("account", "add", `admin@${TWO.domain}`)
  await world.two.instance.must("account", "add", BOB)
  alice = await world.one.instance.device(ALICE, "laptop")
  await world.serve()
}, 120_000)
afterAll(() => stack.disposeAsync())

function mail(name: string, octets: number): Buffer {
  const head = `From: ${ALICE}\r\nTo: ${BOB}\r\nSubject: ${name}\r\nDate: Fri, 27 Nov 2026 02:00:00 +0000\r\nMessage-ID: <kill-${name}@${ONE.domain}>\r\n\r\n`
  return Buffer.from(head + "0123456789\r\n".repeat(Math.ceil(octets / 12)))
}

/** Everything that waits is tried, until nothing does. */
async function emptied({ instance }: MeshGateway): Promise<void> {
  await eventually("nothing is left", async () => {
    const listed = JSON.parse(await instance.must("queue", "list", "--json")) as readonly { readonly id: string }[]
    for (const { id } of listed) await instance.postern("queue", "retry", id)
    return instance.spooled() === 0
  })
}

const bulkIn = ({ instance }: MeshGateway, folder: string): string[] =>
  readdirSync(join(instance.folder, "data/mesh-bulk", folder))

describe.skipIf(!meshWorldPossible)("killed at a point of the way: delivered, once", () => {
  type Point = (killed: () => Promise<void>) => Between
  const points: [what: string, victim: "one" | "two", octets: number, point: Point][] = [
    [
      "the sender, between publishing and posting",
      "one",
      PUBLISHED,
      (killed) => ({
        async asked() {
          expect(bulkIn(world.one, "published")).toHaveLength(1)
          await killed()
          throw new Error("nothing is passed on")
        },
      }),
    ],
    [
      "the sender, when its mail was taken and it has not heard of it",
      "one",
      1_000,
      (killed) => ({ answered: (truth) => killed().then(() => truth) }),
    ],
    [
      "the receiver, when it has kept the mail and its answer does not arrive",
      "two",
      1_000,
      (killed) => ({ answered: () => killed().then(() => Promise.reject(new Error("nothing is answered"))) }),
    ],
  ]
  test.each(points)("%s", async (what, victim, octets, point) => {
    const name = what.replaceAll(/\W+/g, "-")
    // From here on the sender knows whose service it is: what it asks next is Post.
    await world.submit(alice, [BOB], mail(`before-${name}`, 1_000))
    await emptied(world.one)
    const dead = Promise.withResolvers<void>()
    {
      using _ = await between(
        world,
        point(async () => {
          await world[victim].instance.stop("SIGKILL")
          dead.resolve()
        }),
      )
      await world.submit(alice, [BOB], mail(name, octets))
      await dead.promise
    }
    await world.serve(world[victim])
    for (const gateway of [world.one, world.two]) await emptied(gateway)
    expect(inMailbox(world.two.instance, BOB).get(`kill-${name}`)).toBe(1)
  })

  const losses: [what: string, victim: "one" | "two" | null][] = [
    ["is lost", null],
    ["is lost with its sender", "one"],
    ["is lost with its receiver", "two"],
  ]
  test.each(losses)("several to several people with one request, whose answer %s", async (what, victim) => {
    const name = what.replaceAll(" ", "-")
    const people = [BOB, `admin@${TWO.domain}`]
    await world.submit(alice, people, mail(`before-${name}`, 1_000))
    await emptied(world.one)
    const [lost, dead] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    let most = 0
    {
      using _ = await between(world, {
        async answered(truth, request) {
          const count = postsIn(readRequest(request).members).length
          most = Math.max(most, count)
          // The first goes by itself: its answer waits until the others were posted, too.
          if (count === 1) await lost.promise
          else lost.resolve()
          if (count === 1) return truth
          if (victim !== null) await world[victim].instance.stop("SIGKILL")
          dead.resolve()
          throw new Error("nothing is answered")
        },
      })
      using client = await world.submitting(alice)
      for (let number = 0; number < 4; number++) await client.send(people, mail(`${name}-${number}`, 1_000))
      await dead.promise
    }
    expect(most).toBeGreaterThan(1)
    if (victim !== null) await world.serve(world[victim])
    for (const gateway of [world.one, world.two]) await emptied(gateway)
    for (const person of people)
      for (let number = 0; number < 4; number++)
        expect(inMailbox(world.two.instance, person).get(`kill-${name}-${number}`)).toBe(1)
  })

  test("the receiver, while it fetches what is published", async () => {
    await world.submit(alice, [BOB], mail("fetching", LONG))
    const coming = join(world.two.instance.maildir(BOB), "tmp")
    await eventually("octets come in", () => existsSync(coming) && readdirSync(coming).length > 0)
    await world.two.instance.stop("SIGKILL")
    expect(inMailbox(world.two.instance, BOB).get("kill-fetching")).toBeUndefined()
    await world.serve(world.two)
    for (const gateway of [world.one, world.two]) await emptied(gateway)
    expect(inMailbox(world.two.instance, BOB).get("kill-fetching")).toBe(1)
    expect([bulkIn(world.two, "incoming"), readdirSync(coming)]).toEqual([[], []])
  })

  test("and the record of either queue is whole", async () => {
    for (const { instance } of [world.one, world.two]) {
      await instance.stop()
      await instance.must("queue", "audit")
    }
  })
})
