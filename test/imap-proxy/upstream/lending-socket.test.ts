import { once } from "node:events"
import { type AddressInfo, createServer, type Server, type Socket } from "node:net"
import { setImmediate as turn } from "node:timers/promises"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { OctetSource, type Take } from "../../../src/imap-proxy/octets.ts"
import { lendingSocket } from "../../../src/imap-proxy/upstream/lending-socket.ts"

const BUFFER_OCTETS = 1024
const LARGE = Buffer.from(Array.from({ length: 500_000 }, (_, index) => index % 251))

let server: Server
let buffer: Uint8Array
let open: Socket[]

beforeEach(async () => {
  open = []
  buffer = new Uint8Array(BUFFER_OCTETS)
  server = createServer({ noDelay: true, allowHalfOpen: true })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
})

afterEach(() => {
  for (const socket of open) socket.destroy()
  server.close()
})

/** Both ends of a connection: ours lends. */
async function pair(): Promise<{ readonly ours: ReturnType<typeof lendingSocket>; readonly theirs: Socket }> {
  const accepted = once(server, "connection") as Promise<[Socket]>
  const ours = lendingSocket({ port: (server.address() as AddressInfo).port, host: "127.0.0.1" }, buffer)
  const [theirs] = await accepted
  for (const socket of [ours, theirs]) open.push(socket.on("error", () => undefined))
  return { ours, theirs }
}

/** Keeps what it is given, by copying. */
function keeping(): { readonly take: Take; readonly octets: () => Buffer } {
  const kept: Uint8Array[] = []
  const take: Take = (octets) => {
    kept.push(Uint8Array.from(octets))
    return null
  }
  return { take, octets: () => Buffer.concat(kept) }
}

describe("a socket that lends", () => {
  test("is a stream as any other until then, and what came before is given first", async () => {
    const { ours, theirs } = await pair()
    const source = new OctetSource(ours)
    theirs.write("one")
    expect(Buffer.from((await source.read()) ?? [])).toEqual(Buffer.from("one"))
    theirs.write(LARGE)
    // More than the stream's own buffer holds: reading has stopped.
    while (ours.readableLength < ours.readableHighWaterMark) await turn()
    const { take, octets } = keeping()
    const fed = source.feed(take)
    theirs.end("last")
    await fed
    expect(octets().equals(Buffer.concat([LARGE, Buffer.from("last")]))).toBe(true)
  })

  test("gives everything in the memory it was made with, which several share", async () => {
    const pairs = [await pair(), await pair()]
    const kept = pairs.map(() => keeping())
    const memory = new Set<ArrayBufferLike>()
    const fed = pairs.map(({ ours }, index) =>
      new OctetSource(ours).feed((octets) => {
        memory.add(octets.buffer)
        return kept[index]?.take(octets) ?? null
      }),
    )
    for (const { theirs } of pairs) theirs.end(LARGE)
    await Promise.all(fed)
    for (const { octets } of kept) expect(octets().equals(LARGE)).toBe(true)
    expect([...memory]).toEqual([buffer.buffer])
  })

  test("reads no more while it is waited for", async () => {
    const { ours, theirs } = await pair()
    const { promise, resolve } = Promise.withResolvers<void>()
    let received = 0
    const fed = new OctetSource(ours).feed((octets) => {
      received += octets.length
      return received === octets.length ? promise : null
    })
    theirs.end(LARGE)
    while (received === 0) await turn()
    for (let turns = 0; turns < 100; turns += 1) await turn()
    expect(received).toBeLessThanOrEqual(BUFFER_OCTETS)
    resolve()
    await fed
    expect(received).toBe(LARGE.length)
  })

  test("tells what the taker throws, at once or later, and gives no more", async () => {
    for (const fail of [
      () => {
        throw new Error("no")
      },
      () => Promise.reject(new Error("no")),
    ]) {
      const { ours, theirs } = await pair()
      let given = 0
      const fed = new OctetSource(ours).feed(() => {
        given += 1
        return fail()
      })
      theirs.write(LARGE)
      await expect(fed).rejects.toThrow("no")
      for (let turns = 0; turns < 100; turns += 1) await turn()
      expect(given).toBe(1)
    }
  })

  test("ends with the peer's end, its loss, and its own", async () => {
    for (const end of [
      ({ theirs }: Awaited<ReturnType<typeof pair>>) => theirs.end(),
      ({ theirs }: Awaited<ReturnType<typeof pair>>) => theirs.resetAndDestroy(),
      ({ ours }: Awaited<ReturnType<typeof pair>>) => ours.destroy(),
    ]) {
      const both = await pair()
      const { take, octets } = keeping()
      const fed = new OctetSource(both.ours).feed(take)
      both.theirs.write("x")
      while (octets().length === 0) await turn()
      end(both)
      await fed
      expect(octets().toString()).toBe("x")
    }
  })
})
