import { describe, expect, test } from "vitest"
import { verifySignatures } from "../../../src/crypto/dare/envelope.ts"
import {
  appendFrame,
  beginSequence,
  type FrameOptions,
  FrameWriter,
  type Tail,
} from "../../../src/crypto/dare/sequence/append.ts"
import { frameEnd, frameOctets, headOf, readFrameEnd, readHead } from "../../../src/crypto/dare/sequence/frame.ts"
import type { SequenceType } from "../../../src/crypto/dare/sequence/linkage.ts"
import { openFrame, seedOfFrame } from "../../../src/crypto/dare/sequence/open.ts"
import { frameAt, frameBefore, octetsAtHand, payloadOf } from "../../../src/crypto/dare/sequence/read.ts"
import { openSequence, type VerifiedFrame, verifySequence } from "../../../src/crypto/dare/sequence/verify.ts"
import { writeJson } from "../../../src/crypto/jsonb/write.ts"
import { inPieces, joined } from "../../harness/pieces.ts"
import { encryptionTo, reader, writer } from "./people.ts"

const TYPES: readonly SequenceType[] = ["List", "Digest", "Chain", "Tree", "Merkle"]
const corrupt = expect.objectContaining({ code: "SEQUENCE_CORRUPT" })
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const CLEAR: FrameOptions = { encryption: null }

/** A sequence of frames with the payloads "0", "1" and so on. */
function sequenceOf(type: SequenceType, frames: number, options = CLEAR): { octets: Uint8Array; tail: Tail } {
  let { octets, tail } = beginSequence(type)
  const all = [octets]
  for (let index = 1; index < frames; index++) {
    ;({ octets, tail } = appendFrame(tail, utf8(`${index}`), options))
    all.push(octets)
  }
  return { octets: new Uint8Array(Buffer.concat(all)), tail }
}

async function framesOf(octets: Uint8Array): Promise<VerifiedFrame[]> {
  const frames: VerifiedFrame[] = []
  for await (const frame of verifySequence(octetsAtHand(octets))) frames.push(frame)
  return frames
}

/** The octets with one changed. */
function changed(octets: Uint8Array, at: number, to?: number): Uint8Array {
  return Uint8Array.from(octets, (octet, index) => (index === at ? (to ?? octet ^ 1) : octet))
}

describe("framing", () => {
  const sizes: [size: number, head: string][] = [
    [0, "f400"],
    [255, "f4ff"],
    [256, "f50100"],
    [65_536, "f600010000"],
    [2 ** 32, "f70000000100000000"],
  ]
  test.each(sizes)("%i octets", (size, head) => {
    expect(Buffer.from(headOf("frame", size)).toString("hex")).toBe(head)
    expect(readHead(headOf("frame", size))).toEqual({ kind: "frame", headOctets: head.length / 2, contentOctets: size })
    expect(readFrameEnd(frameEnd(size))).toEqual(readHead(headOf("frame", size)))
    expect(frameOctets(size)).toBe(size + head.length)
  })

  test("a head that has not come whole is none yet, another octet is none ever", () => {
    expect(readHead(new Uint8Array(0))).toBeNull()
    expect(readHead(Uint8Array.of(0xf7, 0, 0))).toBeNull()
    expect(() => readHead(Uint8Array.of(0xf8, 0))).toThrow(corrupt)
    expect(() => readFrameEnd(Uint8Array.of(0, 0xf0))).toThrow(corrupt)
  })
})

