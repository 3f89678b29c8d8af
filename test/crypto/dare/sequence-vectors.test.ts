import { describe, expect, test } from "vitest"
import { readHead } from "../../../src/crypto/dare/sequence/frame.ts"
import {
  linkOf,
  linksAfter,
  noLinks,
  treePredecessor,
  unlinkedApexes,
  unlinkedChain,
} from "../../../src/crypto/dare/sequence/linkage.ts"
import { type Frame, frameAt, frameBefore, octetsAtHand, payloadOf } from "../../../src/crypto/dare/sequence/read.ts"
import { openSequence, type VerifiedFrame, verifySequence } from "../../../src/crypto/dare/sequence/verify.ts"
import { sha512 } from "../../../src/crypto/primitives/hash.ts"
import { joined } from "../../harness/pieces.ts"
import { type MeshVector, meshVector, meshVectors } from "../mesh-vectors.ts"

const base64Url = (octets: Uint8Array): string => Buffer.from(octets).toString("base64url")
const fileOf = ({ inputs }: MeshVector): Uint8Array => new Uint8Array(Buffer.from(inputs.file_b64, "base64"))

async function framesOf(octets: Uint8Array): Promise<VerifiedFrame[]> {
  const frames: VerifiedFrame[] = []
  for await (const frame of verifySequence(octetsAtHand(octets))) frames.push(frame)
  return frames
}

const places = (frames: readonly Frame[]): (readonly [number, number])[] =>
  frames.map(({ position, end }) => [position, end])

describe("binary files of the reference", () => {
  const files = meshVectors("dare_sequences").filter(({ inputs }) => inputs.file_b64)

  test("there are eight of them", () => {
    expect(files).toHaveLength(8)
  })

  test.each(files)("$name: frames stand where the map says, forwards and backwards", async (vector) => {
    const octets = fileOf(vector)
    const file = octetsAtHand(octets)
    const forwards: Frame[] = []
    for (let at = 0; at < octets.length; ) {
      const frame = await frameAt(file, at)
      if (frame === null) throw new Error("frame is cut off")
      forwards.push(frame)
      at = frame.end
    }
    const backwards: Frame[] = []
    for (let frame = await frameBefore(file, octets.length); frame; frame = await frameBefore(file, frame.position))
      backwards.unshift(frame)
    expect(places(backwards)).toEqual(places(forwards))
    // biome-ignore lint/suspicious/noExplicitAny: of the vector.
    const map = vector.expected.frames.map(({ pos, length, records }: any) => [pos, length, records[0], records[1]])
    expect(
      forwards.map(({ position, header, payload }) => [
        position,
        readHead(octets.subarray(position))?.contentOctets,
        header.octets.length,
        payload.end - payload.start,
      ]),
    ).toEqual(map)
  })

  test.each(files)("$name: verified; what binds the frames before is of the form that binds none", async (vector) => {
    const octets = fileOf(vector)
    const frames = await framesOf(octets)
    expect(frames).toHaveLength(vector.expected.frames.length)
    expect(frames.map(({ frame }) => frame.header.sequence?.index)).toEqual(frames.map((_, index) => index))
    const type = frames[0]?.frame.header.sequence?.type ?? ""
    const bound = type === "Chain" || type === "Merkle"
    // The first frame has none before it: both forms are the same there.
    expect(frames.map(({ link }) => link)).toEqual(
      frames.map((_, index) => (bound ? (index === 0 ? "linked" : "unlinked") : "none")),
    )
    const { positions, end, truncatedOctets } = await openSequence(octetsAtHand(octets))
    expect([positions, end, truncatedOctets]).toEqual([frames.map(({ frame }) => frame.position), octets.length, 0])
  })

  test("payloads are what the examples say", async () => {
    const octets = fileOf(meshVector("dare_sequences", "container-2024-ContainerTree-10"))
    const frames = await framesOf(octets)
    const third = frames[3]?.frame
    const payload = third && (await joined(payloadOf(octetsAtHand(octets), third)))
    expect(payload && Buffer.from(payload).toString()).toBe("Test Test Test ")
  })
})

describe("published digests", () => {
  const expected = (name: string) => meshVector("dare_sequences", name).expected
  const counting = Uint8Array.from({ length: 300 }, (_, index) => index & 255)
  const digests = [sha512(new Uint8Array(0)), sha512(counting)] as const

  test("payload digests", () => {
    expect(digests.map(base64Url)).toEqual(expected("payload-digests"))
  })

  test("chain", () => {
    expect(base64Url(unlinkedChain(digests[0]))).toBe(expected("chain-frame0"))
    expect(base64Url(unlinkedChain(digests[1]))).toBe(expected("chain-frame1..3"))
  })

  test.each([1, 2, 3, 5, 6])("apex of frame %i", (index) => {
    expect(unlinkedApexes(index, digests[1]).map(base64Url)[0]).toBe(expected(`merkle-apex-frame${index}`))
  })

  test("published wrong: from the second frame on a chain that knows the one before has another digest", () => {
    const first = linkOf(noLinks(), digests[0])
    const second = linkOf(linksAfter(noLinks(), first, 0), digests[1])
    expect(base64Url(first.chain)).toBe(expected("chain-frame0"))
    expect(base64Url(second.chain)).toBe(base64Url(sha512(Buffer.concat([first.chain, digests[1]]))))
    expect(base64Url(second.chain)).not.toBe(expected("chain-frame1..3"))
    expect(base64Url(second.apex)).not.toBe(expected("merkle-apex-frame1"))
  })
})

test("the frame before in the tree", () => {
  const before = Array.from({ length: 17 }, (_, index) => treePredecessor(index))
  expect(before).toEqual([null, 0, 1, 1, 3, 3, 5, 3, 7, 7, 9, 7, 11, 11, 13, 7, 15])
})
