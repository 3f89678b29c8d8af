/** PURE */
import { digest, equalConstantTime, type HmacKey, hmacSha256, sha256, sha512 } from "../crypto/primitives/hash.ts"

/*
 * What a stranger's request costs him: work that grows with what strangers ask for already. Ours; a service that does not know it has its request refused.
 *
 *     challenge = version (1) | bits (1) | expires, milliseconds since 1970 (8) | MAC (32)
 *     solution  = challenge | counter (8),   where SHA-256(solution) begins with so many bits of zero
 *
 * The MAC is over the first ten octets and the request: the message's digest, the service that posts it and the account that it is for. So nothing has to be remembered,
 * nobody makes challenges himself, and what was solved for one request is worth nothing for another. The same request again finds that it was made.
 */

/** What a challenge is bound to. */
export interface AdmittedRequest {
  /** The message, as it came. */
  readonly message: Uint8Array
  /** UDF of the service that posts it. */
  readonly service: string
  /** UDF of the account that it is for. */
  readonly account: string
}

/** How much strangers ask for now. */
export interface StrangersLoad {
  /** Requests that wait for this person's answer. */
  readonly waiting: number
  /** Requests to anybody here within a day, of this service or of this domain, whichever are more: names of services cost nothing. */
  readonly ofOrigin: number
  /** Requests that have come to anybody here within an hour. */
  readonly lately: number
}

/** Half a second of one core in JavaScript (0.45 million hashes a second), for whoever asks once. */
export const MIN_BITS = 18
/** Ten seconds: a gateway does this beside all else. */
export const MAX_BITS = 22
/** Solving takes seconds; a queue that comes back later asks for another. */
export const CHALLENGE_LIFE_MS = 900_000

/** Bits of work: one more for each doubling of what is asked of this person, by this service or domain and (from ten on) of all of us. */
export function workOf({ waiting, ofOrigin, lately }: StrangersLoad): number {
  const doublings = [waiting, ofOrigin, lately / 10].map((count) => Math.floor(Math.log2(1 + count)))
  return Math.min(
    MAX_BITS,
    doublings.reduce((sum, count) => sum + count, MIN_BITS),
  )
}

/** Writes a challenge. `key`: 32 octets that only this service has. */
export function writeChallenge(request: AdmittedRequest, bits: number, key: HmacKey, now: Date): Uint8Array {
  const head = new Uint8Array(HEAD_OCTETS)
  head[0] = VERSION
  head[1] = bits
  new DataView(head.buffer).setBigUint64(2, BigInt(now.getTime() + CHALLENGE_LIFE_MS))
  return Buffer.concat([head, macOf(head, request, key)])
}

/**
 * Whether a solution is one, to a challenge of ours, for this request, in time. The work is what the challenge says: a load that has grown since then is not the
 * fault of who has done it.
 */
export function isAdmitted(solution: Uint8Array, request: AdmittedRequest, key: HmacKey, now: Date): boolean {
  if (solution.length !== SOLUTION_OCTETS) return false
  const head = solution.subarray(0, HEAD_OCTETS)
  const mac = solution.subarray(HEAD_OCTETS, CHALLENGE_OCTETS)
  if (head[0] !== VERSION || !equalConstantTime(mac, macOf(head, request, key))) return false
  const expires = new DataView(head.buffer, head.byteOffset).getBigUint64(2)
  return BigInt(now.getTime()) < expires && zeroBits(sha256(solution)) >= (head[1] ?? 0)
}

/**
 * Works on a challenge, a piece at each step, so that whoever does it can do something else in between. Steps give null until one gives the solution.
 * @returns null when the challenge is none, or asks for more than {@link MAX_BITS}
 */
export function solving(challenge: Uint8Array): Generator<Uint8Array | null> | null {
  const bits = challenge[1] ?? 0
  if (challenge.length !== CHALLENGE_OCTETS || challenge[0] !== VERSION || bits > MAX_BITS) return null
  return steps(challenge, bits)
}

function* steps(challenge: Uint8Array, bits: number): Generator<Uint8Array | null> {
  const solution = new Uint8Array(SOLUTION_OCTETS)
  solution.set(challenge)
  const counter = new DataView(solution.buffer, CHALLENGE_OCTETS)
  for (let count = 0; ; count += 1) {
    counter.setUint32(4, count)
    counter.setUint32(0, Math.floor(count / 2 ** 32))
    if (zeroBits(sha256(solution)) >= bits) {
      yield solution
      return
    }
    if (count % STEP === STEP - 1) yield null
  }
}

function macOf(head: Uint8Array, { message, service, account }: AdmittedRequest, key: HmacKey): Uint8Array {
  const names = Buffer.from(JSON.stringify([service, account]))
  return hmacSha256(key)
    .update(Buffer.from("postern/admission/1\0"))
    .update(head)
    .update(sha512(message))
    .update(digest("sha512", names))
    .digest()
}

function zeroBits(octets: Uint8Array): number {
  const first = octets.findIndex((octet) => octet !== 0)
  return first < 0 ? 8 * octets.length : 8 * first + Math.clz32(octets[first] ?? 0) - 24
}

const VERSION = 1
const HEAD_OCTETS = 10
const CHALLENGE_OCTETS = HEAD_OCTETS + 32
const SOLUTION_OCTETS = CHALLENGE_OCTETS + 8
/** Hashes in one step: some nine milliseconds. */
const STEP = 4_096
