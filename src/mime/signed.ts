import type { Field } from "./header.ts"
import type { Entity } from "./structure.ts"
import { type EntityHeader, parameter } from "./structure-header.ts"

/** The two ways of signing mail. */
export type SignedBy = "smime" | "openpgp"

/** A signature that can be seen in a message, and what of the message it may cover. */
export type SignedForm =
  | { readonly kind: "none" }
  /** multipart/signed (RFC 1847 §2.1): the first part is signed, the second the signature. */
  | {
      readonly kind: "detached"
      readonly by: SignedBy
      readonly signed: Entity
      readonly signature: Entity
      readonly boundary: string
      /** Lower case; empty when it is not said. */
      readonly micalg: string
    }
  /** application/pkcs7-mime (RFC 8551 §3.5.2): signed content inside, or something else of CMS. */
  | { readonly kind: "opaque" }
  /** A text that may be signed in the cleartext form (RFC 9580 §7). */
  | { readonly kind: "text" }
  /** What readers show is more than what is signed, or may be. `because`: one clause for people. */
  | { readonly kind: "partial"; readonly by: SignedBy; readonly because: string }

/** Where a signature stands in the message with this structure and these top-level fields. What it says is not looked at. */
export function signedForm(root: Entity, fields: readonly Field[]): SignedForm {
  const form = formOf(root)
  if (form.kind === "none" || form.kind === "text" || form.kind === "partial") return form
  // Readers take the first or the last, and show another message than the one that is signed.
  if (fields.filter(({ name }) => name === "content-type").length > 1)
    return { kind: "partial", by: form.kind === "opaque" ? "smime" : form.by, because: "it has several Content-Types" }
  return form
}

function formOf(root: Entity): SignedForm {
  const { header, content } = root
  const by = signedBy(header)
  if (by !== null && content.kind === "multipart") return multipartForm(by, header, content.parts)
  if (isCms(header)) return mayBeSigned(header) ? { kind: "opaque" } : { kind: "none" }
  if (content.kind === "leaf") return header.type === "text" && header.subtype === "plain" ? TEXT : NONE
  const inside = signedInside(root)
  return inside === null ? NONE : { kind: "partial", by: inside, because: "only a part of it is signed" }
}

function multipartForm(by: SignedBy, header: EntityHeader, parts: readonly Entity[]): SignedForm {
  const partial = (because: string): SignedForm => ({ kind: "partial", by, because })
  const [signed, signature, ...more] = parts
  if (!IDENTITY.includes(header.encoding.toLowerCase()))
    return partial("the signed multipart is in a transfer encoding")
  if (header.parameters.filter(([name]) => /^boundary(?:\*|$)/i.test(name)).length !== 1)
    return partial("it has several boundaries")
  if (signed === undefined || signature === undefined) return partial("the signature is missing")
  if (more.length > 0) return partial("there are parts beside the signed one")
  if (!isSignature(by, signature.header)) return partial("the second part is no signature")
  const boundary = parameter(header, "boundary").trimEnd()
  return { kind: "detached", by, signed, signature, boundary, micalg: parameter(header, "micalg").toLowerCase() }
}

/** The first signature below `entity`, at whatever depth. Depth is bounded by MAX_MIME_DEPTH. */
function signedInside({ content }: Entity): SignedBy | null {
  if (content.kind === "leaf") return null
  for (const child of content.kind === "message" ? [content.message] : content.parts) {
    const opaque = isCms(child.header) && parameter(child.header, "smime-type").toLowerCase() === "signed-data"
    const found = signedBy(child.header) ?? (opaque ? "smime" : signedInside(child))
    if (found !== null) return found
  }
  return null
}

function signedBy(header: EntityHeader): SignedBy | null {
  if (header.type !== "multipart" || header.subtype !== "signed") return null
  return PROTOCOLS.get(parameter(header, "protocol").trim().toLowerCase()) ?? null
}

function isSignature(by: SignedBy, { type, subtype }: EntityHeader): boolean {
  return PROTOCOLS.get(`${type}/${subtype}`) === by
}

function isCms({ type, subtype }: EntityHeader): boolean {
  return type === "application" && (subtype === "pkcs7-mime" || subtype === "x-pkcs7-mime")
}

/** Some programs do not say what is inside. */
function mayBeSigned(header: EntityHeader): boolean {
  return ["", "signed-data"].includes(parameter(header, "smime-type").toLowerCase())
}

const NONE: SignedForm = { kind: "none" }
const TEXT: SignedForm = { kind: "text" }
const IDENTITY: readonly string[] = ["7bit", "8bit", "binary"]
/** RFC 8551 §3.5.3, with the name from before it was registered; RFC 3156 §5. */
const PROTOCOLS: ReadonlyMap<string, SignedBy> = new Map([
  ["application/pkcs7-signature", "smime"],
  ["application/x-pkcs7-signature", "smime"],
  ["application/pgp-signature", "openpgp"],
])
