/**
 * One address of ENVELOPE (RFC 3501 §7.4.2), latin1, one character per octet. A group starts with host null and its name as
 * mailbox, and ends with both null.
 */
export interface MailboxName {
  readonly name: string | null
  readonly route: string | null
  readonly mailbox: string | null
  readonly host: string | null
}

/** More recipients than this in one field are not told in ENVELOPE; each costs memory. */
export const MAX_ADDRESSES = 10_000

/**
 * Reads an address-list (RFC 5322 §3.4) as leniently as mail readers do: what is no address becomes one with what there is,
 * nothing throws. For deciding about somebody use message/address.ts.
 */
export function parseAddressList(text: string): MailboxName[] {
  const found: MailboxName[] = []
  let piece: Token[] = []
  let inGroup = false
  let inAngle = false
  const flush = (): void => {
    const mailbox = toMailbox(piece)
    if (mailbox) found.push(mailbox)
    piece = []
    inAngle = false
  }
  for (const token of tokens(text)) {
    if (found.length >= MAX_ADDRESSES) break
    // Within angle brackets a comma or colon belongs to a route (RFC 5322 §4.4).
    if (token.kind !== "special" || inAngle) {
      piece.push(token)
      if (token.text === ">") inAngle = false
    } else if (token.text === ",") flush()
    else if (token.text === "<") {
      piece.push(token)
      inAngle = true
    } else if (token.text === ":" && !inGroup) {
      found.push({ name: null, route: null, mailbox: phrase(piece), host: null })
      piece = []
      inGroup = true
    } else if (token.text === ";" && inGroup) {
      flush()
      found.push(GROUP_END)
      inGroup = false
    } else piece.push(token)
  }
  flush()
  return inGroup ? [...found, GROUP_END] : found
}

interface Token {
  readonly kind: "word" | "quoted" | "comment" | "special"
  readonly text: string
  /** White space stood before it. */
  readonly spaced: boolean
}

const GROUP_END: MailboxName = { name: null, route: null, mailbox: null, host: null }

function* tokens(text: string): Generator<Token> {
  let spaced = false
  let at = 0
  while (at < text.length) {
    TOKEN.lastIndex = at
    const match = TOKEN.exec(text)?.[0] ?? text.charAt(at)
    const first = match.charAt(0)
    if (first === "(") {
      const end = commentEnd(text, at)
      yield { kind: "comment", text: text.slice(at + 1, text[end - 1] === ")" ? end - 1 : end), spaced }
      at = end
      spaced = false
      continue
    }
    at += match.length
    if (first === '"') yield { kind: "quoted", text: unquoted(match), spaced }
    else if (SPECIAL.has(first)) yield { kind: "special", text: first, spaced }
    else if (!/[ \t]/.test(first)) yield { kind: "word", text: match, spaced }
    spaced = first === " " || first === "\t"
  }
}

/** Comments nest (RFC 5322 §3.2.2); counted, not recursed. */
function commentEnd(text: string, start: number): number {
  let depth = 0
  for (let at = start; at < text.length; at += 1) {
    const c = text[at]
    if (c === "\\") at += 1
    else if (c === "(") depth += 1
    else if (c === ")" && --depth === 0) return at + 1
  }
  return text.length
}

// mailbox = [display-name] "<" [route ":"] addr-spec ">" / addr-spec
function toMailbox(piece: readonly Token[]): MailboxName | null {
  const words = piece.filter((token) => token.kind !== "comment")
  if (words.length === 0) return null
  const open = words.findIndex(isAngle)
  if (open < 0) {
    const comment = piece.find((token) => token.kind === "comment")
    return { name: comment?.text ?? null, route: null, ...specification(words) }
  }
  const close = words.findIndex((token, index) => index > open && token.kind === "special" && token.text === ">")
  const inside = words.slice(open + 1, close < 0 ? words.length : close)
  const colon = inside.findIndex((token) => token.kind === "special" && token.text === ":")
  const route = colon > 0 ? joined(inside.slice(0, colon)) : null
  const name = phrase(words.slice(0, open))
  return { name: name === "" ? null : name, route, ...specification(inside.slice(colon + 1)) }
}

/** RFC 3501 §7.4.2: a missing host is "", so that it is told from a group. */
function specification(words: readonly Token[]): { mailbox: string; host: string } {
  const at = words.findLastIndex((token) => token.kind === "special" && token.text === "@")
  if (at < 0) return { mailbox: phrase(words), host: "" }
  return { mailbox: joined(words.slice(0, at)), host: joined(words.slice(at + 1)) }
}

function isAngle(token: Token): boolean {
  return token.kind === "special" && token.text === "<"
}

function phrase(words: readonly Token[]): string {
  return words
    .filter((token) => token.kind !== "comment")
    .map((token, index) => (index > 0 && token.spaced ? ` ${token.text}` : token.text))
    .join("")
}

function joined(words: readonly Token[]): string {
  return words.map((token) => token.text).join("")
}

function unquoted(text: string): string {
  return text.slice(1, text.length > 1 && text.endsWith('"') ? -1 : undefined).replaceAll(/\\(.)/gs, "$1")
}

const SPECIAL: ReadonlySet<string> = new Set([..."<>@,:;"])
// A quoted string, a run of blanks, a special, the opening of a comment, or a run of anything else.
const TOKEN = /"(?:[^"\\]|\\.)*"?|[ \t]+|[<>@,:;(]|[^"<>@,:;( \t]+/sy
