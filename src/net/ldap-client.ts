import { connect as connectTcp, isIP, type Socket } from "node:net"
import { connect as connectTls } from "node:tls"
import { isLoopback } from "../config/values.ts"
import { integer, sequence, TAG, tagged } from "../crypto/cms/der.ts"
import { type Filter, writeFilter } from "./ldap-filter.ts"
import {
  enumerated,
  type LdapMessage,
  type LdapResult,
  ldapString,
  MessageCutter,
  malformed,
  OPERATION,
  type Piece,
  piecesOf,
  RESULT,
  readMessage,
  readOctets,
  readResult,
  readText,
  resultName,
  START_TLS,
  writeMessage,
} from "./ldap-message.ts"

/** Where a directory answers. */
export interface LdapServer {
  readonly host: string
  readonly port: number
  /** `plain` only on this machine. */
  readonly security: "tls" | "starttls" | "plain"
  /** PEM of the only authorities to trust; null: those of the system. */
  readonly authorities: string | null
}

/** Simple bind (RFC 4513 §5.1). */
export interface LdapLogin {
  readonly dn: string
  readonly password: string
}

export interface SearchRequest {
  readonly base: string
  readonly filter: Filter
  readonly attributes: readonly string[]
  /** The server stops at so many entries; 0: it decides. */
  readonly maxEntries: number
  /** The server stops after so long. */
  readonly maxSeconds: number
}

export interface Entry {
  readonly dn: string
  /** By their names as the server writes them, options such as `;binary` included. */
  readonly attributes: readonly { readonly name: string; readonly values: readonly Uint8Array[] }[]
}

export interface SearchAnswer extends LdapResult {
  readonly entries: readonly Entry[]
  /** How many other servers were named, where there may be more: nobody asks them. */
  readonly references: number
}

/** A connection to a directory, with several questions at once. After the first thing that goes wrong it is of no more use. */
export class LdapConnection implements Disposable {
  readonly #socket: Socket
  readonly #cutter = new MessageCutter(MAX_MESSAGE_OCTETS)
  readonly #waiting = new Map<number, Waiting>()
  #lastId = 1
  #ended: Error | null = null

