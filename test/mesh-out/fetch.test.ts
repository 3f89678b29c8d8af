import { once } from "node:events"
import { readdir } from "node:fs/promises"
import { connect, createServer as createTcp } from "node:net"
import { join } from "node:path"
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { digestOf, sha512 } from "../../src/crypto/primitives/hash.ts"
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
const coming = (using = peers(), maxOctets = 4_000_000, at = url, limitMs?: number, until = signal) =>
  fetchBulk({ url: at, part, maxOctets, peers: using, passingMs: 0 }, until, limitMs)
/** The same for one reading, of which nothing is kept that comes within this time. */
const passing = (using = peers(), passingMs = 60_000) =>
  fetchBulk({ url, part, maxOctets: 4_000_000, peers: using, passingMs }, signal)
/** Digest of what has come by the end, both as it passed and as it was kept. */
async function fetch(...how: Parameters<typeof coming>): Promise<string> {
  const passed = await digestOfAll(coming(...how))
  expect(await digestOfWhole(to)).toBe(passed)
  return passed
}

async function digestOfAll(content: AsyncIterable<Uint8Array>): Promise<string> {
  const digest = digestOf("sha512")
  for await (const piece of content) digest.update(piece)
  return Buffer.from(digest.digest()).toString("hex")
}

async function digestOfWhole(bulk: MeshBulk): Promise<string> {
  const file = await bulk.incoming(NAME, NOW)
  return file === null ? "nothing" : digestOfAll(file.content())
}
const wanted = Buffer.from(sha512(OCTETS)).toString("hex")

/** What came before, of an attempt that was killed. */
async function came(octets: Uint8Array, from = 0): Promise<void> {
  await digestOfAll((await part()).keep(inPieces(octets, 65_536), from))
}

/** Somebody who gives out the whole or what is asked for, and says what was. */
function publisher(asked: (string | undefined)[], answer = ranged) {
  const ask = async ({ fields }: { fields?: Readonly<Record<string, string>> }) => {
    const range = fields?.["range"]
    asked.push(range)
    return { discard: () => undefined, ...answer(range) }
  }
  return { ask } as unknown as HttpsPeers
}

function whole() {
  return { status: 200, headers: { "content-length": String(OCTETS.length) }, body: inPieces(OCTETS, 30_000) }
}

