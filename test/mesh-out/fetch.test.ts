import { once } from "node:events"
import { readdir } from "node:fs/promises"
import { connect, createServer as createTcp } from "node:net"
import { join } from "node:path"
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { digestOf } from "../../src/crypto/primitives/hash.ts"
import { fetchBulk } from "../../src/mesh-out/fetch.ts"
import type { HttpsPeers, PeerRules } from "../../src/net/https-peers.ts"
import { isBulkName, MeshBulk } from "../../src/store/mesh-bulk.ts"
import { type TemporaryFolder, temporaryFolder } from "../harness/peers.ts"
import { inPieces, joined } from "../harness/pieces.ts"
import { HOST, listening } from "./world.ts"

const NOW = new Date("2026-11-27T10:00:00Z")
const LATER = new Date("2026-12-27T10:00:00Z")
const NAME = "MAAA-BBBB-CCCC-DDDD-EEEE-FFFF-GGGG-2222-3333-4444-5555-6666-7777-ABCD"
const OCTETS = Uint8Array.from({ length: 3_000_000 }, (_, at) => (at * 7 + (at >> 8)) & 255)
const url = new URL(`https://${HOST}/.well-known/mmm/bulk/${NAME}`)
const signal = new AbortController().signal

const stack = new AsyncDisposableStack()
const pulled: string[] = []
let folder: TemporaryFolder
let from: MeshBulk
let to: MeshBulk
let site: Awaited<ReturnType<typeof listening>>

beforeAll(async () => {
  folder = stack.use(await temporaryFolder())
  from = bulkIn(folder.file("from"))
  site = stack.use(
    await listening(null, {
      find: async (name) => (isBulkName(name) ? from.published(name, NOW) : null),
      pulled: async (name) => void pulled.push(name),
    }),
  )
  await from.publish(NAME, inPieces(OCTETS, 50_000), LATER)
})
beforeEach(() => {
  to = bulkIn(folder.file(`to-${Math.floor(performance.now() * 1e3)}`))
  pulled.length = 0
})
afterAll(() => stack.disposeAsync())

function bulkIn(path: string): MeshBulk {
  return new MeshBulk({ incoming: join(path, "incoming"), published: join(path, "published") })
}
const part = () => to.part(NAME, LATER)
const peers = (rules: Partial<PeerRules> = {}): HttpsPeers => stack.use(site.peers(rules))
const fetch = (using = peers(), maxOctets = 4_000_000, at = url) => fetchBulk(at, part, maxOctets, using, signal)

async function digestOfWhole(bulk: MeshBulk): Promise<string> {
  const digest = digestOf("sha512")
  const file = await bulk.incoming(NAME, NOW)
  if (file === null) return "nothing"
  for await (const piece of file.content()) digest.update(piece)
  return Buffer.from(digest.digest()).toString("hex")
}
const wanted = (() => {
  const digest = digestOf("sha512")
  digest.update(OCTETS)
  return Buffer.from(digest.digest()).toString("hex")
})()

/** Connections to the site that end when so many octets have come through. */
async function cutting(afterOctets: number, times: number) {
  let left = times
  const relay = createTcp((client) => {
    const server = connect(site.port, "127.0.0.1")
    const cuts = left-- > 0
    let passed = 0
    client.pipe(server)
    server.on("data", (octets: Buffer) => {
      passed += octets.length
      client.write(octets)
      if (cuts && passed > afterOctets) {
        client.destroy()
        server.destroy()
      }
    })
    for (const socket of [client, server]) socket.on("error", () => undefined)
    server.on("close", () => client.destroy())
    client.on("close", () => server.destroy())
  }).listen(0, "127.0.0.1")
  await once(relay, "listening")
  stack.defer(() => void relay.close())
  return (relay.address() as { port: number }).port
}

