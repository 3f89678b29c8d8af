import type { Command } from "../wire/command-reader.ts"
import { type Token, textOf } from "../wire/tokens.ts"

/**
 * What the arguments of a command ask for beyond the capabilities that are offered (capabilities.ts): a withheld extension stays
 * withheld where it is an option of a command that is let through. FETCH is read in fetch.ts; search keys are not looked at, since
 * a search brings back numbers only.
 * @returns the word that is refused, or null
 */
export function refusedOption({ name, arguments: args }: Command): string | null {
  switch (name.replace(/^UID /, "")) {
    case "SELECT":
    case "EXAMINE":
      return notAmong(SELECT_PARAMETERS, itemsOf(args[1]))
    case "CREATE":
      return notAmong(["USE"], itemsOf(args[1]))
    case "STATUS":
      return notAmong(STATUS_ITEMS, itemsOf(args[1]))
    case "LIST":
      return refusedListOption(args)
    case "SEARCH":
    case "SORT":
    case "THREAD":
      return isWord(args[0], "RETURN") ? notAmong(SEARCH_RETURNS, itemsOf(args[1])) : null
    case "STORE":
      return refusedStoreOption(args.slice(1))
    default:
      return null
  }
}

// RFC 5258 §6: list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]
function refusedListOption(args: readonly Token[]): string | null {
  const returned = args.findIndex((token, index) => index >= 2 && isWord(token, "RETURN"))
  return (
    notAmong(LIST_SELECTIONS, itemsOf(args[0])) ??
    (returned < 0 ? null : notAmong(LIST_RETURNS, itemsOf(args[returned + 1]))) ??
    refusedStatusOption(returned < 0 ? [] : itemsOf(args[returned + 1]))
  )
}

/** RFC 5819: `STATUS (…)` among LIST's return options asks for what STATUS itself would. */
function refusedStatusOption(options: readonly Token[]): string | null {
  const status = options.findIndex((token) => isWord(token, "STATUS"))
  return status < 0 ? null : notAmong(STATUS_ITEMS, itemsOf(options[status + 1]))
}

// RFC 7162 §7: store = "STORE" SP sequence-set [store-modifiers] SP store-att-flags
function refusedStoreOption(args: readonly Token[]): string | null {
  const [modifiers] = args
  const refused = notAmong(["UNCHANGEDSINCE"], itemsOf(modifiers))
  if (refused !== null) return refused
  const item = textOf(modifiers?.kind === "list" ? args[1] : modifiers)
  return item === null || /^[+-]?FLAGS(?:\.SILENT)?$/i.test(item) ? null : item
}

/** The first word of the list that is not among `allowed`; what stands in parentheses or is a number belongs to the word before it. */
function notAmong(allowed: readonly string[], items: readonly Token[]): string | null {
  for (const item of items) {
    const word = textOf(item)
    if (item.kind === "section") return item.name
    if (word !== null && !/^\d+$/.test(word) && !allowed.includes(word.toUpperCase())) return word
  }
  return null
}

function itemsOf(token: Token | undefined): readonly Token[] {
  return token?.kind === "list" ? token.items : []
}

function isWord(token: Token | undefined, word: string): boolean {
  return token?.kind === "atom" && token.text.toUpperCase() === word
}

// RFC 7162 §3.1.8, §3.2.5
const SELECT_PARAMETERS = ["CONDSTORE", "QRESYNC"]
// RFC 9051 §6.3.11, RFC 3501 (RECENT), RFC 7162, RFC 8474, RFC 7889, RFC 9208
const STATUS_ITEMS = [
  "MESSAGES",
  "RECENT",
  "UIDNEXT",
  "UIDVALIDITY",
  "UNSEEN",
  "DELETED",
  "SIZE",
  "HIGHESTMODSEQ",
  "MAILBOXID",
  "APPENDLIMIT",
  "DELETED-STORAGE",
]
// RFC 5258 §3.1, RFC 6154
const LIST_SELECTIONS = ["SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"]
// RFC 5258 §3.2, RFC 5819, RFC 6154, RFC 8440
const LIST_RETURNS = ["SUBSCRIBED", "CHILDREN", "STATUS", "SPECIAL-USE", "MYRIGHTS"]
// RFC 4731 §3.1, RFC 5182; not UPDATE, CONTEXT, PARTIAL (RFC 5267, RFC 9394)
const SEARCH_RETURNS = ["MIN", "MAX", "ALL", "COUNT", "SAVE"]
