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
import { hostname, tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { randomOctets } from "../../src/crypto/primitives/random.ts"
import { HEAD_OCTETS } from "../../src/crypto/seal/seal.ts"
import { openFileSpool } from "../../src/store/file-spool.ts"
import { thisProcess } from "../../src/store/process.ts"
import { FolderHalves } from "../../src/store/public-halves.ts"
import type { Spool } from "../../src/store/spool.ts"
import { newEntry } from "./conformance/new-entry.ts"
import {
  CANARY,
  contentOf,
  describeSpool,
  type Place,
  pieces,
  type Spooling,
  startSpooling,
} from "./conformance/spool.ts"

const DAY_MS = 86_400_000
const spoolIn = (folder: string) => join(folder, "data", "spool")

async function makePlace(): Promise<Place> {
  const folder = mkdtempSync(join(tmpdir(), "postern-spool-"))
  const path = (id: string) => join(spoolIn(folder), id)
  return {
    folder,
    halves: new FolderHalves(join(folder, "data", "spool-keys")),
    open: (keys) => openFileSpool({ folder: spoolIn(folder), ...keys }),
    octets: async (id) => readFileSync(path(id)),
    put: async (id, octets) => writeFileSync(path(id), octets),
    everything: async () => readdirSync(spoolIn(folder)).map((name) => readFileSync(path(name))),
    close: async () => rmSync(folder, { recursive: true }),
  }
}

describe("a spool of files", () => describeSpool(makePlace, 2_000_000))

describe("files", () => {
  let at: Spooling
  let spool: Spool
  const spoolFolder = () => spoolIn(at.place.folder)
  beforeEach(async () => {
    at = await startSpooling(await makePlace())
    spool = at.spool
  })
  afterEach(async () => {
    await spool[Symbol.asyncDispose]()
    await at.place.close()
  })

  test("are for nobody else", async () => {
    const id = await spool.write(newEntry(), pieces(CANARY))
    expect(statSync(join(spoolFolder(), id)).mode & 0o777).toBe(0o600)
    expect(statSync(spoolFolder()).mode & 0o777).toBe(0o700)
  })

  const module = (path: string) => JSON.stringify(join(process.cwd(), path))
  const code = (wanted: string) => expect.objectContaining({ code: wanted })

  describe("files that are written again", () => {
    let again: Spool
    const inode = (name: string) => statSync(join(spoolFolder(), name)).ino
    const names = () => readdirSync(spoolFolder())

    beforeEach(async () => {
      again = await openFileSpool({ folder: spoolFolder(), ...at.with(), reuse: true })
    })
    afterEach(() => again[Symbol.asyncDispose]())

    test("hold the next message, whole, when the removal is durable and not before", async () => {
      const first = await again.write(newEntry(), pieces(CANARY, "a".repeat(5_000)))
      const used = inode(first)
      const before = readFileSync(join(spoolFolder(), first))
      await again.remove(first)
      expect(await again.open(first)).toBeNull()
      const second = await again.write(newEntry(), pieces("second"))
      expect(inode(second)).not.toBe(used)
      const third = await again.write(newEntry(), pieces("third"))
      expect(inode(third)).toBe(used)
      expect((await contentOf(again, third)).toString()).toBe("third")
      expect(readFileSync(join(spoolFolder(), third))).toHaveLength(before.length)
      expect(names().toSorted()).toEqual([second, third].toSorted())
    })

    test("keep no key of the message that left, and none in use", async () => {
      const id = await again.write(newEntry(), pieces(CANARY))
      const head = readFileSync(join(spoolFolder(), id)).subarray(8, HEAD_OCTETS)
      await again.remove(id)
      const [left] = names()
      expect(readFileSync(join(spoolFolder(), left ?? "")).includes(head)).toBe(false)
      expect(await again.keysInUse()).toEqual(new Set())
    })

    test("are removed when the spool is closed", async () => {
      const ids = await Promise.all(Array.from({ length: 70 }, () => again.write(newEntry(), pieces("x"))))
      for (const id of ids) await again.remove(id)
      expect(names()).toHaveLength(64)
      await again[Symbol.asyncDispose]()
      expect(names()).toEqual([])
      again = await at.place.open(at.with())
    })

    test("are gone, and no damage, when the remover was killed half way", async () => {
      const id = await again.write(newEntry(), pieces("x"))
      await again.remove(id)
      // The new name was not on the disk yet.
      renameSync(join(spoolFolder(), names()[0] ?? ""), join(spoolFolder(), id))
      expect(await spool.open(id)).toBeNull()
      expect(names()).toEqual([])
    })

    test("are not made of large messages", async () => {
      const id = await again.write(newEntry(), pieces(randomOctets(100_000)))
      await again.remove(id)
      expect(names()).toEqual([])
    })
  })

  test("a disk that refuses is SPOOL_FULL", async () => {
    rmSync(spoolFolder(), { recursive: true })
    await expect(spool.write(newEntry(), pieces("x"))).rejects.toThrow(code("SPOOL_FULL"))
    mkdirSync(spoolFolder())
  })

  test("a disk that is full half way is SPOOL_FULL, and the next message that fits is taken", () => {
    const source = `
        import { readdirSync } from "node:fs"
        import { openFileSpool } from ${module("src/store/file-spool.ts")}
        import { FolderHalves } from ${module("src/store/public-halves.ts")}
        import { SpoolPublicKeys } from ${module("src/store/spool-keys.ts")}
        const now = () => new Date(${at.clock.getTime()})
        const folder = ${JSON.stringify(spoolFolder())}
        const publicKeys = new SpoolPublicKeys(new FolderHalves(${JSON.stringify(join(at.place.folder, "data", "spool-keys"))}), now)
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

  describe("files of killed writers", () => {
    test("are removed at the start; those of living ones, and new ones of other hosts, stay", async () => {
      const name = (process: string) => join(spoolFolder(), `.writing~${process}~someidxx`)
      const own = readdirSync(spoolFolder())
      expect(own).toEqual([])
      const host = hostname()
      const living = thisProcess().replaceAll("/", "~")
      for (const process of [
        `${host}~99999999~1`,
        `${host}~${globalThis.process.pid}~1`,
        living,
        "elsewhere~1~1",
        "elsewhere~2~2",
      ])
        writeFileSync(name(process), "half")
      const old = new Date(at.clock.getTime() - 2 * DAY_MS)
      utimesSync(name("elsewhere~2~2"), old, old)
      at.clock = new Date()
      await using again = await at.place.open(at.with())
      expect(readdirSync(spoolFolder()).toSorted()).toEqual(
        [`.writing~${living}~someidxx`, ".writing~elsewhere~1~1~someidxx"].toSorted(),
      )
      expect(await again.keysInUse()).toBeNull()
    })
  })
})
