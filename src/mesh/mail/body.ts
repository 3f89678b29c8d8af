/** PURE */
import { type EnvelopeEnd, endOf, readEnvelope } from "../../crypto/dare/envelope.ts"
import type { EnvelopeFields } from "../../crypto/dare/fields.ts"
import { ReceivedEnvelope } from "../../crypto/dare/receive.ts"
import { equalConstantTime, sha512 } from "../../crypto/primitives/hash.ts"
import { GatewayError } from "../../errors.ts"
import type { MailStatement } from "./statement.ts"

/** SHA-512 of the recipients as they stand in a header. */
export function recipientsDigest({ object, octets }: EnvelopeFields): Uint8Array {
  const list = object.members.get("recipients")
  return sha512(list ? octets.subarray(list.start - object.start, list.end - object.start) : new Uint8Array(0))
}

/**
 * Checks an envelope that was enclosed.
 * @throws GatewayError MESH_MAIL_ALTERED when it is not the one that is stated; as `readEnvelope`
 */
export function checkEnclosed(statement: MailStatement, envelope: Uint8Array): void {
  const read = readEnvelope(envelope)
  checkHeader(statement, read.header)
  checkPayload(statement, endOf(read), read.payload.length)
}

/** A body that passes by: its ciphertext, checked against what is stated of it. */
export class ReceivedMailBody {
  readonly header: EnvelopeFields
  readonly #envelope: ReceivedEnvelope
  readonly #statement: MailStatement

  private constructor(envelope: ReceivedEnvelope, statement: MailStatement) {
    this.header = envelope.header
    this.#envelope = envelope
    this.#statement = statement
  }

  /** Reads and checks the header. @throws GatewayError MESH_MAIL_ALTERED; as `ReceivedEnvelope.open` */
  static async open(statement: MailStatement, source: AsyncIterable<Uint8Array>): Promise<ReceivedMailBody> {
    const envelope = await ReceivedEnvelope.open(source)
    try {
      checkHeader(statement, envelope.header)
      return new ReceivedMailBody(envelope, statement)
    } catch (error) {
      await envelope.close()
      throw error
    }
  }

  /** Lets go of the source, where the payload is not wanted. */
  async close(): Promise<void> {
    await this.#envelope.close()
  }

  /**
   * The ciphertext. Never more than is stated is given out, and when the generator ends well, all of it was right.
   * @throws GatewayError MESH_MAIL_ALTERED; as `ReceivedEnvelope.payload`
   */
  async *payload(): AsyncGenerator<Uint8Array> {
    let size = 0
    for await (const piece of this.#envelope.payload()) {
      size += piece.length
      if (size > this.#statement.payloadOctets) throw altered("ciphertext is longer than is stated")
      yield piece
    }
    checkPayload(this.#statement, this.#envelope.end, size)
  }

  get end(): EnvelopeEnd {
    return this.#envelope.end
  }
}

function checkHeader(statement: MailStatement, header: EnvelopeFields): void {
  if (header.encryption !== "A256CBC") throw altered("cipher is another")
  if (header.salt === null || !equalConstantTime(header.salt, statement.salt)) throw altered("salt is another")
  if (!equalConstantTime(recipientsDigest(header), statement.recipientsDigest)) throw altered("recipients are others")
}

function checkPayload(statement: MailStatement, { payloadDigest }: EnvelopeEnd, sizeOctets: number): void {
  if (sizeOctets !== statement.payloadOctets || !equalConstantTime(payloadDigest, statement.payloadDigest))
    throw altered("ciphertext is another")
}

function altered(what: string): GatewayError {
  return new GatewayError("MESH_MAIL_ALTERED", `mail: ${what}`)
}
