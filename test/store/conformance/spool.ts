import { readdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { randomOctets } from "../../../src/crypto/primitives/random.ts"
import { CHUNK_OCTETS, HEAD_OCTETS, SEALED_CHUNK_OCTETS } from "../../../src/crypto/seal/seal.ts"
import { parseAddress } from "../../../src/message/address.ts"
import type { Spool } from "../../../src/store/spool.ts"
import { type PublicHalves, SpoolKeys, SpoolPublicKeys } from "../../../src/store/spool-keys.ts"
import { newEntry } from "./new-entry.ts"

/** Text that must rest nowhere. */
export const CANARY = "canary-plaintext-of-the-message"
const DAY_MS = 86_400_000

/** What a spool needs to be opened; see the drivers' own options. */
export interface Keys {
  readonly publicKeys: SpoolPublicKeys
  /** null: a role that only accepts mail. */
  readonly privateKeys: SpoolKeys | null
  readonly now: () => Date
}

/** Where the messages of one test rest. */
export interface Place {
  /** A folder of the test's own. */
  readonly folder: string
  readonly halves: PublicHalves
  open(keys: Keys): Promise<Spool>
  /** The sealed octets of a message. */
  octets(id: string): Promise<Buffer>
  /** Puts octets where those of a message rest; makes it when there is none. */
  put(id: string, octets: Buffer): Promise<void>
  /** All that rests, of accepted messages and others. */
  everything(): Promise<readonly Buffer[]>
  close(): Promise<void>
}

/** One test's spool, with keys and a clock that the test moves. */
export interface Spooling {
  readonly place: Place
  readonly keys: SpoolKeys
  readonly spool: Spool
  clock: Date
  /** The keys that another spool at the same place is opened with. */
  with(change?: Partial<Keys>): Keys
}

/** Opens a spool at the place, with a first key. */
export async function startSpooling(place: Place, clock = new Date("2026-01-02T03:04:05.678Z")): Promise<Spooling> {
  const keys = new SpoolKeys(place.halves, join(place.folder, "secrets", "spool"))
  await keys.rotate(clock)
  const now = () => spooling.clock
  const keysFor = (change: Partial<Keys> = {}): Keys => ({
    publicKeys: new SpoolPublicKeys(place.halves, now),
    privateKeys: keys,
    now,
    ...change,
  })
  const spooling: Spooling = { place, keys, spool: await place.open(keysFor()), clock, with: keysFor }
  return spooling
}

/** Content in the pieces given. */
export async function* pieces(...all: readonly (string | Uint8Array)[]): AsyncIterable<Uint8Array> {
  for (const piece of all) yield typeof piece === "string" ? new TextEncoder().encode(piece) : piece
}

/** The content of a message; "gone" when there is none. */
export async function contentOf(spool: Spool, id: string): Promise<Buffer> {
  await using message = await spool.open(id)
  return message === null ? Buffer.from("gone") : await gather(message.content())
}

/** Ids in the spool, sorted. */
export async function idsIn(spool: Spool): Promise<string[]> {
  const ids: string[] = []
  for await (const id of spool.ids()) ids.push(id)
  return ids.toSorted()
}

async function gather(content: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const piece of content) all.push(piece)
  return Buffer.concat(all)
}

const code = (wanted: string) => expect.objectContaining({ code: wanted })

/**
 * What every spool promises.
 * @param makePlace an empty place for one test
 * @param largeMemoryOctets what a message of 50 MB may hold in buffers at once
 */
