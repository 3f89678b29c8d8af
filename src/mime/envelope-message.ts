import type { EncryptedContent } from "../crypto/cms/content-decryptor.ts"
import { GatewayError } from "../errors.ts"
import { EnvelopeWalker } from "./classify-cms.ts"
import { type TransferDecoder, transferDecoder } from "./classify-decode.ts"
import { HeaderSection } from "./classify-header.ts"
import { firstNotBlank } from "./classify-recogniser.ts"
import { MAX_HEADER_OCTETS } from "./header.ts"
import { parseEntityHeader } from "./structure-header.ts"

/** What an enveloped message is opened with. */
export interface EnvelopeHead extends EncryptedContent {
  /** BER of RecipientInfos, its SET included. */
  readonly recipientInfos: Uint8Array
}

/**
 * Takes a message apart that is one CMS envelope, as mail clients encrypt (RFC 8551 §3.3): no multipart, nothing around it. Comes in pieces of any
 * size; nothing of the ciphertext is held, and of the rest no more than {@link EnvelopeWalker} lets pass.
 */
export class EnvelopeMessage {
  readonly #section = new HeaderSection(MAX_HEADER_OCTETS)
  readonly #onCiphertext: (octets: Uint8Array) => void
  readonly #parts = new Map<string, Uint8Array[]>()
  readonly #walker = new EnvelopeWalker((part, octets) => this.#take(part, octets))
  #decoder: TransferDecoder | null = null
  #isBegun = false

  constructor(onCiphertext: (octets: Uint8Array) => void = () => undefined) {
    this.#onCiphertext = onCiphertext
  }

  /** @throws GatewayError for any other message */
  push(octets: Uint8Array): void {
    if (this.#decoder !== null) {
      this.#walk(this.#decoder.push(octets))
      return
    }
    const rest = this.#section.push(octets)
    if (rest === null) return
    const entity = parseEntityHeader(this.#section.fields(), "text/plain")
    if (entity.type === "multipart") throw other("multipart")
    this.#decoder = transferDecoder(entity.encoding)
    this.#walk(this.#decoder.push(rest))
  }

  /** @throws GatewayError when what was pushed is not all of such a message */
  end(): EnvelopeHead {
    if (this.#decoder === null) throw other("no body")
    this.#walk(this.#decoder.end())
    this.#walker.end()
    const tag = this.#parts.has("tag") ? this.#part("tag") : null
    const attributes = this.#parts.has("attributes") ? this.#part("attributes") : null
    return {
      recipientInfos: this.#part("recipients"),
      algorithm: this.#part("algorithm"),
      authenticated: this.#walker.isAuthenticated ? { tag: tag ?? new Uint8Array(0), attributes } : null,
    }
  }

  #walk(octets: Uint8Array): void {
    const start = this.#isBegun ? 0 : firstNotBlank(octets)
    if (start === octets.length) return
    this.#isBegun = true
    this.#walker.push(octets.subarray(start))
  }

  #take(part: string, octets: Uint8Array): void {
    if (part === "ciphertext") {
      this.#onCiphertext(octets)
      return
    }
    const pieces = this.#parts.get(part) ?? []
    // The walker's octets are of its input, which is its owner's again afterwards.
    pieces.push(Uint8Array.from(octets))
    this.#parts.set(part, pieces)
  }

  #part(part: string): Uint8Array {
    return Buffer.concat(this.#parts.get(part) ?? [])
  }
}

function other(what: string): GatewayError {
  return new GatewayError("CMS_MALFORMED", `envelope: ${what}`)
}
