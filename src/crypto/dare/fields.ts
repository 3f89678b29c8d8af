import { GatewayError } from "../../errors.ts"
import { readJson } from "../jsonb/read.ts"
import {
  countOf,
  itemsOf,
  type JsonObject,
  type JsonValue,
  memberOf,
  objectOf,
  octetsOf,
  textOf,
} from "../jsonb/value.ts"
import type { CfrgCurve, PublicKey } from "../mesh-keys/key.ts"

/** Octets of a header, or of a trailer: 500 recipients and 64 KiB of header lines stay below. */
export const MAX_FIELDS_OCTETS = 256 * 1024
/** Recipients of one envelope: each takes about 300 octets of the header. */
export const MAX_RECIPIENTS = 1024
/** Signatures of one envelope: each is verified. */
export const MAX_SIGNATURES = 16
/** Encrypted header lines of one envelope. */
export const MAX_ANNOTATIONS = 1024

/**
 * Fields of an envelope's header or trailer (draft-hallambaker-mesh-dare-12 §4, generation 2024): each may stand in either. None of them is
 * covered by a signature but through the digest of the payload.
 */
export interface EnvelopeFields {
  /** As received, for whoever forwards them. */
  readonly octets: Uint8Array
  /** All members, also those that have no place below. */
  readonly object: JsonObject
  readonly envelopeId: string | null
  readonly encryption: string | null
  readonly digest: string | null
  readonly salt: Uint8Array | null
  readonly recipients: readonly EnvelopeRecipient[]
  /** Encrypted data segments, see annotation.ts. */
  readonly annotations: readonly Uint8Array[]
  /** JSON text of a ContentMeta. */
  readonly contentMeta: Uint8Array | null
  readonly sequence: SequenceInfo | null
  readonly signatures: readonly EnvelopeSignature[]
  readonly payloadDigest: Uint8Array | null
  readonly chainDigest: Uint8Array | null
  /** ApexDigest, or TreeDigest as generation 2022 says. */
  readonly apexDigest: Uint8Array | null
  /** Of generation 2024: one witness for all signatures. */
  readonly witness: Uint8Array | null
}

/** Whom the base seed is wrapped for. */
export interface EnvelopeRecipient {
  /** UDF of the key. */
  readonly kid: string
  /** "none" with a symmetric key; "unsupported" when it is of a kind that we do not know: others may be able to open it. */
  readonly ephemeral: PublicKey | "none" | "unsupported"
  readonly wrappedSeed: Uint8Array
}

export interface EnvelopeSignature {
  readonly algorithm: string | null
  readonly kid: string | null
  readonly signature: Uint8Array
  /** The signer's key, where it is enclosed and of a kind that we know. Whose it is, is for the caller to know. */
  readonly key: PublicKey | null
  /** Of generation 2022. */
  readonly witness: Uint8Array | null
}

/** SequenceInfo; files of 2019-20 have its members directly in the header. */
export interface SequenceInfo {
  readonly index: number | null
  readonly type: string | null
  readonly dataEncoding: string | null
  readonly treePosition: number | null
  readonly exchangePosition: number | null
}

/**
 * Reads a header or trailer.
 * @throws GatewayError JSONB_SYNTAX, JSONB_TOO_LARGE, JSONB_TYPE, DARE_TOO_LARGE
 */
export function readFields(octets: Uint8Array): EnvelopeFields {
  return fieldsOf(readJson(octets), octets)
}

/** As {@link readFields}, of a value that stands in `octets`. */
export function fieldsOf(value: JsonValue, octets: Uint8Array): EnvelopeFields {
  const object = objectOf(value, "header")
  if (value.end - value.start > MAX_FIELDS_OCTETS)
    throw new GatewayError("DARE_TOO_LARGE", `dare: header or trailer over ${MAX_FIELDS_OCTETS} octets`)
  return {
    octets: octets.subarray(value.start, value.end),
    object,
    envelopeId: memberOf(object, "EnvelopeId", textOf),
    encryption: memberOf(object, "enc", textOf),
    digest: memberOf(object, "dig", textOf),
    salt: memberOf(object, "Salt", octetsOf),
    recipients: listOf(object, "recipients", MAX_RECIPIENTS, recipientOf),
    annotations: listOf(object, "annotations", MAX_ANNOTATIONS, (item) => octetsOf(item, "annotation")),
    contentMeta: memberOf(object, "ContentMetaData", octetsOf),
    sequence: sequenceOf(object),
    signatures: listOf(object, "signatures", MAX_SIGNATURES, signatureOf),
    payloadDigest: memberOf(object, "PayloadDigest", octetsOf),
    chainDigest: memberOf(object, "ChainDigest", octetsOf),
    apexDigest: memberOf(object, "ApexDigest", octetsOf) ?? memberOf(object, "TreeDigest", octetsOf),
    witness: memberOf(object, "WitnessValue", octetsOf),
  }
}

function listOf<T>(object: JsonObject, name: string, most: number, read: (value: JsonValue) => T): readonly T[] {
  const items = memberOf(object, name, itemsOf) ?? []
  if (items.length > most) throw new GatewayError("DARE_TOO_LARGE", `dare: over ${most} ${name}`)
  return items.map(read)
}

function recipientOf(value: JsonValue): EnvelopeRecipient {
  const object = objectOf(value, "recipient")
  return {
    kid: memberOf(object, "kid", textOf) ?? "",
    ephemeral: object.members.has("epk") ? (memberOf(object, "epk", keyOf) ?? "unsupported") : "none",
    wrappedSeed: memberOf(object, "wmk", octetsOf) ?? NOTHING,
  }
}

function signatureOf(value: JsonValue): EnvelopeSignature {
  const object = objectOf(value, "signature")
  return {
    algorithm: memberOf(object, "alg", textOf),
    kid: memberOf(object, "kid", textOf),
    signature: memberOf(object, "signature", octetsOf) ?? NOTHING,
    key: memberOf(object, "SignatureKey", signatureKeyOf),
    witness: memberOf(object, "witness", octetsOf),
  }
}

/** The key itself, or a KeyData around it. */
function signatureKeyOf(value: JsonValue, what: string): PublicKey | null {
  return memberOf(objectOf(value, what), "PublicParameters", keyOf) ?? keyOf(value, what)
}

/** `{ "PublicKeyECDH": { "crv", "Public" } }`; null for a key of another kind, which is no fault of the envelope. */
export function keyOf(value: JsonValue, what: string): PublicKey | null {
  const key = memberOf(objectOf(value, what), "PublicKeyECDH", objectOf)
  const curve = key && CURVES.find((name) => name === memberOf(key, "crv", textOf))
  const octets = key && memberOf(key, "Public", octetsOf)
  return curve && octets ? { curve, octets } : null
}

function sequenceOf(header: JsonObject): SequenceInfo | null {
  const object = memberOf(header, "SequenceInfo", objectOf) ?? (header.members.has("Index") ? header : null)
  return (
    object && {
      index: memberOf(object, "Index", countOf),
      type: memberOf(object, "ContainerType", textOf),
      dataEncoding: memberOf(object, "DataEncoding", textOf),
      treePosition: memberOf(object, "TreePosition", countOf),
      exchangePosition: memberOf(object, "ExchangePosition", countOf),
    }
  )
}

const CURVES = ["X25519", "X448", "Ed25519", "Ed448"] as const satisfies readonly CfrgCurve[]
const NOTHING = new Uint8Array(0)
