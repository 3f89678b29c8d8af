import type { Command } from "../../imap-proxy/wire/command-reader.ts"
import type { Folder } from "../folder.ts"
import type { Message } from "../message.ts"
import { atom, bad, count, flags, list, sequenceSet } from "./arguments.ts"
import type { Context } from "./context.ts"
import type { Numbered, View } from "./view.ts"

/** STORE and UID STORE (RFC 3501 §6.4.6). */
export async function store(context: Context, command: Command): Promise<string> {
  const { view, output } = context
  if (view === null) throw bad("no mailbox is selected")
  if (command.arguments.length < 3) throw bad("wrong number of arguments")
  const byUid = command.name === "UID STORE"
  const set = sequenceSet(command.arguments[0])
  const [, sign = "", silent] = /^([+-]?)FLAGS(\.SILENT)?$/i.exec(atom(command.arguments[1])) ?? []
  if (!/^[+-]?FLAGS(?:\.SILENT)?$/i.test(atom(command.arguments[1]))) throw bad("FLAGS expected")
  const named = flags(flagTokens(command))
  if (!byUid && view.exceeds(set)) throw bad("no such message")
  if (view.readOnly) return "NO [READ-ONLY] The mailbox is selected read-only"
  const letters = sign === "-" ? knownLetters(view.folder, named) : await lettersFor(view.folder, named)
  let missing = false
  for (const numbered of view.resolve(set, byUid)) {
    const { message } = numbered
    if (!(await view.folder.setLetters(message, change(message, sign, letters)))) missing = true
    else if (silent === undefined) reportStored(context, view, numbered, byUid)
    if (!message.gone) view.told(numbered)
    await output.settle()
  }
  return missing ? "NO [EXPUNGEISSUED] Some messages are gone" : "OK STORE completed"
}

/** Letters for flags in a folder, keywords made where needed and possible. */
export async function lettersFor(folder: Folder, named: readonly string[]): Promise<string> {
  await folder.ensureKeywords(named.filter((flag) => !flag.startsWith("\\")))
  return knownLetters(folder, named)
}

function reportStored(context: Context, view: View, { sequence, message }: Numbered, byUid: boolean): void {
  const uid = byUid ? `UID ${message.uid} ` : ""
  context.output.line(`* ${sequence} FETCH (${uid}FLAGS (${view.flags(message)}))`)
}

/** `(\Seen \Flagged)` or `\Seen \Flagged`. */
function flagTokens(command: Command): Command["arguments"] {
  const rest = command.arguments.slice(2)
  if (rest[0]?.kind !== "list") return rest
  count(rest, 1)
  return list(rest[0])
}

function knownLetters(folder: Folder, named: readonly string[]): string {
  return named.map((flag) => folder.keywords.letterOf(flag) ?? "").join("")
}

function change(message: Message, sign: string, letters: string): string {
  if (sign === "+") return message.letters + letters
  const kept = [...message.letters].filter((letter) => (sign === "-" ? !letters.includes(letter) : !OURS.test(letter)))
  return sign === "-" ? kept.join("") : kept.join("") + letters
}

/** Letters that stand for IMAP flags; others (P, passed) are kept through FLAGS. */
const OURS = /[RFTSDa-z]/
