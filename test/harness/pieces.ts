/** Every parser gets its octets in all of these ways. */
export const PIECE_SIZES: readonly (readonly [name: string, octets: number])[] = [
  ["whole", Number.POSITIVE_INFINITY],
  ["in pieces of seven", 7],
  ["octet by octet", 1],
]

/** The octets in pieces of this size. */
export async function* inPieces(octets: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < octets.length; at += size) yield octets.subarray(at, Math.min(octets.length, at + size))
}

/** All pieces, joined. */
export async function joined(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = []
  for await (const piece of pieces) all.push(piece)
  return new Uint8Array(Buffer.concat(all))
}