  /**
   * Connects, makes the connection private, and logs in; without a login it is anonymous.
   * @throws Error, also when the signal aborts; its message has no secret in it
   */
  static async open(server: LdapServer, login: LdapLogin | null, signal: AbortSignal): Promise<LdapConnection> {
    if (server.security === "plain" && !isLoopback(server.host))
      throw new Error("ldap: not private, and not on this machine")
    // RFC 4513 §5.1.2: with a name and no password servers let in whoever it is, as nobody.
    if (login?.password === "") throw new Error("ldap: the password is empty")
    const connection = new LdapConnection(await privateSocket(server, signal))
    try {
      if (login) await connection.#bind(login, signal)
      return connection
    } catch (error) {
      connection[Symbol.dispose]()
      throw error
    }
  }

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on("data", (octets) => this.#take(octets))
    socket.on("error", (error) => this.#end(error))
    socket.on("close", () => this.#end(new Error("ldap: the server closed the connection")))
    socket.setTimeout(IDLE_MS, () => {
      if (this.#waiting.size === 0) this[Symbol.dispose]()
    })
    socket.unref()
  }

  /** False when no question can be asked any more. */
  get isOpen(): boolean {
    return this.#ended === null
  }

  /** @throws Error when there is no answer; every result is an answer */
  async search(request: SearchRequest, signal: AbortSignal): Promise<SearchAnswer> {
    const found: { entries: Entry[]; references: number; octets: number } = { entries: [], references: 0, octets: 0 }
    const done = await this.#ask(searchOperation(request), signal, ({ operation }) => {
      found.octets += operation.content.length
      if (found.octets > MAX_ANSWER_OCTETS) throw malformed(`an answer of over ${MAX_ANSWER_OCTETS} octets`)
      if (operation.tag === OPERATION.searchEntry) found.entries.push(readEntry(operation))
      else if (operation.tag === OPERATION.searchReference) found.references++
      else if (operation.tag === OPERATION.searchDone) return true
      else throw malformed("a search is answered by something else")
      return false
    })
    return { ...readResult(done), entries: found.entries, references: found.references }
  }

  [Symbol.dispose](): void {
    if (this.isOpen) this.#socket.write(writeMessage(++this.#lastId, Uint8Array.of(OPERATION.unbindRequest, 0)))
    this.#end(new Error("ldap: the connection was closed"))
  }

  // RFC 4511 §4.2: BindRequest ::= [APPLICATION 0] SEQUENCE { version INTEGER, name LDAPDN, simple [0] OCTET STRING }
  async #bind({ dn, password }: LdapLogin, signal: AbortSignal): Promise<void> {
    const simple = tagged(SIMPLE, new TextEncoder().encode(password))
    const request = tagged(OPERATION.bindRequest, integer(VERSION), ldapString(dn), simple)
    const answer = await this.#ask(request, signal, ({ operation }) => {
      if (operation.tag !== OPERATION.bindResponse) throw malformed("a bind is answered by something else")
      return true
    })
    const { code } = readResult(answer)
    if (code !== RESULT.success) throw new Error(`ldap: the server says ${resultName(code)} to our login`)
  }

  /** @returns the operation of which `take` says that it is the last one */
  async #ask(operation: Uint8Array, signal: AbortSignal, take: Waiting["take"]): Promise<Piece> {
    signal.throwIfAborted()
    if (this.#ended) throw this.#ended
    const id = ++this.#lastId
    const { promise, resolve, reject } = Promise.withResolvers<Piece>()
    this.#waiting.set(id, { take, resolve, reject })
    // Who does not answer one may not answer the others: none is asked here any more, and those that wait keep waiting.
    const abort = (): void => {
      this.#ended ??= new Error("ldap: the server did not answer in time")
      reject(this.#ended)
    }
    signal.addEventListener("abort", abort)
    this.#socket.ref()
    this.#socket.write(writeMessage(id, operation))
    try {
      return await promise
    } finally {
      signal.removeEventListener("abort", abort)
      this.#waiting.delete(id)
      if (this.#waiting.size === 0) this.#rest()
    }
  }

  #rest(): void {
    this.#socket.unref()
    if (this.#ended) this.#socket.destroy()
  }

  #take(octets: Uint8Array): void {
    try {
      for (const one of this.#cutter.push(octets)) this.#hand(readMessage(one))
    } catch (error) {
      this.#end(error instanceof Error ? error : new Error("ldap: unknown"))
    }
  }

  #hand(message: LdapMessage): void {
    // RFC 4511 §4.4: id 0 is what the server says of itself; that it ends the connection is all that there is.
    if (message.id === 0) throw new Error("ldap: the server ends the connection")
    const waiting = this.#waiting.get(message.id)
    if (waiting?.take(message)) waiting.resolve(message.operation)
  }

  #end(error: Error): void {
    this.#ended ??= error
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#socket.end()
    this.#socket.destroySoon()
  }
}

interface Waiting {
  /** True: that was the last one. */
  readonly take: (message: LdapMessage) => boolean
  readonly resolve: (operation: Piece) => void
  readonly reject: (error: Error) => void
}

async function privateSocket({ host, port, security, authorities }: LdapServer, signal: AbortSignal): Promise<Socket> {
  const identity = {
    host,
    ...(isIP(host) ? {} : { servername: host }),
    ...(authorities === null ? {} : { ca: authorities }),
    minVersion: "TLSv1.2",
  } as const
  if (security === "tls") return await connected(connectTls({ ...identity, port }), "secureConnect", signal)
  const socket = await connected(connectTcp({ host, port }), "connect", signal)
  if (security === "plain") return socket
  await startTls(socket, signal)
  return await connected(connectTls({ ...identity, socket }), "secureConnect", signal)
}