describe("what is written is read", () => {
  test.each(TYPES)("%s of 40 frames, forwards, backwards, and linked", async (type) => {
    const { octets, tail } = sequenceOf(type, 40)
    const file = octetsAtHand(octets)
    const frames = await framesOf(octets)
    expect(new Set(frames.map(({ link }) => link))).toEqual(
      new Set([type === "Chain" || type === "Merkle" ? "linked" : "none"]),
    )
    const payloads = await Promise.all(frames.map(async ({ frame }) => await joined(payloadOf(file, frame))))
    expect(payloads.map((payload) => Buffer.from(payload).toString())).toEqual(
      Array.from({ length: 40 }, (_, index) => (index === 0 ? "" : `${index}`)),
    )
    const last = await frameBefore(file, octets.length)
    expect(last?.position).toBe(frames.at(-1)?.frame.position)
    expect(await openSequence(file)).toMatchObject({ type, end: octets.length, truncatedOctets: 0, links: tail.links })
    expect(tail.end).toBe(octets.length)
  })

  test("appending goes on where reading has ended", async () => {
    const { octets, tail } = sequenceOf("Merkle", 7)
    const read = await openSequence(octetsAtHand(octets))
    const written = appendFrame(tail, utf8("next"), CLEAR)
    expect(appendFrame(read, utf8("next"), CLEAR)).toEqual(written)
    expect(await framesOf(Buffer.concat([octets, written.octets]))).toHaveLength(8)
  })

  test("encrypted and signed frames, in pieces as well", async () => {
    const [x448, ed448] = [reader("X448"), writer("Ed448")]
    const options = { encryption: encryptionTo(x448), signers: [ed448.signer], contentMeta: { cty: "text/plain" } }
    const begin = beginSequence("Merkle", { enc: "A256CBC" })
    const content = Uint8Array.from({ length: 10_000 }, (_, index) => index & 255)
    const frame = new FrameWriter(begin.tail, content.length, options)
    const pieces = [frame.begin]
    for await (const piece of inPieces(content, 1000)) pieces.push(frame.update(piece))
    pieces.push(frame.end())
    const octets = Buffer.concat([begin.octets, ...pieces])
    expect(Buffer.concat(pieces).equals(appendFrame(begin.tail, content, options).octets)).toBe(true)
    const file = octetsAtHand(octets)
    const [first, second] = await framesOf(octets)
    if (!first || !second) throw new Error("frames are missing")
    expect(first.frame.header.object.members.get("policy")?.kind).toBe("object")
    const seed = await seedOfFrame(file, second.frame, [x448.key])
    const statuses: string[] = []
    const opened = openFrame(file, second.frame, seed, (end) => {
      statuses.push(...verifySignatures(end, () => ed448.publicKey).map(({ status }) => status))
    })
    expect(Buffer.from(content).equals(await joined(opened))).toBe(true)
    expect(statuses).toEqual(["valid"])
    expect(frame.tail.end).toBe(octets.length)
  })

  test("content of another length than was said is not written to its end", () => {
    const frame = new FrameWriter(beginSequence("List").tail, 3, CLEAR)
    frame.update(utf8("ab"))
    const mismatch = expect.objectContaining({ code: "LENGTH_MISMATCH" })
    expect(() => frame.end()).toThrow(mismatch)
    expect(() => frame.tail).toThrow(mismatch)
  })

  test("a frame is opened with the exchange of an earlier one", async () => {
    const x448 = reader("X448")
    const begin = beginSequence("List")
    const first = appendFrame(begin.tail, utf8("one"), { encryption: encryptionTo(x448) })
    const before = Buffer.concat([begin.octets, first.octets])
    const later = appendFrame(first.tail, utf8("two"), { encryption: { ...encryptionTo(x448), recipients: [] } })
    const reused = (position: number) => rewritten(later.octets, { Index: 2, ExchangePosition: position })
    const contentAt = async (position: number) => {
      const file = octetsAtHand(Buffer.concat([before, reused(position)]))
      const frame = await frameAt(file, before.length)
      if (frame === null) throw new Error("frame is missing")
      return await joined(openFrame(file, frame, await seedOfFrame(file, frame, [x448.key])))
    }
    expect(await contentAt(begin.octets.length)).toEqual(utf8("two"))
    await expect(contentAt(before.length)).rejects.toThrow(corrupt)
    await expect(contentAt(0)).rejects.toThrow(expect.objectContaining({ code: "DECRYPTION_FAILED" }))
  })
})

describe("what a crash leaves", () => {
  test.each(TYPES)("%s: a last frame that breaks off anywhere is left out and counted", async (type) => {
    const { octets, tail } = sequenceOf(type, 3)
    const next = appendFrame(tail, utf8("a last frame, as it was being written"), CLEAR)
    // Every place once; the types differ in nothing that is read before the frame is whole.
    const step = type === "Merkle" ? 1 : 37
    for (let kept = 0; kept < next.octets.length; kept += step) {
      const file = octetsAtHand(Buffer.concat([octets, next.octets.subarray(0, kept)]))
      expect(await openSequence(file)).toMatchObject({ end: octets.length, truncatedOctets: kept })
    }
  })

  test("a sequence whose first frame breaks off is none", async () => {
    const { octets } = beginSequence("List")
    for (const kept of [0, 1, octets.length - 1])
      await expect(openSequence(octetsAtHand(octets.subarray(0, kept)))).rejects.toThrow(corrupt)
  })
})

