import { GatewayError } from "../errors.ts"
import { ArmorWalker } from "./classify-armor.ts"
import { EnvelopeWalker } from "./classify-cms.ts"
import { type TransferDecoder, transferDecoder } from "./classify-decode.ts"
import { PacketWalker } from "./classify-openpgp.ts"
import { firstNotBlank, type Recogniser } from "./classify-recogniser.ts"

/** The forms encrypted octets come in: a CMS ContentInfo, OpenPGP packets in armor, OpenPGP packets. */
export type ContentForm = "cms" | "armor" | "packets"

/** Content of one part that must be one of `forms` and nothing else but white space around it; blank content is left to the caller. */
export class EncryptedContent implements Recogniser {
  readonly #forms: readonly ContentForm[]
  readonly #decoder: TransferDecoder
  #walker: Recogniser | null = null

  constructor(forms: readonly ContentForm[], encoding: string) {
    this.#forms = forms
    this.#decoder = transferDecoder(encoding)
  }

  get found(): "smime" | "openpgp" | null {
    return this.#walker?.found ?? null
  }

  push(octets: Uint8Array): void {
    this.#walk(this.#decoder.push(octets))
  }

  end(): void {
    this.#walk(this.#decoder.end())
    this.#walker?.end()
  }

  #walk(octets: Uint8Array): void {
    const start = this.#walker === null ? firstNotBlank(octets) : 0
    if (start === octets.length) return
    this.#walker ??= this.#walkerFor(octets[start] ?? 0)
    this.#walker.push(octets.subarray(start))
  }

  #walkerFor(first: number): Recogniser {
    const form = formOf(first)
    if (form === null || !this.#forms.includes(form)) throw IN_CLEAR
    if (form === "cms") return new EnvelopeWalker()
    return form === "armor" ? new ArmorWalker() : new PacketWalker()
  }
}

/** The answer for most mail: made once, since a stack trace costs more than all the rest of the look. */
const IN_CLEAR = new GatewayError("CLEAR_CONTENT", "content: in clear")

function formOf(first: number): ContentForm | null {
  // X.690: SEQUENCE. RFC 9580 §6.2: five dashes. RFC 9580 §4.2: bit 7 is one.
  if (first === 0x30) return "cms"
  if (first === 0x2d) return "armor"
  return first >= 0x80 ? "packets" : null
}