/** RFC 4511 §4.14. What comes in clear behind the answer would be taken for a part of what comes privately: there must be nothing. */
async function startTls(socket: Socket, signal: AbortSignal): Promise<void> {
  const request = tagged(OPERATION.extendedRequest, tagged(REQUEST_NAME, new TextEncoder().encode(START_TLS)))
  socket.write(writeMessage(1, request))
  const cutter = new MessageCutter(MAX_START_TLS_OCTETS)
  const { operation } = await withSocket<LdapMessage>(socket, "data", signal, (octets, resolve) => {
    const [message, more] = cutter.push(octets)
    if (message === undefined) return
    if (more !== undefined || cutter.isWithin) throw malformed("octets in clear behind the answer to StartTLS")
    resolve(readMessage(message))
  })
  const code = operation.tag === OPERATION.extendedResponse ? readResult(operation).code : null
  if (code === RESULT.success) return
  socket.destroy()
  throw new Error(`ldap: the server says ${code === null ? "something else" : resultName(code)} to StartTLS`)
}

async function connected<T extends Socket>(
  socket: T,
  event: "connect" | "secureConnect",
  signal: AbortSignal,
): Promise<T> {
  await withSocket<void>(socket, event, signal, (_, resolve) => resolve())
  return socket
}

/** Waits until `take` has what it wants of these events; the socket is destroyed when that does not come. */
async function withSocket<T>(
  socket: Socket,
  event: "connect" | "secureConnect" | "data",
  signal: AbortSignal,
  take: (octets: Uint8Array, resolve: (value: T) => void) => void,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  const closed = (): void => reject(new Error("ldap: the server closed the connection"))
  const abort = (): void => reject(new Error("ldap: the server did not answer in time"))
  const came = (octets: Uint8Array): void => {
    try {
      take(octets, resolve)
    } catch (error) {
      reject(error)
    }
  }
  socket.on("error", reject).on("close", closed).on(event, came)
  signal.addEventListener("abort", abort)
  if (signal.aborted) abort()
  try {
    return await promise
  } catch (error) {
    socket.on("error", () => undefined).destroy()
    throw error
  } finally {
    signal.removeEventListener("abort", abort)
    socket.off("error", reject).off("close", closed).off(event, came)
  }
}

// RFC 4511 §4.5.1
function searchOperation({ base, filter, attributes, maxEntries, maxSeconds }: SearchRequest): Uint8Array {
  return tagged(
    OPERATION.searchRequest,
    ldapString(base),
    enumerated(WHOLE_SUBTREE),
    enumerated(NEVER_DEREF_ALIASES),
    integer(maxEntries),
    integer(maxSeconds),
    BOTH_TYPES_AND_VALUES,
    writeFilter(filter),
    sequence(...attributes.map(ldapString)),
  )
}

// SearchResultEntry ::= [APPLICATION 4] SEQUENCE { objectName LDAPDN, attributes SEQUENCE OF SEQUENCE { type, vals SET OF OCTET STRING } }
function readEntry({ content }: Piece): Entry {
  const [dn, list] = piecesOf(content)
  if (list?.tag !== TAG.sequence) throw malformed("an entry without attributes")
  const attributes = piecesOf(list.content).map((attribute) => {
    const [name, values] = piecesOf(attribute.content)
    if (attribute.tag !== TAG.sequence || values?.tag !== TAG.set) throw malformed("an attribute without values")
    return { name: readText(name), values: piecesOf(values.content).map(readOctets) }
  })
  return { dn: readText(dn), attributes }
}

const VERSION = 3
/** AuthenticationChoice, [0]. */
const SIMPLE = 0x80
/** ExtendedRequest's requestName, [0]. */
const REQUEST_NAME = 0x80
const WHOLE_SUBTREE = 2
const NEVER_DEREF_ALIASES = 0
const BOTH_TYPES_AND_VALUES = Uint8Array.of(TAG.boolean, 1, 0)
/** An entry with pictures of its person has some hundred KB; we ask for certificates only. */
export const MAX_MESSAGE_OCTETS = 4_194_304
/** Of all entries of one answer together. */
export const MAX_ANSWER_OCTETS = 8_388_608
const MAX_START_TLS_OCTETS = 4_096
/** Firewalls forget connections after some minutes. */
const IDLE_MS = 60_000
