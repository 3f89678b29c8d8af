import { ascii } from "./compose.ts"
import { messageSignature, type SigningTags, signatureOver } from "./dkim-signature.ts"
import { type Field, fieldText, parseFields } from "./header.ts"

/** What is known of the chain of a message that arrived (RFC 8617 §4.4). */
export type ChainStatus = "none" | "pass" | "fail"

/** What a set is made of, beside the message. */
export interface ArcSetOptions extends SigningTags {
  /** SHA-256 of the whole body in relaxed form. */
  readonly bodyHash: Uint8Array
  /** Of the chain that is there. */
  readonly chain: ChainStatus
  /** The Authentication-Results field of the border it came in at, with its name. */
  readonly results: Uint8Array
}

/** A set, or one sentence for people why there is none. */
export type MadeArcSet =
  | { readonly kind: "made"; readonly fields: readonly Uint8Array[] }
  | { readonly kind: "none"; readonly because: string }

/**
 * The ARC set (RFC 8617 §5.1) of a message that is sent on: ARC-Seal, ARC-Message-Signature, ARC-Authentication-Results, each folded with CRLF and
 * ending in it. They go on top of `header`. The same arguments give the same octets.
 *
 * A chain that failed is not continued: the seal says so (cv=fail), and covers its own set alone (§5.1.2). Behind such a seal there is no other.
 * @param header the header section as it leaves
 */
export function arcSet(header: Uint8Array, options: ArcSetOptions): MadeArcSet {
  const fields = parseFields(header)
  const chain = fields.filter(({ name }) => ARC_FIELDS.includes(name))
  const last = Math.max(0, ...chain.map(instanceOf))
  if (last >= MAX_INSTANCE) return { kind: "none", because: `its chain has ${last} sets already` }
  if (chain.some((field) => instanceOf(field) === last && /;\s*cv\s*=\s*fail\b/i.test(fieldText(field))))
    return { kind: "none", because: "its chain has failed already" }
  const status = statusOf(chain, last, options.chain)
  const results = authenticationResults(last + 1, options.results)
  const signature = signatureOf(last + 1, fields, options)
  const sealed = [...(status === "pass" ? chainInOrder(chain) : []), results, signature]
  return { kind: "made", fields: [seal(last + 1, status, sealed, options), signature, results] }
}

/** What could be verified of it was another one: such a chain has failed, and so has one that nobody saw. */
function statusOf(chain: readonly Field[], last: number, arrived: ChainStatus): ChainStatus {
  if (chain.length === 0) return "none"
  const places = new Set(chain.map(placeOf))
  const isWhole = Array.from({ length: 3 * last }, (_, at) => at + 3).every((place) => places.has(place))
  return arrived === "pass" && isWhole && chain.length === 3 * last ? "pass" : "fail"
}

// RFC 8617 §5.1.1: in order of increasing i, of each the results, the signature, the seal.
function chainInOrder(chain: readonly Field[]): readonly Uint8Array[] {
  return chain.toSorted((a, b) => placeOf(a) - placeOf(b)).map(({ octets }) => octets)
}

/** From 3 on: three fields are a set, the first of which is i=1. */
function placeOf(field: Field): number {
  return instanceOf(field) * 3 + ARC_FIELDS.indexOf(field.name)
}

//   arc-info = instance [CFWS] ";" authres-payload      RFC 8617 §4.1.1
function authenticationResults(instance: number, field: Uint8Array): Uint8Array {
  const text = Buffer.from(field).toString("latin1")
  return ascii(`ARC-Authentication-Results: i=${instance};${text.slice(text.indexOf(":") + 1)}`)
}

// RFC 8617 §4.1.2: as a DKIM signature, i= in the place of v=; over the author's signatures too, and over nothing of the chain.
function signatureOf(instance: number, fields: readonly Field[], options: ArcSetOptions): Uint8Array {
  return messageSignature(`ARC-Message-Signature: i=${instance}`, fields, ["DKIM-Signature"], options)
}

// RFC 8617 §4.1.3: no h= and no bh=.
function seal(
  instance: number,
  status: ChainStatus,
  sealed: readonly Uint8Array[],
  options: ArcSetOptions,
): Uint8Array {
  return signatureOver(sealed, `ARC-Seal: i=${instance}; a=${options.signer.algorithm}; cv=${status};`, "", options)
}

/** 0: it states none. */
function instanceOf(field: Field): number {
  const stated = /(?:^|;)\s*i\s*=\s*(\d{1,9})\s*(?:;|$)/.exec(fieldText(field))?.[1]
  return stated === undefined ? 0 : Number(stated)
}

/** In the order in which a seal covers those of one set. */
const ARC_FIELDS: readonly string[] = ["arc-authentication-results", "arc-message-signature", "arc-seal"]
/** RFC 8617 §4.2.1 */
const MAX_INSTANCE = 50
