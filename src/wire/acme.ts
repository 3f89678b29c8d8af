import { readFileSync } from "node:fs"
import { AcmeClient } from "../acme/client.ts"
import { type Obtained, obtainCertificate, type Responder } from "../acme/order.ts"
import { AcmeError } from "../acme/problem.ts"
import { type LastFailure, type LastIssued, nextAttempt, planRenewal, type RenewalPlan } from "../acme/renewal.ts"
import type { AcmeConfig } from "../config/config.ts"
import { readCertificate } from "../crypto/cms/certificate.ts"
import { pemDecode } from "../crypto/cms/pem.ts"
import { sha256 } from "../crypto/primitives/hash.ts"
import {
  type AcmeStatus,
  acmeAccountKey,
  acmeStatus,
  type IssuedCertificate,
  issuedCertificate,
  keepAcmeStatus,
  keepIssuedCertificate,
  takeRenewalRequest,
} from "../store/acme.ts"
import type { Core } from "./core.ts"
import { startRounds } from "./rounds.ts"
import { checkInstallable, installIdentity } from "./server-certificate.ts"
import type { LiveTls } from "./tls.ts"

/** How often it is looked whether it is time to ask, or somebody wants it: nobody else is asked by that. */
const LOOK_MS = 1_000

/** Answers that the CA looks for just now; see {@link Responder}. */
export class PendingChallenges implements Responder {
  readonly #answers = new Map<string, string>()

  present(token: string, keyAuthorization: string): void {
    this.#answers.set(token, keyAuthorization)
  }

  withdraw(token: string): void {
    this.#answers.delete(token)
  }

  /** @returns null for a token that no challenge has */
  find(token: string): string | null {
    return this.#answers.get(token) ?? null
  }
}

/** Gets the server's certificate from the CA, and renews it in time, until it is disposed of. */
export function startAcme(core: Core, acme: AcmeConfig, tls: LiveTls, challenges: PendingChallenges): AsyncDisposable {
  const renewal = new Renewal(core, acme, tls, challenges)
  return startRounds({
    firstMs: 0,
    everyMs: LOOK_MS,
    round: (signal) => renewal.round(signal),
    onError: (error) => core.log.error("acme.broken", {}, error),
  })
}

class Renewal {
  readonly #core: Core
  readonly #acme: AcmeConfig
  readonly #tls: LiveTls
  readonly #challenges: PendingChallenges
  #issued: IssuedCertificate | null
  #status: AcmeStatus | null

  constructor(core: Core, acme: AcmeConfig, tls: LiveTls, challenges: PendingChallenges) {
    this.#core = core
    this.#acme = acme
    this.#tls = tls
    this.#challenges = challenges
    this.#issued = issuedCertificate(core.config)
    this.#status = acmeStatus(core.config)
  }

  /** Asks the CA when it is time, or when an administrator wants it and the CA allows. */
  async round(signal: AbortSignal): Promise<void> {
    const { config, now } = this.#core
    const request = takeRenewalRequest(config)
    const { retryAt } = this.#failure() ?? { retryAt: null }
    if (request === null ? this.#plan().at <= now() : retryAt === null || retryAt <= now())
      await this.#attempt(request, signal)
    else if (request !== null && this.#status !== null) this.#keep({ ...this.#status, request })
  }

  async #attempt(request: string | null, signal: AbortSignal): Promise<void> {
    const { log, counters } = this.#core
    log.info("acme.asking", {
      directory: this.#acme.directory,
      names: this.#acme.names,
      why: request === null ? this.#plan().why : "request",
    })
    try {
      this.#use(await this.#obtain(signal), request)
      counters.add("postern_acme_total", { outcome: "issued" })
    } catch (error) {
      signal.throwIfAborted()
      counters.add("postern_acme_total", { outcome: "failed" })
      this.#fail(error, request)
    }
  }

  async #obtain(signal: AbortSignal): Promise<Obtained> {
    const { config, now } = this.#core
    const { directory, caFile, email, names } = this.#acme
    checkInstallable(config.tls)
    const client = new AcmeClient({
      directory,
      authority: caFile === null ? null : readFileSync(caFile, "utf8"),
      accountKey: acmeAccountKey(config),
      now,
      signal,
    })
    await client.logIn(email)
    return obtainCertificate(client, names, this.#challenges)
  }

  #use(obtained: Obtained, request: string | null): void {
    const { config, log, now } = this.#core
    const { directory, names } = this.#acme
    const issued = { directory, names, ...obtained }
    keepIssuedCertificate(config, issued)
    installIdentity(obtained, config.tls)
    // Only now: what could not be written is tried again.
    this.#issued = issued
    this.#tls.reload()
    const { notAfter } = validityOf(obtained.certificate)
    log.info("acme.issued", { directory, names, notAfter: notAfter.toISOString() })
    const done = { directory, names, at: now().toISOString(), outcome: "issued", failures: 0 } as const
    this.#status = null
    this.#keep({ ...done, reason: null, problem: null, retryAt: null, nextAt: this.#plan().at.toISOString(), request })
  }

  #fail(error: unknown, request: string | null): void {
    const { log, now } = this.#core
    const { directory, names } = this.#acme
    const { problem, retryAt } = error instanceof AcmeError ? error : { problem: null, retryAt: null }
    const failure = { directory, names, at: now(), failures: (this.#failure()?.failures ?? 0) + 1, retryAt }
    const nextAt = nextAttempt(failure).toISOString()
    const reason = error instanceof Error ? error.message : String(error)
    const said = { reason, problem: problem?.type ?? null, nextAt }
    // What is not the CA's fault is ours to mend, and its stack tells where.
    log.error("acme.failed", { directory, names, ...said }, error instanceof AcmeError ? undefined : error)
    const times = { at: failure.at.toISOString(), retryAt: retryAt?.toISOString() ?? null }
    this.#keep({ directory, names, ...times, outcome: "failed", failures: failure.failures, ...said, request })
  }

  #keep(status: AcmeStatus): void {
    this.#status = status
    keepAcmeStatus(this.#core.config, status)
  }

  #plan(): RenewalPlan {
    const issued = this.#issued === null ? null : lastIssued(this.#issued)
    return planRenewal(this.#acme, issued, this.#failure(), this.#issued === null ? 0 : jitterOf(this.#issued))
  }

  #failure(): LastFailure | null {
    const status = this.#status
    if (status?.outcome !== "failed") return null
    const { directory, names, failures } = status
    const retryAt = status.retryAt === null ? null : new Date(status.retryAt)
    return { directory, names, at: new Date(status.at), failures, retryAt }
  }
}

function lastIssued({ directory, names, certificate }: IssuedCertificate): LastIssued {
  return { directory, names, ...validityOf(certificate) }
}

function validityOf(pem: string): { readonly notBefore: Date; readonly notAfter: Date } {
  const { notBefore, notAfter } = readCertificate(pemDecode("CERTIFICATE", pem)[0] ?? new Uint8Array())
  return { notBefore, notAfter }
}

/** From 0 to 1, by the certificate: a restart draws no other. */
function jitterOf({ certificate }: IssuedCertificate): number {
  return (sha256(new TextEncoder().encode(certificate))[0] ?? 0) / 255
}
