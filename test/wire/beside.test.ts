import { describe, expect, test } from "vitest"
import { aesCbcEncryptor } from "../../src/crypto/primitives/cipher.ts"
import { sha512 } from "../../src/crypto/primitives/hash.ts"
import { base64Lines } from "../../src/mime/base64-lines.ts"
import { type Beside, inPlace, LONG_OCTETS, PIECE_OCTETS, type Work } from "../../src/pipeline/beside.ts"
import { Marking } from "../../src/pipeline/marking.ts"
import { collect } from "../../src/pipeline/prepared.ts"
import { BesideThread } from "../../src/wire/beside.ts"
import { inPieces } from "../harness/pieces.ts"

const CONTENT = Uint8Array.from({ length: 3 * PIECE_OCTETS + 1_234 }, (_, at) => (at * 31 + (at >> 9)) & 255)
const encrypt: Work = { kind: "encrypt", key: new Uint8Array(32).fill(7), iv: new Uint8Array(16).fill(9) }
const maker = { account: "bob@two.example", markerKey: new Uint8Array(32).fill(5) }
const mark: Work = { kind: "mark", by: "unknown", maker }

/** Pieces are good until the next is asked for: each is copied. */
async function done(beside: Beside, work: Work, content: AsyncIterable<Uint8Array>) {
  const working = beside(work, content)
  const pieces: Buffer[] = []
  for (;;) {
    const next = await working.next()
    if (next.done)
      return { sizes: pieces.map(({ length }) => length), octets: Buffer.concat(pieces), result: next.value }
    pieces.push(Buffer.from(next.value))
  }
}

function thread(): Beside {
  const beside = stack.use(new BesideThread()).for(LONG_OCTETS)
  if (beside === null) throw new Error("is not long")
  return beside
}
const stack = new AsyncDisposableStack()

describe.each([
  ["in place", () => inPlace],
  ["in a thread", thread],
])("work on long content, %s", (_, beside) => {
  test("encrypts, and digests what comes out", async () => {
    const { octets, result } = await done(beside(), encrypt, inPieces(CONTENT, 65_536))
    const cipher = aesCbcEncryptor(new Uint8Array(32).fill(7), new Uint8Array(16).fill(9))
    expect(octets.equals(Buffer.concat([cipher.update(CONTENT), cipher.final()]))).toBe(true)
    expect(Buffer.from(result)).toEqual(Buffer.from(sha512(octets)))
  })

  test("makes lines, and the marker of a body that is these", async () => {
    const { octets, result } = await done(beside(), mark, inPieces(CONTENT, 10_000))
    expect(octets.equals(Buffer.from(await collect(base64Lines(inPieces(CONTENT, CONTENT.length)))))).toBe(true)
    const marking = new Marking("unknown", maker)
    marking.push(octets)
    expect(Buffer.from(result)).toEqual(Buffer.from(marking.field()))
  })

  test("gives the same pieces, in whatever pieces content comes", async () => {
    const { sizes } = await done(beside(), encrypt, inPieces(CONTENT, 1_000_000))
    expect(sizes).toEqual((await done(inPlace, encrypt, inPieces(CONTENT, 1_111))).sizes)
    expect(sizes.slice(0, 3)).toEqual([PIECE_OCTETS, PIECE_OCTETS, PIECE_OCTETS])
  })

  test("of nothing makes what there is of nothing", async () => {
    expect((await done(beside(), encrypt, inPieces(new Uint8Array(0), 1))).octets.length).toBe(16)
    expect((await done(beside(), mark, inPieces(new Uint8Array(0), 1))).octets.length).toBe(0)
  })

  test("content that fails fails it, and the next is worked on", async () => {
    const breaking = (async function* () {
      for (let count = 0; count < 5; count++) yield CONTENT.subarray(0, PIECE_OCTETS)
      throw new Error("source")
    })()
    const one = beside()
    await expect(done(one, encrypt, breaking)).rejects.toThrow("source")
    expect((await done(one, mark, inPieces(CONTENT, 65_536))).octets.length).toBeGreaterThan(CONTENT.length)
  })

  test("whoever takes it stops: the source hears of it, and the next begins anew", async () => {
    let isOver = false
    const endless = (async function* () {
      try {
        for (;;) yield CONTENT
      } finally {
        isOver = true
      }
    })()
    const one = beside()
    for await (const piece of one(encrypt, endless)) if (piece.length > 0) break
    expect(isOver).toBe(true)
    const { octets } = await done(one, encrypt, inPieces(CONTENT, 65_536))
    expect(octets.equals((await done(inPlace, encrypt, inPieces(CONTENT, 65_536))).octets)).toBe(true)
  })
})

describe("the thread beside", () => {
  test("is not for what is short", () => {
    expect(stack.use(new BesideThread()).for(LONG_OCTETS - 1)).toBeNull()
  })

  test("does one work at a time; another meanwhile is done in place, to the same octets", async () => {
    const one = thread()
    // Ordered all, and begun later, each after its first piece.
    const works = [1, 2, 3].map(() => one(encrypt, inPieces(CONTENT, 65_536)))
    const [first, ...others] = await Promise.all(works.map((work) => done(() => work, encrypt, inPieces(CONTENT, 1))))
    for (const other of others) expect(other).toEqual(first)
    await stack.disposeAsync()
  })
})
