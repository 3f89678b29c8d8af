import type { Command } from "../../imap-proxy/wire/command-reader.ts"
import { type Token, textOf } from "../../imap-proxy/wire/tokens.ts"
import { SPECIAL_USE } from "../account-mail.ts"
import { astring, atom, bad, count, list } from "./arguments.ts"
import type { Context } from "./context.ts"
import { mailboxStatus, mailboxText, parseStatusItems } from "./status.ts"

/** A name in the hierarchy: a mailbox, or only a level above one, or only subscribed. */
interface Listed {
  readonly name: string
  readonly exists: boolean
  readonly hasChildren: boolean
  readonly subscribed: boolean
}

/** More patterns in one LIST than this are nobody's. */
const MAX_PATTERNS = 32

/** LIST with the selection and return options of RFC 5258, RFC 6154 and RFC 5819. */
export async function listMailboxes(context: Context, command: Command): Promise<string> {
  const tokens = [...command.arguments]
  const selection = tokens[0]?.kind === "list" ? words(tokens.shift()) : []
  count(tokens, 2, 4)
  const reference = astring(tokens[0])
  const patterns = tokens[1]?.kind === "list" ? list(tokens[1]).map(astring) : [astring(tokens[1])]
  if (patterns.length > MAX_PATTERNS) throw bad("too many patterns")
  const returns = tokens.length > 2 ? returnOptions(tokens.slice(2)) : NO_OPTIONS
  if (patterns.length === 1 && patterns[0] === "") {
    context.output.line('* LIST (\\Noselect) "." ""')
    return "OK LIST completed"
  }
  const onlySubscribed = selection.includes("SUBSCRIBED")
  const tellSubscribed = onlySubscribed || returns.words.includes("SUBSCRIBED")
  const matches = matcher(patterns.map((pattern) => reference + pattern))
  for (const listed of await hierarchy(context, onlySubscribed)) {
    if (!matches(listed.name) || (onlySubscribed && !listed.subscribed)) continue
    if (selection.includes("SPECIAL-USE") && !SPECIAL_USE.has(listed.name)) continue
    context.output.line(`* LIST (${attributes(listed, tellSubscribed)}) "." ${mailboxText(listed.name)}`)
    if (returns.status !== null && listed.exists) await mailboxStatus(context, listed.name, returns.status)
  }
  return "OK LIST completed"
}

/** LSUB (RFC 3501 §6.3.9): with `%` also levels above subscribed names. */
export async function listSubscribed(context: Context, command: Command): Promise<string> {
  count(command.arguments, 2)
  const pattern = astring(command.arguments[0]) + astring(command.arguments[1])
  const subscribed = new Set((await context.account.subscriptions.read()) ?? [])
  const matches = matcher([pattern])
  const names = pattern.includes("%") ? withParents(subscribed) : subscribed
  for (const name of [...names].sort()) {
    if (matches(name))
      context.output.line(`* LSUB (${subscribed.has(name) ? "" : "\\Noselect"}) "." ${mailboxText(name)}`)
  }
  return "OK LSUB completed"
}

async function hierarchy({ account }: Context, withSubscribed: boolean): Promise<Listed[]> {
  const names = new Set(await account.names())
  const subscribed = new Set((await account.subscriptions.read()) ?? [])
  const all = withParents(withSubscribed ? [...names, ...subscribed] : names)
  const parents = new Set([...withParents(names)].map(parentOf))
  return [...all].sort(inboxFirst).map((name) => ({
    name,
    exists: names.has(name),
    hasChildren: parents.has(name),
    subscribed: subscribed.has(name),
  }))
}

function attributes({ name, exists, hasChildren, subscribed }: Listed, tellSubscribed: boolean): string {
  const all = [hasChildren ? "\\HasChildren" : "\\HasNoChildren"]
  if (!exists) all.unshift(hasChildren ? "\\Noselect" : "\\NonExistent")
  if (tellSubscribed && subscribed) all.push("\\Subscribed")
  const use = exists ? SPECIAL_USE.get(name) : undefined
  return (use === undefined ? all : [...all, use]).join(" ")
}

function withParents(names: Iterable<string>): Set<string> {
  const all = new Set<string>()
  for (const name of names) for (let level = name; level !== ""; level = parentOf(level)) all.add(level)
  return all
}

function parentOf(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf(".")))
}

function inboxFirst(a: string, b: string): number {
  if (a === "INBOX" || b === "INBOX") return a === b ? 0 : a === "INBOX" ? -1 : 1
  return a < b ? -1 : 1
}

/** Whether a name matches one of the patterns: `*` anything, `%` anything within one level (RFC 3501 §6.3.8). */
function matcher(patterns: readonly string[]): (name: string) => boolean {
  return (name) =>
    patterns.some((pattern) => matchesPattern(pattern, name) || (name === "INBOX" && /^inbox$/i.test(pattern)))
}

/** Dynamic, not a regular expression: a hostile pattern costs its length times the name's. */
function matchesPattern(pattern: string, name: string): boolean {
  let reached = new Set([0])
  for (const c of pattern) {
    const next = new Set<number>()
    for (const at of reached) {
      if (c !== "*" && c !== "%") {
        if (name[at] === c) next.add(at + 1)
        continue
      }
      for (let end = at; end <= name.length; end += 1) {
        next.add(end)
        if (c === "%" && name[end] === ".") break
      }
    }
    reached = next
  }
  return reached.has(name.length)
}

interface ReturnOptions {
  readonly words: readonly string[]
  readonly status: readonly string[] | null
}

const NO_OPTIONS: ReturnOptions = { words: [], status: null }

// return-opts: "RETURN" SP "(" … ["STATUS" SP "(" items ")"] ")"
function returnOptions(tokens: readonly Token[]): ReturnOptions {
  if (atom(tokens[0]).toUpperCase() !== "RETURN") throw bad("RETURN expected")
  count(tokens, 2)
  const options = list(tokens[1])
  const status = options.findIndex((token) => textOf(token)?.toUpperCase() === "STATUS")
  return {
    words: options.flatMap((token) => textOf(token)?.toUpperCase() ?? []),
    status: status < 0 ? null : parseStatusItems(options[status + 1]),
  }
}

function words(token: Token | undefined): string[] {
  return list(token).map((word) => atom(word).toUpperCase())
}
