/** PURE */
import { type EnvelopeForm, sealWhole } from "../../crypto/dare/seal.ts"
import type { Signer } from "../../crypto/dare/signature.ts"
import { countOf, type JsonObject, memberOf, octetsOf, textOf } from "../../crypto/jsonb/value.ts"
import { type Writable, writeJson, writeJsonB } from "../../crypto/jsonb/write.ts"
import { equalConstantTime } from "../../crypto/primitives/hash.ts"
import { invalid, requiredMember, timeOf, writeTime } from "../object.ts"
import { isNameOf, type Profile, verifyProfileService } from "../profile.ts"
import { checkSigned, readSigned, type SignedObject, untrusted } from "../signed.ts"
import { type Operation, OUTCOMES, type Outcome, outcomeOf } from "./operation.ts"
import { MAX_REQUEST_OCTETS, type MeshRequest } from "./request.ts"

/*
 * An answer is an envelope signed by the service:
 *
 *     { "<operation>Response": { Source, Time, RequestDigest, Status, StatusDescription, Reason, and what the operation has } }
 *
 * RequestDigest makes it the answer to one request, which has a nonce: none can be given again, and a service that says one thing here and another there has
 * signed both.
 */

/** What is said to a request. */
export interface Reply {
  readonly outcome: Outcome
  /** For people: why. Empty: the outcome says all. */
  readonly reason: string
  readonly members: { readonly [name: string]: Writable | undefined }
}

/** What an answer says that came of something. */
export interface Status {
  readonly outcome: Outcome
  readonly reason: string
}

/** An answer whose signature has been checked, and that it is to this request. */
export interface MeshAnswer extends Status {
  readonly time: Date
  readonly members: JsonObject
  /** As it came: what the service has said, for whoever wants to prove it. */
  readonly envelope: Uint8Array
}

/** Who answers. */
export interface AnsweringService {
  readonly profile: Pick<Profile, "udf">
  readonly signer: Signer
}

/** Writes the answer to a request. */
export function writeAnswer(
  { operation, digest, form }: Pick<MeshRequest, "operation" | "digest" | "form">,
  reply: Reply,
  { profile, signer }: AnsweringService,
  time: Date,
): Uint8Array {
  const object = {
    [`${operation}Response`]: {
      Source: profile.udf,
      Time: writeTime(time),
      RequestDigest: digest,
      ...statusMembers(reply),
    },
  }
  return sealWhole(written(object, form), { encryption: null, signers: [signer] }, form)
}

/** What an answer says, or one of several results in it. */
export function statusMembers({ outcome, reason, members }: Reply): { readonly [name: string]: Writable | undefined } {
  return {
    Status: OUTCOMES[outcome],
    StatusDescription: outcome,
    Reason: reason === "" ? undefined : reason,
    ...members,
  }
}

/** Reverses {@link statusMembers}. @throws GatewayError MESH_OBJECT_INVALID, JSONB_TYPE */
export function statusOf(members: JsonObject): Status {
  const status = requiredMember(members, "Status", countOf)
  return {
    outcome: outcomeOf(requiredMember(members, "StatusDescription", textOf), status),
    reason: memberOf(members, "Reason", textOf) ?? "",
  }
}

/** What was asked, as far as an answer is concerned. */
export interface Asked {
  readonly operation: Operation
  /** See `requestDigest`. */
  readonly digest: Uint8Array
}

/**
 * Reads an answer, and checks that it is this service's and to this request.
 * @throws GatewayError MESH_UNTRUSTED: it is another's, or to another request; MESH_OBJECT_INVALID; as `readSigned`
 */
export function readAnswer(octets: Uint8Array, asked: Asked, service: Profile): MeshAnswer {
  return checked(objectOf(octets, asked), asked, service)
}

/**
 * Reads the answer to Hello, which brings the profile that it is checked with.
 * @param expectedUdf as an account's profile names its service; null: who it is was the question
 * @throws GatewayError as {@link readAnswer}, and as `verifyProfileService`
 */
export function readHello(
  octets: Uint8Array,
  digest: Uint8Array,
  expectedUdf: string | null,
): { readonly answer: MeshAnswer; readonly service: Profile } {
  const asked: Asked = { operation: "Hello", digest }
  const object = objectOf(octets, asked)
  const service = verifyProfileService(requiredMember(object.members, "EnvelopedProfileService", octetsOf), expectedUdf)
  return { answer: checked(object, asked, service), service }
}

function objectOf(octets: Uint8Array, { operation }: Asked): SignedObject {
  if (octets.length > MAX_REQUEST_OCTETS) throw invalid(`answer has over ${MAX_REQUEST_OCTETS} octets`)
  return readSigned(octets, [`${operation}Response`])
}

function checked(object: SignedObject, { digest }: Asked, service: Profile): MeshAnswer {
  const { members, end, envelope } = object
  checkSigned(end, service.keys.signature)
  if (!isNameOf(service, requiredMember(members, "Source", textOf))) throw untrusted("answer is another service's")
  if (!equalConstantTime(requiredMember(members, "RequestDigest", octetsOf), digest))
    throw untrusted("answer is to another request")
  return {
    ...statusOf(members),
    time: requiredMember(members, "Time", timeOf),
    members,
    envelope,
  }
}

function written(object: Writable, form: EnvelopeForm): Uint8Array {
  return form === "json" ? writeJson(object) : writeJsonB(object)
}
