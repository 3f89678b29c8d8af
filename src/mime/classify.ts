import { GatewayError } from "../errors.ts"
import { EncryptedContent } from "./classify-content.ts"
import { HeaderSection, isIdentity } from "./classify-header.ts"
import { MultipartBody } from "./classify-multipart.ts"
import type { Recogniser } from "./classify-recogniser.ts"
import { type Field, firstField, MAX_HEADER_OCTETS } from "./header.ts"
import { parseEntityHeader } from "./structure-header.ts"

/** What everything in a message is encrypted with; "clear" when anything in it is not. */
export type Kind = "clear" | "smime" | "openpgp"

/**
 * Finds out whether everything in a message is encrypted already, by its content and not by what its header says. The message comes
 * in pieces of any size, as received; no body is held. Any doubt is "clear": to encrypt twice is ugly, to store in clear is not allowed.
 */
export class EncryptionClassifier {
  #state: State = { kind: "header", section: new HeaderSection(MAX_HEADER_OCTETS) }

  push(octets: Uint8Array): void {
    if (this.#state.kind !== "clear") this.#judge(() => this.#take(octets))
  }

  /** What the octets so far would be if nothing in clear follows: "clear" when nothing encrypted was recognised yet. */
  soFar(): Kind {
    return this.#state.kind === "body" ? (this.#state.body.found ?? "clear") : "clear"
  }

  /** Whether the decision is "clear", whatever follows. */
  get isClear(): boolean {
    return this.#state.kind === "clear"
  }

  /** The decision, when all octets were pushed. */
  end(): Kind {
    const state = this.#state
    if (state.kind === "body") this.#judge(() => state.body.end())
    return this.soFar()
  }

  #take(octets: Uint8Array): void {
    if (this.#state.kind === "body") this.#state.body.push(octets)
    if (this.#state.kind !== "header") return
    const rest = this.#state.section.push(octets)
    if (rest === null) return
    const body = bodyOf(this.#state.section.fields())
    this.#state = { kind: "body", body }
    body.push(rest)
  }

  #judge(step: () => void): void {
    try {
      step()
    } catch (error) {
      // The readers' errors are answers here: what is malformed is not encrypted. Other errors are mistakes of ours.
      if (!(error instanceof GatewayError)) throw error
      this.#state = { kind: "clear" }
    }
  }
}

type State =
  | { readonly kind: "header"; readonly section: HeaderSection }
  | { readonly kind: "body"; readonly body: Recogniser }
  | { readonly kind: "clear" }

function bodyOf(fields: readonly Field[]): Recogniser {
  const entity = parseEntityHeader(fields, "text/plain")
  if (entity.type !== "multipart") {
    // Inline PGP is text; S/MIME comes under any name.
    const text = entity.type === "text" && entity.subtype === "plain"
    return new EncryptedContent(text ? ["armor", "cms"] : ["cms"], entity.encoding)
  }
  if (!isIdentity(entity.encoding))
    throw new GatewayError("CLEAR_CONTENT", "classify: multipart in a transfer encoding")
  return new MultipartBody(entity, firstField(fields, "list-id") !== null)
}
