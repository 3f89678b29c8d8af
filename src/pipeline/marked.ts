import { GatewayError } from "../errors.ts"
import type { EncryptedBy, MarkerMaker } from "./marker-mac.ts"
import { Marking } from "./marking.ts"
import { collect, type Prepared, prefixed, preparedOf, type ReadOnce, WHOLE_OCTETS } from "./prepared.ts"

/** MIME fields and body of a message. */
export interface EncryptedBody {
  readonly fields: readonly Uint8Array[]
  readonly body: Prepared
  /** The body is base64 and nothing else, of so many characters: what its marker covers is known before it is made. */
  readonly base64Octets?: number
}

/**
 * Puts the marker between the outer fields and the rest: made over the body's stable octets, so the body is read once for it. A large one that need not be
 * ({@link EncryptedBody.base64Octets}) is read for both in one go by who can take the marker last.
 */
export async function marked(
  by: EncryptedBy,
  outside: readonly Uint8Array[],
  { fields, body, base64Octets }: EncryptedBody,
  maker: MarkerMaker,
): Promise<Prepared> {
  if (body.sizeOctets <= 2 * WHOLE_OCTETS || base64Octets === undefined) {
    const settled = await settledBody(body)
    return prefixed([...outside, await markerOf(by, settled, maker), ...fields], settled)
  }
  const blank = new Uint8Array(Marking.fieldOctets(by, maker, base64Octets)).fill(BLANK)
  return {
    sizeOctets: prefixed([...outside, blank, ...fields], body).sizeOctets,
    async *content() {
      yield* prefixed([...outside, await markerOf(by, body, maker), ...fields], body).content()
    },
    once: () => markedLast(new Marking(by, maker), outside, blank, fields, body),
  }
}

async function markerOf(by: EncryptedBy, body: Prepared, maker: MarkerMaker): Promise<Uint8Array> {
  const marking = new Marking(by, maker)
  for await (const part of body.content()) marking.push(part)
  return marking.field()
}

function markedLast(
  marking: Marking,
  outside: readonly Uint8Array[],
  blank: Uint8Array,
  fields: readonly Uint8Array[],
  body: Prepared,
): ReadOnce {
  async function* content(): AsyncGenerator<Uint8Array> {
    yield* [...outside, blank, ...fields]
    for await (const part of body.content()) {
      marking.push(part)
      yield part
    }
  }
  return {
    content: content(),
    missing() {
      const octets = marking.field()
      if (octets.length !== blank.length)
        throw new GatewayError("LENGTH_MISMATCH", "marker: is of another length than its room")
      return { at: outside.reduce((sum, field) => sum + field.length, 0), octets }
    },
  }
}

/** Small bodies are made once and kept; large ones are made again, from the same seed, each time they are read. */
async function settledBody(body: Prepared): Promise<Prepared> {
  return body.sizeOctets <= 2 * WHOLE_OCTETS ? preparedOf(await collect(body.content())) : body
}

const BLANK = 0x20
