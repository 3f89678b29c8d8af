import type { DkimSigner } from "../crypto/primitives/dkim-key.ts"
import { ascii } from "./compose.ts"
import { relaxedField } from "./dkim-relaxed.ts"
import { type Field, parseFields } from "./header.ts"

/** Who signs, as the tags d= and s= say it. */
export interface DkimIdentity {
  /** A-labels. */
  readonly domain: string
  readonly selector: string
}

/**
 * The DKIM-Signature field (RFC 6376 §3.5) over a message, relaxed/relaxed, folded with CRLF and ending in it. It goes on top of `header`.
 * The same arguments give the same octets.
 * @param header the header section, its empty line included or not
 * @param bodyHash SHA-256 of the whole body in relaxed form; there is never an l= (RFC 6376 §8.2)
 * @param at becomes t=
 */
export function dkimSignature(
  header: Uint8Array,
  bodyHash: Uint8Array,
  identity: DkimIdentity,
  signer: DkimSigner,
  at: Date,
): Uint8Array {
  return messageSignature("DKIM-Signature: v=1", parseFields(header), [], { ...identity, signer, bodyHash, at })
}

/** Who signs a field, and when. */
export interface SigningTags extends DkimIdentity {
  readonly signer: DkimSigner
  /** Becomes t=. */
  readonly at: Date
}

/**
 * A field that signs header fields and the body, as DKIM-Signature and ARC-Message-Signature do.
 * @param opening its name and its first tag
 * @param also names of fields that are signed where they are, beside those that always are
 */
export function messageSignature(
  opening: string,
  present: readonly Field[],
  also: readonly string[],
  { bodyHash, ...tags }: SigningTags & { readonly bodyHash: Uint8Array },
): Uint8Array {
  const { names, fields } = signedFields(present, also)
  const rest = `\th=${foldedNames(names)};\r\n\tbh=${Buffer.from(bodyHash).toString("base64")};\r\n`
  const octets = fields.map((field) => field.octets)
  return signatureOver(octets, `${opening}; a=${tags.signer.algorithm}; c=relaxed/relaxed;`, rest, tags)
}

/** A field that ends in b=, over these and over itself: in this order, then it with an empty b= and no line end (RFC 6376 §3.7). */
export function signatureOver(
  fields: readonly Uint8Array[],
  opening: string,
  rest: string,
  { domain, selector, signer, at }: SigningTags,
): Uint8Array {
  const seconds = Math.floor(at.getTime() / 1_000)
  const unsigned = `${opening} d=${domain};\r\n\ts=${selector}; t=${seconds};\r\n${rest}\tb=`
  const hashed = Buffer.concat([...fields.map((one) => relaxedField(one, "\r\n")), relaxedField(ascii(unsigned), "")])
  return ascii(`${unsigned}${base64Tag(signer.sign(hashed))}\r\n`)
}

/**
 * What h= names, and the fields it means: of each name all that are there, the lowest first (RFC 6376 §5.4.2), and where it is sealed once more,
 * which means that there is no other.
 * @param also names of other fields that are signed where they are
 */
function signedFields(
  present: readonly Field[],
  also: readonly string[],
): {
  readonly names: readonly string[]
  readonly fields: readonly Field[]
} {
  const found = [...SIGNED, ...also.map((name) => [name, "open"] as const)].map(([name, more]) => {
    const fields = present.filter((field) => field.name === name.toLowerCase()).toReversed()
    return { names: [...fields.map(() => name), ...(more === "sealed" ? [name] : [])], fields }
  })
  return { names: found.flatMap(({ names }) => names), fields: found.flatMap(({ fields }) => fields) }
}

/** h=, in lines of up to 76 characters: blanks may stand around the colons. */
function foldedNames(names: readonly string[]): string {
  let width = 3
  return names
    .map((name, index) => {
      const colon = index === 0 ? "" : ":"
      width += name.length + 1
      if (width <= MAX_LINE_CHARACTERS) return `${colon}${name}`
      width = name.length + 1
      return `${colon}\r\n\t ${name}`
    })
    .join("")
}

/** b=, in lines of up to 76 characters. */
function base64Tag(octets: Uint8Array): string {
  return Buffer.from(octets)
    .toString("base64")
    .replace(/(.{1,74})(?=.)/g, "$1\r\n\t ")
}

const MAX_LINE_CHARACTERS = 74

/**
 * RFC 6376 §5.4.1, and what says how the body is read: another MIME field would show other content under the same signature. Of what is
 * sealed nobody can add one either (§8.15). Lists and forwarders add Sender, List-… and Resent-… in good faith: those are signed only where
 * they are. Trace fields are for others to add and remove.
 */
const SIGNED: readonly (readonly [name: string, more: "sealed" | "open"])[] = [
  ["From", "sealed"],
  ["Sender", "open"],
  ["Reply-To", "sealed"],
  ["To", "sealed"],
  ["Cc", "sealed"],
  ["Subject", "sealed"],
  ["Date", "sealed"],
  ["Message-ID", "sealed"],
  ["In-Reply-To", "sealed"],
  ["References", "sealed"],
  ["MIME-Version", "sealed"],
  ["Content-Type", "sealed"],
  ["Content-Transfer-Encoding", "sealed"],
  ["Content-Disposition", "open"],
  ["Autocrypt", "open"],
  ["Resent-From", "open"],
  ["Resent-Sender", "open"],
  ["Resent-To", "open"],
  ["Resent-Cc", "open"],
  ["Resent-Date", "open"],
  ["Resent-Message-ID", "open"],
  ["List-Id", "open"],
  ["List-Help", "open"],
  ["List-Unsubscribe", "open"],
  ["List-Unsubscribe-Post", "open"],
  ["List-Subscribe", "open"],
  ["List-Post", "open"],
  ["List-Owner", "open"],
  ["List-Archive", "open"],
  // What says how TLS is to be used (RFC 8689 §5), and whom a report about TLS is about (RFC 8460 §5.3).
  ["TLS-Required", "open"],
  ["TLS-Report-Domain", "open"],
  ["TLS-Report-Submitter", "open"],
]
