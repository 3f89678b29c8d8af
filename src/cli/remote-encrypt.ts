import { GatewayError } from "../errors.ts"
import type { AtRest } from "../pipeline/protect.ts"
import type { FolderChoice } from "./folder-choice.ts"
import { Progress } from "./progress.ts"
import { Reconnecting } from "./reconnecting.ts"
import { batches } from "./remote-batches.ts"
import { chooseMailboxes, type LeftOut } from "./remote-folders.ts"
import type { OpenStore, RemoteMailbox, RemoteMessage, RemoteStore } from "./remote-store.ts"
import { lookOnly, MailboxSwap, type Treatment } from "./remote-swap.ts"
import { REPLACES_FIELD, tokenIn } from "./successor.ts"

/** A message that stays in clear, and why. */
interface Skipped {
  readonly folder: string
  readonly uid: number
  readonly reason: string
}

/** What became of the messages of one mailbox. */
export interface FolderCounts {
  readonly name: string
  /** In clear before; on a dry run they still are. */
  readonly encrypted: number
  readonly already: number
  readonly skipped: number
}

/** What became of a store. */
export interface RemoteEncryption {
  readonly folders: readonly FolderCounts[]
  readonly leftOut: readonly LeftOut[]
  readonly skipped: readonly Skipped[]
  /** Encrypted ones of which the old message is flagged \Deleted: the server cannot remove single messages. */
  readonly awaitingExpunge: number
}

/** What {@link encryptStore} works with. */
export interface EncryptStoreOptions extends FolderChoice {
  readonly address: string
  /** null: only looks. */
  readonly rest: AtRest | null
  readonly waitsMs?: readonly number[]
}

/** Encrypts what an account has in clear on an IMAP server. @throws GatewayError UPSTREAM_*, MAILBOX_* */
export async function encryptStore(open: OpenStore, options: EncryptStoreOptions): Promise<RemoteEncryption> {
  let progress: Progress | null = null
  const report = (line: string) =>
    progress === null ? process.stderr.write(`postern: ${line}\n`) : progress.report(line)
  await using connection = new Reconnecting(open, { ...options, report })
  const { mailboxes, leftOut } = await connection.run(async (store) => {
    if (options.rest !== null) refuseLabels(store, options.address)
    return chooseMailboxes(await store.mailboxes(), options, options.address)
  })
  for (const { name, reason } of leftOut) report(`${name}: left out: ${reason}`)
  using shown = new Progress(
    "messages",
    mailboxes.reduce((sum, { messages }) => sum + messages, 0),
  )
  progress = shown
  const tallies: Tally[] = []
  for (const mailbox of mailboxes) {
    const tally = new Tally(mailbox, shown, () => connection.progressed())
    tallies.push(tally)
    await connection.run((store) => encryptMailbox(store, tally, options.rest))
  }
  return {
    folders: tallies.map((tally) => tally.counts),
    leftOut,
    skipped: tallies.flatMap((tally) => tally.skipped),
    awaitingExpunge: tallies.reduce((sum, { awaiting }) => sum + awaiting, 0),
  }
}

/** From its beginning, or where the connection was lost; a mailbox that cannot be opened is skipped whole. */
async function encryptMailbox(store: RemoteStore, tally: Tally, rest: AtRest | null): Promise<void> {
  const selected = await select(store, tally, rest === null ? "read" : "write")
  if (selected === null) return
  tally.begin(selected.uidValidity)
  if (rest === null) {
    const messages = tally.unsettled(await selected.list(1, REPLACES_FIELD))
    for (const batch of batches(messages)) await lookOnly(selected, batch, tally.settle)
    return
  }
  const swap = new MailboxSwap(selected, rest)
  for (const batch of batches(tally.unsettled(await swap.look())))
    for (let left = tally.unsettled(batch); left.length > 0; left = tally.unsettled(left))
      await swap.replace(left, tally.settle)
}

async function select(store: RemoteStore, tally: Tally, access: "read" | "write") {
  try {
    return await store.select(tally.mailbox, access)
  } catch (error) {
    if (!(error instanceof GatewayError) || error.code !== "UPSTREAM_REFUSED") throw error
    tally.skipWhole(error.message)
    return null
  }
}

/** Gmail's mailboxes are labels: what is removed from one stays in All Mail, in clear. */
function refuseLabels({ capabilities }: RemoteStore, address: string): void {
  if (capabilities.has("X-GM-EXT-1"))
    throw new GatewayError(
      "UPSTREAM_REFUSED",
      `mailbox ${address}: the server keeps labels (X-GM-EXT-1): messages removed from a mailbox stay in clear in All Mail`,
    )
}

/** What is done in one mailbox, over all connections. */
class Tally {
  readonly mailbox: RemoteMailbox
  readonly skipped: Skipped[] = []
  awaiting = 0
  #encrypted = 0
  /** Tokens of messages that were encrypted before; null: it has none. */
  readonly #already: (string | null)[] = []
  #uidValidity: bigint | null = null
  readonly #settled = new Set<number>()
  /** Of the successors of what was replaced. */
  readonly #tokens = new Set<string>()
  readonly #progress: Progress
  readonly #onProgress: () => void

  constructor(mailbox: RemoteMailbox, progress: Progress, onProgress: () => void) {
    this.mailbox = mailbox
    this.#progress = progress
    this.#onProgress = onProgress
  }

  get counts(): FolderCounts {
    const { name } = this.mailbox
    // A successor that was made before the connection was lost, or by a run that was killed, is counted once.
    const already = this.#already.filter((token) => token === null || !this.#tokens.has(token)).length
    return { name, encrypted: this.#encrypted, already, skipped: this.skipped.length }
  }

  /** RFC 9051 §2.3.1.1: with another UIDVALIDITY no UID is what it was. */
  begin(uidValidity: bigint): void {
    if (this.#uidValidity !== null && this.#uidValidity !== uidValidity)
      throw new GatewayError(
        "UPSTREAM_REFUSED",
        `${this.mailbox.name}: was made anew by the server meanwhile (UIDVALIDITY); run it again`,
      )
    this.#uidValidity = uidValidity
  }

  unsettled(messages: readonly RemoteMessage[]): readonly RemoteMessage[] {
    return messages.filter(({ uid, field }) => !this.#settled.has(uid) && !this.#tokens.has(tokenIn(field) ?? ""))
  }

  settle = ({ uid, field }: RemoteMessage, treatment: Treatment): void => {
    this.#settled.add(uid)
    this.#onProgress()
    this.#progress.step()
    const { kind } = treatment
    if (kind === "skipped") this.#skip(uid, treatment.reason)
    else if (kind === "already") this.#already.push(tokenIn(field))
    else if (kind !== "gone") this.#encrypted += 1
    if (kind === "awaiting") this.awaiting += 1
    if (kind === "encrypted" || kind === "awaiting") this.#tokens.add(treatment.token)
  }

  /** The mailbox as a whole cannot be worked on. */
  skipWhole(reason: string): void {
    this.#skip(0, reason)
  }

  #skip(uid: number, reason: string): void {
    const folder = this.mailbox.name
    this.skipped.push({ folder, uid, reason })
    this.#progress.report(`${folder}${uid === 0 ? "" : ` UID ${uid}`}: skipped: ${reason}`)
  }
}
