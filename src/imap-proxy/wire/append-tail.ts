import { latin1 } from "./tokens.ts"

/** What stands behind a message of APPEND: nothing, or what belongs to the next message, up to its literal. */
export type AppendTail =
  | { readonly kind: "end" }
  | {
      readonly kind: "message"
      /** Flags and date, each with a blank before it, and the blank before the literal. */
      readonly options: Uint8Array
      /** RFC 6855 §4: the literal stands in `UTF8 (`, and `)` must follow. */
      readonly wrapped: boolean
    }

/**
 * Reads it. `wrapped`: the message before stands in `UTF8 (`; `literal`: a literal follows.
 * RFC 3502: append = "APPEND" SP mailbox 1*append-message; append-message = [SP flag-list] [SP date-time] SP literal
 * @returns null when it is neither
 */
export function readAppendTail(octets: Uint8Array, wrapped: boolean, literal: boolean): AppendTail | null {
  const text = latin1(octets)
  if (wrapped && !text.startsWith(")")) return null
  const rest = wrapped ? text.slice(1) : text
  if (!literal) return rest === "" ? { kind: "end" } : null
  const [, options, utf8] = MESSAGE.exec(rest) ?? []
  if (options === undefined) return null
  return { kind: "message", options: Buffer.from(options, "latin1"), wrapped: utf8 !== undefined }
}

// RFC 9051 §9: flag-list = "(" [flag *(SP flag)] ")"; date-time = DQUOTE date-day-fixed … DQUOTE
const MESSAGE = /^((?: \([^\x00-\x1f(){}"%*\x7f-\xff]*\))?(?: "[^\x00-\x1f"\\\x7f-\xff]{1,64}")? )(UTF8 \()?$/i
