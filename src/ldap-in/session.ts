import { once } from "node:events"
import type { Socket } from "node:net"
import { implicit } from "../crypto/cms/der.ts"
import { GatewayError } from "../errors.ts"
import type { Log } from "../log/log.ts"
import {
  type LdapMessage,
  MessageCutter,
  malformed,
  OPERATION,
  RESULT,
  readMessage,
  resultOperation,
  START_TLS,
  writeMessage,
} from "../net/ldap-message.ts"
import { addressesIn, type Entry, entryOf, matches, rootEntry, sameDn, writeEntry } from "./entries.ts"
import type { DirectoryOptions } from "./ports.ts"
import { type Request, readRequest, type SearchRequest } from "./requests.ts"

/** What a connection is. */
export interface Visit {
  readonly socket: Socket
  readonly remote: string
  /** Over TLS. */
  readonly isSecure: boolean
}

/** Who is logged in: nobody, anybody (where that is allowed), or the device of an account. */
type Who = { readonly account: string | null } | null

type Bind = Extract<Request, { kind: "bind" }>

/** Answers the requests of one connection, one after the other (RFC 4511 §3.1 leaves the order to us), until it ends or TLS begins. */
export class Session {
  readonly #visit: Visit
  readonly #options: DirectoryOptions & { readonly log: Log }
  readonly #cutter = new MessageCutter(MAX_REQUEST_OCTETS)
  #who: Who
  #failures = 0

  constructor(visit: Visit, options: DirectoryOptions & { readonly log: Log }) {
    this.#visit = visit
    this.#options = options
    this.#who = options.allowsAnonymous ? { account: null } : null
  }

  /** @returns `startTls`: the client is told so, and nothing but TLS may come */
  async run(): Promise<"startTls" | "ended"> {
    const { socket } = this.#visit
    try {
      for await (const octets of socket.iterator({ destroyOnReturn: false })) {
        const outcome = await this.#answerAll(this.#cutter.push(octets))
        if (outcome !== null) return outcome
      }
      return "ended"
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      this.#options.log.debug("ldap.refused", { remote: this.#visit.remote, reason: error.message })
      if (!socket.destroyed) socket.write(noticeOfDisconnection())
      return "ended"
    }
  }

  async #answerAll(messages: readonly Uint8Array[]): Promise<"startTls" | "ended" | null> {
    for (const [at, octets] of messages.entries()) {
      const message = readMessage(octets)
      const request = readRequest(message.operation)
      if (request.kind === "unbind") return "ended"
      if (request.kind === "extended" && request.name === START_TLS && !this.#visit.isSecure) {
        // What was sent in clear behind it would be taken for what comes privately.
        const isLast = at + 1 === messages.length && !this.#cutter.isWithin && this.#visit.socket.readableLength === 0
        if (!isLast) throw malformed("octets in clear behind StartTLS")
        await this.#say(message.id, resultOperation(OPERATION.extendedResponse, done(RESULT.success)))
        return "startTls"
      }
      if (await this.#answer(message, request)) return "ended"
    }
    return null
  }

