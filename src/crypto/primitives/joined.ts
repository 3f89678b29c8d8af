/**
 * Octets one behind the other, in an array of their own; text is written as UTF-8. Each is copied once: of a message on its way a copy is 13 KB that somebody has to
 * collect, and an array for a name of a few octets takes longer than they do.
 */
export function joined(pieces: readonly (Uint8Array | string)[]): Uint8Array {
  const octets = new Uint8Array(pieces.reduce((sum, piece) => sum + octetsIn(piece), 0))
  const view = Buffer.from(octets.buffer)
  let at = 0
  for (const piece of pieces) {
    if (typeof piece === "string") at += view.write(piece, at)
    else {
      octets.set(piece, at)
      at += piece.length
    }
  }
  return octets
}

function octetsIn(piece: Uint8Array | string): number {
  return typeof piece === "string" ? Buffer.byteLength(piece) : piece.length
}