function ranged(range: string | undefined) {
  const [, from, last] = /^bytes=(\d+)-(\d*)$/.exec(range ?? "") ?? []
  if (from === undefined) return whole()
  const end = last === "" ? OCTETS.length : Number(last) + 1
  const headers = { "content-range": `bytes ${from}-${end - 1}/${OCTETS.length}` }
  return { status: 206, headers, body: inPieces(OCTETS.subarray(Number(from), end), 30_000) }
}

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
    expect(await fetch()).toBe(wanted)
    expect(pulled).toEqual([NAME])
  })

  test("is fetched when it has as many octets as it may", async () => {
    expect(await fetch(peers(), OCTETS.length)).toBe(wanted)
  })

  test("goes on where it broke off, as often as that is, and begins nothing twice", async () => {
    const port = await cutting(500_000, 3)
    expect(await fetch(peers({ port }))).toBe(wanted)
  })

  test("nothing comes: later", async () => {
    const port = await cutting(0, 100)
    await expect(fetch(peers({ port }))).rejects.toMatchObject({ code: "MESH_LATER" })
  })

  test("what had come stays, and stands before the rest", async () => {
    await came(OCTETS.subarray(0, 1_000_000))
    expect(await fetch()).toBe(wanted)
  })

  test("what has come by the time that it breaks off is kept to the last octet", async () => {
    const breaking = (async function* () {
      yield OCTETS.subarray(0, 400_000)
      yield OCTETS.subarray(400_000, 500_001)
      throw new Error("broken")
    })()
    const passed: Uint8Array[] = []
    const keeping = async () => {
      for await (const piece of (await part()).keep(breaking, 0)) passed.push(piece)
    }
    await expect(keeping()).rejects.toThrow("broken")
    expect([Buffer.concat(passed).length, (await part()).endOctets]).toEqual([500_001, 500_001])
  })

  test("whoever reads it stops: what has come stays for the next", async () => {
    for await (const piece of coming()) if (piece.length > 0) break
    expect((await part()).endOctets).toBeGreaterThan(0)
    expect(await fetch()).toBe(wanted)
  })

  test("its publisher knows no ranges: what came before is not taken twice", async () => {
    await came(OCTETS.subarray(0, 1_000_000))
    const asked: (string | undefined)[] = []
    const using = {
      ask: async ({ fields }: { fields?: Readonly<Record<string, string>> }) => {
        asked.push(fields?.["range"])
        return {
          status: 200,
          headers: { "content-length": String(OCTETS.length) },
          body: inPieces(OCTETS, 30_000),
          discard: () => undefined,
        }
      },
    } as unknown as HttpsPeers
    expect(await fetch(using)).toBe(wanted)
    expect(asked).toEqual(["bytes=1000000-"])
  })

  test("has more octets than its publisher said: those are not taken", async () => {
    await came(OCTETS.subarray(0, 1_000_000))
    const total = OCTETS.length
    let asked = 0
    const ask = async () => {
      const range = `bytes ${asked++ === 0 ? `1000000-${total - 1}` : "*"}/${total}`
      const body = inPieces(Buffer.concat([OCTETS.subarray(1_000_000), new Uint8Array(10)]), 100_000)
      return { status: asked === 1 ? 206 : 416, headers: { "content-range": range }, body, discard: () => undefined }
    }
    expect(await fetch({ ask } as unknown as HttpsPeers)).toBe(wanted)
  })

  test("is there already, but for its name: whole", async () => {
    await came(OCTETS)
    expect(await fetch()).toBe(wanted)
  })

  test("its publisher takes his time: later, however long he would go on", async () => {
    const idle = createTcp((client) => void client.on("error", () => undefined)).listen(0, "127.0.0.1")
    await once(idle, "listening")
    stack.defer(() => void idle.close())
    const using = peers({ port: (idle.address() as { port: number }).port })
    const waiting = (until: AbortSignal) => digestOfAll(coming(using, 4_000_000, url, 50, until))
    await expect(waiting(signal)).rejects.toMatchObject({
      code: "MESH_LATER",
      message: `${HOST}: is not through after 0.05 s`,
    })
    await expect(waiting(AbortSignal.abort(new Error("ended")))).rejects.toThrow("ended")
  })

  test("there is more than is published: it begins anew, next time", async () => {
    await came(new Uint8Array(OCTETS.length + 5))
    await expect(fetch()).rejects.toMatchObject({ code: "MESH_LATER" })
    expect((await part()).endOctets).toBe(0)
  })

  test("is longer than was stated: not taken, whoever says so", async () => {
    await expect(fetch(peers(), 1_000_000)).rejects.toMatchObject({ code: "MESH_GONE" })
    expect((await part()).endOctets).toBe(0)
  })

  test("is not there: missing, which may pass, and what had come stays", async () => {
    await came(OCTETS.subarray(0, 1_000))
    const other = new URL(url.href.replace("MAAA", "MAAB"))
    await expect(digestOfAll(coming(peers(), 4_000_000, other))).rejects.toMatchObject({
      code: "MESH_MISSING",
      message: `${HOST}: published mail: HTTP 404`,
    })
    expect((await part()).endOctets).toBe(1_000)
  })

  test.each([
    [404, "MESH_MISSING"],
    [410, "MESH_GONE"],
    [403, "MESH_LATER"],
    [503, "MESH_LATER"],
  ])("HTTP %s: %s, also when it was there a moment ago", async (status, code) => {
    const answering = (first: number) => {
      let asked = 0
      const ask = async () => {
        const headers = { "content-length": String(OCTETS.length) }
        // The first breaks off.
        const body = inPieces(OCTETS.subarray(0, 70_000), 30_000)
        return { status: asked++ < first ? 200 : status, headers, body, discard: () => undefined }
      }
      return { ask } as unknown as HttpsPeers
    }
    for (const first of [0, 1]) await expect(digestOfAll(coming(answering(first)))).rejects.toMatchObject({ code })
  })

  test("was not what it should be: all of it is let go", async () => {
    await came(OCTETS.subarray(0, 1_000))
    await to.discard(NAME)
    expect((await part()).endOctets).toBe(0)
    await fetch()
    await to.discard(NAME)
    expect(await to.incoming(NAME, NOW)).toBeNull()
  })

  test.each(["..%2f..%2fetc", "x", "MAAA", `${NAME}.part`])("%s is no name", async (name) => {
    const other = new URL(`https://${HOST}/.well-known/mmm/bulk/${name}`)
    await expect(fetch(peers(), 4_000_000, other)).rejects.toMatchObject({ code: "MESH_MISSING" })
  })
})

