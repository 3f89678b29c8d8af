/**
 * The text of a structured field without its comments (RFC 5322 §3.2.2); quoted strings stay.
 * @returns null when a comment or a quoted string does not end
 */
export function withoutComments(text: string): string | null {
  let kept = ""
  let depth = 0
  let quoted = false
  for (let at = 0; at < text.length; at++) {
    const char = text[at] ?? ""
    if (char === "\\" && (quoted || depth > 0)) {
      if (depth === 0) kept += char + (text[at + 1] ?? "")
      at++
    } else if (quoted) {
      quoted = char !== '"'
      kept += char
    } else if (char === "(") depth++
    else if (char === ")" && depth > 0) depth--
    else if (depth === 0) {
      quoted = char === '"'
      kept += char
    }
  }
  return quoted || depth > 0 ? null : kept
}
