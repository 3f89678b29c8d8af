import { GatewayError } from "../errors.ts"
import { type ContentForm, EncryptedContent } from "./classify-content.ts"
import { transferDecoder } from "./classify-decode.ts"
import { isIdentity } from "./classify-header.ts"
import type { Recogniser } from "./classify-recogniser.ts"
import { type EntityHeader, parameter } from "./structure-header.ts"

/** Footers that a mailing list puts behind an encrypted part, all together. */
export const MAX_FOOTERS_OCTETS = 4096

/** "Version: 1", and room for a line more. */
const MAX_VERSION_OCTETS = 64

/** What a part must be: a text is blank, a footer, or encrypted inline. */
export interface Part {
  readonly role: "version" | "encrypted" | "text"
  readonly body: Recogniser
}

/**
 * A multipart that may be encrypted as a whole, and what its parts may be:
 * - PGP/MIME (RFC 3156 §4): multipart/encrypted of a version part and the encrypted one;
 * - the same after Exchange: multipart/mixed of empty texts, a version part, the encrypted one;
 * - either of them, inline PGP or S/MIME as the first part of a mailing list's multipart/mixed, with footers behind it.
 */
export class Multipart {
  readonly #kind: "encrypted" | "mixed"
  readonly #fromList: boolean
  readonly #boundary: string
  #stage: "start" | "version" | "encrypted" = "start"
  #footerOctets = 0
  closed = false

  /** `fromList`: it may be the wrapper of a mailing list. */
  constructor(entity: EntityHeader, fromList: boolean) {
    const { type, subtype } = entity
    this.#boundary = parameter(entity, "boundary").trimEnd()
    if (type !== "multipart" || (subtype !== "encrypted" && subtype !== "mixed") || this.#boundary === "")
      throw clear(`${type}/${subtype} is not an encrypted form`)
    if (!isIdentity(entity.encoding)) throw clear("multipart in a transfer encoding")
    this.#kind = subtype
    this.#fromList = fromList && subtype === "mixed"
  }

  /** Whether a line, its line end taken off, is a boundary of this multipart; behind the last one there are none. */
  matches(line: string): boolean {
    return !this.closed && (line === `--${this.#boundary}` || this.isLast(line))
  }

  isLast(line: string): boolean {
    return line === `--${this.#boundary}--`
  }

  /** @throws GatewayError CLEAR_CONTENT when nothing in it was encrypted */
  close(): void {
    if (this.#stage !== "encrypted") throw clear("no encrypted part")
    this.closed = true
  }

  /**
   * What the next part must be, by its header.
   * @throws GatewayError CLEAR_CONTENT when none may stand there
   */
  part(entity: EntityHeader): Part | Multipart {
    if (this.#stage === "version") return this.#encrypted(entity, ["armor", "packets"])
    if (this.#stage === "start" && entity.type === "multipart" && this.#fromList) {
      this.#stage = "encrypted"
      return new Multipart(entity, false)
    }
    const pgpVersion = entity.type === "application" && entity.subtype === "pgp-encrypted"
    if (this.#stage === "start" && (pgpVersion || this.#kind === "encrypted")) {
      return { role: "version", body: new VersionBody(entity.encoding) }
    }
    if (this.#kind === "encrypted") throw clear("part beside the encrypted one")
    return entity.type === "text" ? this.#text(entity) : this.#other(entity)
  }

  partEnded(part: Part): void {
    if (part.role === "version") this.#stage = "version"
    else if (part.body.found !== null) this.#stage = "encrypted"
    else if (part.role === "encrypted") throw clear("no encrypted content")
  }

  #text(entity: EntityHeader): Part {
    const first = this.#stage === "start"
    if (first && this.#fromList && entity.subtype === "plain")
      return { role: "text", body: new EncryptedContent(["armor", "cms"], entity.encoding) }
    if (first || !this.#fromList) return { role: "text", body: new EncryptedContent([], entity.encoding) }
    if (entity.disposition?.type.toLowerCase() === "attachment") throw clear("attachment beside the encrypted part")
    if (entity.subtype !== "plain" && entity.subtype !== "html") throw clear("part beside the encrypted one")
    return this.#footer()
  }

  #other(entity: EntityHeader): Part {
    if (this.#stage !== "start" || !this.#fromList) throw clear("part beside the encrypted one")
    return this.#encrypted(entity, ["cms"])
  }

  #encrypted(entity: EntityHeader, forms: readonly ContentForm[]): Part {
    if (entity.type === "multipart" || entity.type === "message") throw clear("entity inside")
    return { role: "encrypted", body: new EncryptedContent(forms, entity.encoding) }
  }

  #footer(): Part {
    const push = (octets: Uint8Array): void => {
      this.#footerOctets += octets.length
      if (this.#footerOctets > MAX_FOOTERS_OCTETS) throw clear("footers are too long")
    }
    return { role: "text", body: { push, end: () => {}, found: null } }
  }
}

/** RFC 3156 §4: "Version: 1". */
class VersionBody implements Recogniser {
  readonly found = null
  readonly #decoder
  #text = ""

  constructor(encoding: string) {
    this.#decoder = transferDecoder(encoding)
  }

  push(octets: Uint8Array): void {
    this.#keep(this.#decoder.push(octets))
  }

  end(): void {
    this.#keep(this.#decoder.end())
    if (!/^\s*(?:Version:\s*1)?\s*$/i.test(this.#text)) throw clear("version part is not one")
  }

  #keep(octets: Uint8Array): void {
    if (this.#text.length + octets.length > MAX_VERSION_OCTETS) throw clear("version part is too long")
    this.#text += Buffer.from(octets).toString("latin1")
  }
}

function clear(what: string): GatewayError {
  return new GatewayError("CLEAR_CONTENT", `multipart: ${what}`)
}
