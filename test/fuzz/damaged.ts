import fc from "fast-check"

/** The octets with one to three places overwritten, cut out or put in. */
export function damaged(original: Uint8Array): fc.Arbitrary<Uint8Array> {
  const change = fc.tuple(fc.nat(original.length), fc.nat(8), fc.uint8Array({ maxLength: 8 }))
  return fc.array(change, { minLength: 1, maxLength: 3 }).map((changes) => changes.reduce(changed, original))
}

function changed(octets: Uint8Array, [at, removed, put]: readonly [number, number, Uint8Array]): Uint8Array {
  return new Uint8Array(Buffer.concat([octets.subarray(0, at), put, octets.subarray(at + removed)]))
}
