import { readRetryAfter } from "../net/retry-after.ts"
import { type AcmeResponse, type Authority, exchange } from "./exchange.ts"
import { signRequest } from "./jws.ts"
import { AcmeError, asObject, readProblem, refusal } from "./problem.ts"

export interface AcmeClientOptions {
  /** URL of the directory. */
  readonly directory: string
  readonly authority: Authority
  /** The account's P-256 key. */
  readonly accountKey: Uint8Array
  readonly now: () => Date
  readonly signal: AbortSignal
}

/** An answer to a signed request. */
export interface AcmeAnswer {
  /** Location (RFC 9110 §10.2.2), which names a resource that was made; null: none. */
  readonly location: string | null
  /** null: not said. */
  readonly retryAt: Date | null
  /** Members of the JSON object; none where the body is something else. */
  readonly members: Readonly<Record<string, unknown>>
  readonly body: string
}

/**
 * Talks to one ACME server as one account (RFC 8555 §6). Whatever URL the server names must be of the directory's own origin: it
 * cannot send us to others, inside our network or elsewhere.
 */
export class AcmeClient {
  readonly #options: AcmeClientOptions
  readonly #directory: URL
  #resources: Readonly<Record<string, unknown>> | null = null
  #account: string | null = null
  #nonce: string | null = null

  constructor(options: AcmeClientOptions) {
    this.#options = options
    this.#directory = new URL(options.directory)
  }

  get accountKey(): Uint8Array {
    return this.#options.accountKey
  }

  get signal(): AbortSignal {
    return this.#options.signal
  }

  get now(): () => Date {
    return this.#options.now
  }

  /**
   * Makes the account, or finds the one that this key has (RFC 8555 §7.3). Agrees to the terms of service.
   * @throws AcmeError
   */
  async logIn(email: string | null): Promise<void> {
    const { externalAccountRequired } = asObject((await this.#resourceUrls())["meta"])
    if (externalAccountRequired === true)
      throw new AcmeError(
        "ACME_PROTOCOL",
        "the CA wants accounts bound to one elsewhere (RFC 8555 §7.3.4), which is not supported",
      )
    const contact = email === null ? {} : { contact: [`mailto:${encodeURI(email)}`] }
    const { location } = await this.#ask("newAccount", { termsOfServiceAgreed: true, ...contact })
    if (location === null) throw new AcmeError("ACME_PROTOCOL", "newAccount: no Location")
    this.#account = this.#own(location, "account").href
  }

  /** POST to a resource of the directory by its name (RFC 8555 §7.1.1). @throws AcmeError */
  async create(resource: "newOrder", payload: object): Promise<AcmeAnswer> {
    return this.#ask(resource, payload)
  }

  /** POST, or POST-as-GET where `payload` is null, to a URL that the server named. @throws AcmeError */
  async post(url: unknown, payload: object | null, what: string): Promise<AcmeAnswer> {
    return this.#signed(this.#own(url, what), payload, what)
  }

  async #ask(resource: "newAccount" | "newOrder", payload: object): Promise<AcmeAnswer> {
    return this.#signed(this.#own((await this.#resourceUrls())[resource], resource), payload, resource)
  }

  async #signed(url: URL, payload: object | null, what: string): Promise<AcmeAnswer> {
    const { accountKey, now } = this.#options
    for (let attempt = 1; ; attempt++) {
      const nonce = this.#nonce ?? (await this.#newNonce())
      this.#nonce = null
      const body = signRequest({ url: url.href, nonce, account: this.#account }, payload, accountKey)
      const response = await this.#exchange("POST", url, body)
      if (response.status >= 200 && response.status < 300) return answerOf(response, now())
      const document = parseJson(response.body)
      // RFC 8555 §6.5: the refusal brings a fresh nonce.
      if (readProblem(document).type === BAD_NONCE && attempt < MAX_NONCES) continue
      throw failure(what, response, document, now())
    }
  }

  async #newNonce(): Promise<string> {
    const response = await this.#exchange("HEAD", this.#own((await this.#resourceUrls())["newNonce"], "newNonce"), "")
    const nonce = this.#nonce
    if (nonce === null)
      throw new AcmeError("ACME_PROTOCOL", `newNonce: no Replay-Nonce, HTTP status ${response.status}`)
    return nonce
  }

  async #resourceUrls(): Promise<Readonly<Record<string, unknown>>> {
    if (this.#resources !== null) return this.#resources
    const response = await this.#exchange("GET", this.#directory, "")
    if (response.status !== 200) throw failure("directory", response, parseJson(response.body), this.#options.now())
    this.#resources = asObject(parseJson(response.body))
    return this.#resources
  }

  async #exchange(method: "GET" | "HEAD" | "POST", url: URL, body: string): Promise<AcmeResponse> {
    const { authority, signal } = this.#options
    const response = await exchange({ method, url, body }, authority, signal)
    const nonce = response.headers["replay-nonce"]
    // RFC 8555 §6.5.1: base64url; anything else must be ignored.
    if (typeof nonce === "string" && /^[A-Za-z0-9_-]{1,512}$/.test(nonce)) this.#nonce = nonce
    return response
  }

  #own(written: unknown, what: string): URL {
    const url = typeof written === "string" ? URL.parse(written) : null
    if (url === null) throw new AcmeError("ACME_PROTOCOL", `${what}: the CA names no URL`)
    if (url.protocol !== "https:" || url.origin !== this.#directory.origin)
      throw new AcmeError("ACME_PROTOCOL", `${what}: the CA names a URL that is not of ${this.#directory.origin}`)
    return url
  }
}

function answerOf({ headers, body }: AcmeResponse, now: Date): AcmeAnswer {
  const { location } = headers
  return {
    location: location ?? null,
    retryAt: readRetryAfter(headers["retry-after"], now),
    members: asObject(parseJson(body)),
    body,
  }
}

function failure(what: string, response: AcmeResponse, document: unknown, now: Date): AcmeError {
  const retryAt = readRetryAfter(response.headers["retry-after"], now)
  if (typeof asObject(document)["type"] === "string") return refusal(what, document, retryAt)
  const code = response.status >= 500 || response.status === 429 ? "ACME_UNREACHABLE" : "ACME_PROTOCOL"
  return new AcmeError(code, `${what}: HTTP status ${response.status}`, { retryAt })
}

/** @returns null for what is no JSON */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}

const BAD_NONCE = "urn:ietf:params:acme:error:badNonce"
/** Nonces age while others ask; a server that takes none of ten takes none at all. */
const MAX_NONCES = 10
