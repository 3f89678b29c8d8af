import { readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { PublishMail } from "../../../src/mesh/mail/seal.ts"
import { readMail } from "../../../src/mesh/mail/statement.ts"
import { wholeAnswer } from "../../../src/net/https-peers.ts"
import { MeshBulk } from "../../../src/store/mesh-bulk.ts"
import { filesShowing, makeCanary } from "../../harness/canary.ts"
import { eventually, type Instance } from "../../harness/instance.ts"
import { openWithOpenssl } from "../../harness/reading.ts"
import { askingAt, between, type Lie } from "./mesh-between.ts"
import {
  connected,
  hostFile,
  hostSecrets,
  personOf,
  recipientOf,
  strangeService,
  type Theft,
  Thief,
  withAnotherDevice,
} from "./mesh-thief.ts"
import {
  ALICE,
  BOB,
  type Device,
  events,
  type MeshGateway,
  MeshWorld,
  meshWorldPossible,
  ONE,
  retry,
  TWO,
} from "./mesh-world.ts"

const ANNA = `anna@${ONE.domain}`
const CAROL = `carol@${TWO.domain}`
const YEAR_MS = 365 * 86_400_000
const secret = makeCanary()

const stack = new AsyncDisposableStack()
let world: MeshWorld
let alice: Device
let bob: Device
let thief: Thief
/** As the first gateway seals what Alice sends to Bob. */
let inOrder: Theft

beforeAll(async () => {
  if (!meshWorldPossible) return
  world = stack.use(await MeshWorld.start({ configured: forAttacks }))
  const { one, two } = world
  for (const address of [ALICE, ANNA]) await one.instance.must("account", "add", address)
  for (const address of [BOB, CAROL]) await two.instance.must("account", "add", address)
  alice = await one.instance.device(ALICE, "laptop")
  bob = await two.instance.device(BOB, "laptop")
  await world.serve()
  thief = stack.use(await Thief.at(world))
  const sender = await personOf(one, ALICE)
  inOrder = {
    sender,
    device: connected(hostSecrets(one), sender, later(YEAR_MS)),
    recipient: recipientOf(await personOf(two, BOB)),
  }
}, 120_000)
afterAll(() => stack.disposeAsync())

/** A word in the subject leaves nothing but the Mesh. */
function forAttacks(instance: Instance): void {
  instance.configure(
    "[limits]",
    '[[policy.rules]]\nname = "Mesh alone"\nsubjectTag = "mesh:"\nkeepTag = true\nmethods = ["mesh"]\n\n[limits]\nmeshRequestsPerNetwork = 0',
  )
}

const later = (ms: number): Date => new Date(Math.floor((Date.now() + ms) / 1000) * 1000)

function mail(name: string, sizeOctets = 1_000, from = ALICE): Buffer {
  const head = `From: ${from}\r\nTo: ${BOB}\r\nSubject: mesh: ${name}\r\nDate: Fri, 27 Nov 2026 02:00:00 +0000\r\nMessage-ID: <${name}@${ONE.domain}>\r\n\r\n`
  const line = `${secret.text} ${name}\r\n`
  return Buffer.from(head + line.repeat(Math.ceil(sizeOctets / line.length)))
}

/** How often a mail lies in Bob's mailbox. */
async function copies(name: string): Promise<number> {
  using session = await world.reading(bob)
  await session.must("SELECT INBOX")
  const found = await session.must(`UID SEARCH HEADER Message-ID <${name}@${ONE.domain}>`)
  return [...(/^\* SEARCH(.*)\r$/m.exec(found)?.[1] ?? "").matchAll(/\d+/g)].length
}

const attempts = (gateway: "one" | "two", id: string) =>
  events(world[gateway], "mail.attempt").filter((one) => one["id"] === id)

describe.skipIf(!meshWorldPossible)("who has the first gateway's secrets and posts to the second", () => {
  test("in order: accepted, and Bob's device reads it", async () => {
    const message = await thief.seal(mail("in-order"), inOrder)
    expect(await thief.post(message, BOB)).toMatchObject({ kind: "accepted" })
    const { inside } = await world.inMailbox(bob, `<in-order@${ONE.domain}>`)
    expect(inside.toString()).toContain(secret.text)
  })

  test("replayed: accepted again, and delivered once", async () => {
    const message = await thief.seal(mail("replayed"), inOrder)
    expect(await thief.post(message, BOB)).toMatchObject({ kind: "accepted" })
    await world.inMailbox(bob, `<replayed@${ONE.domain}>`)
    expect(await thief.post(message, BOB)).toMatchObject({ kind: "accepted" })
    // What was posted next is there, so that what came before would be.
    expect(await thief.post(await thief.seal(mail("next"), inOrder), BOB)).toMatchObject({ kind: "accepted" })
    await world.inMailbox(bob, `<next@${ONE.domain}>`)
    expect(await copies("replayed")).toBe(1)
  })

  const rows: [what: string, reason: string, post: (name: string) => Promise<unknown>][] = [
    [
      "expired device: a connection that ended a second ago",
      "device expired",
      async (name) => {
        const device = connected(hostSecrets(world.one), inOrder.sender, later(-1_000))
        return thief.post(await thief.seal(mail(name), { ...inOrder, device }), BOB)
      },
    ],
    [
      "a device that Alice has connected, and that her mail profile does not name",
      "device revoked",
      async (name) => {
        const device = connected(JSON.parse(withAnotherDevice(world.one)), inOrder.sender, later(YEAR_MS))
        return thief.post(await thief.seal(mail(name), { ...inOrder, device }), BOB)
      },
    ],
    [
      "forged sender: a colleague's device signs as Alice's",
      "device unknown",
      async (name) => {
        const device = connected(hostSecrets(world.one), await personOf(world.one, ANNA), later(YEAR_MS))
        return thief.post(await thief.seal(mail(name), { ...inOrder, device }), BOB)
      },
    ],
    [
      "forged service: another one posts what it has got",
      "other service",
      async (name) => thief.post(await thief.seal(mail(name), inOrder), BOB, strangeService()),
    ],
    [
      "wrong recipient: Carol's mail is posted to Bob",
      "wrong recipient",
      async (name) => {
        const recipient = recipientOf(await personOf(world.two, CAROL))
        return thief.post(await thief.seal(mail(name), { ...inOrder, recipient }), BOB)
      },
    ],
  ]
  test.each(rows)("%s: refused, %s", async (_, reason, post) => {
    const refusals = () => events(world.two, "mesh.mail").filter(({ outcome }) => outcome === "refused")
    const before = refusals().length
    const name = `refused-${before}`
    expect(await post(name)).toEqual({ kind: "refused", diagnostic: `mail.${TWO.domain}: Refused, ${reason}` })
    await eventually("it is logged", () => refusals().length > before)
    expect(refusals().slice(before)).toMatchObject([{ recipient: BOB, reason }])
    expect(await copies(name)).toBe(0)
  })

  test("altered header: of the envelope in the message: it is not what was signed", async () => {
    const text = Buffer.from(await thief.seal(mail("altered-inside"), inOrder)).toString("latin1")
    expect(text.split('"wmk"')).toHaveLength(2)
    expect(await thief.post(Buffer.from(text.replace('"wmk"', '"wmx"'), "latin1"), BOB)).toEqual({
      kind: "refused",
      diagnostic: `mail.${TWO.domain}: Malformed, dare: payload has another digest than is stated`,
    })
  })

  test("altered header: what of the message's own header was altered is not believed", async () => {
    const message = await thief.seal(mail("altered"), inOrder)
    const { envelopeId } = readMail(message)
    const text = Buffer.from(message)
      .toString("latin1")
      .replace(envelopeId, `${envelopeId.slice(0, -1)}${envelopeId.endsWith("2") ? "3" : "2"}`)
    expect(await thief.post(Buffer.from(text, "latin1"), BOB)).toMatchObject({ kind: "accepted" })
    expect((await world.inMailbox(bob, `<altered@${ONE.domain}>`)).inside.toString()).toContain(secret.text)
    expect(await thief.post(message, BOB)).toMatchObject({
      diagnostic: expect.stringContaining("message id used twice"),
    })
  })

  test("oversize: an octet more than a message may have", async () => {
    const long = Buffer.concat([await thief.seal(mail("oversize"), inOrder), Buffer.alloc(32_769, " ")])
    expect(await thief.post(long.subarray(0, 32_769), BOB)).toMatchObject({
      kind: "refused",
      diagnostic: expect.stringContaining("TooLarge"),
    })
  })

  test("what is published is not what was stated: never stored, and delivered when it is", async () => {
    const published = join(world.one.instance.folder, "data/mesh-bulk/published")
    const bulk = new MeshBulk({ incoming: join(world.internet.folder.path, "incoming"), published })
    let path = ""
    const publish: PublishMail = async (name, envelope) => {
      await bulk.publish(name, envelope, later(YEAR_MS))
      path = join(published, name)
    }
    const message = await thief.seal(mail("lying", 100_000), inOrder, publish)
    const honest = readFileSync(path)
    const lie = Buffer.from(honest)
    lie[honest.length >> 1] = (lie[honest.length >> 1] ?? 0) ^ 1
    writeFileSync(path, lie)
    utimesSync(path, later(YEAR_MS), later(YEAR_MS))
    expect(await thief.post(message, BOB)).toMatchObject({ kind: "accepted" })
    const first = await eventually("an attempt", () =>
      events(world.two, "mail.attempt").find(({ status }) => status === "4.7.7"),
    )
    expect(first).toMatchObject({ recipient: BOB, outcome: "retry" })
    expect(await copies("lying")).toBe(0)
    expect(readdirSync(join(world.two.instance.folder, "data/mesh-bulk/incoming"))).toEqual([])
    writeFileSync(path, honest)
    utimesSync(path, later(YEAR_MS), later(YEAR_MS))
    await retry(world.two, String(first["id"]))
    expect((await world.inMailbox(bob, `<lying@${ONE.domain}>`)).inside.toString()).toContain(secret.text)
  })
})

describe.skipIf(!meshWorldPossible)("whoever answers in the second gateway's place", () => {
  async function earlier() {
    const answers: Uint8Array[] = []
    {
      using _ = await between(world, {
        answered: (truth) => {
          answers.push(truth)
          return truth
        },
      })
      const id = await world.submit(alice, [BOB], mail("earlier"))
      await eventually("it has left", () => attempts("one", id).find(({ outcome }) => outcome === "done"))
    }
    const last = answers.at(-1)
    if (last === undefined) throw new Error("nothing was asked")
    return () => last
  }

  /** The first gateway answers what the second was asked. */
  async function anotherService() {
    const peers = await askingAt(world, ONE.address, world.one.authority)
    return async (_: Uint8Array, octets: Uint8Array) => {
      const url = new URL(`https://mail.${ONE.domain}/.well-known/mmm/`)
      const asked = { url, body: { type: "application/dare", octets } }
      return wholeAnswer(await peers.ask(asked, AbortSignal.timeout(60_000)), 1_000_000)
    }
  }

  const flipped = (octets: Uint8Array): Uint8Array => {
    const other = Buffer.from(octets)
    const at = other.indexOf("Status") + 10
    other[at] = (other[at] ?? 0) ^ 1
    return other
  }

  const lies: [what: string, diagnostic: string, lie: () => Promise<Lie>][] = [
    ["the answer to another request", "another request", earlier],
    ["the answer of another service", "there is no signature by", anotherService],
    ["an answer that was altered", "another digest than is stated", async () => flipped],
    ["half an answer", "cut off", async () => (truth) => truth.subarray(0, truth.length >> 1)],
    ["no answer of a service", "value is none", async () => () => Buffer.from("<html>accepted</html>")],
  ]
  test.each(lies)("%s (%s): the mail waits, and is delivered once", async (what, because, lie) => {
    const name = what.replaceAll(" ", "-")
    const said = await lie()
    let id: string
    {
      using _ = await between(world, { answered: said })
      id = await world.submit(alice, [BOB], mail(name))
      const first = await eventually("an attempt", () => attempts("one", id)[0])
      expect(first).toMatchObject({ outcome: "retry", status: "4.4.1", diagnostic: expect.stringContaining(because) })
    }
    await retry(world.one, id)
    await eventually("it has left", () => attempts("one", id).find(({ outcome }) => outcome === "done"))
    expect((await world.inMailbox(bob, `<${name}@${ONE.domain}>`)).inside.toString()).toContain(secret.text)
    await eventually("all is delivered", () => world.two.instance.spooled() === 0)
    expect(await copies(name)).toBe(1)
  })
})

describe.skipIf(!meshWorldPossible)("two gateways, as time goes by", () => {
  test("a device that was revoked: the new one is believed at once, and the old one no longer", async () => {
    const { one } = world
    const old = inOrder.device
    await one.instance.stop()
    writeFileSync(hostFile(one), withAnotherDevice(one))
    await one.instance.must("account", "mesh", ALICE)
    await world.serve(one)
    await world.submit(alice, [BOB], mail("new-device"))
    const { octets } = await world.inMailbox(bob, `<new-device@${ONE.domain}>`)
    expect(octets.toString()).toMatch(/mesh=pass/)
    expect(await thief.post(await thief.seal(mail("old-device"), { ...inOrder, device: old }), BOB)).toMatchObject({
      kind: "refused",
      diagnostic: expect.stringContaining("device revoked"),
    })
    expect(await copies("old-device")).toBe(0)
  })

  test("a service that stays away: Alice hears of the delay, and then that it was not delivered", async () => {
    const { one } = world
    await configured(one, 'delayWarning = "1ms"')
    world.cut(true)
    const id = await world.submit(alice, [BOB], mail("away", 50_000))
    await eventually("a report of the delay", async () => (await reports(alice)).length === 1)
    expect(attempts("one", id)).toMatchObject([{ outcome: "retry", status: "4.4.1" }])
    await configured(one, 'queueLifetime = "1ms"')
    await retry(one, id)
    const told = await eventually("both reports", async () => {
      const all = await reports(alice)
      return all.length === 2 ? all : null
    })
    expect(told.map((text) => /^Action: (.*)\r$/m.exec(text)?.[1])).toEqual(["delayed", "failed"])
    for (const text of told) expect(text).toContain(`Final-Recipient: rfc822; ${BOB}`)
    expect(told[1]).toMatch(/^Status: 5\.4\.7\r$/m)
    world.cut(false)
    expect(await copies("away")).toBe(0)
    await eventually("nothing is left", () => one.instance.spooled() === 0)
  })

  test("nothing of all this lies open in either data/", () => {
    for (const { instance } of [world.one, world.two])
      expect(filesShowing([join(instance.folder, "data")], [secret])).toEqual([])
  })
})

/** Serves again, with another limit. */
async function configured(gateway: MeshGateway, limit: string): Promise<void> {
  gateway.instance.configure("[limits]", `[limits]\n${limit}`)
  await gateway.instance.stop()
  await world.serve(gateway)
}

/** Delivery reports in the INBOX, opened by the device, oldest first. */
async function reports(device: Device): Promise<string[]> {
  using session = await world.reading(device)
  const found: string[] = []
  for (const uid of await session.uids()) {
    const inside = await openWithOpenssl(await session.fetch(uid, "BODY.PEEK[]"), device)
    const text = Buffer.from(inside ?? []).toString()
    if (/report-type="?delivery-status/i.test(text)) found.push(text)
  }
  return found
}