describe("what is corrupt is said", () => {
  test("any octet of a Merkle sequence, changed", async () => {
    const { octets } = sequenceOf("Merkle", 3)
    // Members that are not needed: a change of their names is not seen. The apex binds the payload, whatever its digest is called.
    const harmless = new Set(["dig", "DataEncoding", "PayloadDigest"].flatMap((name) => placesOf(octets, name)))
    for (let at = 0; at < octets.length; at++)
      if (!harmless.has(at))
        await expect(openSequence(octetsAtHand(changed(octets, at))), `octet ${at}`).rejects.toThrow()
  })

  const changes: [name: string, change: (octets: Uint8Array, at: number) => Uint8Array][] = [
    ["its length, in the last frame", (octets, at) => changed(octets, at + 2, 0xff)],
    ["its end", (octets) => changed(octets, octets.length - 1, 0xf7)],
    ["octets behind it that are no frame", (octets) => Buffer.concat([octets, utf8("x")])],
    ["a record outside a frame", (octets) => Buffer.concat([octets, Uint8Array.of(0xf0, 0)])],
    ["the last frame twice", (octets, at) => Buffer.concat([octets, octets.subarray(at)])],
    ["the last frame instead of all before it", (octets, at) => octets.subarray(at)],
  ]
  test.each(changes)("%s", async (_, change) => {
    const { octets } = sequenceOf("Chain", 3)
    const last = await frameBefore(octetsAtHand(octets), octets.length)
    await expect(openSequence(octetsAtHand(change(octets, last?.position ?? 0)))).rejects.toThrow(corrupt)
  })

  test("a length in the middle: the octets behind it are no frame that broke off", async () => {
    const { octets } = sequenceOf("List", 5)
    const frames = await framesOf(octets)
    const at = frames[2]?.frame.position ?? 0
    await expect(openSequence(octetsAtHand(changed(octets, at + 1, 0xff)))).rejects.toThrow(corrupt)
    // Where a longer form of length is claimed, the frame seems to reach far behind the end.
    await expect(openSequence(octetsAtHand(changed(octets, at, 0xf7)))).rejects.toThrow(corrupt)
  })

  test("frames that have changed places, with their digests", async () => {
    const { octets } = sequenceOf("Digest", 4)
    const [, second, third] = (await framesOf(octets)).map(({ frame }) => octets.subarray(frame.position, frame.end))
    const first = beginSequence("Digest").octets
    if (!second || !third) throw new Error("frames are missing")
    await expect(openSequence(octetsAtHand(Buffer.concat([first, third, second])))).rejects.toThrow(corrupt)
  })

  test("a payload that is put in the place of another, with a digest of its own, breaks the chain", async () => {
    for (const type of ["Chain", "Merkle"] as const) {
      const honest = sequenceOf(type, 3)
      const begin = beginSequence(type)
      const other = appendFrame(begin.tail, utf8("X"), CLEAR)
      const last = (await framesOf(honest.octets))[2]?.frame
      const forged = Buffer.concat([begin.octets, other.octets, honest.octets.subarray(last?.position)])
      await expect(openSequence(octetsAtHand(forged))).rejects.toThrow(corrupt)
    }
  })

  const first: [name: string, header: object][] = [
    ["of a type that we do not know", { Index: 0, ContainerType: "Bag" }],
    ["of no type", { Index: 0 }],
    ["with headers that are not JSON", { Index: 0, ContainerType: "List", DataEncoding: "XML" }],
    ["that is not the first", { Index: 1, ContainerType: "List" }],
  ]
  test.each(first)("a first frame %s", async (_, info) => {
    await expect(openSequence(octetsAtHand(rewritten(beginSequence("List").octets, info)))).rejects.toThrow(corrupt)
  })
})

/** The places of a name's octets, and of a short value. */
function placesOf(octets: Uint8Array, name: string): number[] {
  const text = Buffer.from(octets).toString("latin1")
  return [...text.matchAll(new RegExp(`"${name}":(?:"[^"]{1,9}")?`, "g"))].flatMap(({ index, 0: found }) =>
    Array.from({ length: found.length }, (_, at) => index + at),
  )
}

/** A frame with another SequenceInfo, its payload and trailer as they were. */
function rewritten(octets: Uint8Array, info: object): Uint8Array {
  const head = readHead(octets)
  const header = head && readHead(octets.subarray(head.headOctets))
  if (!head || !header) throw new Error("no frame")
  const start = head.headOctets + header.headOctets
  const members = JSON.parse(Buffer.from(octets.subarray(start, start + header.contentOctets)).toString())
  const other = writeJson({ ...members, SequenceInfo: info })
  const rest = octets.subarray(start + header.contentOctets, head.headOctets + head.contentOctets)
  const content = Buffer.concat([headOf("record", other.length), other, rest])
  return Buffer.concat([headOf("frame", content.length), content, frameEnd(content.length)])
}
