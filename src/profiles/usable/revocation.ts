import type { Certificate } from "../../crypto/cms/certificate.ts"
import { sha256 } from "../../crypto/primitives/hash.ts"
import { readCrl } from "../../crypto/x509/crl.ts"
import { revocationPlaces } from "../../crypto/x509/extension-values.ts"
import { OCSP_REQUEST_TYPE, ocspRequest, readOcsp } from "../../crypto/x509/ocsp.ts"
import { GatewayError } from "../../errors.ts"
import type { AskWeb, WebRequest } from "../../net/web.ts"
import type { RevocationStatus } from "./revocation-status.ts"
import type { RevocationStatusOf } from "./rules.ts"

/** Answers of responders and lists, kept until they are due. What is kept is checked again each time, so nothing has to be believed of it. */
export interface AnswerCache {
  find(key: string): Uint8Array | null
  keep(key: string, octets: Uint8Array, until: Date): void
}

export interface RevocationOptions {
  readonly ask: AskWeb
  readonly cache: AnswerCache
  /** DER of CRLs that an administrator gives; they are looked at first. */
  readonly lists: () => readonly Uint8Array[]
}

/** Answers have some 2 KB with the responder's certificate. */
export const MAX_OCSP_OCTETS = 65_536
/** Lists of public authorities for people have up to some megabytes; each entry takes about 40 octets. */
export const MAX_CRL_OCTETS = 16_777_216
/** URLs of each kind that are tried for one certificate. */
export const MAX_PLACES = 3

/** Asks where a certificate itself says: OCSP first, since it is small, then CRLs, until somebody gives an answer that counts. */
export function revocationOver(options: RevocationOptions): RevocationStatusOf {
  return async (certificate, issuer, at, signal) => {
    try {
      return await statusOf(options, { certificate, issuer, at, signal })
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      return { kind: "unanswered", because: error.message }
    }
  }
}

interface Question {
  readonly certificate: Certificate
  readonly issuer: Certificate
  readonly at: Date
  readonly signal: AbortSignal
}

type Answer =
  | { readonly kind: "good"; readonly until: Date }
  | { readonly kind: "revoked"; readonly since: Date; readonly reason: string | null }
  | { readonly kind: "unknown" }
  | { readonly kind: "unusable"; readonly because: string }

async function statusOf(options: RevocationOptions, question: Question): Promise<RevocationStatus> {
  const places = revocationPlaces(question.certificate)
  if (places.never) return { kind: "good", until: null }
  let isUnknown = false
  let because: string | null = null
  for await (const answer of answers(options, question, places)) {
    if (answer.kind === "good" || answer.kind === "revoked") return answer
    if (answer.kind === "unknown") isUnknown = true
    else because ??= answer.because
  }
  if (isUnknown) return { kind: "unknown" }
  return because === null ? { kind: "nowhere" } : { kind: "unanswered", because }
}

async function* answers(
  options: RevocationOptions,
  question: Question,
  { ocsp, crl }: { readonly ocsp: readonly string[]; readonly crl: readonly string[] },
): AsyncGenerator<Answer> {
  // A list of somebody else says nothing, not even that it is of no use. Of an older and a newer one it is the newer that has it.
  const given = options.lists().map((list) => calmly(() => readCrl(list, question)))
  yield* given.filter(({ kind }) => kind === "revoked")
  yield* given.filter(({ kind }) => kind === "good")
  for (const url of ocsp.filter(isWeb).slice(0, MAX_PLACES)) yield await askResponder(options, question, url)
  for (const url of crl.filter(isWeb).slice(0, MAX_PLACES)) yield await askList(options, question, url)
}

function askResponder(options: RevocationOptions, question: Question, url: string): Promise<Answer> {
  const key = `ocsp ${url} ${Buffer.from(sha256(question.certificate.der)).toString("base64")}`
  const body = { type: OCSP_REQUEST_TYPE, octets: ocspRequest(question) }
  const asked = { url: new URL(url), allowHttp: true, body, maxOctets: MAX_OCSP_OCTETS }
  return cachedOrAsked(options, question, { key, asked, read: (octets) => calmly(() => readOcsp(octets, question)) })
}

function askList(options: RevocationOptions, question: Question, url: string): Promise<Answer> {
  const asked = { url: new URL(url), allowHttp: true, maxOctets: MAX_CRL_OCTETS }
  const read = (octets: Uint8Array) => calmly(() => readCrl(octets, question))
  return cachedOrAsked(options, question, { key: `crl ${url}`, asked, read })
}

interface Place {
  readonly key: string
  readonly asked: WebRequest
  readonly read: (octets: Uint8Array) => Answer
}

async function cachedOrAsked(
  { ask, cache }: RevocationOptions,
  { at, signal }: Question,
  place: Place,
): Promise<Answer> {
  const kept = cache.find(place.key)
  const known = kept && place.read(kept)
  if (known && known.kind !== "unusable") return known
  const octets = await fetched(ask, place.asked, signal)
  if (typeof octets === "string") return { kind: "unusable", because: octets }
  const answer = place.read(octets)
  if (answer.kind === "good") cache.keep(place.key, octets, answer.until)
  // For as long as nobody takes it back: an hour is soon enough to hear of that.
  if (answer.kind === "revoked") cache.keep(place.key, octets, new Date(at.getTime() + REVOKED_MS))
  return answer
}

/** The answer's octets; or why there are none, for people. */
async function fetched(ask: AskWeb, asked: WebRequest, signal: AbortSignal): Promise<Uint8Array | string> {
  try {
    const { status, body } = await ask(asked, signal)
    if (status !== 200) return `${asked.url.host} answers with status ${status}`
    return body.length > asked.maxOctets ? `${asked.url.host} answers too much` : body
  } catch (error) {
    // Whatever went wrong out there, the authority has not answered.
    return `${asked.url.host}: ${error instanceof Error ? error.message : "no answer"}`
  }
}

/** What is malformed says nothing that counts. */
function calmly(read: () => Answer): Answer {
  try {
    return read()
  } catch (error) {
    if (error instanceof GatewayError)
      return { kind: "unusable", because: `the answer cannot be read (${error.message})` }
    throw error
  }
}

function isWeb(url: string): boolean {
  return URL.canParse(url) && ["http:", "https:"].includes(new URL(url).protocol)
}

const REVOKED_MS = 3_600_000
