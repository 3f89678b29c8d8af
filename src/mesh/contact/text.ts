/** PURE */

/** Unicode scalar values of a request's text, at most. */
export const MAX_TEXT_CHARACTERS = 1_000
/** Lines of it: a text that is nothing but line breaks hides what stands around it. */
export const MAX_TEXT_LINES = 40

/** Why a text is no text that a stranger may write. */
export type TextFault = "empty" | "too long" | "too many lines" | "character" | "link" | "markup"

/**
 * What is wrong with a stranger's text: it has to be plain, without anything that a mail client would make a link of or show as something else.
 * What looks like a link is one, as clients that guess are many: "see example.org", and "end.Begin" as well. Line ends are LF.
 * @returns null when nothing is
 */
export function textFault(text: string): TextFault | null {
  if (text.trim() === "") return "empty"
  // Two UTF-16 units make a character at most, so that no long text is taken apart.
  if (text.length > 2 * MAX_TEXT_CHARACTERS || [...text].length > MAX_TEXT_CHARACTERS) return "too long"
  if (text.split("\n").length > MAX_TEXT_LINES) return "too many lines"
  const visible = text.replace(JOINERS, "")
  if (INVISIBLE.test(visible)) return "character"
  const plain = visible.normalize("NFKC").toLowerCase()
  if (LINKS.some((link) => link.test(plain))) return "link"
  return MARKUP.some((markup) => markup.test(plain)) ? "markup" : null
}

/** Persian and the languages of India cannot be written without these, and families of emoji are made with them. */
const JOINERS = /[\u200c\u200d]/gu
/** Controls but LF, and what turns the direction of text (Cf) or has no meaning; separators; fillers that are not seen; selectors but that of emoji; towers of marks. */
const INVISIBLE =
  /[^\P{C}\n]|\p{Zl}|\p{Zp}|[\u115f\u1160\u3164\uffa0]|\u034f|\u17b4|\u17b5|[\ufe00-\ufe0e]|[\u{e0100}-\u{e01ef}]|\p{M}{5}/u

const LINKS: readonly RegExp[] = [
  // "https://…", "mailto:x", "tel:1": whatever could be a scheme with something right behind it.
  /(?<![\p{L}\p{N}])[a-z][a-z0-9+.-]{1,20}:[\p{L}\p{N}/?#%&+@\\]/u,
  /:\/\/|\\\\/u,
  /(?<![\p{L}\p{N}])www\d{0,3}\./u,
  // An address of mail.
  /[^\s@]@[^\s@]/u,
  // A host name: a label, a dot and what could be a top-level domain, IDNs and their dots included (UTS #46).
  /[\p{L}\p{N}-][.][\p{L}\p{M}]{2,}|[a-z0-9][\u3002][a-z]{2,}|\.xn--/u,
  // An address of IPv4.
  /(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])/u,
]

const MARKUP: readonly RegExp[] = [
  // A tag of HTML.
  /<[\p{L}/!?]/u,
  // A character of HTML by name or number.
  /&(?:#\d|#x[0-9a-f]|[a-z]+;)/u,
  // A link of Markdown, and of wikis.
  /\]\(|\]\[|\[\[/u,
]
