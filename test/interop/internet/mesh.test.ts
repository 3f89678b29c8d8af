import { readFileSync } from "node:fs"
import { createServer } from "node:https"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { filesShowing, makeCanary, shows } from "../../harness/canary.ts"
import { eventually } from "../../harness/instance.ts"
import { ALICE, BOB, type Device, events, MeshWorld, meshWorldPossible, ONE, retry, TWO } from "./mesh-world.ts"

const ANNA = `anna@${ONE.domain}`
const CLARA = `clara@${TWO.domain}`
const OLGA = `olga@${ONE.domain}`
const NOBODY = `nobody@${TWO.domain}`
const secret = makeCanary()

const stack = new AsyncDisposableStack()
let world: MeshWorld
let alice: Device
let anna: Device
let bob: Device
/** They read with OpenPGP, and have nothing for S/MIME. */
let clara: Device
let olga: Device

beforeAll(async () => {
  if (!meshWorldPossible) return
  world = stack.use(
    await MeshWorld.start({
      configured: (instance) => instance.configure('subject = "clear"', 'subject = "clear"\nheaders = "hidden"'),
    }),
  )
  await world.one.instance.must("account", "add", ALICE, "--name", "Alice")
  await world.one.instance.must("account", "add", ANNA)
  await world.two.instance.must("account", "add", BOB, "--name", "Bob")
  await world.two.instance.must("account", "add", CLARA, "--format", "openpgp")
  await world.one.instance.must("account", "add", OLGA, "--format", "openpgp")
  alice = await world.one.instance.device(ALICE, "laptop")
  anna = await world.one.instance.device(ANNA, "laptop")
  bob = await world.two.instance.device(BOB, "laptop")
  clara = await world.two.instance.device(CLARA, "laptop")
  olga = await world.one.instance.device(OLGA, "laptop")
  await world.serve()
}, 120_000)
afterAll(() => stack.disposeAsync())

function mail(name: string, from: string, to: string, sizeOctets: number): Buffer {
  const head =
    `From: ${from}\r\nTo: ${to}\r\nSubject: ${secret.text} ${name}\r\nDate: Fri, 27 Nov 2026 02:00:00 +0000\r\n` +
    `Message-ID: <${name}@${ONE.domain}>\r\nContent-Type: text/plain\r\n\r\n`
  const line = `${secret.text} 0123456789\r\n`
  return Buffer.from(head + line.repeat(Math.ceil((sizeOctets - head.length) / line.length)))
}

const attempt = (id: string, recipient: string) =>
  eventually(`attempt at ${recipient}`, () =>
    events(world.one, "mail.attempt").find((one) => one["id"] === id && one["recipient"] === recipient),
  )

