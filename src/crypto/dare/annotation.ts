import { GatewayError } from "../../errors.ts"
import { readJsonAt } from "../jsonb/read.ts"
import { writeJsonB } from "../jsonb/write.ts"
import type { StreamCipher } from "../primitives/cipher.ts"
import { joined } from "../primitives/joined.ts"
import { type BaseSeed, contentDecryptor, contentEncryptor } from "./key-schedule.ts"

/*
 * Encrypted data segment (draft-hallambaker-mesh-dare-12 §4.4): data of JSON-B for what stands before the salt, data for the body, and in the
 * text, though nowhere in practice, data for an authentication tag. Mail has each header line in one. They are under the base seed:
 * whoever can open one can open the payload.
 */

/** The segment number `index` of an envelope, encrypted unless `seed` is null. */
export function writeAnnotation(
  content: Uint8Array,
  index: number,
  seed: { readonly base: BaseSeed; readonly salt: Uint8Array } | null,
): Uint8Array {
  const prefix = counterOctets(index)
  const body = seed ? through(contentEncryptor(seed.base, Buffer.concat([prefix, seed.salt])), content) : content
  return joined([writeJsonB(prefix), writeJsonB(body)])
}

/**
 * The content of a segment; `seed` is null when the envelope is not encrypted.
 * @throws GatewayError DARE_MALFORMED; DECRYPTION_FAILED
 */
export function readAnnotation(
  segment: Uint8Array,
  seed: { readonly base: BaseSeed; readonly salt: Uint8Array } | null,
): Uint8Array {
  const prefix = dataAt(segment, 0)
  const body = dataAt(segment, prefix.end)
  if (body.end !== segment.length) dataAt(segment, body.end)
  if (seed === null) return body.octets
  return through(contentDecryptor(seed.base, Buffer.concat([prefix.octets, seed.salt])), body.octets)
}

function dataAt(segment: Uint8Array, offset: number): { readonly octets: Uint8Array; readonly end: number } {
  const value = offset < segment.length ? readJsonAt(segment, offset) : null
  if (value?.kind !== "data") throw new GatewayError("DARE_MALFORMED", "dare: annotation is no two pieces of data")
  return value
}

function through(cipher: StreamCipher, octets: Uint8Array): Uint8Array {
  return joined([cipher.update(octets), cipher.final()])
}

/** Little-endian, as few octets as it takes, one for zero. */
function counterOctets(index: number): Uint8Array {
  const octets = [index % 256]
  for (let rest = Math.floor(index / 256); rest > 0; rest = Math.floor(rest / 256)) octets.push(rest % 256)
  return Uint8Array.from(octets)
}
