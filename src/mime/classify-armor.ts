import { GatewayError } from "../errors.ts"
import { Base64Decoder } from "./classify-decode.ts"
import { PacketWalker } from "./classify-openpgp.ts"
import { onlyBlank, type Recogniser } from "./classify-recogniser.ts"

/** Armor header lines, line ends included: `Version`, `Comment` and the like; longer ones carry somebody's text. */
export const MAX_ARMOR_HEADER_OCTETS = 256

/** Walks one armored PGP MESSAGE (RFC 9580 §6.2) from its first dash to its end. */
export class ArmorWalker implements Recogniser {
  readonly #base64 = new Base64Decoder("checksum")
  readonly #packets = new PacketWalker()
  #phase: "begin" | "headers" | "body" | "tail" | "after" = "begin"
  #line = ""
  #headerOctets = 0

  get found(): "openpgp" | null {
    return this.#packets.found
  }

  push(octets: Uint8Array): void {
    for (let rest = octets; rest.length > 0; ) {
      const taken = this.#phase === "body" ? this.#body(rest) : this.#lines(rest)
      rest = rest.subarray(taken)
    }
  }

  end(): void {
    // The last line may have no line end.
    if (this.#phase === "tail") this.#endLine()
    if (this.#phase !== "after") throw clear("cut off")
  }

  #body(octets: Uint8Array): number {
    const dash = octets.indexOf(DASH)
    const end = dash < 0 ? octets.length : dash
    this.#packets.push(this.#base64.push(octets.subarray(0, end)))
    if (dash < 0) return end
    this.#packets.push(this.#base64.end())
    this.#packets.end()
    this.#phase = "tail"
    return end
  }

  #lines(octets: Uint8Array): number {
    if (this.#phase === "after") {
      onlyBlank(octets)
      return octets.length
    }
    const lf = octets.indexOf(LF)
    const end = lf < 0 ? octets.length : lf + 1
    if (this.#line.length + end > MAX_ARMOR_HEADER_OCTETS) throw clear("line is too long")
    this.#line += Buffer.from(octets.subarray(0, end)).toString("latin1")
    if (lf >= 0) this.#endLine()
    return end
  }

  #endLine(): void {
    const line = this.#line.trimEnd()
    if (this.#phase === "headers" && line !== "") this.#headerOctets += this.#line.length
    this.#line = ""
    if (this.#phase === "begin" && line === "-----BEGIN PGP MESSAGE-----") this.#phase = "headers"
    else if (this.#phase === "tail" && line === "-----END PGP MESSAGE-----") this.#phase = "after"
    else if (this.#phase === "headers" && line === "") this.#phase = "body"
    else if (this.#phase !== "headers" || !ARMOR_HEADER.test(line)) throw clear("line is not armor")
    if (this.#headerOctets > MAX_ARMOR_HEADER_OCTETS) throw clear("headers are too long")
  }
}

function clear(what: string): GatewayError {
  return new GatewayError("CLEAR_CONTENT", `armor: ${what}`)
}

const LF = 10
const DASH = 45
const ARMOR_HEADER = /^[A-Za-z][A-Za-z0-9-]*:/
