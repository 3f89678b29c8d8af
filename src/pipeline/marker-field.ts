import { equalConstantTime, hmacSha256 } from "../crypto/primitives/hash.ts"
import { ascii, markerOf } from "../mime/compose.ts"
import type { Covered, EncryptedBy, MarkerMaker, MarkerVersion } from "./marker-mac.ts"

/** What a marker says. Its MAC is yet to be checked against the body. */
export interface Marker extends Covered {
  readonly version: MarkerVersion
  readonly by: EncryptedBy
  /** The body goes on behind the covered octets. Version 1 does not tell. */
  readonly more: boolean
  /** See form-tag.ts; null where there is no OpenPGP block. */
  readonly tag: Uint8Array | null
}

/** A marker as it was read; of version 2, which has a seal, one can tell without the body whether it is genuine. */
export interface ReadMarker extends Marker {
  readonly seal: Uint8Array | null
}

/** The header field, line end included: of version 2, as all that are made. */
export function markerField(maker: MarkerMaker, marker: Marker): Uint8Array {
  const seal = base64url(sealOf(maker, marker))
  return ascii(`Postern-Encrypted: ${textOf(marker)};\r\n seal=${seal}\r\n`)
}

/** True when this gateway made the marker for this account, over whatever body. Nobody knows it of version 1. */
export function isGenuine(maker: MarkerMaker, marker: ReadMarker): boolean {
  return marker.seal !== null && equalConstantTime(marker.seal, sealOf(maker, marker))
}

/** The first marker in a header section; null when there is none, or of no version that is known. */
export function readMarker(header: Uint8Array): ReadMarker | null {
  const text = markerOf(header) ?? ""
  return readVersion2(text) ?? readVersion1(text)
}

function readVersion2(text: string): ReadMarker | null {
  const [, word, covered, more, mac, tag, seal] = VERSION_2.exec(text) ?? []
  if (mac === undefined || seal === undefined) return null
  return {
    version: 2,
    by: byOf(word),
    coveredOctets: Number(covered),
    more: more === "+",
    mac: octetsOf(mac),
    tag: tag === undefined ? null : octetsOf(tag),
    seal: octetsOf(seal),
  }
}

function readVersion1(text: string): ReadMarker | null {
  const [, word, covered, mac] = VERSION_1.exec(text) ?? []
  if (mac === undefined) return null
  const [by, coveredOctets] = [byOf(word), Number(covered)]
  return { version: 1, by, coveredOctets, more: true, mac: octetsOf(mac), tag: null, seal: null }
}

function textOf({ by, coveredOctets, more, mac, tag }: Marker): string {
  const parts = [`${WORDS[by]}; v=2; n=${coveredOctets}${more ? "+" : ""}`, `mac=${base64url(mac)}`]
  if (tag !== null) parts.push(`tag=${base64url(tag)}`)
  return parts.join(";\r\n ")
}

function sealOf({ markerKey, account }: MarkerMaker, marker: Marker): Uint8Array {
  const label = ascii(`postern marker seal 2\0${encodeURIComponent(account)}\0`)
  return hmacSha256(markerKey)
    .update(label)
    .update(ascii(textOf(marker)))
    .digest()
    .subarray(0, SEAL_OCTETS)
}

function byOf(word: string | undefined): EncryptedBy {
  return word === WORDS.unknown ? "unknown" : "this gateway"
}

function octetsOf(text: string): Uint8Array {
  return Buffer.from(text, "base64url")
}

function base64url(octets: Uint8Array): string {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString("base64url")
}

/** 64 bits: each try at one is an upload, and all that is won is that the upload is refused. */
const SEAL_OCTETS = 8
const WORDS: Readonly<Record<EncryptedBy, string>> = { "this gateway": "by this gateway", unknown: "arrived encrypted" }
const VERSION_1 = /^(by this gateway|arrived encrypted); v=1; n=(\d{1,15});\s+mac=([\w-]{22})$/
const VERSION_2 =
  /^(by this gateway|arrived encrypted); v=2; n=(\d{1,15})(\+?);\s+mac=([\w-]{22});(?:\s+tag=([\w-]{22});)?\s+seal=([\w-]{11})$/