describe("published mail", () => {
  test("is fetched whole, and its publisher knows", async () => {
    expect(await fetch()).toEqual({ kind: "whole" })
    expect(await digestOfWhole(to)).toBe(wanted)
    expect(pulled).toEqual([NAME])
  })

  test("goes on where it broke off, as often as that is, and begins nothing twice", async () => {
    const port = await cutting(500_000, 3)
    expect(await fetch(peers({ port }))).toEqual({ kind: "whole" })
    expect(await digestOfWhole(to)).toBe(wanted)
  })

  test("nothing comes: later, and what had come stays for then", async () => {
    const port = await cutting(600_000, 100)
    const using = peers({ port })
    // The publisher goes away when it has given out something.
    const first = await fetchBulk(url, part, 4_000_000, using, signal)
    expect(first.kind).toBe("whole")
    const none = await cutting(0, 100)
    to = bulkIn(folder.file("to-none"))
    expect(await fetch(peers({ port: none }))).toMatchObject({ kind: "later" })
    await (await part()).append(inPieces(OCTETS.subarray(0, 1_000_000), 65_536))
    expect(await fetch()).toEqual({ kind: "whole" })
    expect(await digestOfWhole(to)).toBe(wanted)
  })

  test("is there already, but for its name: whole", async () => {
    await (await part()).append(inPieces(OCTETS, 65_536))
    expect(await fetch()).toEqual({ kind: "whole" })
    expect(await digestOfWhole(to)).toBe(wanted)
  })

  test("its publisher takes his time: later, however long he would go on", async () => {
    const idle = createTcp((client) => void client.on("error", () => undefined)).listen(0, "127.0.0.1")
    await once(idle, "listening")
    stack.defer(() => void idle.close())
    const using = peers({ port: (idle.address() as { port: number }).port })
    const diagnostic = `${HOST}: is not through after 0.05 s`
    expect(await fetchBulk(url, part, 4_000_000, using, signal, 50)).toEqual({ kind: "later", diagnostic })
    await expect(fetchBulk(url, part, 4_000_000, using, AbortSignal.abort(new Error("ended")), 50)).rejects.toThrow(
      "ended",
    )
  })

  test("there is more than is published: it begins anew, next time", async () => {
    await (await part()).append(inPieces(new Uint8Array(OCTETS.length + 5), 65_536))
    expect(await fetch()).toMatchObject({ kind: "later" })
    expect((await part()).sizeOctets).toBe(0)
  })

  test("is longer than was stated: not taken, whoever says so", async () => {
    expect(await fetch(peers(), 1_000_000)).toMatchObject({ kind: "gone" })
    expect((await part()).sizeOctets).toBe(0)
  })

  test("is not there: gone", async () => {
    const other = new URL(url.href.replace("MAAA", "MAAB"))
    expect(await fetch(peers(), 4_000_000, other)).toMatchObject({ kind: "gone" })
  })

  test.each(["..%2f..%2fetc", "x", "MAAA", `${NAME}.part`])("%s is no name", async (name) => {
    const other = new URL(`https://${HOST}/.well-known/mmm/bulk/${name}`)
    expect(await fetch(peers(), 4_000_000, other)).toMatchObject({ kind: "gone" })
  })
})

describe("its time", () => {
  test("over: it is not given out, and swept", async () => {
    const bulk = bulkIn(folder.file("times"))
    await bulk.publish(NAME, inPieces(OCTETS.subarray(0, 10), 10), LATER)
    const after = new Date(LATER.getTime() + 1_000)
    expect(await bulk.published(NAME, after)).toBeNull()
    expect(await bulk.sweep(NOW)).toBe(0)
    expect(await bulk.sweep(after)).toBe(1)
    expect(await readdir(join(folder.file("times"), "published"))).toEqual([])
  })

  test("ends sooner once it was pulled, and never later", async () => {
    const bulk = bulkIn(folder.file("pulled"))
    await bulk.publish(NAME, inPieces(OCTETS.subarray(0, 10), 10), LATER)
    const soon = new Date(NOW.getTime() + 86_400_000)
    await bulk.pulled(NAME, soon)
    expect(await bulk.published(NAME, new Date(soon.getTime() + 1_000))).toBeNull()
    await bulk.pulled(NAME, LATER)
    expect(await bulk.published(NAME, new Date(soon.getTime() + 1_000))).toBeNull()
    expect(await bulk.published(NAME, NOW)).not.toBeNull()
  })

  test("a writer that fails leaves nothing under the name", async () => {
    const bulk = bulkIn(folder.file("failing"))
    const failing = (async function* () {
      yield OCTETS.subarray(0, 10)
      throw new Error("source")
    })()
    await expect(bulk.publish(NAME, failing, LATER)).rejects.toThrow("source")
    expect(await bulk.published(NAME, NOW)).toBeNull()
  })

  test("without a folder for it nothing is published, and nothing is found", async () => {
    const bulk = new MeshBulk({ incoming: folder.file("alone"), published: null })
    const publishing = bulk.publish(NAME, inPieces(OCTETS.subarray(0, 10), 10), LATER)
    await expect(publishing).rejects.toMatchObject({ code: "MESH_UNPUBLISHED" })
    expect(await bulk.published(NAME, NOW)).toBeNull()
    await bulk.withdraw(NAME)
    await bulk.pulled(NAME, LATER)
    expect(await bulk.sweep(NOW)).toBe(0)
  })

  test("some of it, from one octet to another", async () => {
    const file = await from.published(NAME, NOW)
    if (file === null) throw new Error("is not there")
    expect(Buffer.from(await joined(file.content(1_000, 1_010)))).toEqual(Buffer.from(OCTETS.subarray(1_000, 1_010)))
  })
})