export function describeSpool(makePlace: () => Promise<Place>, largeMemoryOctets: number): void {
  let at: Spooling
  let spool: Spool
  beforeEach(async () => {
    at = await startSpooling(await makePlace())
    spool = at.spool
  })
  afterEach(async () => {
    await spool[Symbol.asyncDispose]()
    await at.place.close()
  })
  const read = (id: string, from = spool) => contentOf(from, id)
  const listed = () => idsIn(spool)
  const later = (ms: number) => {
    at.clock = new Date(at.clock.getTime() + ms)
  }

  describe("the spool", () => {
    test("asks for the entry when the content has ended, and gives back what was known then", async () => {
      let ended = false
      const content = (async function* () {
        yield* pieces("a\r\n", "b\r\n")
        ended = true
      })()
      const authentication = { field: "Authentication-Results: gateway;\r\n\tnone\r\n", quarantine: true }
      const id = await spool.write(() => (ended ? { ...newEntry(), authentication } : newEntry()), content)
      await using message = await spool.open(id)
      expect(message?.entry.authentication).toEqual(authentication)
    })

    test("gives back the alias and the chain of what is forwarded", async () => {
      const alias = parseAddress('"Sales Team"@example.test')
      const origin = { ...newEntry().origin, kind: "forward", account: null, alias } as const
      const authentication = { field: "x: y\r\n", quarantine: false, author: "a.test", chain: "pass" } as const
      const id = await spool.write({ ...newEntry(), origin, authentication }, pieces("x"))
      await using message = await spool.open(id)
      expect(message?.entry).toMatchObject({ origin, authentication })
    })

    test("gives back entry and content as they came, as often as asked", async () => {
      const id = await spool.write(newEntry(), pieces("a\r\n", "", CANARY))
      await using message = await spool.open(id)
      expect(message?.entry).toEqual({ ...newEntry(), sizeOctets: 3 + CANARY.length, seed: expect.any(Uint8Array) })
      expect(message?.entry.seed).toHaveLength(32)
      for (let time = 0; time < 2; time++)
        expect((await gather(message?.content() ?? pieces())).toString()).toBe(`a\r\n${CANARY}`)
    })

    for (const octets of [
      0,
      1,
      CHUNK_OCTETS - 1,
      CHUNK_OCTETS,
      CHUNK_OCTETS + 1,
      3 * CHUNK_OCTETS,
      9 * CHUNK_OCTETS - 1,
    ])
      test(`keeps ${octets} octets, in whatever pieces they come`, async () => {
        const content = Buffer.from(randomOctets(octets))
        const half = Math.ceil(octets / 2)
        expect((await read(await spool.write(newEntry(), pieces(content)))).equals(content)).toBe(true)
        expect(
          (await read(await spool.write(newEntry(), pieces(content.subarray(0, half), content.subarray(half))))).equals(
            content,
          ),
        ).toBe(true)
        const thirds = Array.from({ length: Math.ceil(octets / 7_001) }, (_, index) =>
          content.subarray(index * 7_001, (index + 1) * 7_001),
        )
        expect((await read(await spool.write(newEntry(), pieces(...thirds)))).equals(content)).toBe(true)
      })

    test("keeps the null sender null", async () => {
      const given = newEntry()
      await using message = await spool.open(
        await spool.write({ ...given, envelope: { ...given.envelope, sender: null } }, pieces("x")),
      )
      expect(message?.entry.envelope.sender).toBeNull()
    })

    test("lists, removes, and knows nothing of what is not there", async () => {
      const ids = [await spool.write(newEntry(), pieces("1")), await spool.write(newEntry(), pieces("2"))]
      expect(await listed()).toEqual(ids.toSorted())
      await spool.remove(ids[0] ?? "")
      await spool.remove(ids[0] ?? "")
      expect(await spool.open(ids[0] ?? "")).toBeNull()
      expect(await listed()).toEqual([ids[1]])
      for (const name of ["../spool-keys", "", "..", "UPPERCASE1", ".writing~x"]) {
        expect(await spool.open(name)).toBeNull()
        await spool.remove(name)
      }
    })

    test("its ids sort as the messages came", async () => {
      const first = await spool.write(newEntry(), pieces("1"))
      later(1)
      expect((await spool.write(newEntry(), pieces("2"))) > first).toBe(true)
    })

    test("no plaintext and no address rests anywhere", async () => {
      await spool.write(newEntry(), pieces(CANARY.repeat(50_000)))
      const everything = await at.place.everything()
      expect(everything.length).toBeGreaterThan(0)
      for (const octets of everything)
        for (const word of [CANARY, "example.test", "envelope-canary"]) expect(octets.includes(word)).toBe(false)
    })

    test("keeps the first message of an id that a repeated attempt gives", async () => {
      expect(await spool.write(newEntry(), pieces("first"), "reportabc")).toBe("reportabc")
      expect(await spool.write(newEntry(), pieces("second"), "reportabc")).toBe("reportabc")
      expect((await read("reportabc")).toString()).toBe("first")
      await expect(spool.write(newEntry(), pieces("x"), "../x")).rejects.toThrow(code("USAGE"))
    })

    test("a role with the public key alone writes what it cannot read", async () => {
      await using outside = await at.place.open(at.with({ privateKeys: null }))
      const id = await outside.write(newEntry(), pieces(CANARY))
      await expect(outside.open(id)).rejects.toThrow(code("SPOOL_KEY_MISSING"))
      expect((await read(id)).toString()).toBe(CANARY)
    })
  })

  describe("what fails leaves nothing", () => {
    test("content that breaks off comes through as it is", async () => {
      async function* broken(): AsyncIterable<Uint8Array> {
        yield randomOctets(500_000)
        throw new Error("client went away")
      }
      await expect(spool.write(newEntry(), broken())).rejects.toThrow("client went away")
      expect(await at.place.everything()).toEqual([])
    })

    test("no key yet is SPOOL_KEY_MISSING", async () => {
      for (const id of await at.place.halves.ids()) await at.place.halves.withdraw(id)
      await using outside = await at.place.open(at.with())
      await expect(outside.write(newEntry(), pieces("x"))).rejects.toThrow(code("SPOOL_KEY_MISSING"))
      expect(await at.place.everything()).toEqual([])
    })
  })

  describe("a damaged message", () => {
    async function damaged(
      octets: number,
      damage: (file: Buffer) => Buffer,
    ): Promise<{ released: number; error: unknown }> {
      const id = await spool.write(newEntry(), pieces(randomOctets(octets)))
      await at.place.put(id, damage(await at.place.octets(id)))
      let released = 0
      try {
        await using message = await spool.open(id)
        for await (const piece of message?.content() ?? pieces()) released += piece.length
        return { released, error: null }
      } catch (error) {
        return { released, error }
      }
    }
    const flip = (at: number) => (file: Buffer) => {
      file[at] = (file[at] ?? 0) ^ 0x80
      return file
    }
    const swap = (file: Buffer) => {
      const chunk = (n: number) =>
        file.subarray(HEAD_OCTETS + n * SEALED_CHUNK_OCTETS, HEAD_OCTETS + (n + 1) * SEALED_CHUNK_OCTETS)
      return Buffer.concat([
        file.subarray(0, HEAD_OCTETS),
        chunk(1),
        chunk(0),
        file.subarray(HEAD_OCTETS + 2 * SEALED_CHUNK_OCTETS),
      ])
    }
    const rows: [name: string, damage: (file: Buffer) => Buffer, releasedAtMost: number][] = [
      ["empty", () => Buffer.alloc(0), 0],
      ["cut in the head", (file) => file.subarray(0, 20), 0],
      ["cut by one octet", (file) => file.subarray(0, -1), 0],
      ["cut in the second chunk", (file) => file.subarray(0, HEAD_OCTETS + SEALED_CHUNK_OCTETS + 5), 0],
      [
        "without its second chunk",
        (file) =>
          Buffer.concat([
            file.subarray(0, HEAD_OCTETS + SEALED_CHUNK_OCTETS),
            file.subarray(HEAD_OCTETS + 2 * SEALED_CHUNK_OCTETS),
          ]),
        0,
      ],
      ["with chunks swapped", swap, 0],
      ["changed in the magic", flip(0), 0],
      ["changed in the ephemeral point", flip(30), 0],
      ["changed in the first chunk", flip(HEAD_OCTETS + 9), 0],
      ["changed in the second chunk", flip(HEAD_OCTETS + SEALED_CHUNK_OCTETS + 9), CHUNK_OCTETS],
      ["zeros", (file) => Buffer.alloc(file.length), 0],
    ]
    for (const [name, damage, releasedAtMost] of rows)
      test(`${name} is SPOOL_CORRUPT, and nothing unverified is released`, async () => {
        const { released, error } = await damaged(6 * CHUNK_OCTETS - 10, damage)
        expect(error).toEqual(code("SPOOL_CORRUPT"))
        expect(released).toBeLessThanOrEqual(releasedAtMost)
      })

    test("under another's name is SPOOL_CORRUPT", async () => {
      const id = await spool.write(newEntry(), pieces("x"))
      await at.place.put("anothername", await at.place.octets(id))
      await expect(spool.open("anothername")).rejects.toThrow(code("SPOOL_CORRUPT"))
    })

    test("sealed to a key that is gone is SPOOL_KEY_MISSING", async () => {
      const id = await spool.write(newEntry(), pieces("x"))
      rmSync(join(at.place.folder, "secrets", "spool"), { recursive: true })
      at.keys.forget()
      await expect(spool.open(id)).rejects.toThrow(code("SPOOL_KEY_MISSING"))
    })
  })

  describe("spool keys", () => {
    const secretFiles = () => readdirSync(join(at.place.folder, "secrets", "spool"))

    test("change daily, and the old one still opens what was sealed to it", async () => {
      const old = await spool.write(newEntry(), pieces("old"))
      later(DAY_MS - 1)
      await at.keys.rotate(at.clock)
      expect(secretFiles()).toHaveLength(1)
      later(1)
      await at.keys.rotate(at.clock)
      expect(secretFiles()).toHaveLength(2)
      await spool.write(newEntry(), pieces("new"))
      expect((await spool.keysInUse())?.size).toBe(2)
      expect((await read(old)).toString()).toBe("old")
    })

    test("are due for destruction a day after they were replaced, never the current one", async () => {
      expect(await at.keys.replaced(new Date(at.clock.getTime() + 10 * DAY_MS))).toEqual([])
      later(DAY_MS)
      await at.keys.rotate(at.clock)
      expect(await at.keys.replaced(new Date(at.clock.getTime() + DAY_MS - 1))).toEqual([])
      const [old] = await at.keys.replaced(new Date(at.clock.getTime() + DAY_MS))
      await at.keys.destroy([old ?? ""])
      expect(secretFiles()).toHaveLength(1)
      expect(secretFiles()).not.toContain(`${old}.key`)
      expect(await at.place.halves.ids()).toHaveLength(1)
    })

    test("a public key without its private half is not used", async () => {
      rmSync(join(at.place.folder, "secrets", "spool", secretFiles()[0] ?? ""))
      await at.keys.rotate(at.clock)
      await using fresh = await at.place.open(at.with())
      expect((await read(await fresh.write(newEntry(), pieces("x")), fresh)).toString()).toBe("x")
    })

    test("a key from a clock that ran ahead for a year does not stay current", async () => {
      await at.keys.rotate(new Date(at.clock.getTime() + 365 * DAY_MS))
      later(DAY_MS)
      await at.keys.rotate(at.clock)
      expect(secretFiles()).toHaveLength(3)
      await spool.write(newEntry(), pieces("x"))
      const used = [...((await spool.keysInUse()) ?? [])].map((id) => Number.parseInt(id.slice(0, 12), 16))
      expect(used).toEqual([at.clock.getTime()])
    })
  })

  test("a message of 50 MB needs little memory at once", async () => {
    const piece = randomOctets(100_000)
    setFlagsFromString("--expose-gc")
    const collect: () => void = runInNewContext("gc")
    collect()
    const base = process.memoryUsage().arrayBuffers
    async function* large(): AsyncIterable<Uint8Array> {
      for (let index = 0; index < 500; index++) {
        // What the collector has not seen yet is not held; ask it from time to time.
        if (index % 50 === 49) {
          collect()
          // A helper thread gives the collected buffers back, when it comes to it.
          const held = () => process.memoryUsage().arrayBuffers - base
          await expect.poll(held, { interval: 1, timeout: 2_000 }).toBeLessThan(largeMemoryOctets)
        }
        yield piece
      }
    }
    const id = await spool.write(newEntry(), large())
    await using message = await spool.open(id)
    let octets = 0
    for await (const part of message?.content() ?? pieces()) {
      octets += part.length
      expect(part.length).toBeLessThanOrEqual(CHUNK_OCTETS)
    }
    expect(octets).toBe(50_000_000)
  })
}
