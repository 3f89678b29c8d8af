import { setTimeout } from "node:timers/promises"
import { pemEncode } from "../crypto/cms/pem.ts"
import { certificationRequest } from "../crypto/cms/request.ts"
import { p256Pkcs8, randomP256Scalar } from "../crypto/primitives/p256.ts"
import { readChain } from "./chain.ts"
import type { AcmeAnswer, AcmeClient } from "./client.ts"
import { keyAuthorization } from "./jws.ts"
import { AcmeError, asObject, refusal } from "./problem.ts"

/** Shows the CA that the names are ours: HTTP-01 (RFC 8555 §8.3). */
export interface Responder {
  /** From now on `/.well-known/acme-challenge/<token>` is answered with this. */
  present(token: string, keyAuthorization: string): void
  withdraw(token: string): void
}

/** A certificate with its chain, and its key, PEM. */
export interface Obtained {
  readonly certificate: string
  readonly key: string
}

/**
 * Orders a certificate for `names` (RFC 8555 §7.4) with a new P-256 key, and waits until it is there.
 * @throws AcmeError; the signal's reason when the client's aborts
 */
export async function obtainCertificate(
  client: AcmeClient,
  names: readonly string[],
  responder: Responder,
): Promise<Obtained> {
  const identifiers = names.map((value) => ({ type: "dns", value }))
  const order = await client.create("newOrder", { identifiers })
  const { authorizations, finalize } = order.members
  if (!Array.isArray(authorizations) || authorizations.length === 0 || authorizations.length > names.length)
    throw new AcmeError("ACME_PROTOCOL", "newOrder: not one authorization for each name")
  for (const url of authorizations) await authorize(client, url, responder)
  await settled(client, order.location, "order", ["pending"], ["ready"])
  const scalar = randomP256Scalar()
  const csr = Buffer.from(certificationRequest(names, scalar)).toString("base64url")
  await client.post(finalize, { csr }, "finalize")
  const { members } = await settled(client, order.location, "order", ["ready", "processing"], ["valid"])
  const { body } = await client.post(members["certificate"], null, "certificate")
  return {
    certificate: readChain(body, { scalar, names, now: client.now() }),
    key: pemEncode("PRIVATE KEY", p256Pkcs8(scalar)),
  }
}

/** RFC 8555 §7.5: answers the challenge of one authorization, unless it is valid already. */
async function authorize(client: AcmeClient, url: unknown, responder: Responder): Promise<void> {
  const { members } = await client.post(url, null, "authorization")
  if (members["status"] === "valid") return
  const challenge = httpChallenge(members)
  const { token } = challenge
  // RFC 8555 §8.3: base64url of 128 bits at least.
  if (typeof token !== "string" || !TOKEN.test(token)) throw new AcmeError("ACME_PROTOCOL", "challenge: no token")
  responder.present(token, keyAuthorization(token, client.accountKey))
  try {
    await client.post(challenge["url"], {}, "challenge")
    await settled(client, url, `authorization of ${nameOf(members)}`, ["pending"], ["valid"])
  } finally {
    responder.withdraw(token)
  }
}

function httpChallenge(authorization: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const { challenges } = authorization
  const found = (Array.isArray(challenges) ? challenges : []).map(asObject).find(({ type }) => type === "http-01")
  if (found === undefined)
    throw new AcmeError("ACME_PROTOCOL", `authorization of ${nameOf(authorization)}: the CA offers no http-01`)
  return found
}

function nameOf(authorization: Readonly<Record<string, unknown>>): string {
  const { value } = asObject(authorization["identifier"])
  return typeof value === "string" && NAME.test(value) ? value : "a name"
}

/** Asks again until the resource's state is none of `pending` (RFC 8555 §7.1.6). @throws AcmeError for any but `wanted` */
async function settled(
  client: AcmeClient,
  url: unknown,
  what: string,
  pending: readonly string[],
  wanted: readonly string[],
): Promise<AcmeAnswer> {
  let [waitedMs, ownMs] = [0, FIRST_POLL_MS]
  for (;;) {
    const answer = await client.post(url, null, what)
    const { status } = answer.members
    if (typeof status === "string" && wanted.includes(status)) return answer
    if (typeof status !== "string" || !pending.includes(status)) throw refused(what, answer.members)
    const askedMs = (answer.retryAt?.getTime() ?? 0) - client.now().getTime()
    const waitMs = Math.max(askedMs, ownMs)
    waitedMs += waitMs
    ownMs = Math.min(ownMs * 2, MAX_POLL_MS)
    if (waitedMs > MAX_WAIT_MS)
      throw new AcmeError("ACME_UNREACHABLE", `${what}: the CA does not decide within ${MAX_WAIT_MS / 1000} s`)
    await setTimeout(waitMs, undefined, { signal: client.signal })
  }
}

/** RFC 8555 §7.1.6: what is invalid says so in its own error, an authorization in that of its challenge. */
function refused(what: string, members: Readonly<Record<string, unknown>>): AcmeError {
  const { error, challenges } = members
  const [failed] = (Array.isArray(challenges) ? challenges : [])
    .map(asObject)
    .filter((one) => one["error"] !== undefined)
  const document = error ?? failed?.["error"]
  if (document !== undefined) return refusal(what, document)
  return new AcmeError(
    "ACME_REFUSED",
    `${what}: is ${typeof members["status"] === "string" ? "not valid" : "without status"}`,
  )
}

const TOKEN = /^[A-Za-z0-9_-]{22,128}$/
const NAME = /^[a-z0-9.-]{1,253}$/i
const FIRST_POLL_MS = 250
const MAX_POLL_MS = 10_000
/** For one authorization or order. */
const MAX_WAIT_MS = 180_000
