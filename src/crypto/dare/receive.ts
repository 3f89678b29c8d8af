import { GatewayError } from "../../errors.ts"
import { Base64UrlDecoder } from "../jsonb/base64url.ts"
import { readJson } from "../jsonb/read.ts"
import { tagOf } from "../jsonb/tag.ts"
import { type Digest, digestOf } from "../primitives/hash.ts"
import { checkEnd, type EnvelopeEnd } from "./envelope.ts"
import { type EnvelopeFields, MAX_FIELDS_OCTETS, readFields } from "./fields.ts"
import { Intake } from "./intake.ts"

/**
 * An envelope that comes in pieces, in JSON or JSON-B. Its header is there, the payload is read once and passes by; what is stated behind it is
 * known, and checked, when it has passed. Nothing is held but header, trailer and a piece.
 */
export class ReceivedEnvelope {
  readonly header: EnvelopeFields
  readonly #intake: Intake
  readonly #wrapped: boolean
  #end: EnvelopeEnd | null = null

  private constructor(intake: Intake, wrapped: boolean, header: EnvelopeFields) {
    this.#intake = intake
    this.#wrapped = wrapped
    this.header = header
  }

  /** Reads the header. @throws GatewayError DARE_MALFORMED, DARE_TOO_LARGE, JSONB_SYNTAX, JSONB_TOO_LARGE, JSONB_TYPE */
  static async open(source: AsyncIterable<Uint8Array>): Promise<ReceivedEnvelope> {
    const intake = new Intake(source)
    try {
      const wrapped = await skipWrapper(intake)
      await intake.expect(OPEN_BRACKET)
      if ((await intake.peek()) !== OPEN_BRACE) throw new GatewayError("DARE_MALFORMED", "dare: header is missing")
      return new ReceivedEnvelope(intake, wrapped, readFields(await intake.value(MAX_FIELDS_OCTETS)))
    } catch (error) {
      await intake.close()
      throw error
    }
  }

  /**
   * The payload as stored. The generator ends when the envelope has ended well.
   * @throws GatewayError as {@link open}, and DARE_ALTERED when another digest is stated than the payload has
   */
  async *payload(): AsyncGenerator<Uint8Array> {
    const digest = digestOf("sha512")
    try {
      const hasPayload = await this.#nextItem(false)
      const binary = hasPayload && isData(await this.#intake.peek())
      if (hasPayload) yield* digested(payloadPieces(this.#intake), digest)
      const trailer = hasPayload ? await this.#trailer(binary) : null
      await this.#closing()
      const end = { header: this.header, trailer, payloadDigest: digest.digest() }
      checkEnd(end)
      this.#end = end
    } finally {
      await this.#intake.close()
    }
  }

  /** Lets go of the source, where the payload is not wanted. */
  async close(): Promise<void> {
    await this.#intake.close()
  }

  /** Header, trailer and digest; only when the payload has been read to its end. */
  get end(): EnvelopeEnd {
    if (this.#end === null) throw new GatewayError("DARE_MALFORMED", "dare: envelope has not been read to its end")
    return this.#end
  }

  /** `commaOptional`: the payload was a value of JSON-B. */
  async #trailer(commaOptional: boolean): Promise<EnvelopeFields | null> {
    if (!(await this.#nextItem(commaOptional))) return null
    const first = await this.#intake.peek()
    const octets = await this.#intake.value(MAX_FIELDS_OCTETS)
    return first !== OPEN_BRACE && readJson(octets).kind === "null" ? null : readFields(octets)
  }

  /** Whether there is another item; stands before it. */
  async #nextItem(commaOptional: boolean): Promise<boolean> {
    const next = await this.#intake.peek()
    if (next === CLOSE_BRACKET) return false
    if (next === COMMA) {
      this.#intake.skip(1)
      if ((await this.#intake.peek()) !== CLOSE_BRACKET) return true
    } else if (commaOptional) return true
    throw new GatewayError("DARE_MALFORMED", "dare: comma is missing or stands alone")
  }

  async #closing(): Promise<void> {
    await this.#intake.expect(CLOSE_BRACKET)
    if (this.#wrapped) await this.#intake.expect(CLOSE_BRACE)
    if ((await this.#intake.peek()) !== null)
      throw new GatewayError("DARE_MALFORMED", "dare: octets behind the envelope")
  }
}

/** Whether the envelope is the one member of an object; stands before the envelope itself. */
async function skipWrapper(intake: Intake): Promise<boolean> {
  if ((await intake.peek()) !== OPEN_BRACE) return false
  intake.skip(1)
  const isText = (await intake.peek()) === QUOTE
  const name = readJson(await intake.value(MAX_NAME_OCTETS))
  if (name.kind !== "string" || name.text !== "DareEnvelope")
    throw new GatewayError("DARE_MALFORMED", "dare: envelope is wrapped in something else")
  // Behind a name of JSON-B the colon may be missing.
  if (isText || (await intake.peek()) === COLON) await intake.expect(COLON)
  return true
}

async function* digested(pieces: AsyncIterable<Uint8Array>, digest: Digest): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    if (piece.length === 0) continue
    digest.update(piece)
    yield piece
  }
}

/** Base64url in a string of JSON, data of JSON-B, or null. */
async function* payloadPieces(intake: Intake): AsyncGenerator<Uint8Array> {
  const first = await intake.peek()
  if (first === QUOTE) yield* textPieces(intake)
  else if (isData(first)) yield* dataPieces(intake)
  else await skipNull(intake)
}

function isData(octet: number | null): boolean {
  return octet !== null && tagOf(octet)?.kind === "data"
}

async function* textPieces(intake: Intake): AsyncGenerator<Uint8Array> {
  const decoder = new Base64UrlDecoder()
  intake.skip(1)
  for (;;) {
    const piece = await intake.piece()
    const end = piece.indexOf(QUOTE)
    yield decoder.update(end < 0 ? piece : piece.subarray(0, end))
    intake.skip(end < 0 ? piece.length : end + 1)
    if (end < 0) continue
    yield decoder.final()
    return
  }
}

async function* dataPieces(intake: Intake): AsyncGenerator<Uint8Array> {
  for (;;) {
    const [first = 0] = await intake.take(1)
    const tag = tagOf(first)
    if (tag?.kind !== "data") throw new GatewayError("DARE_MALFORMED", "dare: piece of the payload is missing")
    let missing = 0
    for (const octet of await intake.take(tag.lengthOctets)) missing = missing * 256 + octet
    while (missing > 0) {
      const piece = (await intake.piece()).subarray(0, missing)
      // Skipped before it is given out: whoever takes it may not come back.
      intake.skip(piece.length)
      missing -= piece.length
      yield piece
    }
    if (tag.last) return
  }
}

async function skipNull(intake: Intake): Promise<void> {
  if (readJson(await intake.value(MAX_NAME_OCTETS)).kind !== "null")
    throw new GatewayError("DARE_MALFORMED", "dare: payload is neither text nor data")
}

/** Octets of the one name, or of null, that may stand in a place. */
const MAX_NAME_OCTETS = 64
const [OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET] = [0x7b, 0x7d, 0x5b, 0x5d]
const [QUOTE, COMMA, COLON] = [0x22, 0x2c, 0x3a]