describe("published mail that is read once", () => {
  test("and comes soon is not kept", async () => {
    expect(await digestOfAll(passing())).toBe(wanted)
    expect([(await part()).endOctets, await to.incoming(NAME, NOW)]).toEqual([0, null])
    expect(pulled).toEqual([NAME])
  })

  test("goes on where it broke off, without having been kept", async () => {
    const port = await cutting(500_000, 3)
    expect(await digestOfAll(passing(peers({ port })))).toBe(wanted)
    expect((await part()).endOctets).toBe(0)
  })

  test("and comes slowly is kept from then on, for the next attempt", async () => {
    let isBroken = false
    const slow = (range: string | undefined) => {
      const { body, ...answer } = ranged(range)
      async function* octets() {
        let count = 0
        for await (const piece of body) {
          // The clock is the machine's: by the third piece the time is over.
          for (const since = performance.now(); count === 2 && performance.now() - since < 60; );
          if (count++ === 5 && !isBroken) {
            isBroken = true
            throw new Error("the attempt is over")
          }
          yield piece
        }
      }
      return { ...answer, body: octets() }
    }
    await expect(digestOfAll(passing(publisher([], slow), 50))).rejects.toThrow("the attempt is over")
    expect(await part()).toMatchObject({ startOctets: 90_000, endOctets: 150_000 })
    const asked: (string | undefined)[] = []
    expect(await digestOfAll(passing(publisher(asked), 50))).toBe(wanted)
    expect(asked).toEqual(["bytes=0-89999", "bytes=150000-"])
    expect(await part()).toMatchObject({ startOctets: 90_000, endOctets: OCTETS.length })
    await to.discard(NAME)
    expect((await part()).endOctets).toBe(0)
  })

  test("its publisher knows no ranges: what was kept is not taken twice", async () => {
    await came(OCTETS.subarray(1_000_000, 2_000_000), 1_000_000)
    const asked: (string | undefined)[] = []
    expect(await digestOfAll(passing(publisher(asked, whole)))).toBe(wanted)
    expect(asked).toEqual(["bytes=0-999999", "bytes=2000000-"])
  })

  test("what was kept of its middle serves whoever reads it again, too, who keeps what he can", async () => {
    await came(OCTETS.subarray(1_000_000, 2_000_000), 1_000_000)
    expect(await digestOfAll(coming(publisher([])))).toBe(wanted)
    expect(await digestOfAll(coming(publisher([])))).toBe(wanted)
  })

  test("its publisher gives out less than was asked for: he is asked for the rest", async () => {
    await came(OCTETS.subarray(1_000_000, 2_000_000), 1_000_000)
    const asked: (string | undefined)[] = []
    const meagre = (range: string | undefined) => {
      const from = Number(/^bytes=(\d+)-/.exec(range ?? "")?.[1] ?? 0)
      return ranged(`bytes=${from}-${Math.min(from + 700_000, OCTETS.length) - 1}`)
    }
    expect(await digestOfAll(passing(publisher(asked, meagre)))).toBe(wanted)
    expect(asked).toEqual(["bytes=0-999999", "bytes=700000-999999", "bytes=2000000-", "bytes=2700000-"])
  })

  test("what was kept of it is all that its publisher says there is: later, and not for ever", async () => {
    await came(OCTETS.subarray(1_000_000, 2_000_000), 1_000_000)
    const nothing = () => ({ status: 416, headers: { "content-range": "bytes */0" }, body: inPieces(OCTETS, 30_000) })
    await expect(digestOfAll(passing(publisher([], nothing)))).rejects.toMatchObject({ code: "MESH_LATER" })
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

  test("what is just being fetched is not swept, what nobody goes on with is", async () => {
    const bulk = bulkIn(folder.file("coming"))
    for await (const _ of (await bulk.part(NAME, NOW)).keep(inPieces(OCTETS.subarray(0, 10), 10), 0));
    expect(await bulk.sweep(new Date(NOW.getTime() + 60_000))).toBe(0)
    expect(await bulk.sweep(new Date(NOW.getTime() + 90_000_000))).toBe(1)
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
