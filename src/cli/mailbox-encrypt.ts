import { open } from "node:fs/promises"
import { join } from "node:path"
import { randomOctets } from "../crypto/primitives/random.ts"
import { addressKey, parseAddress } from "../message/address.ts"
import { atRestOf } from "../pipeline/at-rest.ts"
import { type AtRest, classify, protectAtRest } from "../pipeline/protect.ts"
import { NO_RESTORERS } from "../pipeline/restore.ts"
import { syncFolder } from "../store/durable.ts"
import { secret } from "../store/secrets.ts"
import { knownAccount } from "./change.ts"
import type { FolderChoice } from "./folder-choice.ts"
import { contentOf, removeOld, successorName, uniqueOf, writeSuccessor } from "./message-swap.ts"
import { Progress } from "./progress.ts"
import { encryptStore, type FolderCounts } from "./remote-encrypt.ts"
import { type CommonOptions, openInstance, print, printJson, type Starters } from "./shell.ts"
import {
  chosenFolders,
  labelOf,
  messagesOf,
  onFile,
  pathOf,
  type StoredFolder,
  type StoredMessage,
} from "./stored-mail.ts"

/** Options of `postern mailbox encrypt`. */
export interface EncryptOptions extends CommonOptions, FolderChoice {
  readonly dryRun?: boolean
}

/** So many messages are worked on at once and share the fsync of their folder. */
const BATCH = 16

/** A message that stays in clear, and why. */
interface Skipped {
  readonly folder: string
  readonly file: string
  readonly reason: string
}

/** What became of a message: `written` has a successor on the disk and is to be removed. */
type Treatment =
  | { readonly kind: "already" | "gone" | "clear" | "written" }
  | { readonly kind: "skipped"; readonly reason: string }

/** Encrypts what an account has stored in clear. @returns false when a message was skipped, or an old one is still there */
export async function encryptMailbox(
  written: string,
  options: EncryptOptions,
  { remoteStore }: Pick<Starters, "remoteStore">,
): Promise<boolean> {
  using instance = openInstance(options)
  const { config, people } = instance
  const address = addressKey(parseAddress(written))
  const account = knownAccount(people.account(address), address)
  const dryRun = options.dryRun ?? false
  const rest = dryRun
    ? null
    : atRestOf(account, {
        subject: config.policy.subject,
        markerKey: secret(config.secrets, "marker"),
        // What came encrypted stays as it came.
        restorers: NO_RESTORERS,
      })
  const done =
    config.imap.kind === "embedded"
      ? await encryptFolders(chosenFolders(config, address, options), rest)
      : await encryptStore(await remoteStore(config, address), { ...options, address, rest })
  const awaitingExpunge = "awaitingExpunge" in done ? done.awaitingExpunge : 0
  const counts = { encrypted: sum(done.folders, "encrypted"), already: sum(done.folders, "already") }
  if (options.json) printJson({ address, dryRun, ...counts, ...done })
  else tell(address, dryRun, { ...counts, skipped: done.skipped.length, awaitingExpunge })
  return done.skipped.length === 0 && awaitingExpunge === 0
}

function tell(
  address: string,
  dryRun: boolean,
  counts: Readonly<Record<"encrypted" | "already" | "skipped" | "awaitingExpunge", number>>,
): void {
  const { encrypted, already, skipped, awaitingExpunge } = counts
  print(`mailbox ${address}: ${encrypted} ${dryRun ? "stored in clear" : "encrypted"}, ${already} encrypted before`)
  if (skipped > 0) print(`${skipped} skipped, still in clear: see the messages above, then run it again`)
  if (awaitingExpunge > 0)
    print(
      `${awaitingExpunge} old messages are only flagged \\Deleted: the server cannot remove single ones (no UIDPLUS); expunge them with a mail client`,
    )
  if (encrypted > 0 && !dryRun) print("mail clients fetch them again: they have new UIDs")
}

function sum(folders: readonly FolderCounts[], what: "encrypted" | "already"): number {
  return folders.reduce((total, folder) => total + folder[what], 0)
}

/** `rest` null: only looks. */
async function encryptFolders(folders: readonly StoredFolder[], rest: AtRest | null) {
  const listed = folders.map((folder) => ({ folder, messages: messagesOf(folder) }))
  const total = listed.reduce((sum, { messages }) => sum + messages.length, 0)
  using progress = new Progress("messages", total)
  const skipped: Skipped[] = []
  const counted: FolderCounts[] = []
  for (const { folder, messages } of listed) {
    const counts = { name: folder.name, encrypted: 0, already: 0, skipped: 0 }
    counted.push(counts)
    await encryptFolder(folder, messages, rest, (message, treatment) => {
      progress.step()
      if (treatment.kind === "already") counts.already += 1
      else if (treatment.kind === "clear" || treatment.kind === "written") counts.encrypted += 1
      else if (treatment.kind === "skipped") {
        const { reason } = treatment
        counts.skipped += 1
        skipped.push({ folder: folder.name, file: message.name, reason })
        progress.report(`${labelOf(message)}: skipped: ${reason}`)
      }
    })
  }
  return { folders: counted, skipped }
}

async function encryptFolder(
  folder: StoredFolder,
  messages: readonly StoredMessage[],
  rest: AtRest | null,
  count: (message: StoredMessage, treatment: Treatment) => void,
): Promise<void> {
  const present = new Set(messages.map(({ name }) => uniqueOf(name)))
  for (let at = 0; at < messages.length; at += BATCH) {
    const batch = messages.slice(at, at + BATCH)
    const treated = await Promise.all(
      batch.map(async (message) => ({ message, treatment: await treat(message, present, rest) })),
    )
    if (treated.some(({ treatment }) => treatment.kind === "written")) syncNames(folder)
    for (const { message, treatment } of treated) {
      if (treatment.kind === "written") await removeOld(message)
      count(message, treatment)
    }
  }
  if (rest !== null) syncNames(folder)
}

async function treat(
  message: StoredMessage,
  present: ReadonlySet<string | null>,
  rest: AtRest | null,
): Promise<Treatment> {
  try {
    if (!message.isFile) return { kind: "skipped", reason: "is no file" }
    const file = await onFile(message, (found) => open(pathOf(found), "r"))
    if (file === null) return { kind: "gone" }
    await using opened = file
    const content = await contentOf(opened)
    if ((await classify(content)) !== "clear") return { kind: "already" }
    if (rest === null) return { kind: "clear" }
    // An earlier run was ended before it removed the message.
    if (!present.has(successorName(message)))
      await writeSuccessor(message, await protectAtRest(content, [], randomOctets(32), rest))
    return { kind: "written" }
  } catch (error) {
    // Whatever it is: it must not keep the others in clear.
    return { kind: "skipped", reason: error instanceof Error ? error.message : String(error) }
  }
}

/** New names first, then the old ones go: never neither. */
function syncNames({ path }: StoredFolder): void {
  for (const place of ["new", "cur"]) syncFolder(join(path, place))
}
