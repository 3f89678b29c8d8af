import { GatewayError } from "../../errors.ts"
import type { CertificateIdentity } from "../cms/certificate.ts"
import { explicit, octetString, oid, sequence, TAG } from "../cms/der.ts"
import { p256Multiplication } from "../primitives/p256-recrypt.ts"
import { berChildren, readBer } from "./ber.ts"
import { readCmsHead } from "./cms-head.ts"
import { type Patch, type Span, sameOctets, standsAt } from "./patch.ts"
import { type Recryptor, recryptBlock } from "./recryptor.ts"
import { inverseScalarP256 } from "./split.ts"

/** Which certificate a block is for, which one it shall be for, and the recryption scalar between their keys (32 octets). */
export interface CmsRecryption {
  readonly from: CertificateIdentity
  readonly to: CertificateIdentity
  readonly scalar: Uint8Array
}

/**
 * Recrypts CMS enveloped for the P-256 certificate `from`: the ephemeral point becomes k*V, the recipient identifier `to`'s.
 * @throws GatewayError SCALAR_INVALID
 */
export function cmsRecryptor({ from, to, scalar }: CmsRecryption): Recryptor {
  const multiply = p256Multiplication(scalar)
  const recryptor: Recryptor = {
    format: "cms",
    patches(block, { point, identifiers }) {
      const patches: Patch[] = []
      for (const identifier of identifiers) {
        const patch = identifierPatch(block, identifier, from, to)
        if (patch !== null) patches.push(patch)
      }
      if (patches.length === 0) return null
      if (point === null) throw malformed("ephemeral key is no P-256 point")
      return [{ offset: point.start, octets: multiply(block.subarray(point.start, point.end)) }, ...patches]
    },
    recrypt(block) {
      const reading = readCmsHead(block)
      if (reading.kind !== "head") throw malformed("recipients are cut off")
      return recryptBlock(recryptor, block, reading.head)
    },
  }
  return recryptor
}

/**
 * The way back: what is for `recryption.to` becomes a block for `recryption.from`, by the same recryption scalar.
 * @throws GatewayError SCALAR_INVALID
 */
export function cmsRestorer(recryption: CmsRecryption): Recryptor {
  return cmsRecryptor({ from: recryption.to, to: recryption.from, scalar: inverseScalarP256(recryption.scalar) })
}

/** Recognises blocks for a certificate: recryption by 1 changes nothing, at most the sign of a point. */
export function cmsRecogniser(identity: CertificateIdentity): Recryptor {
  const scalar = Uint8Array.from({ length: 32 }, (_, index) => (index === 31 ? 1 : 0))
  return cmsRecryptor({ from: identity, to: identity, scalar })
}

/**
 * RFC 5652 §6.2.2: KeyAgreeRecipientIdentifier ::= CHOICE { issuerAndSerialNumber, rKeyId [0] IMPLICIT RecipientKeyIdentifier }
 * @returns null when it does not name `from`
 */
function identifierPatch(
  block: Uint8Array,
  span: Span,
  from: CertificateIdentity,
  to: CertificateIdentity,
): Patch | null {
  const identifier = readBer(block, span.start, span.end)
  const [first, second] = identifier ? berChildren(block, identifier) : []
  if (identifier?.tag === KEY_IDENTIFIER && first?.tag === TAG.octetString) {
    const named = block.subarray(first.contentStart, first.contentEnd)
    if (!from.subjectKeyIdentifier || !sameOctets(named, from.subjectKeyIdentifier)) return null
    return sameLength(first.contentStart, named.length, to.subjectKeyIdentifier)
  }
  if (identifier?.tag !== TAG.sequence || !first || second?.tag !== TAG.integer) return null
  const serialOctets = second.contentEnd - second.contentStart
  if (serialOctets !== from.serial.length || !standsAt(block, second.contentStart, from.serial)) return null
  if (first.end - first.start !== from.issuer.length || !standsAt(block, first.start, from.issuer)) return null
  if (to.serial.length === serialOctets && sameOctets(from.issuer, to.issuer))
    return { offset: second.contentStart, octets: to.serial }
  return sameLength(span.start, span.end - span.start, keyIdentifierOfLength(to, span.end - span.start))
}

function sameLength(offset: number, length: number, octets: Uint8Array | null): Patch {
  if (octets?.length !== length) throw malformed(`recipient identifier cannot be rewritten in ${length} octets`)
  return { offset, octets }
}

/**
 * RecipientKeyIdentifier { subjectKeyIdentifier, OtherKeyAttribute } of exactly `length` octets, for a certificate of another issuer:
 * the attribute's value is filler. OpenSSL and Thunderbird open it.
 * @returns null when `to` has no key identifier or the length is too small
 */
function keyIdentifierOfLength(to: CertificateIdentity, length: number): Uint8Array | null {
  if (!to.subjectKeyIdentifier) return null
  const name = octetString(to.subjectKeyIdentifier)
  const bare = explicit(0, name)
  if (bare.length === length) return bare
  for (const write of [sequence, longSequence])
    for (const attribute of FILLER_ATTRIBUTES)
      for (let filler = Math.max(0, length - bare.length - 40); filler < length; filler++) {
        const whole = explicit(0, name, write(attribute, octetString(new Uint8Array(filler))))
        if (whole.length === length) return whole
        if (whole.length > length) break
      }
  return null
}

/** Around the lengths where a header grows by an octet some sizes do not occur in DER; CMS may be BER, where a length may be written long. */
function longSequence(...parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts)
  return Buffer.concat([Uint8Array.of(TAG.sequence, 0x82, content.length >> 8, content.length & 0xff), content])
}

function malformed(what: string): GatewayError {
  return new GatewayError("CMS_MALFORMED", `cms: ${what}`)
}

const KEY_IDENTIFIER = 0xa0
/** OtherKeyAttribute's type: any will do, no reader knows it. Two of different length. */
const FILLER_ATTRIBUTES = [oid("1.3.6.1.4.1.47194.1.2.3"), oid("1.3.6.1.4.1.47194.1.2.3.1")]
