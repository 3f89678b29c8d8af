/** PURE */
import { type EnvelopeEnd, readEnvelope } from "../../crypto/dare/envelope.ts"
import type { EnvelopeFields } from "../../crypto/dare/fields.ts"
import { ReceivedEnvelope } from "../../crypto/dare/receive.ts"
import { equalConstantTime, sha512 } from "../../crypto/primitives/hash.ts"
import { GatewayError } from "../../errors.ts"
import { checkOpenPgpHead, OPENPGP_HEAD_OCTETS } from "./openpgp-body.ts"
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
  checkPayload(statement, read, read.payload.length)
  if (statement.openPgp !== null) checkOpenPgpHead(statement, read.payload)
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
    const stated = this.#statement
    const envelope = this.#envelope.payload()
    let size = 0
    for await (const piece of stated.openPgp === null ? envelope : withOpenPgpHead(stated, envelope)) {
      size += piece.length
      if (size > stated.payloadOctets) throw altered("ciphertext is longer than is stated")
      yield piece
    }
    checkPayload(stated, this.#envelope.end, size)
  }

  get end(): EnvelopeEnd {
    return this.#envelope.end
  }
}

/** The beginning is held back until it has been checked. */
async function* withOpenPgpHead(
  statement: MailStatement,
  payload: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  let head: Uint8Array | null = new Uint8Array(0)
  for await (const piece of payload) {
    if (head === null) yield piece
    else {
      head = Buffer.concat([head, piece])
      if (head.length < OPENPGP_HEAD_OCTETS) continue
      checkOpenPgpHead(statement, head)
      yield head
      head = null
    }
  }
  if (head === null) return
  checkOpenPgpHead(statement, head)
  yield head
}

function checkHeader(statement: MailStatement, header: EnvelopeFields): void {
  if (statement.openPgp !== null) {
    // What is said of recipients and of a salt in clear is said of the OpenPGP message.
    if (header.encryption !== null && header.encryption !== "none") throw altered("is encrypted twice")
    return
  }
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
