import { link, unlink } from "node:fs/promises"
import { join } from "node:path"
import type { Command } from "../../imap-proxy/wire/command-reader.ts"
import { HOST } from "../delivery.ts"
import type { Folder } from "../folder.ts"
import { isCode } from "../fs-errors.ts"
import type { FoundFile, Message } from "../message.ts"
import { sortedLetters } from "../paths.ts"
import { bad, count, mailbox, sequenceSet } from "./arguments.ts"
import type { Context } from "./context.ts"
import { lettersFor } from "./flag-commands.ts"
import { formatUids } from "./uid-text.ts"
import { type Numbered, View } from "./view.ts"

/** COPY, MOVE and their UID forms (RFC 3501 §6.4.7, RFC 6851): hard links, all of them or none. */
export async function copy(context: Context, command: Command): Promise<string> {
  const { view, account, output } = context
  if (view === null) throw bad("no mailbox is selected")
  count(command.arguments, 2)
  const byUid = command.name.startsWith("UID ")
  const moves = command.name.endsWith("MOVE")
  const set = sequenceSet(command.arguments[0])
  const name = mailbox(command.arguments[1])
  if (!byUid && view.exceeds(set)) throw bad("no such message")
  if (context.readOnly || (moves && view.readOnly)) return "NO [READ-ONLY] The mailbox is read-only"
  if (!(await account.exists(name))) return "NO [TRYCREATE] There is no such mailbox"
  const sources = view.resolve(set, byUid)
  if (sources.length === 0) return `OK ${command.name} completed`
  const target = await account.open(name)
  try {
    const uids = await linkAll(context, view, sources, target)
    if (uids === null) return "NO [EXPUNGEISSUED] Some messages are gone"
    const copied = `[COPYUID ${target.uidValidity} ${formatUids(sources.map(({ message }) => message.uid))} ${formatUids(uids)}]`
    if (!moves) return `OK ${copied} ${command.name} completed`
    output.line(`* OK ${copied} Moved`)
    await view.folder.expunge(sources.map(({ message }) => message))
    return `OK ${command.name} completed`
  } finally {
    account.release(target)
  }
}

/** Moves every message from one mailbox to another. @returns false when some vanished meanwhile: nothing is moved then */
export async function moveAll(context: Context, from: string, to: string): Promise<boolean> {
  const source = await context.account.open(from)
  const target = await context.account.open(to)
  try {
    const view = new View(source, from, false)
    const uids = await linkAll(context, view, view.all, target)
    if (uids !== null) await source.expunge(view.all.map(({ message }) => message))
    return uids !== null
  } finally {
    context.account.release(source)
    context.account.release(target)
  }
}

/** @returns the new UIDs; null when a message is gone: nothing is copied then */
async function linkAll(
  context: Context,
  view: View,
  sources: readonly Numbered[],
  target: Folder,
): Promise<readonly number[] | null> {
  const seconds = Math.floor(context.now().getTime() / 1000)
  const made: (FoundFile & { readonly base: string })[] = []
  try {
    for (const { message } of sources) {
      const copied = await linkOne(context, view, message, target, seconds)
      if (copied === null) return await undo(target, made)
      made.push(copied)
    }
    await context.directories.sync(join(target.path, "cur"))
  } catch (error) {
    await undo(target, made)
    throw error
  }
  return target.adopt(made)
}

async function linkOne(
  context: Context,
  view: View,
  message: Message,
  target: Folder,
  seconds: number,
): Promise<(FoundFile & { readonly base: string }) | null> {
  const sizes = /(?:,[SW]=\d+)*$/.exec(message.base)?.[0] ?? ""
  const base = `${seconds}.${context.uniqueName()}.${HOST}${sizes}`
  const named = view.folder.keywords
    .flagsOf(message.letters)
    .split(" ")
    .filter((flag) => flag !== "")
  const letters = sortedLetters((await lettersFor(target, named)) + (message.letters.includes("P") ? "P" : ""))
  const name = `${base}:2,${letters}`
  const linked = await view.folder.withFile(message, (path) =>
    link(path, join(target.path, "cur", name)).then(() => true),
  )
  return linked === null ? null : { base, place: "cur", name, letters }
}

async function undo(target: Folder, made: readonly FoundFile[]): Promise<null> {
  for (const { name } of made) {
    await unlink(join(target.path, "cur", name)).catch((error: unknown) => {
      if (!isCode(error, "ENOENT")) throw error
    })
  }
  return null
}

/** EXPUNGE and UID EXPUNGE (RFC 3501 §6.4.3, RFC 4315 §2.1). */
export async function expunge(context: Context, command: Command): Promise<string> {
  const { view } = context
  if (view === null) throw bad("no mailbox is selected")
  const byUid = command.name === "UID EXPUNGE"
  count(command.arguments, byUid ? 1 : 0)
  const among = byUid ? view.resolve(sequenceSet(command.arguments[0]), true) : view.all
  if (view.readOnly) return "NO [READ-ONLY] The mailbox is selected read-only"
  await expungeDeleted(view, among)
  return `OK ${command.name} completed`
}

/** Removes those marked \Deleted. */
export async function expungeDeleted(view: View, among: readonly Numbered[]): Promise<void> {
  const deleted = among.map(({ message }) => message).filter(({ letters }) => letters.includes("T"))
  if (deleted.length > 0) await view.folder.expunge(deleted)
}
