/** PURE */
import { type Envelope, type EnvelopeEnd, readEnvelope, signaturesOf } from "../crypto/dare/envelope.ts"
import type { EnvelopeSignature } from "../crypto/dare/fields.ts"
import { type EnvelopeForm, sealWhole } from "../crypto/dare/seal.ts"
import { isEnvelopeSignature, type Signer } from "../crypto/dare/signature.ts"
import { type Writable, writeJson, writeJsonB } from "../crypto/jsonb/write.ts"
import type { Generation, PublicKey } from "../crypto/mesh-keys/key.ts"
import { GatewayError } from "../errors.ts"
import type { NamedKey } from "./key-data.ts"
import { invalid, MAX_OBJECT_OCTETS, type MeshObject, readAnyObject, typeAmong, writeTime } from "./object.ts"

/** An object in its envelope. Nobody has looked at the signatures yet: {@link checkSigned} does. */
export interface SignedObject<T extends string = string> extends MeshObject<T> {
  /** The envelope as it came, for whoever keeps or forwards it. */
  readonly envelope: Uint8Array
  readonly end: EnvelopeEnd
}

/**
 * Reads an object out of an envelope that is signed and not encrypted.
 * @throws GatewayError MESH_OBJECT_INVALID, also without a signature; as `readEnvelope` and `readObject`
 */
export function readSigned<T extends string>(envelope: Uint8Array, types: readonly T[]): SignedObject<T> {
  const object = readAnySigned(envelope)
  return { ...object, type: typeAmong(object, types) }
}

/** The same of an object of any type. What ContentMetaData says of its type is not signed, and is not looked at. */
export function readAnySigned(envelope: Uint8Array): SignedObject {
  const read = readSmallEnvelope(envelope)
  if (read.header.encryption !== null && read.header.encryption !== "none") throw invalid("object is encrypted")
  return { ...readAnyObject(read.payload), envelope, end: read }
}

/** An envelope of an object, signed, whether encrypted or not. @throws GatewayError MESH_OBJECT_INVALID; as `readEnvelope` */
export function readSmallEnvelope(envelope: Uint8Array): Envelope {
  if (envelope.length > MAX_OBJECT_OCTETS) throw invalid(`envelope has over ${MAX_OBJECT_OCTETS} octets`)
  const read = readEnvelope(envelope)
  if (signaturesOf(read).length === 0) throw invalid("envelope has no signature")
  return read
}

/**
 * Checks that the holder of this key has signed. Others may have signed, too; what they signed is for others to ask.
 * @throws GatewayError MESH_UNTRUSTED
 */
export function checkSigned(end: EnvelopeEnd, { udf, key, generation }: NamedKey): void {
  const own = signaturesOf(end).filter(({ kid }) => kid === udf)
  if (!own.some((signature) => isSignatureBy(signature, key, generation, end)))
    throw untrusted(`there is no signature by ${udf}`)
}

/** Whether the signature is by this key, in its own generation's way. */
export function isSignatureBy(
  signature: EnvelopeSignature,
  key: PublicKey,
  generation: Generation,
  { payloadDigest }: EnvelopeEnd,
): boolean {
  if ((signature.algorithm === "S512") !== (generation === 2022)) return false
  return isEnvelopeSignature(signature, key, payloadDigest)
}

/** What an envelope tells beside its object, to everybody and unsigned. */
export interface ObjectLabels {
  readonly envelopeId?: string
  readonly uniqueId?: string
  readonly created: Date
}

/** Writes an object into an envelope of generation 2024, signed and not encrypted. */
export function signObject(
  type: string,
  members: { readonly [name: string]: Writable | undefined },
  signers: readonly Signer[],
  labels: ObjectLabels,
  form: EnvelopeForm = "json",
): Uint8Array {
  const object = form === "json" ? writeJson({ [type]: members }) : writeJsonB({ [type]: members })
  return sealWhole(object, { encryption: null, signers, ...envelopeLabels(type, labels) }, form)
}

/** The unsigned part of an object's envelope. */
export function envelopeLabels(type: string, { envelopeId, uniqueId, created }: ObjectLabels) {
  return {
    header: { EnvelopeId: envelopeId },
    contentMeta: {
      UniqueId: uniqueId,
      MessageType: type,
      cty: "application/mmm/object",
      Created: writeTime(created),
    },
  }
}

/** @returns GatewayError MESH_UNTRUSTED */
export function untrusted(what: string): GatewayError {
  return new GatewayError("MESH_UNTRUSTED", `mesh: ${what}`)
}
