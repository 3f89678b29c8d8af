/** PURE
 * Messages signed by the gateway for one of our people, with a key that the gateway may have: never a key of the person's own. */
import { type CmsIdentity, detachedSignature, signedFrame } from "../crypto/cms/signed.ts"
import { type OpenPgpIdentity, signatureOver } from "../crypto/openpgp/sign.ts"
import { digestOf, hkdfSha256 } from "../crypto/primitives/hash.ts"
import { GatewayError } from "../errors.ts"
import { Base64LineEncoder, base64Lines, base64LinesSize } from "../mime/base64-lines.ts"
import { opaqueFields, signedParts } from "../mime/compose.ts"
import { TransferSafety } from "../mime/transfer-safe.ts"
import type { Prepared } from "./prepared.ts"
import { transferEncoded } from "./transfer-encoded.ts"

/** In whose name a message is signed, and in which form. */
export type SigningIdentity =
  | { readonly format: "smime"; readonly form: "clear" | "opaque"; readonly signer: CmsIdentity }
  | { readonly format: "openpgp"; readonly signer: OpenPgpIdentity }

/** How a message is to be signed. */
export interface Signing {
  readonly identity: SigningIdentity
  /** The time that an OpenPGP signature states: of acceptance, so that a repeated attempt writes the same again. */
  readonly at: Date
  /** What the boundary is derived from. */
  readonly seed: Uint8Array
  /** Whether the result is encrypted: relays cannot change it then. */
  readonly isEncrypted: boolean
}

/** A signed entity. */
export interface Signed {
  /** MIME fields and empty line. */
  readonly fields: Uint8Array
  readonly body: Prepared
  /** What two runs over the same payload may differ in. */
  readonly signature: Uint8Array
}

/**
 * The entity `payload` (MIME fields first) signed: multipart/signed (RFC 1847) or SignedData with the entity inside (RFC 8551 §3.5.2). It is read once for
 * it, and stands in the result octet for octet.
 *
 * What would not come through every relay is signed in S/MIME's opaque form where the clear one was asked for. OpenPGP has none: there parts that would not
 * are put into base64 first (RFC 3156 §5), and the rest stays.
 * @throws GatewayError NOT_SIGNABLE when that does not help
 */
export async function signedEntity(payload: Prepared, signing: Signing): Promise<Signed> {
  const { identity } = signing
  return identity.format === "smime"
    ? smimeEntity(payload, identity, signing)
    : openPgpEntity(payload, identity.signer, signing)
}

async function smimeEntity(
  payload: Prepared,
  { signer, form }: SigningIdentity & { format: "smime" },
  { seed, isEncrypted }: Signing,
): Promise<Signed> {
  const digest = digestOf("sha256")
  const safety = new TransferSafety()
  for await (const part of payload.content()) {
    digest.update(part)
    if (!isEncrypted) safety.push(part)
  }
  const hash = digest.digest()
  if (form === "opaque" || !(isEncrypted || safety.end())) return opaqueEntity(payload, hash, signer)
  const signature = new Base64LineEncoder().end(await detachedSignature(hash, signer))
  return multipart("smime", payload, signature, seed)
}

async function opaqueEntity(payload: Prepared, hash: Uint8Array, signer: CmsIdentity): Promise<Signed> {
  const { before, after } = await signedFrame(hash, payload.sizeOctets, signer)
  const whole = async function* () {
    yield before
    yield* payload.content()
    yield after
  }
  const body: Prepared = {
    sizeOctets: base64LinesSize(before.length + payload.sizeOctets + after.length),
    content: () => base64Lines(whole()),
  }
  return { fields: opaqueFields(), body, signature: after }
}

async function openPgpEntity(payload: Prepared, signer: OpenPgpIdentity, signing: Signing): Promise<Signed> {
  const signature = await openPgpSignature(payload, signer, signing)
  if (signature !== null) return multipart("openpgp", payload, signature, signing.seed)
  const encoded = await transferEncoded(payload)
  const over = encoded === null ? null : await openPgpSignature(encoded, signer, signing)
  if (encoded === null || over === null)
    throw new GatewayError("NOT_SIGNABLE", "signing: relays would change what the signature is over")
  return multipart("openpgp", encoded, over, signing.seed)
}

/** @returns null when relays would change what it is over */
async function openPgpSignature(
  payload: Prepared,
  signer: OpenPgpIdentity,
  { at, isEncrypted }: Pick<Signing, "at" | "isEncrypted">,
): Promise<Uint8Array | null> {
  const hash = signatureOver(signer, at)
  const safety = new TransferSafety()
  for await (const part of payload.content()) {
    hash.push(part)
    if (!isEncrypted) safety.push(part)
  }
  return isEncrypted || safety.end() ? await hash.end() : null
}

function multipart(
  kind: SigningIdentity["format"],
  payload: Prepared,
  signature: Uint8Array,
  seed: Uint8Array,
): Signed {
  const boundary = `postern-signed-${Buffer.from(hkdfSha256(seed, new Uint8Array(0), "signed boundary", 18)).toString("hex")}`
  const { fields, before, after } = signedParts(kind, boundary)
  const end = after(signature)
  const body: Prepared = {
    sizeOctets: before.length + payload.sizeOctets + end.length,
    async *content() {
      yield before
      yield* payload.content()
      yield end
    },
  }
  return { fields, body, signature }
}
