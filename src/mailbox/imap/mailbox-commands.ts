import type { Command } from "../../imap-proxy/wire/command-reader.ts"
import { count, mailbox } from "./arguments.ts"
import type { Context } from "./context.ts"
import { expungeDeleted, moveAll } from "./copy-commands.ts"
import { mailboxStatus, parseStatusItems } from "./status.ts"
import { View } from "./view.ts"

/** SELECT and EXAMINE (RFC 3501 §6.3.1). */
export async function select(context: Context, command: Command): Promise<string> {
  count(command.arguments, 1)
  unselect(context)
  const name = mailbox(command.arguments[0])
  const folder = await context.account.open(name)
  const readOnly = context.readOnly || command.name === "EXAMINE"
  const view = new View(folder, name, readOnly)
  context.view = view
  const { output } = context
  view.reportFlags(output)
  output.line(`* ${view.exists} EXISTS`)
  output.line(`* ${view.recent} RECENT`)
  if (view.firstUnseen > 0) output.line(`* OK [UNSEEN ${view.firstUnseen}] First unseen`)
  output.line(`* OK [UIDVALIDITY ${folder.uidValidity}] UIDs valid`)
  output.line(`* OK [UIDNEXT ${folder.nextUid}] Predicted next UID`)
  return `OK [${readOnly ? "READ-ONLY" : "READ-WRITE"}] ${command.name} completed`
}

/** Goes back to authenticated state. */
export function unselect(context: Context): void {
  if (context.view) context.account.release(context.view.folder)
  context.view = null
}

/** CLOSE: expunges silently (RFC 3501 §6.4.2). UNSELECT does not (RFC 3691). */
export async function close(context: Context, command: Command): Promise<string> {
  count(command.arguments, 0)
  const { view } = context
  if (view === null) return "BAD No mailbox is selected"
  if (command.name === "CLOSE" && !view.readOnly) await expungeDeleted(view, view.all)
  unselect(context)
  return `OK ${command.name} completed`
}

/** CREATE. */
export async function create(context: Context, command: Command): Promise<string> {
  count(command.arguments, 1)
  const name = mailbox(command.arguments[0])
  if (context.readOnly) return READ_ONLY
  if (name === "INBOX") return "NO [ALREADYEXISTS] INBOX is always there"
  await context.account.create(name)
  return "OK CREATE completed"
}

/** DELETE: what is below stays (RFC 3501 §6.3.4). */
export async function remove(context: Context, command: Command): Promise<string> {
  count(command.arguments, 1)
  const name = mailbox(command.arguments[0])
  if (context.readOnly) return READ_ONLY
  if (name === "INBOX") return "NO [CANNOT] INBOX cannot be deleted"
  if (context.view?.name === name) unselect(context)
  await context.account.delete(name)
  return "OK DELETE completed"
}

/** RENAME; of INBOX: its messages move to a new mailbox (RFC 3501 §6.3.5). */
export async function rename(context: Context, command: Command): Promise<string> {
  count(command.arguments, 2)
  const [from, to] = [mailbox(command.arguments[0]), mailbox(command.arguments[1])]
  if (context.readOnly) return READ_ONLY
  if (to === "INBOX") return "NO [ALREADYEXISTS] INBOX is always there"
  if (from === "INBOX") {
    await context.account.create(to)
    return (await moveAll(context, from, to)) ? "OK RENAME completed" : "NO [EXPUNGEISSUED] Some messages are gone"
  }
  if (context.view && (context.view.name === from || context.view.name.startsWith(`${from}.`))) unselect(context)
  await context.account.rename(from, to)
  return "OK RENAME completed"
}

/** SUBSCRIBE and UNSUBSCRIBE. */
export async function subscribe(context: Context, command: Command): Promise<string> {
  count(command.arguments, 1)
  const name = mailbox(command.arguments[0])
  if (context.readOnly) return READ_ONLY
  const { subscriptions } = context.account
  const exists = await context.account.exists(name)
  if (command.name === "SUBSCRIBE" && !exists) return "NO [NONEXISTENT] There is no such mailbox"
  await subscriptions.change((names) =>
    command.name === "SUBSCRIBE" ? [...names, name] : [...names].filter((other) => other !== name),
  )
  return `OK ${command.name} completed`
}

/** STATUS. */
export async function status(context: Context, command: Command): Promise<string> {
  count(command.arguments, 2)
  await mailboxStatus(context, mailbox(command.arguments[0]), parseStatusItems(command.arguments[1]))
  return "OK STATUS completed"
}

const READ_ONLY = "NO [NOPERM] This device may only read"
