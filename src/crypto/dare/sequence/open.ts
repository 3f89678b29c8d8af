import { type Digest, digestOf } from "../../primitives/hash.ts"
import type { OpeningKey } from "../agreement.ts"
import { checkEnd, type EnvelopeEnd } from "../envelope.ts"
import { type EnvelopeSeed, openPayload, seedOf } from "../open.ts"
import { corrupt } from "./frame.ts"
import { type Frame, frameAt, type Octets, payloadOf } from "./read.ts"

/**
 * What opens a frame. Its recipients stand in its own header, or in that of an earlier frame that it names (ExchangePosition): frames of one base seed differ in their salts.
 * @throws GatewayError as `seedOf`; SEQUENCE_CORRUPT when no earlier frame is where it should be
 */
export async function seedOfFrame(octets: Octets, frame: Frame, keys: readonly OpeningKey[]): Promise<EnvelopeSeed> {
  const position = frame.header.sequence?.exchangePosition ?? null
  if (position === null || frame.header.recipients.length > 0) return seedOf(frame.header, keys)
  const exchange = position < frame.position ? await frameAt(octets, position) : null
  if (exchange === null) throw corrupt("frame of the key exchange is missing", frame.position)
  return seedOf(frame.header, keys, exchange.header.recipients)
}

/** The content of a frame, in pieces; `check` as with `openPayload`. @throws GatewayError as `openPayload` */
export function openFrame(
  octets: Octets,
  frame: Frame,
  seed: EnvelopeSeed,
  check: (end: EnvelopeEnd) => void = () => {},
): AsyncGenerator<Uint8Array> {
  const digest = digestOf("sha512")
  let end: EnvelopeEnd | null = null
  const envelope = {
    payload: () => digested(payloadOf(octets, frame), digest),
    get end() {
      end ??= { header: frame.header, trailer: frame.trailer, payloadDigest: digest.digest() }
      checkEnd(end)
      return end
    },
  }
  return openPayload(envelope, seed, check)
}

async function* digested(pieces: AsyncIterable<Uint8Array>, digest: Digest): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    digest.update(piece)
    yield piece
  }
}
