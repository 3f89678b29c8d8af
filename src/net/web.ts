import { isIP } from "node:net"
import { type ErrorCode, GatewayError } from "../errors.ts"
import type { ResolveHost } from "./addresses.ts"
import { askHttps, type HttpsResponse } from "./https.ts"
import { isPublicAddress } from "./public-address.ts"

/** One question to a web server that somebody else named. */
export interface WebRequest {
  readonly url: URL
  /** The URL may be http: for what is signed itself, such as CRLs and OCSP responses. */
  readonly allowHttp?: boolean
  /** An administrator named the host: it may have an address inside, and another port than the scheme's own. Where it redirects to may not. */
  readonly isTrusted?: boolean
  /** POSTed; GET without it. */
  readonly body?: { readonly type: string; readonly octets: Uint8Array }
  /** The answer may be this long. */
  readonly maxOctets: number
}

export interface WebAnswer {
  readonly status: number
  /** Media type, lower case, without parameters. */
  readonly type: string
  readonly body: Uint8Array
  /** Who answered in the end, after redirects. */
  readonly url: URL
  /** Retry-After as it stands there (RFC 9110 §10.2.3); null: none. */
  readonly retryAfter: string | null
}

/**
 * Asks web servers whose names strangers chose: only public addresses, few redirects, bounded answers and time; certificates are verified.
 * @throws GatewayError WEB_*, which says what went wrong; an answer of whatever status is none. The signal's reason when it aborts
 */
export type AskWeb = (asked: WebRequest, signal: AbortSignal) => Promise<WebAnswer>

export interface WebRules {
  readonly resolve: ResolveHost
  /** Of the whole question, DNS, waiting for a turn and redirects included; 3 s unless given. */
  readonly timeoutMs?: number
  /** Exchanges with one host at a time; {@link PER_HOST} unless given. */
  readonly perHost?: number
  /** {@link isPublicAddress} unless given. */
  readonly isAllowed?: (address: string) => boolean
  /** PEM of the authorities to verify against, instead of the system's. */
  readonly authority?: string
  /** Where the scheme's own port is to be looked for instead, such as in a test. */
  readonly port?: number
}

/** All that ask through one client share its limit for each host. */
export function webClient(rules: WebRules): AskWeb {
  const turns = new Turns(rules.perHost ?? PER_HOST)
  const timeoutMs = rules.timeoutMs ?? TIMEOUT_MS
  return async (asked, signal) => {
    const timeout = AbortSignal.timeout(timeoutMs)
    try {
      return await follow(asked, rules, turns, AbortSignal.any([signal, timeout]))
    } catch (cause) {
      signal.throwIfAborted()
      if (!timeout.aborted) throw cause
      throw new GatewayError("WEB_TIMEOUT", `${asked.url.host}: no answer within ${timeoutMs} ms`, { cause })
    }
  }
}

async function follow(asked: WebRequest, rules: WebRules, turns: Turns, signal: AbortSignal): Promise<WebAnswer> {
  const first = await exchange(asked.url, asked, rules, turns, signal)
  let [url, response] = [asked.url, first]
  for (let redirects = 0; ; redirects++) {
    const next = asked.body ? null : redirectOf(response, url)
    if (next === null) {
      const { location: _, ...rest } = response
      return { ...rest, url }
    }
    if (redirects === MAX_REDIRECTS) throw redirectError(asked.url, `more than ${MAX_REDIRECTS} redirects`)
    response = await redirected(asked.url, () => exchange(next, { ...asked, isTrusted: false }, rules, turns, signal))
    url = next
  }
}

/** @returns null for what is no redirect that a GET follows (RFC 9110 §15.4) */
function redirectOf({ status, location }: HttpsResponse, from: URL): URL | null {
  if (!REDIRECTS.has(status) || location === null) return null
  const next = URL.parse(location, from.href)
  if (next === null) throw redirectError(from, "redirects to what is no URL")
  if (from.protocol === "https:" && next.protocol !== "https:")
    throw redirectError(from, `redirects to ${next.protocol}`)
  next.hash = ""
  return next
}

/** That the place does not exist which a redirect leads to says nothing of the place that was asked for. */
async function redirected<T>(from: URL, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (cause) {
    if (cause instanceof GatewayError && DEAD_ENDS.has(cause.code))
      throw redirectError(from, `redirects to where nobody may go: ${cause.message}`, cause)
    throw cause
  }
}

function redirectError(from: URL, what: string, cause?: unknown): GatewayError {
  return new GatewayError("WEB_REDIRECT", `${from.host}: ${what}`, { cause })
}

async function exchange(
  url: URL,
  { allowHttp = false, isTrusted = false, body, maxOctets }: WebRequest,
  rules: WebRules,
  turns: Turns,
  signal: AbortSignal,
): Promise<HttpsResponse> {
  const refused = urlRefusal(url, allowHttp, isTrusted)
  if (refused !== null) throw new GatewayError("WEB_FORBIDDEN_URL", `${url.host}: ${refused}`)
  const isAllowed = isTrusted ? () => true : (rules.isAllowed ?? isPublicAddress)
  const addresses = (await addressesOf(url.hostname, rules.resolve, signal)).filter(isAllowed)
  if (addresses.length === 0) throw new GatewayError("WEB_FORBIDDEN_ADDRESS", `${url.host}: has no public address`)
  const port = url.port === "" ? rules.port : Number(url.port)
  const request = {
    host: url.hostname,
    addresses,
    path: `${url.pathname}${url.search}`,
    inClear: url.protocol === "http:",
    maxOctets,
    ...(port === undefined ? {} : { port }),
    ...(body === undefined ? {} : { body }),
  }
  return await turns.run(url.host, signal, async () => {
    try {
      return await askHttps(request, { timeoutMs: TIMEOUT_MS, ...rules, isAllowed }, signal)
    } catch (cause) {
      signal.throwIfAborted()
      throw webError(cause, url)
    }
  })
}

