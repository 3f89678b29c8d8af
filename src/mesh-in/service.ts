import type { EnvelopeForm } from "../crypto/dare/seal.ts"
import { type ErrorCode, GatewayError } from "../errors.ts"
import type { Log } from "../log/log.ts"
import type { Profile } from "../mesh/profile.ts"
import { type AnsweringService, type Reply, writeAnswer } from "../mesh/protocol/answer.ts"
import { staleness } from "../mesh/protocol/check.ts"
import type { Operation, Outcome } from "../mesh/protocol/operation.ts"
import { type MeshRequest, readRequest } from "../mesh/protocol/request.ts"
import { refusal } from "./reply.ts"

/** Does one operation: finds out who asks, whether he may, and whether he asked before. `network`: where it comes from, as it is counted; null: nobody says. */
export type Handle = (request: MeshRequest, now: Date, network: string | null) => HandledReply | Promise<HandledReply>

/** What is said to a request, and where several things were asked by it, what became of each. */
export interface HandledReply extends Reply {
  readonly each?: readonly Outcome[]
}

/** What is done here; what is missing is answered as unsupported. */
export type Handlers = Readonly<Partial<Record<Operation, Handle>>>

/** This service: its profile, and what it signs answers with. */
export interface OwnService extends AnsweringService {
  readonly profile: Profile
}

export interface ServiceOptions {
  readonly own: OwnService
  readonly handlers: Handlers
  readonly now: () => Date
  readonly log: Log
}

/** An answer, and what it says, for whoever counts. */
export interface Answered {
  readonly octets: Uint8Array
  readonly form: EnvelopeForm
  readonly operation: Operation
  /** One, or one of each thing that was asked. */
  readonly outcomes: readonly Outcome[]
}

/** Answers requests. */
export type MeshService = (octets: Uint8Array, network?: string | null) => Promise<Answered | null>

/** @returns a service; it answers null to what is no request: there is nothing to sign an answer to */
export function meshService({ own, handlers, now, log }: ServiceOptions): MeshService {
  return async (octets, network = null) => {
    const request = readable(octets)
    if (request === null) return null
    const at = now()
    const handle = handlers[request.operation]
    const reply = await replyTo(request, own, handle && ((...of) => handle(...of, network)), at, log)
    const { operation, form } = request
    return { octets: writeAnswer(request, reply, own, at), form, operation, outcomes: reply.each ?? [reply.outcome] }
  }
}

async function replyTo(
  request: MeshRequest,
  { profile }: OwnService,
  handle: ((request: MeshRequest, now: Date) => ReturnType<Handle>) | undefined,
  now: Date,
  log: Log,
): Promise<HandledReply> {
  const stale = staleness(request, profile, now)
  if (stale !== null) return refusal(stale)
  if (handle === undefined) return refusal("Unsupported")
  return replied(() => handle(request, now), request.operation, log)
}

/** What `act` says, or what is said where it throws: of what is malformed, and of a state that is away. Other faults are thrown on. */
export async function replied<T extends Reply>(
  act: () => T | Promise<T>,
  operation: Operation,
  log: Log,
): Promise<T | Reply> {
  try {
    return await act()
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    if (MALFORMED.includes(error.code)) return refusal("Malformed", error.message)
    if (error.code !== "STATE_AWAY") throw error
    log.error("mesh.away", { operation }, error)
    return refusal("Later")
  }
}

function readable(octets: Uint8Array): MeshRequest | null {
  try {
    return readRequest(octets)
  } catch (error) {
    if (error instanceof GatewayError) return null
    throw error
  }
}

/** What members of a request, and objects in it, are refused for. */
const MALFORMED: readonly ErrorCode[] = [
  "ADDRESS_SYNTAX",
  "DARE_ALTERED",
  "DARE_MALFORMED",
  "DARE_TOO_LARGE",
  "DARE_UNSUPPORTED",
  "DECRYPTION_FAILED",
  "JSONB_SYNTAX",
  "JSONB_TOO_LARGE",
  "JSONB_TYPE",
  "MESH_EXPIRED",
  "MESH_KEY_UNSUPPORTED",
  "MESH_OBJECT_INVALID",
  "MESH_UNTRUSTED",
  "POINT_INVALID",
  "SCALAR_INVALID",
  "UDF_MALFORMED",
]
