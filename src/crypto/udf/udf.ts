import { GatewayError } from "../../errors.ts"
import { joined } from "../primitives/joined.ts"
import { base32Decode, base32Encode } from "./base32.ts"

/** Type identifiers (draft-hallambaker-mesh-udf §3.1). A digest's is raised by what its compression saves, 0 to 4. */
export const UDF_TYPE = {
  authenticatorSha2: 0,
  authenticatorSha3: 1,
  encryptionKey: 32,
  /** A key for encryption and a symmetric signature. */
  encryptionAndSignatureKey: 33,
  digestSha3: 80,
  digestSha2: 96,
  nonce: 104,
  /** The draft's text says 108 once; its table, its examples and the library say this. */
  oidSequence: 112,
  share: 144,
  seed: 200,
} as const

export type UdfKind = "authenticator" | "digest" | "key" | "nonce" | "oid-sequence" | "share" | "seed"

/** A Uniform Data Fingerprint as somebody presented it. {@link parseUdf} is the only maker. */
export interface Udf {
  readonly kind: UdfKind
  /** The type identifier. */
  readonly type: number
  /** The binary data sequence behind the type: whole octets; of a digest or an authenticator only as many as were presented. */
  readonly data: Uint8Array
  /** The text in its canonical form, upper case and groups of four: what identifiers of keys are made from. */
  readonly text: string
}

/**
 * Reads the presentation: Base32 in groups of four with dashes between them, or without any dash, in either case.
 *
 *     UDF = type octet || binary data sequence     MDDK-7N6A-727A-JZNO-STRX-XKS7-DJAF
 *
 * Stricter than the reference code, which lets any dashes pass (groups of five are of another generation, {@link parseUdf2016}) and any bits
 * behind the last whole octet. A digest may have been cut off anywhere above 100 bits; of everything else those bits are zero.
 * @throws GatewayError UDF_MALFORMED
 */
export function parseUdf(text: string): Udf {
  if (text.length > MAX_TEXT_CHARACTERS) throw malformed("too long")
  // Before letters are made upper case: there are others whose upper case is one of these.
  if (!/^[A-Za-z2-7-]+$/.test(text)) throw malformed("no Base32")
  const upper = text.toUpperCase()
  const characters = upper.replaceAll("-", "")
  const canonical = grouped(characters, 4)
  if (upper !== characters && upper !== canonical) throw malformed("groups are not of four")
  const content = base32Decode(characters)
  const type = content?.octets[0]
  if (!content || type === undefined) throw malformed("no Base32")
  const kind = kindOf(type)
  const whole = content.left === 0 && content.octets.length >= 2
  if (isCut(kind) ? characters.length < MIN_DIGEST_CHARACTERS : !whole)
    throw malformed(isCut(kind) ? "too short to name anything" : "cut off")
  return { kind, type, data: content.octets.subarray(1), text: canonical }
}

/**
 * Presents a binary UDF (type octet and data). Digests and authenticators are cut to `bits`, their type octet included; the rest is whole.
 * @throws GatewayError UDF_MALFORMED for a type that there is not, no data, or too much
 */
export function presentUdf(udf: Uint8Array, bits = DEFAULT_BITS): string {
  const kind = kindOf(udf[0])
  if (udf.length < 2 || udf.length > MAX_UDF_OCTETS) throw malformed("no data, or too much")
  return presentBits(udf, isCut(kind) ? bits : udf.length * 8)
}

/** The first bits of octets as Base32 in groups of four: identifiers that are no UDF of their kind, such as witness values. */
export function presentBits(octets: Uint8Array, bits = DEFAULT_BITS): string {
  const most = Math.min(bits, octets.length * 8)
  return grouped(base32Encode(octets.subarray(0, Math.ceil(most / 8))).slice(0, Math.floor((most + 4) / 5)), 4)
}

/** Type octet and data as one binary UDF. */
export function binaryUdf(type: number, data: Uint8Array): Uint8Array {
  return joined([Uint8Array.of(type), data])
}

/** The data of a UDF that must be of one kind. Throws GatewayError UDF_MALFORMED for another. */
export function dataOfUdf(text: string, kind: UdfKind): Uint8Array {
  const udf = parseUdf(text)
  if (udf.kind !== kind) throw malformed(`a ${udf.kind}, not a ${kind}`)
  return udf.data
}

/** Characters in groups with dashes between them. */
export function grouped(characters: string, size: number): string {
  return characters.match(new RegExp(`.{1,${size}}`, "g"))?.join("-") ?? ""
}

/** Only these may be presented with fewer bits than they have. */
export function isCut(kind: UdfKind): boolean {
  return kind === "digest" || kind === "authenticator"
}

function kindOf(type: number | undefined): UdfKind {
  const found = KINDS.find(({ first, last }) => type !== undefined && type >= first && type <= last)
  if (!found) throw malformed("type is not known")
  return found.kind
}

function malformed(what: string): GatewayError {
  return new GatewayError("UDF_MALFORMED", `udf: ${what}`)
}

const KINDS: readonly { readonly first: number; readonly last: number; readonly kind: UdfKind }[] = [
  { first: UDF_TYPE.authenticatorSha2, last: UDF_TYPE.authenticatorSha3, kind: "authenticator" },
  { first: UDF_TYPE.encryptionKey, last: UDF_TYPE.encryptionAndSignatureKey, kind: "key" },
  { first: UDF_TYPE.digestSha3, last: UDF_TYPE.digestSha3 + 4, kind: "digest" },
  { first: UDF_TYPE.digestSha2, last: UDF_TYPE.digestSha2 + 4, kind: "digest" },
  { first: UDF_TYPE.nonce, last: UDF_TYPE.nonce, kind: "nonce" },
  { first: UDF_TYPE.oidSequence, last: UDF_TYPE.oidSequence, kind: "oid-sequence" },
  { first: UDF_TYPE.share, last: UDF_TYPE.share, kind: "share" },
  { first: UDF_TYPE.seed, last: UDF_TYPE.seed, kind: "seed" },
]

/** Seven groups, 28 characters: what the library presents unless told otherwise. */
const DEFAULT_BITS = 140
/** The fewest that the library's own comparison takes: 100 bits. */
const MIN_DIGEST_CHARACTERS = 20
/** An OID sequence with an RSA key of 7,680 bits has a thousand octets; everything else has 65 at most. */
const MAX_UDF_OCTETS = 1_024
const MAX_TEXT_CHARACTERS = Math.ceil((Math.ceil((MAX_UDF_OCTETS * 8) / 5) * 5) / 4)
