import type { Signer } from "../crypto/dare/signature.ts"
import { octetsOf } from "../crypto/jsonb/value.ts"
import { GatewayError } from "../errors.ts"
import { requiredMember } from "../mesh/object.ts"
import type { Profile } from "../mesh/profile.ts"
import { readAnswer, readHello } from "../mesh/protocol/answer.ts"
import type { Operation, Outcome } from "../mesh/protocol/operation.ts"
import { type Post, type PostResult, postMembers, postsTogether, resultsIn } from "../mesh/protocol/post.ts"
import { MAX_REQUEST_OCTETS, requestDigest, writeRequest } from "../mesh/protocol/request.ts"
import { type HttpsPeers, wholeAnswer } from "../net/https-peers.ts"
import { Together } from "./together.ts"

/** A service that is to be asked, as the profile of its account names it. */
export interface PeerService {
  readonly address: URL
  readonly udf: string
}

/** What a service has made of a message. `refused`, and `unknown` (it has no such account), only where it has said so and signed it. */
export type PostOutcome = { readonly kind: "accepted" | "refused" | "unknown" | "later"; readonly diagnostic: string }

/** It takes the message when it was worked for (mesh/admission.ts). */
export interface AdmissionAsked {
  readonly kind: "admission"
  readonly diagnostic: string
  readonly challenge: Uint8Array
}

export interface MeshClientOptions {
  readonly peers: HttpsPeers
  /** Who asks. */
  readonly own: { readonly profile: Profile; readonly signer: Signer }
  readonly random: (octets: number) => Uint8Array
  readonly now: () => Date
}

/** Posts messages to services of other people. */
export class MeshClient {
  readonly #options: MeshClientOptions
  /** Services that have said who they are, by address and name: their keys are what their names stand for, and do not change. */
  readonly #known = new Map<string, Profile>()
  readonly #postings = new Map<string, Posting>()

  constructor(options: MeshClientOptions) {
    this.#options = options
  }

  /** Never throws for what a service does, or whoever answers in its place. Nobody works for what is posted so. */
  async post(message: Uint8Array, account: string, to: PeerService, signal: AbortSignal): Promise<PostOutcome> {
    const outcome = await this.postAdmitted(message, account, to, null, signal)
    return outcome.kind === "admission" ? { kind: "refused", diagnostic: outcome.diagnostic } : outcome
  }

  /** The same with what answers a challenge; null: there was none. */
  async postAdmitted(
    message: Uint8Array,
    account: string,
    to: PeerService,
    admission: Uint8Array | null,
    signal: AbortSignal,
  ): Promise<PostOutcome | AdmissionAsked> {
    try {
      return await this.#posting(to).send({ account, message, admission }, signal)
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof GatewayError)) throw error
      return { kind: "later", diagnostic: error.message }
    }
  }

  /** Messages to one service go together while others are under way to it. */
  #posting(to: PeerService): Posting {
    const key = nameOf(to)
    const known = this.#postings.get(key)
    if (known !== undefined) return known
    for (const [name, { isIdle }] of this.#postings) if (isIdle) this.#postings.delete(name)
    const posting: Posting = new Together((posts, signal) => this.#postAll(posts, to, signal), postsTogether)
    this.#postings.set(key, posting)
    return posting
  }

  async #postAll(
    posts: readonly Post[],
    to: PeerService,
    signal: AbortSignal,
  ): Promise<readonly (PostOutcome | AdmissionAsked)[]> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)])
    try {
      const service = await this.#serviceOf(to, limit)
      const { own } = this.#options
      const { request, answer } = await this.#ask("Post", postMembers(own.profile, posts), to, [own.signer], limit)
      const read = readAnswer(answer, { operation: "Post", digest: requestDigest(request) }, service)
      return resultsIn(read, posts.length).map((result) => told(result, to))
    } catch (error) {
      if (!limit.aborted) throw error
      throw new GatewayError("WEB_TIMEOUT", `${to.address.host}: no answer within ${TIMEOUT_MS} ms`, { cause: error })
    }
  }

  async #serviceOf(to: PeerService, signal: AbortSignal): Promise<Profile> {
    const key = nameOf(to)
    const known = this.#known.get(key)
    if (known !== undefined) return known
    const { request, answer } = await this.#ask("Hello", {}, to, [], signal)
    const { service } = readHello(answer, requestDigest(request), to.udf)
    if (this.#known.size >= MAX_KNOWN) this.#known.clear()
    this.#known.set(key, service)
    return service
  }

  async #ask(
    operation: Operation,
    members: Parameters<typeof writeRequest>[1],
    { address, udf }: PeerService,
    signers: readonly Signer[],
    signal: AbortSignal,
  ): Promise<{ readonly request: Uint8Array; readonly answer: Uint8Array }> {
    const { peers, random, now } = this.#options
    const terms = { target: udf, time: now(), nonce: random(NONCE_OCTETS) }
    const request = writeRequest(operation, members, terms, signers)
    const response = await peers.ask({ url: address, body: { type: "application/dare", octets: request } }, signal)
    const answer = await wholeAnswer(response, MAX_REQUEST_OCTETS)
    if (response.status !== 200)
      throw new GatewayError("WEB_BROKEN", `${address.host}: no service of the Mesh answers: HTTP ${response.status}`)
    return { request, answer }
  }
}

type Posting = Together<Post, PostOutcome | AdmissionAsked>

function nameOf({ udf, address }: PeerService): string {
  return `${udf} ${address.href}`
}

function told({ outcome, reason, members }: PostResult, { address }: PeerService): PostOutcome | AdmissionAsked {
  const what = reason === "" ? outcome : `${outcome}, ${reason.replace(/[^\x20-\x7e]/g, "?").slice(0, MAX_REASON)}`
  const diagnostic = `${address.host}: ${what}`
  if (outcome === "Success") return { kind: "accepted", diagnostic }
  if (outcome === "Admission")
    return { kind: "admission", diagnostic, challenge: requiredMember(members, "Challenge", octetsOf) }
  if (outcome === "AccountUnknown") return { kind: "unknown", diagnostic }
  return { kind: PASSING.has(outcome) ? "later" : "refused", diagnostic }
}

/** What another request may not meet: clocks that are set, a service that has moved. */
const PASSING: ReadonlySet<Outcome> = new Set(["Later", "TooMany", "Old", "Future", "Replayed", "OtherTarget"])
const TIMEOUT_MS = 60_000
const NONCE_OCTETS = 16
/** Services; one has a profile of 2 KB. */
const MAX_KNOWN = 10_000
/** Goes into reports. */
const MAX_REASON = 200
