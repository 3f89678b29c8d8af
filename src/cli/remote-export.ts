import { GatewayError } from "../errors.ts"
import { type ExportedFolder, type ExportedMessage, type ExportFile, lettersFor } from "./export-file.ts"
import type { FolderChoice } from "./folder-choice.ts"
import { type OpeningKeys, openMessage } from "./open-message.ts"
import { Progress } from "./progress.ts"
import { Reconnecting } from "./reconnecting.ts"
import { batches } from "./remote-batches.ts"
import { chooseMailboxes, type LeftOut } from "./remote-folders.ts"
import type { OpenStore, RemoteMailbox, RemoteMessage, RemoteStore, SelectedMailbox } from "./remote-store.ts"

/** A message that was written as it is stored, and why; UID 0: the mailbox, which was not written. */
interface Failure {
  readonly folder: string
  readonly uid: number
  readonly reason: string
}

/** What {@link exportStore} works with. */
export interface ExportStoreOptions extends FolderChoice {
  readonly address: string
  readonly keys: OpeningKeys
  readonly target: ExportFile
  readonly waitsMs?: readonly number[]
}

/** What became of the messages of a store. */
export interface StoreExported {
  readonly exported: number
  readonly opened: number
  readonly clear: number
  readonly failed: readonly Failure[]
  readonly leftOut: readonly LeftOut[]
}

/** Writes what an account has on an IMAP server in clear; changes nothing there. @throws GatewayError UPSTREAM_*, MAILBOX_UNKNOWN */
export async function exportStore(open: OpenStore, options: ExportStoreOptions): Promise<StoreExported> {
  const report = (line: string) => process.stderr.write(`postern: ${line}\n`)
  await using connection = new Reconnecting(open, { ...options, report })
  const { mailboxes, leftOut } = await connection.run(async (store) =>
    chooseMailboxes(await store.mailboxes(), options, options.address),
  )
  for (const { name, reason } of leftOut) report(`${name}: left out: ${reason}`)
  const total = mailboxes.reduce((sum, { messages }) => sum + messages, 0)
  using progress = new Progress("messages", total)
  const writing = new Writing(options, progress, () => connection.progressed())
  for (const mailbox of mailboxes) {
    options.target.folder(exportedFolder(mailbox))
    const written = { uidValidity: null, uids: new Set<number>() }
    await connection.run((store) => exportMailbox(store, mailbox, written, writing))
  }
  return { ...writing.counts, failed: writing.failed, leftOut }
}

/** What has been written of a mailbox, over all connections. */
interface Written {
  uidValidity: bigint | null
  readonly uids: Set<number>
}

async function exportMailbox(
  store: RemoteStore,
  mailbox: RemoteMailbox,
  written: Written,
  writing: Writing,
): Promise<void> {
  const selected = await store.select(mailbox, "read").catch((error: unknown) => {
    if (!(error instanceof GatewayError) || error.code !== "UPSTREAM_REFUSED") throw error
    writing.fail(mailbox.name, 0, error.message)
    return null
  })
  if (selected === null) return
  const { uidValidity } = selected
  // RFC 9051 §2.3.1.1: with another UIDVALIDITY no UID is what it was.
  if (written.uidValidity !== null && written.uidValidity !== uidValidity)
    throw new GatewayError("UPSTREAM_REFUSED", `${mailbox.name}: was made anew by the server meanwhile; run it again`)
  written.uidValidity = uidValidity
  const listed = (await selected.list(1, "Message-ID")).filter(({ uid }) => !written.uids.has(uid))
  for (const batch of batches(listed)) {
    const held = await selected.read(batch.map(({ uid }) => uid))
    for (const message of batch) {
      const octets = held.get(message.uid)
      if (octets !== undefined) await writing.write(mailbox, selected, message, octets)
      written.uids.add(message.uid)
      writing.step()
    }
  }
}

/** Opens messages and writes them down. */
class Writing {
  readonly counts = { exported: 0, opened: 0, clear: 0 }
  readonly failed: Failure[] = []
  readonly #options: ExportStoreOptions
  readonly #progress: Progress
  readonly #onProgress: () => void

  constructor(options: ExportStoreOptions, progress: Progress, onProgress: () => void) {
    this.#options = options
    this.#progress = progress
    this.#onProgress = onProgress
  }

  async write(
    mailbox: RemoteMailbox,
    { uidValidity }: SelectedMailbox,
    message: RemoteMessage,
    octets: Uint8Array,
  ): Promise<void> {
    const readable = await openMessage(octets, this.#options.keys)
    this.#options.target.add(exportedMessage(mailbox, uidValidity, message), readable.octets)
    this.counts.exported += 1
    if (readable.failures.length > 0) this.fail(mailbox.name, message.uid, readable.failures.join("; "))
    else this.counts[readable.opened > 0 ? "opened" : "clear"] += 1
  }

  fail(folder: string, uid: number, reason: string): void {
    this.failed.push({ folder, uid, reason })
    this.#progress.report(`${folder}${uid === 0 ? "" : ` UID ${uid}`}: ${reason}`)
  }

  step(): void {
    this.#onProgress()
    this.#progress.step()
  }
}

function exportedMessage(mailbox: RemoteMailbox, uidValidity: bigint, message: RemoteMessage): ExportedMessage {
  const { uid, flags } = message
  const receivedAt = message.receivedAt ?? new Date(0)
  return {
    folder: exportedFolder(mailbox),
    receivedAt,
    isNew: false,
    letters: lettersFor(flags),
    keywords: flags.filter((flag) => !flag.startsWith("\\")),
    stem: `${Math.floor(receivedAt.getTime() / 1000)}.V${uidValidity}U${uid}.postern`,
  }
}

function exportedFolder({ name, wireName, separator }: RemoteMailbox): ExportedFolder {
  const split = (text: string) => (separator === "" ? [text] : text.split(separator))
  return { name, levels: split(name), wireLevels: split(wireName) }
}
