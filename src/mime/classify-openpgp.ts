import { type PacketHeader, readPacketHeader } from "../crypto/openpgp/packet.ts"
import { GatewayError } from "../errors.ts"
import { CiphertextSample } from "./classify-ciphertext.ts"
import { onlyBlank, type Recogniser } from "./classify-recogniser.ts"

/** One session key packet: the largest, with a post-quantum key, have below 3 KB. */
export const MAX_SESSION_KEY_OCTETS = 16_384

/** All that stands before the ciphertext: about 10 000 recipients. */
export const MAX_SESSION_KEYS_OCTETS = 4_194_304

/** Marker and padding packets: these hold random octets, or anything; they belong inside the encryption. */
export const MAX_PADDING_OCTETS = 4096

/**
 * Walks an encrypted message (RFC 9580 §10.3): session key packets, then one encrypted data packet to the end. Marker and padding
 * packets may stand anywhere.
 */
export class PacketWalker implements Recogniser {
  readonly #sample = new CiphertextSample()
  /** Octets of a packet header, or of a partial body length, that is not complete yet. */
  #held: Uint8Array = NOTHING
  #tag = 0
  #remaining = 0
  /** Another length follows when this one is used up. */
  #partial = false
  /** No octet of the body was seen yet: it is the version. */
  #atVersion = false
  #phase: "before" | "ciphertext" | "after" | "blank" = "before"
  #beforeOctets = 0
  #paddingOctets = 0

  get found(): "openpgp" | null {
    return this.#phase === "before" ? null : "openpgp"
  }

  push(octets: Uint8Array): void {
    for (let rest = octets; rest.length > 0; ) {
      const taken = this.#remaining > 0 ? this.#body(rest) : this.#header(rest)
      rest = rest.subarray(taken)
    }
  }

  end(): void {
    // RFC 9580 §4.2.2: only a legacy packet of indeterminate length ends where its input ends.
    const open = this.#remaining > 0 && this.#remaining !== Number.POSITIVE_INFINITY
    if (open || this.#partial || this.#atVersion || this.#held.length > 0 || this.#phase === "before")
      throw clear("cut off")
    this.#sample.end()
  }

  #body(octets: Uint8Array): number {
    const body = octets.subarray(0, Math.min(octets.length, this.#remaining))
    this.#remaining -= body.length
    const versions = this.#atVersion ? VERSIONS[this.#tag] : undefined
    this.#atVersion = false
    if (versions && !versions.includes(body[0] ?? 0)) throw clear("version is not known")
    if (isEncryptedData(this.#tag)) this.#sample.push(versions ? body.subarray(1) : body)
    return body.length
  }

  #header(octets: Uint8Array): number {
    if (this.#endsBefore(octets[0] ?? 0)) {
      onlyBlank(octets)
      this.#phase = "blank"
      return octets.length
    }
    const more = octets.subarray(0, MAX_PACKET_HEADER_OCTETS - this.#held.length)
    const seen = this.#held.length === 0 ? more : Buffer.concat([this.#held, more])
    const header = this.#partial ? continuedHeader(this.#tag, seen) : readPacketHeader(seen)
    if (header === null) {
      this.#held = Uint8Array.from(seen)
      return more.length
    }
    const taken = header.headerOctets - this.#held.length
    this.#held = NOTHING
    if (this.#partial) this.#length(header)
    else this.#begin(header)
    return taken
  }

  /** Whether what follows cannot be a packet any more, only white space. */
  #endsBefore(first: number): boolean {
    if (this.#phase === "before" || this.#partial || this.#held.length > 0) return false
    return this.#phase === "blank" || first < 0x80
  }

  #begin(header: PacketHeader): void {
    this.#tag = header.tag
    this.#length(header)
    if (isEncryptedData(header.tag)) {
      if (this.#phase !== "before") throw clear("second encrypted packet")
      this.#phase = "ciphertext"
      this.#atVersion = true
      if (this.#remaining === 0) throw clear("encrypted packet is empty")
    } else this.#beginOther(header)
  }

  #beginOther({ tag, headerOctets }: PacketHeader): void {
    if (this.#phase === "ciphertext") this.#phase = "after"
    if (this.#partial || this.#remaining === Number.POSITIVE_INFINITY) throw clear("length of a packet is open")
    if (tag === TAG.marker || tag === TAG.padding) {
      this.#paddingOctets += headerOctets + this.#remaining
      if (this.#paddingOctets > MAX_PADDING_OCTETS) throw clear("padding is too long")
      return
    }
    this.#beforeOctets += headerOctets + this.#remaining
    const sessionKey = tag === TAG.pkesk || tag === TAG.skesk
    if (!sessionKey || this.#phase !== "before") throw clear("packet does not belong to an encrypted message")
    if (this.#remaining > MAX_SESSION_KEY_OCTETS || this.#beforeOctets > MAX_SESSION_KEYS_OCTETS)
      throw clear("session key packets are too long")
    if (this.#remaining === 0) throw clear("session key packet is empty")
    this.#atVersion = true
  }

  #length({ length }: PacketHeader): void {
    // RFC 9580 §4.2.1.4: at least 512 in the first part; nobody writes fewer in the others, and a length an octet costs time.
    if (length.kind === "partial" && length.octets < 512) throw clear("partial body is too short")
    this.#partial = length.kind === "partial"
    this.#remaining = length.kind === "indeterminate" ? Number.POSITIVE_INFINITY : length.octets
  }
}

/** A partial body length has the form of the length in a packet header. */
function continuedHeader(tag: number, octets: Uint8Array): PacketHeader | null {
  const header = readPacketHeader(Buffer.concat([Uint8Array.of(0xc0 | tag), octets]))
  return header && { ...header, headerOctets: header.headerOctets - 1 }
}

function isEncryptedData(tag: number): boolean {
  return tag === TAG.sed || tag === TAG.seipd || tag === TAG.aead
}

function clear(what: string): GatewayError {
  return new GatewayError("CLEAR_CONTENT", `openpgp: ${what}`)
}

/** RFC 9580 §5; 20 is the AEAD packet of LibrePGP. */
const TAG = { pkesk: 1, skesk: 3, sed: 9, marker: 10, seipd: 18, aead: 20, padding: 21 } as const
/** Versions of the packets that have one. */
const VERSIONS: Readonly<Record<number, readonly number[]>> = {
  [TAG.pkesk]: [2, 3, 6],
  [TAG.skesk]: [4, 5, 6],
  [TAG.seipd]: [1, 2],
  [TAG.aead]: [1],
}
/** Tag, and a length of five octets. */
const MAX_PACKET_HEADER_OCTETS = 6
const NOTHING = new Uint8Array(0)
