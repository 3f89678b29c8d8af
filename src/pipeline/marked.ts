import { GatewayError } from "../errors.ts"
import { base64Characters, base64Lines, base64LinesSize } from "../mime/base64-lines.ts"
import { BareLineEnds } from "../mime/line-ends.ts"
import { type Beside, inPlace } from "./beside.ts"
import type { EncryptedBy, MarkerMaker } from "./marker-mac.ts"
import { Marking } from "./marking.ts"
import { collect, type Prepared, prefixed, preparedOf, type ReadOnce, WHOLE_OCTETS } from "./prepared.ts"

/** MIME fields and body of a message. */
export interface EncryptedBody {
  readonly fields: readonly Uint8Array[]
  readonly body: Prepared
  /** The body is lines of base64 and nothing else, of this: what its marker covers is known before it is made. */
  readonly binary?: Binary
}

export interface Binary extends Prepared {
  /** For one reading, where that is cheaper. */
  passing?(): AsyncIterable<Uint8Array>
}

/**
 * Puts the marker between the outer fields and the rest: made over the body's stable octets, so the body is read once for it. A large one that need not be
 * ({@link EncryptedBody.binary}) is read for both in one go by who can take the marker last.
 */
export async function marked(
  by: EncryptedBy,
  outside: readonly Uint8Array[],
  { fields, body, binary }: EncryptedBody,
  { account, markerKey }: MarkerMaker,
  beside: Beside = inPlace,
): Promise<Prepared> {
  const maker = { account, markerKey }
  if (body.sizeOctets <= 2 * WHOLE_OCTETS || binary === undefined) {
    const settled = await settledBody(body)
    return prefixed([...outside, await markerOf(by, settled, maker), ...fields], settled)
  }
  const blank = new Uint8Array(Marking.fieldOctets(by, maker, base64Characters(binary.sizeOctets))).fill(BLANK)
  return {
    sizeOctets: prefixed([...outside, blank, ...fields], body).sizeOctets,
    async *content() {
      yield* prefixed([...outside, await markerOf(by, body, maker), ...fields], body).content()
    },
    once: () => {
      const content = binary.passing?.() ?? binary.content()
      return markedLast(beside({ kind: "mark", by, maker }, content), outside, blank, fields)
    },
  }
}

/** A body that is base64 of this. */
export function inBase64(binary: Binary): Pick<Required<EncryptedBody>, "body" | "binary"> {
  const body = { sizeOctets: base64LinesSize(binary.sizeOctets), content: () => base64Lines(binary.content()) }
  return { body, binary }
}

async function markerOf(by: EncryptedBy, body: Prepared, maker: MarkerMaker): Promise<Uint8Array> {
  const marking = new Marking(by, maker)
  for await (const part of body.content()) marking.push(part)
  return marking.field()
}

function markedLast(
  marking: AsyncGenerator<Uint8Array, Uint8Array>,
  outside: readonly Uint8Array[],
  blank: Uint8Array,
  fields: readonly Uint8Array[],
): ReadOnce {
  let octets: Uint8Array = new Uint8Array(0)
  // Base64 has none, which whoever stores it need not find out.
  const bare = new BareLineEnds()
  for (const field of [...outside, blank, ...fields]) bare.push(field)
  async function* content(): AsyncGenerator<Uint8Array> {
    yield* [...outside, blank, ...fields]
    octets = yield* marking
  }
  return {
    content: content(),
    bareLineEnds: bare.count,
    missing() {
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