describe.skipIf(!meshWorldPossible)("mail from one gateway to another, over the Mesh", () => {
  test.each([
    ["one", 1_000],
    ["ten", 10_000],
    ["thirty-two", 32_000],
    ["thirty-three", 33_000],
    ["a thousand", 1_000_000],
  ])("%s KB: Bob's device reads what Alice's sent", async (name, sizeOctets) => {
    const id = name.replace(" ", "-")
    const octets = mail(id, `Alice <${ALICE}>`, BOB, sizeOctets)
    await attempt(await world.submit(alice, [BOB], octets), BOB)
    const { octets: served, inside } = await world.inMailbox(bob, `<${id}@${ONE.domain}>`)
    const body = octets.subarray(octets.indexOf("\r\n\r\n"))
    expect(inside.subarray(inside.indexOf("\r\n\r\n")).equals(body)).toBe(true)
    expect(inside.toString()).toContain(`Subject: ${secret.text} ${id}`)
    const header = served
      .subarray(0, served.indexOf("\r\n\r\n"))
      .toString()
      .replace(/\r\n\s+/g, " ")
    expect(header).toMatch(
      /^Authentication-Results: mail\.two\.test; mesh=pass .*header\.from=alice@one\.test .*policy\.via=gateway/m,
    )
    expect(header).toContain("Subject: [...]")
  })

  test.each([
    ["pgp-ten", 10_000, "Clara", () => clara, "two"],
    ["pgp-forty", 40_000, "Clara", () => clara, "two"],
    ["pgp-thousand", 1_000_000, "Clara", () => clara, "two"],
    ["pgp-colleague", 10_000, "a colleague", () => olga, "one"],
  ])(
    "%s, %d octets as PGP/MIME: %s, with OpenPGP alone, reads it with GnuPG",
    async (id, sizeOctets, _who, device, at) => {
      const { address } = device()
      const octets = mail(id, `Alice <${ALICE}>`, address, sizeOctets)
      await world.submit(alice, [address], octets)
      const { octets: served, inside } = await world.inMailbox(device(), `<${id}@${ONE.domain}>`)
      expect(inside.subarray(inside.indexOf("\r\n\r\n")).equals(octets.subarray(octets.indexOf("\r\n\r\n")))).toBe(true)
      const header = served.subarray(0, served.indexOf("\r\n\r\n")).toString()
      expect(header).toMatch(new RegExp(`^Authentication-Results: mail\\.${at}\\.test;\\s+mesh=pass`, "m"))
      expect(header).toContain("multipart/encrypted")
    },
  )

  test("what was whole went straight into the mailbox, what had to be fetched through the queue, and the record has all of it", async () => {
    const { folder } = world.two.instance
    using state = new DatabaseSync(join(folder, "data", "state.db"), { readOnly: true })
    const kept = state.prepare("SELECT count(keeper) AS atOnce, count(*) AS mails FROM mesh_mail").get()
    expect({ ...kept }).toEqual({ atOnce: 3, mails: 8 })
    using queue = new DatabaseSync(join(folder, "data", "queue.db"), { readOnly: true })
    const record = queue.prepare("SELECT outcome, count(*) AS lines FROM audit GROUP BY outcome ORDER BY outcome")
    const lines = () => record.all().map((row) => ({ ...row }))
    await expect.poll(lines).toEqual([
      { outcome: "done", lines: 8 },
      { outcome: "queued", lines: 8 },
    ])
  })

  test("was seen by nobody between them, lies open in neither data/, and is in neither log", async () => {
    expect(world.tapped.length).toBeGreaterThan(0)
    expect(shows(Buffer.concat(world.tapped), secret)).toBe(false)
    for (const { instance } of [world.one, world.two]) {
      expect(filesShowing([join(instance.folder, "data")], [secret])).toEqual([])
      expect(shows(instance.log, secret)).toBe(false)
    }
  })

  test("a colleague's mail takes the same way without leaving", async () => {
    await world.submit(alice, [ANNA], mail("colleague", ALICE, ANNA, 40_000))
    const { octets: served, inside } = await world.inMailbox(anna, `<colleague@${ONE.domain}>`)
    expect(inside.toString()).toContain(secret.text)
    expect(served.toString()).toMatch(/Authentication-Results: mail\.one\.test;\s+mesh=pass/)
  })

  test("one submission to a colleague, to Bob and to nobody is split, and the same headers are seen by all", async () => {
    const octets = mail("split", ALICE, `${ANNA}, ${BOB}`, 2_000)
    const id = await world.submit(alice, [ANNA, BOB, NOBODY], octets)
    const [annas, bobs] = [
      await world.inMailbox(anna, `<split@${ONE.domain}>`),
      await world.inMailbox(bob, `<split@${ONE.domain}>`),
    ]
    const to = `To: ${ANNA}, ${BOB}`
    for (const { inside, octets: served } of [annas, bobs]) {
      expect(inside.toString()).toContain(to)
      expect(served.toString()).toContain(to)
    }
    expect(await attempt(id, NOBODY)).toBeDefined()
  })

  test("long mail that its publisher cannot find for a while is fetched when it is there again", async () => {
    const { instance } = world.two
    const [cert, key] = ["server.pem", "server.key"].map((file) => readFileSync(join(instance.folder, "tls", file)))
    const misled = createServer({ cert, key }, (_request, response) => void response.writeHead(404).end())
    world.impersonate(misled)
    await world.submit(bob, [ALICE], mail("misled", BOB, ALICE, 100_000))
    const missed = await eventually("an attempt", () =>
      events(world.one, "mail.attempt").find((one) => String(one["diagnostic"]).includes("published mail: HTTP 404")),
    )
    expect(missed).toMatchObject({ outcome: "retry", recipient: ALICE })
    world.impersonate(null)
    await retry(world.one, String(missed["id"]))
    expect((await world.inMailbox(alice, `<misled@${ONE.domain}>`)).inside.toString()).toContain(secret.text)
  })

  test("a gateway that is away: the mail waits, and comes when it is back", async () => {
    world.cut(true)
    const id = await world.submit(alice, [BOB], mail("away", ALICE, BOB, 1_000))
    expect(await attempt(id, BOB)).toMatchObject({ outcome: "retry" })
    world.cut(false)
    await retry(world.one, id)
    const { inside } = await world.inMailbox(bob, `<away@${ONE.domain}>`)
    expect(inside.toString()).toContain(secret.text)
  })
})
