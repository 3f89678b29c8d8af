import { envelopeIdOf } from "../mesh/message-id.ts"
import type { MailIdentity } from "../pipeline/mesh/ports.ts"
import { GroupCommit } from "../queue/group-commit.ts"
import type { KeptMeshMail } from "../store/mesh-mail.ts"
import { MeshStores, type StoreEntry } from "../store/mesh-stores.ts"
import type { ProcessName } from "../store/process.ts"
import type { Core } from "./core.ts"
import { INBOUND } from "./mesh-inbound.ts"

/** Mail that came over the Mesh. */
export interface Original {
  readonly mail: MailIdentity
  /** The envelope as it came. */
  readonly message: Uint8Array
  /** Who has just begun to store it; null: it is in the spool. */
  readonly keeper: ProcessName | null
}

interface Batch {
  readonly originals: Original[]
  readonly written: Promise<void>
}

/**
 * Remembers mail that was kept or is about to be, and puts the originals into the account's Inbound, where a verdict can be looked at again: what comes in one turn of the event
 * loop in one transaction, and what comes at once for one account with one append.
 */
export class Originals {
  readonly #core: Pick<Core, "log" | "now">
  readonly #seen: KeptMeshMail
  readonly #stores: MeshStores
  readonly #commits: GroupCommit
  readonly #batches = new Map<string, Batch>()

  constructor({ database, config, log, now }: Pick<Core, "database" | "config" | "log" | "now">, seen: KeptMeshMail) {
    this.#core = { log, now }
    this.#seen = seen
    this.#stores = new MeshStores(database, config.mesh.storageOctets)
    // What a power cut takes of this is kept once more when it comes again, under the same name.
    this.#commits = new GroupCommit(database, { reachDisk: "later" })
  }

  keep(account: string, original: Original): Promise<void> {
    const open = this.#batches.get(account)
    if (open !== undefined) {
      open.originals.push(original)
      return open.written
    }
    const originals = [original]
    // Closed before anything is written: one that fails, and be it before its first word, is not what the next ones wait for.
    const written = Promise.resolve().then(() => {
      this.#batches.delete(account)
      return this.#commits.run(() => this.#write(account, originals))
    })
    this.#batches.set(account, { originals, written })
    return written
  }

  #write(account: string, originals: readonly Original[]): void {
    const at = this.#core.now()
    const entries = originals.map(({ mail, message }) => ({ name: envelopeIdOf(mail.messageId), content: message }))
    for (const [keeper, some] of Map.groupBy(originals, (original) => original.keeper)) {
      const mails = some.map(({ mail }) => mail)
      this.#seen.add(mails, at, keeper)
    }
    const left = this.#archive(account, entries, at)
    if (left > 0) this.#core.log.warn("mesh.not-archived", { account, messages: left, because: "full" })
  }

  /** Where not all of them fit, those that do. @returns how many do not */
  #archive(account: string, entries: readonly StoreEntry[], at: Date): number {
    const appended = this.#stores.append(account, [{ store: INBOUND, expected: null, entries }], at)
    if (appended.kind === "appended") return 0
    if (entries.length === 1) return 1
    return entries.reduce((left, entry) => left + this.#archive(account, [entry], at), 0)
  }
}
