/** PURE. The header section of a message whose encryption was taken off. */
import { ascii, outerFields } from "./compose.ts"
import { parseFields } from "./header.ts"

/**
 * Fields stay as they stood outside, where the author was looked at; MIME's own come from inside, and so do those that header protection hides (RFC 9788
 * §3.2.1), where they stand there. With its empty line.
 */
export function openedHeader(outside: Uint8Array, inside: Uint8Array): Uint8Array {
  const inner = parseFields(inside)
  const revealed = new Set(inner.map(({ name }) => name).filter((name) => HIDDEN.has(name)))
  const kept = outerFields(outside, "clear").filter((field) => !revealed.has(parseFields(field)[0]?.name ?? ""))
  const own = inner.filter(({ name }) => name.startsWith("content-") || HIDDEN.has(name))
  return Buffer.concat([...kept, ...own.map(({ octets }) => octets), ascii("MIME-Version: 1.0\r\n\r\n")])
}

const HIDDEN: ReadonlySet<string> = new Set(["subject", "comments", "keywords"])
