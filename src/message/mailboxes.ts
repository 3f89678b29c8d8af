import { GatewayError } from "../errors.ts"
import { type Address, parseAddress } from "./address.ts"

/** A From field with more authors than this is no real one; each costs an ownership check. */
export const MAX_MAILBOXES = 50

/**
 * The addresses of a mailbox-list (RFC 5322 §3.4), such as the text of a From field: display names and comments are skipped.
 * Groups (RFC 6854), the obsolete route and empty list members are refused: who wrote the message must be plain.
 * @throws GatewayError ADDRESS_SYNTAX
 */
export function parseMailboxList(text: string): Address[] {
  const mailboxes = splitMailboxes(text)
  if (mailboxes.length > MAX_MAILBOXES) throw syntax(`more than ${MAX_MAILBOXES} mailboxes`)
  return mailboxes.map(parseMailbox)
}

/** The parts between commas at the top level, each as tokens without comments. */
function splitMailboxes(text: string): Token[][] {
  const mailboxes: Token[][] = [[]]
  for (const token of tokens(text)) {
    if (token.kind === "special" && token.text === ",") mailboxes.push([])
    else mailboxes.at(-1)?.push(token)
  }
  return mailboxes
}

// mailbox = [display-name] "<" addr-spec ">" / addr-spec        RFC 5322 §3.4
function parseMailbox(mailbox: readonly Token[]): Address {
  const open = mailbox.findIndex((token) => token.kind === "special" && token.text === "<")
  if (open < 0) return parseSpecification(mailbox)
  const close = mailbox.length - 1
  const last = mailbox[close]
  if (last?.kind !== "special" || last.text !== ">") throw syntax("something after the angle address")
  const name = mailbox.slice(0, open)
  // RFC 5322 §4.1 obs-phrase: dots in a display name are common ("John Q. Public").
  if (name.some((token) => token.kind === "special" && token.text !== ".")) throw syntax("special in a display name")
  return parseSpecification(mailbox.slice(open + 1, close))
}

function parseSpecification(specification: readonly Token[]): Address {
  const joined = specification.map((token) => token.text).join("")
  // Two words without a dot between them are no addr-spec; joined they would read as another address.
  const split = specification.some((token, index) => token.kind !== "special" && isWord(specification[index + 1]))
  if (split) throw syntax("words side by side in an address")
  return parseAddress(joined)
}

function isWord(token: Token | undefined): boolean {
  return token !== undefined && token.kind !== "special"
}

interface Token {
  readonly kind: "atom" | "quoted" | "literal" | "special"
  readonly text: string
}

function* tokens(text: string): Generator<Token> {
  let at = 0
  while (at < text.length) {
    const character = text[at] ?? ""
    if (character === "(") {
      at = commentEnd(text, at)
      continue
    }
    const match = matchToken(text, at)
    if (!match) throw syntax("character that stands nowhere in a mailbox")
    at += match.text.length
    if (match.kind !== "blank") yield { kind: match.kind, text: match.text }
  }
}

function matchToken(text: string, at: number): { kind: Token["kind"] | "blank"; text: string } | null {
  for (const [kind, pattern] of PATTERNS) {
    pattern.lastIndex = at
    const match = pattern.exec(text)
    if (match) return { kind, text: match[0] }
  }
  return null
}

// Comments nest (RFC 5322 §3.2.2); counted, not recursed.
function commentEnd(text: string, start: number): number {
  let depth = 0
  for (let at = start; at < text.length; at++) {
    const character = text[at]
    if (character === "\\") at++
    else if (character === "(") depth++
    else if (character === ")" && --depth === 0) return at + 1
  }
  throw syntax("comment without an end")
}

// Sticky, so that each attempt looks at one place only. No control character stands in any of them.
const PATTERNS: readonly (readonly [Token["kind"] | "blank", RegExp])[] = [
  ["blank", /[ \t]+/y],
  ["quoted", /"(?:[^"\\\u0000-\u0008\u000a-\u001f\u007f]|\\[\t\u0020-\u007e\u0080-\u{10ffff}])*"/uy],
  ["literal", /\[[^[\]\\\u0000-\u001f\u007f]*\]/uy],
  ["special", /[<>@,.]/y],
  ["atom", /[^\u0000-\u0020\u007f()<>[\]:;@\\,."]+/uy],
]

function syntax(what: string): GatewayError {
  return new GatewayError("ADDRESS_SYNTAX", `mailboxes: ${what}`)
}