/** @returns why nobody is asked there */
export function urlRefusal(url: URL, allowHttp: boolean, isTrusted: boolean): string | null {
  if (url.protocol !== "https:" && !(allowHttp && url.protocol === "http:")) return `${url.protocol} is not asked`
  if (url.username !== "" || url.password !== "") return "has a name or a password in its URL"
  if (isIP(url.hostname.replace(/^\[|\]$/g, "")) !== 0) return "is no host name"
  // Whoever names a URL must not have us knock at what listens elsewhere on a host: mail, databases, administration.
  if (url.port !== "" && !isTrusted) return "has a port of its own"
  return null
}

async function addressesOf(host: string, resolve: ResolveHost, signal: AbortSignal): Promise<readonly string[]> {
  if (host.length > MAX_NAME_OCTETS) throw new GatewayError("WEB_NO_NAME", `${host}: is longer than a name can be`)
  const found = await resolved(host, resolve, signal)
  if (found.kind === "no-name") throw new GatewayError("WEB_NO_NAME", `${host}: does not exist`)
  if (found.kind === "no-address") throw new GatewayError("WEB_NO_ADDRESS", `${host}: has no address`)
  return found.addresses
}

async function resolved(host: string, resolve: ResolveHost, signal: AbortSignal): ReturnType<ResolveHost> {
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const onAbort = (): void => reject(signal.reason)
  signal.addEventListener("abort", onAbort)
  try {
    signal.throwIfAborted()
    return await Promise.race([resolve(host), aborted])
  } catch (cause) {
    signal.throwIfAborted()
    throw new GatewayError("WEB_UNRESOLVED", `${host}: DNS does not answer: ${reasonOf(cause)}`, { cause })
  } finally {
    signal.removeEventListener("abort", onAbort)
  }
}

/** What Node or {@link askHttps} says, in our words. */
export function webError(cause: unknown, { host }: URL): GatewayError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : ""
  const ours = CODES[code] ?? (CERTIFICATE_CODE.test(code) ? "WEB_CERTIFICATE" : "WEB_BROKEN")
  const what = ours === "WEB_CERTIFICATE" ? "certificate is not good: " : ""
  return new GatewayError(ours, `${host}: ${what}${reasonOf(cause)}`, { cause })
}

function reasonOf(cause: unknown): string {
  // One error for each address that was tried, and no text of its own.
  const first: unknown = cause instanceof AggregateError ? cause.errors[0] : cause
  return first instanceof Error ? first.message : String(first)
}

/** Places at hosts, given in the order in which they were asked for. */
class Turns {
  readonly #most: number
  readonly #hosts = new Map<string, { busy: number; readonly waiting: Set<() => void> }>()

  constructor(most: number) {
    this.#most = most
  }

  async run<T>(host: string, signal: AbortSignal, act: () => Promise<T>): Promise<T> {
    await this.#take(host, signal)
    try {
      return await act()
    } finally {
      this.#give(host)
    }
  }

  async #take(name: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const host = this.#hosts.get(name) ?? { busy: 0, waiting: new Set() }
    this.#hosts.set(name, host)
    if (host.busy < this.#most) {
      host.busy += 1
      return
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const onAbort = (): void => {
      host.waiting.delete(resolve)
      reject(signal.reason)
    }
    host.waiting.add(resolve)
    signal.addEventListener("abort", onAbort)
    try {
      await promise
    } finally {
      signal.removeEventListener("abort", onAbort)
    }
  }

  #give(name: string): void {
    const host = this.#hosts.get(name)
    if (host === undefined) return
    const [next] = host.waiting
    if (next) {
      // The place goes on to the next one.
      host.waiting.delete(next)
      next()
    } else {
      host.busy -= 1
      if (host.busy === 0) this.#hosts.delete(name)
    }
  }
}

/** Whoever waits for keys holds a message back meanwhile. */
const TIMEOUT_MS = 3_000
/** As many as a browser opens. */
const PER_HOST = 6
const MAX_REDIRECTS = 3
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])
/** RFC 1035 §2.3.4, as text. */
const MAX_NAME_OCTETS = 253
const DEAD_ENDS: ReadonlySet<ErrorCode> = new Set([
  "WEB_NO_NAME",
  "WEB_NO_ADDRESS",
  "WEB_FORBIDDEN_URL",
  "WEB_FORBIDDEN_ADDRESS",
])
/** Those of Node's documentation, "X509 certificate error codes", and of the check of names. */
const CERTIFICATE_CODE =
  /^(?:CERT_|CRL_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERROR_IN_|INVALID_|PATH_|HOSTNAME_|UNSPECIFIED$|ERR_TLS_CERT_)/
const CODES: Readonly<Record<string, ErrorCode>> = {
  ADDRESS_FORBIDDEN: "WEB_FORBIDDEN_ADDRESS",
  TOO_LONG: "WEB_TOO_LONG",
  TIMEOUT: "WEB_TIMEOUT",
  ETIMEDOUT: "WEB_TIMEOUT",
  ECONNREFUSED: "WEB_REFUSED",
  ECONNRESET: "WEB_REFUSED",
  EPIPE: "WEB_REFUSED",
  EHOSTUNREACH: "WEB_REFUSED",
  ENETUNREACH: "WEB_REFUSED",
  EADDRNOTAVAIL: "WEB_REFUSED",
}
