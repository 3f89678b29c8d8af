import { TAG } from "../crypto/cms/der.ts"
import { GatewayError } from "../errors.ts"

/** What may stand in an element of an envelope; `limitOctets` counts its content, however deep. */
export type Shape = (
  | { readonly kind: "sequence"; readonly members: readonly Member[] }
  | { readonly kind: "set"; readonly tags: readonly number[]; readonly of: Shape }
  | { readonly kind: "any" }
  | { readonly kind: "contentType" }
  /** What the content type says. */
  | { readonly kind: "content" }
  | { readonly kind: "ciphertext" }
) & {
  readonly limitOctets?: number
  /** What a reader of the envelope wants it for. */
  readonly part?: EnvelopePart
}

/** What an envelope is opened with; each with its header, the ciphertext without. */
export type EnvelopePart = "recipients" | "algorithm" | "ciphertext" | "attributes" | "tag"

/** A member of a SEQUENCE, by its identifier octets. */
interface Member {
  readonly tags: readonly number[]
  readonly shape: Shape
  readonly optional?: true
}

/** Attributes, certificates and CRLs beside the ciphertext; clear text could stand in them. */
export const MAX_ATTRIBUTES_OCTETS = 65_536

/** One RecipientInfo: a KeyAgreeRecipientInfo may hold the keys of 200 recipients. */
export const MAX_RECIPIENT_OCTETS = 65_536

/** All of them: about 10 000 recipients. */
export const MAX_RECIPIENTS_OCTETS = 4_194_304

/** A version, an object identifier, an authentication tag. */
const MAX_VALUE_OCTETS = 64

/** Parameters of AES have 20; RFC 5652 sets no limit. */
const MAX_ALGORITHM_OCTETS = 1024

const attributes: Shape = { kind: "any", limitOctets: MAX_ATTRIBUTES_OCTETS }
const value: Shape = { kind: "any", limitOctets: MAX_VALUE_OCTETS }

// RFC 5652 §6.1
const encryptedContentInfo: Shape = {
  kind: "sequence",
  members: [
    { tags: [TAG.oid], shape: value },
    { tags: [TAG.sequence], shape: { kind: "any", limitOctets: MAX_ALGORITHM_OCTETS, part: "algorithm" } },
    // [0] IMPLICIT OCTET STRING; without it the ciphertext is elsewhere, which mail does not do.
    { tags: [0x80, 0xa0], shape: { kind: "ciphertext", part: "ciphertext" } },
  ],
}
const head: readonly Member[] = [
  { tags: [TAG.integer], shape: value },
  { tags: [0xa0], shape: attributes, optional: true },
  {
    tags: [TAG.set],
    shape: {
      kind: "set",
      // ktri, kari, kekri, pwri, ori
      tags: [0x30, 0xa1, 0xa2, 0xa3, 0xa4],
      of: { kind: "any", limitOctets: MAX_RECIPIENT_OCTETS },
      limitOctets: MAX_RECIPIENTS_OCTETS,
      part: "recipients",
    },
  },
  { tags: [TAG.sequence], shape: encryptedContentInfo },
  { tags: [0xa1], shape: { ...attributes, part: "attributes" }, optional: true },
]

// RFC 5652 §6.1: the content of the [0] in ContentInfo.
export const ENVELOPED_DATA: Shape = wrapped(head)

// RFC 5083 §2.1
export const AUTH_ENVELOPED_DATA: Shape = wrapped([
  ...head,
  { tags: [TAG.octetString], shape: { ...value, part: "tag" } },
  { tags: [0xa2], shape: attributes, optional: true },
])

// RFC 5652 §3
export const CONTENT_INFO: Shape = {
  kind: "sequence",
  members: [
    { tags: [TAG.oid], shape: { kind: "contentType", limitOctets: MAX_VALUE_OCTETS } },
    { tags: [0xa0], shape: { kind: "content" } },
  ],
}

/** An element that is being filled: `next` is the place in its sequence, or counts the members of its set. */
export interface Filling {
  readonly shape: Shape
  next: number
}

/**
 * The shape of an element that comes next, and moves on to it.
 * @throws GatewayError CLEAR_CONTENT when it may not stand there
 */
export function memberFor(parent: Filling, tag: number): Shape {
  const { shape } = parent
  if (shape.kind === "any") return INSIDE_ANY
  // X.690 §8.7.3: segments of an octet string, which may be constructed themselves.
  if (shape.kind === "ciphertext" && (tag === TAG.octetString || tag === 0x24)) return shape
  if (shape.kind === "set" && shape.tags.includes(tag)) {
    parent.next += 1
    return shape.of
  }
  if (shape.kind === "sequence") {
    const at = shape.members.findIndex((member, place) => place >= parent.next && member.tags.includes(tag))
    const found = shape.members[at]
    if (found && shape.members.slice(parent.next, at).every((member) => member.optional)) {
      parent.next = at + 1
      return found.shape
    }
  }
  throw new GatewayError("CLEAR_CONTENT", `cms: element ${tag} does not belong there`)
}

/** Whether nothing is missing in an element that ends. */
export function mayEnd({ shape, next }: Filling): boolean {
  // RFC 5652 §6.1: RecipientInfos has at least one.
  if (shape.kind === "set") return next > 0
  return shape.kind !== "sequence" || shape.members.slice(next).every((member) => member.optional)
}

function wrapped(members: readonly Member[]): Shape {
  return { kind: "sequence", members: [{ tags: [TAG.sequence], shape: { kind: "sequence", members } }] }
}

const INSIDE_ANY: Shape = { kind: "any" }
