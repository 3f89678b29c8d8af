import { equalConstantTime, hmacSha256 } from "../crypto/primitives/hash.ts"
import { ascii, markerOf } from "../mime/compose.ts"
import { headerEnd, MAX_HEADER_OCTETS } from "../mime/header.ts"

/** Who encrypted a stored message: we did, or it came encrypted and nobody knows who did (anybody can encrypt to a published key). */
export type EncryptedBy = "this gateway" | "unknown"

/** The secret that makes markers; lives in `secrets/`. 32 octets. */
export type MarkerKey = Uint8Array

const WORDS: Readonly<Record<EncryptedBy, string>> = { "this gateway": "by this gateway", unknown: "arrived encrypted" }
const MAC_OCTETS = 16

/**
 * Computes the marker of one stored message. Fed with the stable octets of the body: those outside the patch windows, the windows
 * as zeros, so that the marker holds for every device's view.
 */
export class MarkerMac {
  readonly #mac
  readonly #limitOctets: number
  #covered = 0

  /** `limitOctets`: how many stable octets are covered; Infinity for all. */
  constructor(key: MarkerKey, account: string, by: EncryptedBy, limitOctets = Number.POSITIVE_INFINITY) {
    this.#limitOctets = limitOctets
    this.#mac = hmacSha256(key).update(ascii(`postern marker 1\0${by}\0${encodeURIComponent(account)}\0`))
  }

  update(stable: Uint8Array): void {
    const part = stable.subarray(0, Math.max(0, this.#limitOctets - this.#covered))
    if (part.length === 0) return
    this.#mac.update(part)
    this.#covered += part.length
  }

  /** The octets covered so far and the MAC over them. Ends the computation. */
  finish(): { readonly coveredOctets: number; readonly mac: Uint8Array } {
    const length = ascii(`\0${this.#covered}`)
    return { coveredOctets: this.#covered, mac: this.#mac.update(length).digest().subarray(0, MAC_OCTETS) }
  }
}

/** The marker as a header field, line end included. */
export function markerField(
  by: EncryptedBy,
  finished: { readonly coveredOctets: number; readonly mac: Uint8Array },
): Uint8Array {
  const mac = Buffer.from(finished.mac).toString("base64url")
  return ascii(`Postern-Encrypted: ${WORDS[by]}; v=1; n=${finished.coveredOctets};\r\n mac=${mac}\r\n`)
}

/** A marker that was read; its MAC is yet to be checked. */
export interface Marker {
  readonly by: EncryptedBy
  readonly coveredOctets: number
  readonly mac: Uint8Array
}

/** @returns null when the text is no marker of version 1. */
export function parseMarker(text: string): Marker | null {
  const match = /^(by this gateway|arrived encrypted); v=1; n=(\d{1,15});\s+mac=([A-Za-z0-9_-]{22})$/.exec(text)
  if (!match?.[1] || !match[2] || !match[3]) return null
  return {
    by: match[1] === WORDS.unknown ? "unknown" : "this gateway",
    coveredOctets: Number(match[2]),
    mac: Buffer.from(match[3], "base64url"),
  }
}

/** True when `marker` is ours and the stable octets fed to `computed` are those it was made over. */
export function markerHolds(
  marker: Marker,
  computed: { readonly coveredOctets: number; readonly mac: Uint8Array },
): boolean {
  return marker.coveredOctets === computed.coveredOctets && equalConstantTime(marker.mac, computed.mac)
}

/** Checks the marker of one whole stored message, fed with its octets, those of the patch windows as zeros. */
export class MarkerCheck {
  readonly #key: MarkerKey
  readonly #account: string
  #header: Uint8Array = new Uint8Array(0)
  #vouching: { readonly marker: Marker; readonly mac: MarkerMac } | "reading" | "nobody" = "reading"

  constructor(key: MarkerKey, account: string) {
    this.#key = key
    this.#account = account
  }

  push(stable: Uint8Array): void {
    if (this.#vouching === "nobody") return
    if (this.#vouching !== "reading") {
      this.#vouching.mac.update(stable)
      return
    }
    this.#header = Buffer.concat([this.#header, stable])
    const end = headerEnd(this.#header)
    if (end !== null) this.#begin(end)
    else if (this.#header.length > MAX_HEADER_OCTETS) this.#vouching = "nobody"
  }

  /** @returns `none` when the message has no marker of ours */
  end(): "holds" | "altered" | "none" {
    if (typeof this.#vouching === "string") return "none"
    const { marker, mac } = this.#vouching
    return markerHolds(marker, mac.finish()) ? "holds" : "altered"
  }

  #begin(end: number): void {
    const marker = parseMarker(markerOf(this.#header.subarray(0, end)) ?? "")
    if (marker === null) {
      this.#vouching = "nobody"
      return
    }
    const mac = new MarkerMac(this.#key, this.#account, marker.by, marker.coveredOctets)
    mac.update(this.#header.subarray(end))
    this.#vouching = { marker, mac }
  }
}