  /** @returns true: that was enough */
  async #answer({ id, hasCriticalControl }: ReturnType<typeof readMessage>, request: Request): Promise<boolean> {
    const refuse = hasCriticalControl ? done(RESULT.unavailableCriticalExtension) : null
    switch (request.kind) {
      case "bind": {
        const result = refuse ?? (await this.#bind(request))
        await this.#say(id, resultOperation(OPERATION.bindResponse, result))
        return this.#failures >= MAX_FAILURES
      }
      case "search": {
        const result = refuse ?? (await this.#search(id, request))
        await this.#say(id, resultOperation(OPERATION.searchDone, result))
        return false
      }
      case "extended":
        // RFC 4511 §4.12: what is not known is a protocolError.
        await this.#say(id, resultOperation(OPERATION.extendedResponse, done(RESULT.protocolError)))
        return false
      case "refused":
        await this.#say(id, resultOperation(request.answer, done(RESULT.unwillingToPerform, "read only")))
        return false
      case "abandon":
      case "unbind":
        return false
    }
  }

  /** RFC 4513 §5.1: simple bind. Whoever fails is nobody. */
  async #bind({ version, name, password }: Bind): Promise<Result> {
    this.#who = null
    if (version !== VERSION) return done(RESULT.protocolError, "version 3 only")
    if (password === null) return done(RESULT.authMethodNotSupported, "simple bind only")
    if (name === "" && password === "") {
      if (!this.#options.allowsAnonymous) return done(RESULT.inappropriateAuthentication, "log in as a device")
      this.#who = { account: null }
      return done(RESULT.success)
    }
    // RFC 4513 §5.1.2: a name without a password is somebody who forgot it.
    if (password === "") return done(RESULT.unwillingToPerform, "a name without a password")
    if (!this.#visit.isSecure) return done(RESULT.confidentialityRequired, "StartTLS first")
    return await this.#logIn(userOf(name), password)
  }

  async #logIn(user: string, password: string): Promise<Result> {
    const { devices, log } = this.#options
    const { remote } = this.#visit
    try {
      const found = await devices.authenticate(user, password, remote)
      if (found !== null && found !== "limited") {
        this.#who = found
        log.info("ldap.login", { account: found.account, remote })
        return done(RESULT.success)
      }
      this.#failures++
      log.info("ldap.login.refused", { remote })
      return found === null ? done(RESULT.invalidCredentials) : done(RESULT.unavailable, "too many wrong passwords")
    } catch (error) {
      log.error("ldap.login.failed", { remote }, error)
      return done(RESULT.unavailable, "try again later")
    }
  }

  async #search(id: number, request: SearchRequest): Promise<Result> {
    const { base } = this.#options
    if (request.base === "" && request.scope === "base") {
      await this.#say(id, writeEntry(rootEntry(base, this.#visit.isSecure), request))
      return done(RESULT.success)
    }
    if (this.#who === null) return done(RESULT.insufficientAccessRights, "log in as a device")
    if (request.base !== "" && !sameDn(request.base, base)) return done(RESULT.noSuchObject)
    if (request.scope === "base") return done(RESULT.success)
    return await this.#look(id, request, this.#who.account)
  }

  /** What cannot be told now is no answer, so that nobody takes it for "there is none". */
  async #look(id: number, request: SearchRequest, account: string | null): Promise<Result> {
    const addresses = addressesIn(request.filter)
    const timeLimitMs = Math.min(request.maxSeconds || MAX_SECONDS, MAX_SECONDS) * 1_000
    const signal = AbortSignal.timeout(timeLimitMs)
    try {
      const found = await Promise.all(addresses.map((address) => this.#entry(address, account, signal)))
      const fitting = found.filter((entry) => entry !== null).filter((entry) => matches(request.filter, entry) === true)
      const shown = request.maxEntries === 0 ? fitting : fitting.slice(0, request.maxEntries)
      for (const entry of shown) await this.#say(id, writeEntry(entry, request))
      this.#options.log.debug("ldap.search", { account, addresses: addresses.length, entries: shown.length })
      return done(shown.length < fitting.length ? RESULT.sizeLimitExceeded : RESULT.success)
    } catch (error) {
      if (this.#visit.socket.destroyed) throw error
      this.#options.log.warn("ldap.search.failed", { reason: error instanceof Error ? error.message : "unknown" })
      return signal.aborted ? done(RESULT.timeLimitExceeded) : done(RESULT.unavailable, "try again later")
    }
  }

  async #entry(
    address: Parameters<typeof entryOf>[0],
    account: string | null,
    signal: AbortSignal,
  ): Promise<Entry | null> {
    const { certificates, base } = this.#options
    const found = await certificates.find(address, account, signal)
    return found === null || found.certificates.length === 0 ? null : entryOf(address, found, base)
  }

  async #say(id: LdapMessage["id"], operation: Uint8Array): Promise<void> {
    const { socket } = this.#visit
    if (socket.destroyed) throw new GatewayError("PROTOCOL", "ldap: the client left")
    if (!socket.write(writeMessage(id, operation))) await Promise.race([once(socket, "drain"), once(socket, "close")])
  }
}

type Result = Parameters<typeof resultOperation>[1]

function done(code: number, diagnostic = ""): Result {
  return { code, diagnostic }
}

/** An address as it is, or the `mail` or `uid` that a distinguished name begins with, which some clients insist on. */
function userOf(name: string): string {
  const [, value] = /^(?:mail|uid)=((?:[^,\\]|\\.)+)/i.exec(name) ?? []
  return value === undefined ? name : value.replace(/\\(.)/g, "$1")
}

/** RFC 4511 §4.4.1. */
function noticeOfDisconnection(): Uint8Array {
  const name = implicit(RESPONSE_NAME, new TextEncoder().encode("1.3.6.1.4.1.1466.20036"))
  return writeMessage(0, resultOperation(OPERATION.extendedResponse, done(RESULT.protocolError), name))
}

const VERSION = 3
/** ExtendedResponse's responseName, [10]. */
const RESPONSE_NAME = 10
/** A search for twenty recipients has two thousand. */
export const MAX_REQUEST_OCTETS = 65_536
/** Of one connection. */
export const MAX_FAILURES = 3
/** Clients give up soon after. */
const MAX_SECONDS = 10
