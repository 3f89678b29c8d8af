import type { ArrivedMail, KeepMail, MailReceipt } from "../pipeline/mesh/ports.ts"
import type { Result } from "../pipeline/ports.ts"
import { type Job, jobsFor, type WorkQueue } from "../queue/queue.ts"
import type { BegunMail, KeptMeshMail } from "../store/mesh-mail.ts"
import { lifeOf, type ProcessName, thisProcess } from "../store/process.ts"
import type { StoreHeld } from "./attempts.ts"
import type { Core } from "./core.ts"
import { Originals } from "./originals.ts"
import { type MessageQueue, spoolOnce, whole } from "./spool-once.ts"

/** Stores mail in a mailbox of ours while its service waits, and writes down that it was. */
export interface StoringAtOnce {
  readonly store: StoreHeld
  readonly passed: WorkQueue["passed"]
}

/** What it takes to keep mail that came over the Mesh. */
export interface MailKeeperParts {
  readonly core: Pick<Core, "config" | "counters" | "database" | "log" | "now" | "spool">
  readonly queue: MessageQueue
  /** null: all of it goes through spool and queue. */
  readonly atOnce: StoringAtOnce | null
  /** Of this process. */
  readonly keeper?: ProcessName
}

/**
 * Keeps mail that came over the Mesh, before its service hears that it was accepted. What is whole, and for a mailbox of ours, is stored in it at once: it is
 * remembered first, so that a crash at any moment leaves who has begun with it, and there it is looked for when it comes again. Everything else is sealed into the
 * spool, and the queue has it: that is not waited for, since the spool is the truth, and the sweep finds what has no job.
 */
export class MailKeeper {
  readonly #parts: MailKeeperParts
  readonly #originals: Originals
  readonly #keeper: ProcessName
  readonly #underWay = new Map<string, Promise<MailReceipt>>()
  readonly #going = new AbortController().signal

  constructor(parts: MailKeeperParts, seen: KeptMeshMail) {
    this.#parts = parts
    this.#originals = new Originals(parts.core, seen)
    this.#keeper = parts.keeper ?? thisProcess()
  }

  keep: KeepMail = async (mail) => {
    const underWay = this.#underWay.get(mail.id)
    if (underWay !== undefined) return underWay
    if (mail.begun !== null) return this.#keepBegun(mail, mail.begun)
    const { atOnce, core } = this.#parts
    // More than are delivered at once wait in the queue, and not in memory.
    if (atOnce === null || !mail.isEnclosed || this.#underWay.size >= core.config.limits.deliveries)
      return this.#spooled(mail)
    const receipt = this.#storedOrSpooled(mail, atOnce).finally(() => this.#underWay.delete(mail.id))
    this.#underWay.set(mail.id, receipt)
    return receipt
  }

  /** Somebody had begun with it, and has not said what came of it; perhaps it is in the mailbox. */
  async #keepBegun(mail: ArrivedMail, { keeper, since }: BegunMail): Promise<MailReceipt> {
    const { core, queue } = this.#parts
    if ((await queue.settled(mail.id)).size > 0) return ACCEPTED
    const isOver =
      keeper === this.#keeper || lifeOf(keeper) === "dead" || core.now().getTime() - since.getTime() > OVER_MS
    return isOver ? this.#spooled(mail, REPEATED) : { kind: "later" }
  }

  async #storedOrSpooled(mail: ArrivedMail, { store, passed }: StoringAtOnce): Promise<MailReceipt> {
    const { core, queue } = this.#parts
    const [job] = jobsFor(mail.id, mail.entry.envelope, mail.entry.receivedAt)
    // What is remembered may be lost where this is not.
    const isThere = async () => (await queue.settled(mail.id)).size > 0 || core.spool.has(mail.id)
    if (job === undefined || (await isThere())) return this.#spooled(mail)
    await this.#remember(mail, this.#keeper)
    const result = await this.#stored(mail, job, store)
    if (result?.kind !== "done") return this.#spooled(mail, REPEATED)
    await passed(job, result.status)
    core.counters.add("postern_deliveries_total", { outcome: "done" })
    return ACCEPTED
  }

  /** @returns null: a fault of ours, which the queue has time for */
  async #stored({ entry, message }: ArrivedMail, job: Job, store: StoreHeld): Promise<Result | null> {
    try {
      return await store({ job, entry, message }, this.#going)
    } catch (error) {
      this.#parts.core.log.error("queue.attempt-failed", { job: job.id }, error)
      return null
    }
  }

  /** `attempt`: so many were before it, as far as is known. What is not repeated is remembered when others of its request are kept, too. */
  async #spooled(mail: ArrivedMail, attempt = 0): Promise<MailReceipt> {
    const { core, queue } = this.#parts
    const { queued } = await spoolOnce(core, queue, mail.id, mail.entry, whole(mail.message), attempt)
    queued.catch((error: unknown) => core.log.error("mesh.not-queued", { id: mail.id }, error))
    return attempt > 0 ? ACCEPTED : { kind: "accepted", remember: () => this.#remember(mail, null) }
  }

  #remember({ entry, mail, message }: ArrivedMail, keeper: ProcessName | null): Promise<void> {
    return this.#originals.keep(entry.origin.account ?? "", { mail, message, keeper })
  }
}

const ACCEPTED: MailReceipt = { kind: "accepted" }
/** It may be in the mailbox: whoever stores it looks first. */
const REPEATED = 1
/** Nobody stores 32 KB for so long; who has begun may be on another host, where nobody sees that he is dead. */
const OVER_MS = 600_000
