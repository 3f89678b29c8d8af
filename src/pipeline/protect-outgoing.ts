/** What our people send to the world: signed and encrypted as policy has decided, with its header fields protected, and never with its Bcc. */
import { sha256 } from "../crypto/primitives/hash.ts"
import { outerFields } from "../mime/compose.ts"
import { type HeaderPolicy, type ProtectedHeader, protectHeader, withoutBcc } from "../mime/header-protection.ts"
import { inlineTextHeader } from "../mime/inline-text.ts"
import type { KeyFormat } from "../profiles/key.ts"
import type { Policy } from "../profiles/policy.ts"
import { type Prepared, prefixed } from "./prepared.ts"
import { armoredMessage, type ClassifiedMessage, type EncryptionTarget, encryptedMessage } from "./protect.ts"
import { type Signing, signedEntity } from "./signing.ts"

/** What is done to a message that leaves, beside encrypting it; each recipient may have it otherwise. */
export interface OutgoingOptions {
  readonly headers: HeaderPolicy
  /** OpenPGP only. `inline`: the armor stands in the text, where the message is one plain text that we do not sign; else, and for all others, PGP/MIME. */
  readonly form: "mime" | "inline"
  /** Signed first, then encrypted; null: not by us. What its author has signed is not signed again. */
  readonly signing: Pick<Signing, "identity" | "at"> | null
}

/** Encrypted whole, all fields outside as well. */
export const ENCRYPTED_ONLY: OutgoingOptions = { headers: "off", form: "mime", signing: null }

/**
 * A message for somebody else's key. What is encrypted already, to anybody, leaves as it is. The octets behind the header section stand inside as they
 * came. As in `protectAtRest`, the same message, options and target give the same octets as far as the formats allow: not with RSA keys, with OpenPGP keys on
 * other curves than 25519, or with a signature that is random.
 * @param context names the recipient, or those of one group
 * @throws GatewayError CERTIFICATE_UNSUPPORTED, OPENPGP_UNSUPPORTED
 */
export async function protectOutgoing(
  { kind, header, body }: ClassifiedMessage,
  trace: readonly Uint8Array[],
  seed: Uint8Array,
  context: string,
  target: EncryptionTarget,
  options: OutgoingOptions = ENCRYPTED_ONLY,
): Promise<Prepared> {
  if (kind !== "clear") return prefixed([...trace, withoutBcc(header)], body)
  if (target.format === "openpgp" && options.form === "inline" && options.signing === null) {
    const text = inlineTextHeader(header)
    if (text !== null)
      return prefixed([...trace, ...text], armoredMessage(body, seed, `relay inline ${context}`, target))
  }
  const head = protectHeader(header, options.headers, "cipher")
  const { entity, unlike } = await payloadOf(head, body, seed, options)
  const encrypted = encryptedMessage(entity, seed, `relay ${context} ${unlike}`, target)
  return prefixed([...trace, ...head.outside, ...encrypted.fields], encrypted.body)
}

/** What `headers = "auto"` means for a key; null: it leaves in clear. */
export function headersFor(format: KeyFormat | null, { headers }: Pick<Policy, "headers">): HeaderPolicy {
  if (format === null) return "off"
  if (headers !== "auto") return headers
  return format === "openpgp" ? "hidden" : "shown"
}

/** A message as it is sent over the Mesh. */
export interface MeshEntity {
  /** With all fields (RFC 5322), and signed where that is wanted; what stands outside is not in it twice. */
  readonly entity: Prepared
  /** Tells it from everything else that may be made of the same message. */
  readonly unlike: string
  /** Fields that may stand outside. */
  readonly outside: readonly Uint8Array[]
}

/** The content of a Mesh mail: one message, whose fields are all within the encryption. */
export async function meshEntity(
  { header, body }: ClassifiedMessage,
  seed: Uint8Array,
  options: Pick<OutgoingOptions, "headers" | "signing">,
): Promise<MeshEntity> {
  const head = protectHeader(header, options.headers, "cipher")
  const { entity, unlike } = await payloadOf(head, body, seed, options)
  // Who reads a message looks for its fields on top, and not within what is signed.
  const isSignedHere = options.signing !== null && !head.isSigned
  const fields = isSignedHere ? outerFields(withoutBcc(header), "clear") : []
  return { entity: prefixed(fields, entity), unlike, outside: head.outside }
}

/**
 * A message that leaves in clear: without its Bcc, and signed where that is wanted and its author has not done so.
 * @throws GatewayError NOT_SIGNABLE
 */
export async function signOutgoing(
  { kind, header, body }: ClassifiedMessage,
  trace: readonly Uint8Array[],
  seed: Uint8Array,
  { headers, signing }: Pick<OutgoingOptions, "headers" | "signing">,
): Promise<Prepared> {
  const head = protectHeader(header, headers, "clear")
  if (signing === null || head.isSigned || kind !== "clear") return prefixed([...trace, withoutBcc(header)], body)
  const signed = await signedEntity(prefixed([head.payload], body), { ...signing, seed, isEncrypted: false })
  return prefixed([...trace, ...head.outside, signed.fields], signed.body)
}

/**
 * What is encrypted, and in `unlike` what tells it from everything else that may be made of the same message: two contents must not have one key. A
 * signature may be another each time.
 */
async function payloadOf(
  { payload, isSigned }: ProtectedHeader,
  body: Prepared,
  seed: Uint8Array,
  { signing }: Pick<OutgoingOptions, "signing">,
): Promise<{ readonly entity: Prepared; readonly unlike: string }> {
  const plain = prefixed([payload], body)
  if (signing === null || isSigned) return { entity: plain, unlike: hex(sha256(payload)) }
  const signed = await signedEntity(plain, { ...signing, seed, isEncrypted: true })
  const unlike = sha256(Buffer.concat([sha256(payload), signed.signature]))
  return { entity: prefixed([signed.fields], signed.body), unlike: hex(unlike) }
}

function hex(octets: Uint8Array): string {
  return Buffer.from(octets).toString("hex")
}
