import { execFileSync } from "node:child_process"
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { randomOctets } from "../../src/crypto/primitives/random.ts"
import { CHUNK_OCTETS, HEAD_OCTETS, SEALED_CHUNK_OCTETS } from "../../src/crypto/seal/seal.ts"
import { parseAddress } from "../../src/message/address.ts"
import { type FileSpoolOptions, openFileSpool } from "../../src/store/file-spool.ts"
import { FolderHalves } from "../../src/store/public-halves.ts"
import type { NewEntry, Spool } from "../../src/store/spool.ts"
import { SpoolKeys, SpoolPublicKeys } from "../../src/store/spool-keys.ts"

const DAY_MS = 86_400_000
const CANARY = "canary-plaintext-of-the-message"
let folder: string
let clock: Date
let keys: SpoolKeys
let spool: Spool

const now = () => clock
const spoolFolder = () => join(folder, "data", "spool")
const publicFolder = () => join(folder, "data", "spool-keys")

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "postern-spool-"))
  clock = new Date("2026-01-02T03:04:05.678Z")
  keys = new SpoolKeys(new FolderHalves(publicFolder()), join(folder, "secrets", "spool"))
  await keys.rotate(clock)
  spool = await openFileSpool(options())
})

afterEach(async () => {
  await spool[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

function options(change: Partial<FileSpoolOptions> = {}): FileSpoolOptions {
  return {
    folder: spoolFolder(),
    publicKeys: new SpoolPublicKeys(new FolderHalves(publicFolder()), now),
    privateKeys: keys,
    now,
    ...change,
  }
}

function entry(): NewEntry {
  return {
    envelope: {
      sender: parseAddress('"odd name"@example.test'),
      recipients: [
        {
          address: parseAddress("Bob@example.test"),
          notify: ["FAILURE", "DELAY"],
          originalRecipient: "rfc822;bob@example.test",
        },
        { address: parseAddress("bücher@bücher.test"), notify: null, originalRecipient: null },
      ],
      smtpUtf8: true,
      requireTls: true,
      envelopeId: "envelope-canary",
      returnContent: "HDRS",
    },
    origin: {
      kind: "submission",
      account: "alice@example.test",
      device: "phone",
      remote: "::1",
      helo: "client",
      tls: true,
    },
    received: "Received: from client\r\n by gateway\r\n",
    receivedAt: new Date("2026-01-02T03:04:05.678Z"),
  }
}

async function* pieces(...all: readonly (string | Uint8Array)[]): AsyncIterable<Uint8Array> {
  for (const piece of all) yield typeof piece === "string" ? new TextEncoder().encode(piece) : piece
}

async function read(id: string, from = spool): Promise<Buffer> {
  await using message = await from.open(id)
  return message === null ? Buffer.from("gone") : await gather(message.content())
}

async function gather(content: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const piece of content) all.push(piece)
  return Buffer.concat(all)
}

const module = (path: string) => JSON.stringify(join(process.cwd(), path))
const code = (wanted: string) => expect.objectContaining({ code: wanted })

describe("the spool", () => {
  test("asks for the entry when the content has ended, and gives back what was known then", async () => {
    let ended = false
    const content = (async function* () {
      yield* pieces("a\r\n", "b\r\n")
      ended = true
    })()
    const authentication = { field: "Authentication-Results: gateway;\r\n\tnone\r\n", quarantine: true }
    const id = await spool.write(() => (ended ? { ...entry(), authentication } : entry()), content)
    await using message = await spool.open(id)
    expect(message?.entry.authentication).toEqual(authentication)
  })

  test("gives back entry and content as they came, as often as asked", async () => {
    const id = await spool.write(entry(), pieces("a\r\n", "", CANARY))
    await using message = await spool.open(id)
    expect(message?.entry).toEqual({ ...entry(), sizeOctets: 3 + CANARY.length, seed: expect.any(Uint8Array) })
    expect(message?.entry.seed).toHaveLength(32)
    for (let time = 0; time < 2; time++)
      expect((await gather(message?.content() ?? pieces())).toString()).toBe(`a\r\n${CANARY}`)
  })

  for (const octets of [0, 1, CHUNK_OCTETS - 1, CHUNK_OCTETS, CHUNK_OCTETS + 1, 3 * CHUNK_OCTETS])
    test(`keeps ${octets} octets, in whatever pieces they come`, async () => {
      const content = Buffer.from(randomOctets(octets))
      const half = Math.ceil(octets / 2)
      expect((await read(await spool.write(entry(), pieces(content)))).equals(content)).toBe(true)
      expect(
        (await read(await spool.write(entry(), pieces(content.subarray(0, half), content.subarray(half))))).equals(
          content,
        ),
      ).toBe(true)
      const thirds = Array.from({ length: Math.ceil(octets / 7_001) }, (_, index) =>
        content.subarray(index * 7_001, (index + 1) * 7_001),
      )
      expect((await read(await spool.write(entry(), pieces(...thirds)))).equals(content)).toBe(true)
    })

  test("keeps the null sender null", async () => {
    const given = entry()
    await using message = await spool.open(
      await spool.write({ ...given, envelope: { ...given.envelope, sender: null } }, pieces("x")),
    )
    expect(message?.entry.envelope.sender).toBeNull()
  })

  test("lists, removes, and knows nothing of what is not there", async () => {
    const ids = [await spool.write(entry(), pieces("1")), await spool.write(entry(), pieces("2"))]
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
    const first = await spool.write(entry(), pieces("1"))
    clock = new Date(clock.getTime() + 1)
    expect((await spool.write(entry(), pieces("2"))) > first).toBe(true)
  })

  test("holds no plaintext, no address, and nothing for other users", async () => {
    const id = await spool.write(entry(), pieces(CANARY.repeat(5_000)))
    for (const name of readdirSync(spoolFolder())) {
      const octets = readFileSync(join(spoolFolder(), name))
      for (const word of [CANARY, "example.test", "envelope-canary"]) expect(octets.includes(word)).toBe(false)
    }
    expect(statSync(join(spoolFolder(), id)).mode & 0o777).toBe(0o600)
    expect(statSync(spoolFolder()).mode & 0o777).toBe(0o700)
  })

  test("keeps the first message of an id that a repeated attempt gives", async () => {
    expect(await spool.write(entry(), pieces("first"), "reportabc")).toBe("reportabc")
    expect(await spool.write(entry(), pieces("second"), "reportabc")).toBe("reportabc")
    expect((await read("reportabc")).toString()).toBe("first")
    await expect(spool.write(entry(), pieces("x"), "../x")).rejects.toThrow(code("USAGE"))
  })

  test("a role with the public key alone writes what it cannot read", async () => {
    await using outside = await openFileSpool(options({ privateKeys: null }))
    const id = await outside.write(entry(), pieces(CANARY))
    await expect(outside.open(id)).rejects.toThrow(code("SPOOL_KEY_MISSING"))
    expect((await read(id)).toString()).toBe(CANARY)
  })

  async function listed(): Promise<string[]> {
    const ids: string[] = []
    for await (const id of spool.ids()) ids.push(id)
    return ids.toSorted()
  }
})

describe("files that are written again", () => {
  let again: Spool
  const inode = (name: string) => statSync(join(spoolFolder(), name)).ino
  const names = () => readdirSync(spoolFolder())

  beforeEach(async () => {
    again = await openFileSpool(options({ reuse: true }))
  })
  afterEach(() => again[Symbol.asyncDispose]())

  test("hold the next message, whole, when the removal is durable and not before", async () => {
    const first = await again.write(entry(), pieces(CANARY, "a".repeat(5_000)))
    const used = inode(first)
    const before = readFileSync(join(spoolFolder(), first))
    await again.remove(first)
    expect(await again.open(first)).toBeNull()
    const second = await again.write(entry(), pieces("second"))
    expect(inode(second)).not.toBe(used)
    const third = await again.write(entry(), pieces("third"))
    expect(inode(third)).toBe(used)
    expect((await read(third, again)).toString()).toBe("third")
    expect(readFileSync(join(spoolFolder(), third))).toHaveLength(before.length)
    expect(names().toSorted()).toEqual([second, third].toSorted())
  })

  test("keep no key of the message that left, and none in use", async () => {
    const id = await again.write(entry(), pieces(CANARY))
    const head = readFileSync(join(spoolFolder(), id)).subarray(8, HEAD_OCTETS)
    await again.remove(id)
    const [left] = names()
    expect(readFileSync(join(spoolFolder(), left ?? "")).includes(head)).toBe(false)
    expect(await again.keysInUse()).toEqual(new Set())
  })

  test("are removed when the spool is closed", async () => {
    const ids = await Promise.all(Array.from({ length: 70 }, () => again.write(entry(), pieces("x"))))
    for (const id of ids) await again.remove(id)
    expect(names()).toHaveLength(64)
    await again[Symbol.asyncDispose]()
    expect(names()).toEqual([])
    again = await openFileSpool(options())
  })

  test("are gone, and no damage, when the remover was killed half way", async () => {
    const id = await again.write(entry(), pieces("x"))
    await again.remove(id)
    // The new name was not on the disk yet.
    renameSync(join(spoolFolder(), names()[0] ?? ""), join(spoolFolder(), id))
    expect(await spool.open(id)).toBeNull()
    expect(names()).toEqual([])
  })

  test("are not made of large messages", async () => {
    const id = await again.write(entry(), pieces(randomOctets(100_000)))
    await again.remove(id)
    expect(names()).toEqual([])
  })
})

describe("what fails leaves nothing", () => {
  test("content that breaks off comes through as it is", async () => {
    async function* broken(): AsyncIterable<Uint8Array> {
      yield randomOctets(200_000)
      throw new Error("client went away")
    }
    await expect(spool.write(entry(), broken())).rejects.toThrow("client went away")
    expect(readdirSync(spoolFolder())).toEqual([])
  })

  test("a disk that refuses is SPOOL_FULL", async () => {
    rmSync(spoolFolder(), { recursive: true })
    await expect(spool.write(entry(), pieces("x"))).rejects.toThrow(code("SPOOL_FULL"))
    mkdirSync(spoolFolder())
  })

  test("a disk that is full half way is SPOOL_FULL, and the next message that fits is taken", () => {
    const source = `
      import { readdirSync } from "node:fs"
      import { openFileSpool } from ${module("src/store/file-spool.ts")}
      import { FolderHalves } from ${module("src/store/public-halves.ts")}
      import { SpoolPublicKeys } from ${module("src/store/spool-keys.ts")}
      const now = () => new Date(${clock.getTime()})
      const folder = ${JSON.stringify(spoolFolder())}
      const publicKeys = new SpoolPublicKeys(new FolderHalves(${JSON.stringify(publicFolder())}), now)
      const spool = await openFileSpool({ folder, publicKeys, privateKeys: null, now })
      const entry = { envelope: { sender: null, recipients: [], smtpUtf8: false, envelopeId: null, returnContent: null },
        origin: { kind: "mx", account: null, device: null, remote: "", helo: "", tls: false }, received: "", receivedAt: now() }
      async function* content(pieces) { for (let n = 0; n < pieces; n++) yield new Uint8Array(50_000) }
      const full = await spool.write(entry, content(20)).catch((error) => error)
      console.log(full.code, full.cause.code, readdirSync(folder).length)
      await spool.write(entry, content(1))
      console.log(readdirSync(folder).length)`
    // A limit on file sizes (in KiB) stands in for the end of the disk: it comes in the middle of a write, too.
    const command = 'ulimit -f 300; exec "$0" --input-type=module-typescript --eval "$1"'
    const out = execFileSync("bash", ["-c", command, process.execPath, source], { encoding: "utf8" })
    expect(out).toBe("SPOOL_FULL EFBIG 0\n1\n")
  })

  test("no key yet is SPOOL_KEY_MISSING", async () => {
    const publicKeys = new SpoolPublicKeys(new FolderHalves(join(folder, "nowhere")), now)
    await using outside = await openFileSpool(options({ publicKeys }))
    await expect(outside.write(entry(), pieces("x"))).rejects.toThrow(code("SPOOL_KEY_MISSING"))
    expect(readdirSync(spoolFolder())).toEqual([])
  })
})

describe("a damaged file", () => {
  async function damaged(
    octets: number,
    damage: (file: Buffer) => Buffer,
  ): Promise<{ released: number; error: unknown }> {
    const id = await spool.write(entry(), pieces(randomOctets(octets)))
    const path = join(spoolFolder(), id)
    writeFileSync(path, damage(readFileSync(path)))
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
      const { released, error } = await damaged(3 * CHUNK_OCTETS - 10, damage)
      expect(error).toEqual(code("SPOOL_CORRUPT"))
      expect(released).toBeLessThanOrEqual(releasedAtMost)
    })

  test("under another's name is SPOOL_CORRUPT", async () => {
    const id = await spool.write(entry(), pieces("x"))
    writeFileSync(join(spoolFolder(), "anothername"), readFileSync(join(spoolFolder(), id)))
    await expect(spool.open("anothername")).rejects.toThrow(code("SPOOL_CORRUPT"))
  })

  test("sealed to a key that is gone is SPOOL_KEY_MISSING", async () => {
    const id = await spool.write(entry(), pieces("x"))
    await keys.destroy([...((await spool.keysInUse()) ?? [])])
    await expect(spool.open(id)).rejects.toThrow(code("SPOOL_KEY_MISSING"))
  })
})

describe("files of killed writers", () => {
  test("are removed at the start; those of living ones, and new ones of other hosts, stay", async () => {
    const name = (process: string) => join(spoolFolder(), `.writing~${process}~someidxx`)
    const own = readdirSync(spoolFolder())
    expect(own).toEqual([])
    const host = (await import("node:os")).hostname()
    const living = (await import("../../src/store/process.ts")).thisProcess().replaceAll("/", "~")
    for (const process of [
      `${host}~99999999~1`,
      `${host}~${globalThis.process.pid}~1`,
      living,
      "elsewhere~1~1",
      "elsewhere~2~2",
    ])
      writeFileSync(name(process), "half")
    const old = new Date(clock.getTime() - 2 * DAY_MS)
    utimesSync(name("elsewhere~2~2"), old, old)
    clock = new Date(Date.now())
    await using again = await openFileSpool(options())
    expect(readdirSync(spoolFolder()).toSorted()).toEqual(
      [`.writing~${living}~someidxx`, ".writing~elsewhere~1~1~someidxx"].toSorted(),
    )
    expect(await again.keysInUse()).toBeNull()
  })
})

describe("spool keys", () => {
  const secretFiles = () => readdirSync(join(folder, "secrets", "spool"))
  const later = (ms: number) => {
    clock = new Date(clock.getTime() + ms)
  }

  test("change daily, and the old one still opens what was sealed to it", async () => {
    const old = await spool.write(entry(), pieces("old"))
    later(DAY_MS - 1)
    await keys.rotate(clock)
    expect(secretFiles()).toHaveLength(1)
    later(1)
    await keys.rotate(clock)
    expect(secretFiles()).toHaveLength(2)
    await spool.write(entry(), pieces("new"))
    expect((await spool.keysInUse())?.size).toBe(2)
    expect((await read(old)).toString()).toBe("old")
  })

  test("are due for destruction a day after they were replaced, never the current one", async () => {
    expect(await keys.replaced(new Date(clock.getTime() + 10 * DAY_MS))).toEqual([])
    later(DAY_MS)
    await keys.rotate(clock)
    expect(await keys.replaced(new Date(clock.getTime() + DAY_MS - 1))).toEqual([])
    const [old] = await keys.replaced(new Date(clock.getTime() + DAY_MS))
    await keys.destroy([old ?? ""])
    expect(secretFiles()).toHaveLength(1)
    expect(secretFiles()).not.toContain(`${old}.key`)
    expect(readdirSync(publicFolder())).toHaveLength(1)
  })

  test("a public key without its private half is not used", async () => {
    rmSync(join(folder, "secrets", "spool", secretFiles()[0] ?? ""))
    await keys.rotate(clock)
    await using fresh = await openFileSpool(options())
    expect((await read(await fresh.write(entry(), pieces("x")), fresh)).toString()).toBe("x")
  })

  test("a key from a clock that ran ahead for a year does not stay current", async () => {
    await keys.rotate(new Date(clock.getTime() + 365 * DAY_MS))
    later(DAY_MS)
    await keys.rotate(clock)
    expect(secretFiles()).toHaveLength(3)
    await spool.write(entry(), pieces("x"))
    const used = [...((await spool.keysInUse()) ?? [])].map((id) => Number.parseInt(id.slice(0, 12), 16))
    expect(used).toEqual([clock.getTime()])
  })
})

test("a message of 50 MB needs less than 2 MB of memory at once", async () => {
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
        await expect.poll(held, { interval: 1, timeout: 2_000 }).toBeLessThan(2_000_000)
      }
      yield piece
    }
  }
  const id = await spool.write(entry(), large())
  await using message = await spool.open(id)
  let octets = 0
  for await (const part of message?.content() ?? pieces()) {
    octets += part.length
    expect(part.length).toBeLessThanOrEqual(CHUNK_OCTETS)
  }
  expect(octets).toBe(50_000_000)
})
