/** PURE */
import { type EnvelopeEnd, readEnvelope } from "../../crypto/dare/envelope.ts"
import { type EnvelopeForm, sealWhole } from "../../crypto/dare/seal.ts"
import type { Signer } from "../../crypto/dare/signature.ts"
import { countOf, type JsonObject, octetsOf, textOf } from "../../crypto/jsonb/value.ts"
import { type Writable, writeJson, writeJsonB } from "../../crypto/jsonb/write.ts"
import { sha512 } from "../../crypto/primitives/hash.ts"
import { invalid, readObject, requiredMember, timeOf, writeTime } from "../object.ts"
import { BINDING_VERSION, OPERATIONS, type Operation } from "./operation.ts"

/*
 * A request is a DARE envelope, not encrypted, whose payload is one object:
 *
 *     { "<operation>Request": { Version, Target, Time, Nonce, and what the operation has } }
 *
 * Everything that is relied upon stands in the payload, since nothing else is signed.
 */

/** What makes a request one that is made once, to one service. */
export interface RequestTerms {
  /** UDF of the service that is asked; empty in a Hello to whoever is there. */
  readonly target: string
  /** To the second. */
  readonly time: Date
  /** 16 random octets. */
  readonly nonce: Uint8Array
}

/** A request that has been read. Nobody has looked at its signatures: {@link file://./check.ts}. */
export interface MeshRequest extends RequestTerms {
  readonly operation: Operation
  readonly version: number
  readonly members: JsonObject
  /** SHA-512 of the request as it came, which its answer names. */
  readonly digest: Uint8Array
  readonly end: EnvelopeEnd
  /** The answer is in the same form. */
  readonly form: EnvelopeForm
}

/** Octets of a request, and of an answer, at most: the longest payload in base64url, and what is signed of it. */
export const MAX_REQUEST_OCTETS = 196_608
/** Octets of a request's payload at most: several messages, or the longest one in base64url, and their sender's profile. */
const MAX_PAYLOAD_OCTETS = 131_072

/**
 * Reads a request, JSON or JSON-B.
 * @throws GatewayError MESH_OBJECT_INVALID, also where it is too long; as `readEnvelope` and `readObject`
 */
export function readRequest(octets: Uint8Array): MeshRequest {
  if (octets.length > MAX_REQUEST_OCTETS) throw invalid(`request has over ${MAX_REQUEST_OCTETS} octets`)
  const envelope = readEnvelope(octets)
  if (envelope.header.encryption !== null && envelope.header.encryption !== "none")
    throw invalid("request is encrypted")
  const { type, members } = readObject(envelope.payload, REQUEST_TYPES, MAX_PAYLOAD_OCTETS)
  const nonce = requiredMember(members, "Nonce", octetsOf)
  if (nonce.length !== NONCE_OCTETS) throw invalid(`Nonce is not ${NONCE_OCTETS} octets long`)
  return {
    operation: OPERATIONS[REQUEST_TYPES.indexOf(type)] ?? "Hello",
    version: requiredMember(members, "Version", countOf),
    target: requiredMember(members, "Target", textOf),
    time: requiredMember(members, "Time", timeOf),
    nonce,
    members,
    digest: sha512(octets),
    end: envelope,
    form: octets.every((octet) => octet < 0x80) ? "json" : "json-b",
  }
}

/** Writes what {@link readRequest} reads. Hello and PublicRead need no signer. JSON-B unless told otherwise: in JSON a message is 78% longer. */
export function writeRequest(
  operation: Operation,
  members: { readonly [name: string]: Writable | undefined },
  { target, time, nonce }: RequestTerms,
  signers: readonly Signer[],
  form: EnvelopeForm = "json-b",
): Uint8Array {
  const terms = { Version: BINDING_VERSION, Target: target, Time: writeTime(time), Nonce: nonce }
  const object = { [`${operation}Request`]: { ...terms, ...members } }
  return sealWhole(form === "json" ? writeJson(object) : writeJsonB(object), { encryption: null, signers }, form)
}

/** What an answer to these octets names them by. */
export function requestDigest(request: Uint8Array): Uint8Array {
  return sha512(request)
}

const REQUEST_TYPES = OPERATIONS.map((operation) => `${operation}Request` as const)
const NONCE_OCTETS = 16
