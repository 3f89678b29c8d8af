/** PURE. What clients ask of a directory (RFC 4511). */
import { TAG } from "../crypto/cms/der.ts"
import { type Filter, readFilter } from "../net/ldap-filter.ts"
import {
  ENUMERATED,
  malformed,
  OPERATION,
  type Piece,
  piecesOf,
  readInteger,
  readOctets,
  readText,
} from "../net/ldap-message.ts"

export type Request =
  | BindRequest
  | SearchRequest
  | { readonly kind: "extended"; readonly name: string }
  | { readonly kind: "unbind" }
  | { readonly kind: "abandon" }
  /** Operations that change or compare; the operation that answers it. */
  | { readonly kind: "refused"; readonly answer: number }

/** RFC 4511 §4.2. */
interface BindRequest {
  readonly kind: "bind"
  readonly version: number
  readonly name: string
  /** null: not by a simple password. */
  readonly password: string | null
}

/** RFC 4511 §4.5.1. */
export interface SearchRequest {
  readonly kind: "search"
  readonly base: string
  readonly scope: "base" | "one" | "sub"
  /** 0: as many as there are. */
  readonly maxEntries: number
  /** 0: as long as it takes. */
  readonly maxSeconds: number
  readonly typesOnly: boolean
  readonly filter: Filter
  readonly attributes: readonly string[]
}

/** Throws GatewayError DER_SYNTAX, PROTOCOL. */
export function readRequest(operation: Piece): Request {
  switch (operation.tag) {
    case OPERATION.bindRequest:
      return readBind(operation.content)
    case OPERATION.searchRequest:
      return readSearch(operation.content)
    case OPERATION.extendedRequest:
      return readExtended(operation.content)
    case OPERATION.unbindRequest:
      return { kind: "unbind" }
    case OPERATION.abandonRequest:
      return { kind: "abandon" }
    default: {
      const answer = ANSWERS.get(operation.tag)
      if (answer === undefined) throw malformed("no request")
      return { kind: "refused", answer }
    }
  }
}

function readBind(content: Uint8Array): BindRequest {
  const [version, name, authentication] = piecesOf(content)
  if (version === undefined || authentication === undefined) throw malformed("bind without version and authentication")
  const password = authentication.tag === SIMPLE ? Buffer.from(authentication.content).toString("utf8") : null
  return { kind: "bind", version: readInteger(version), name: readText(name), password }
}

function readSearch(content: Uint8Array): SearchRequest {
  const [base, scope, aliases, entries, seconds, typesOnly, filter, attributes] = piecesOf(content)
  if (scope?.tag !== ENUMERATED || aliases?.tag !== ENUMERATED || !entries || !seconds) throw malformed("no search")
  if (typesOnly?.tag !== TAG.boolean || attributes?.tag !== TAG.sequence) throw malformed("no search")
  const scopeName = SCOPES[readInteger(scope)]
  if (scopeName === undefined) throw malformed("no such scope")
  return {
    kind: "search",
    base: readText(base),
    scope: scopeName,
    maxEntries: readInteger(entries),
    maxSeconds: readInteger(seconds),
    typesOnly: typesOnly.content[0] !== 0,
    filter: readFilter(filter),
    attributes: piecesOf(attributes.content).map(readText),
  }
}

// ExtendedRequest ::= [APPLICATION 23] SEQUENCE { requestName [0] LDAPOID, requestValue [1] OCTET STRING OPTIONAL }
function readExtended(content: Uint8Array): Request {
  const [name] = piecesOf(content)
  if (name?.tag !== REQUEST_NAME) throw malformed("an extended request without a name")
  return { kind: "extended", name: Buffer.from(readOctets({ ...name, tag: TAG.octetString })).toString("latin1") }
}

const SIMPLE = 0x80
const REQUEST_NAME = 0x80
const SCOPES: readonly (SearchRequest["scope"] | undefined)[] = ["base", "one", "sub", "sub"]
/** modify, add, delete, modifyDN, compare (RFC 4511 §4.6 to §4.10), and the operation that answers each. */
const ANSWERS: ReadonlyMap<number, number> = new Map([
  [0x66, 0x67],
  [0x68, 0x69],
  [0x4a, 0x6b],
  [0x6c, 0x6d],
  [0x6e, 0x6f],
])
