import type { Duplex } from "node:stream"
import { randomOctets } from "../crypto/primitives/random.ts"
import { GatewayError } from "../errors.ts"
import { type Log, silentLog } from "../log/log.ts"
import { AccountMail } from "./account-mail.ts"
import { type Delivery, isDelivered, writeMessage } from "./delivery.ts"
import { DirectorySync } from "./directory-sync.ts"
import { isCode } from "./fs-errors.ts"
import type { Context } from "./imap/context.ts"
import { Input } from "./imap/input.ts"
import { Output } from "./imap/output.ts"
import { folderOf, maildirOf } from "./paths.ts"
import { StructureCache } from "./structure-cache.ts"

/** A message for an account. */
export interface NewMessage {
  /** The same for every attempt at this message, of `A-Z a-z 0-9 _ = + -` and at most 150 octets. */
  readonly uniqueName: string
  readonly sizeOctets: number
  readonly content: AsyncIterable<Uint8Array>
  /** As {@link Delivery.missing}. */
  readonly missing?: NonNullable<Delivery["missing"]>
  /** As {@link Delivery.bareLineEnds}. */
  readonly bareLineEnds?: number
  /** INTERNALDATE. */
  readonly internalDate: Date
  /** An earlier attempt may have stored it: look first, and do nothing when it is there. */
  readonly repeated: boolean
  /** Into Junk, where the account has it; else, and without this, into INBOX. */
  readonly junk?: true
}

/** How a session is served. */
export interface ServeOptions {
  readonly signal: AbortSignal
  /** Nothing can be changed. */
  readonly readOnly?: boolean
}

/** Accounts kept open though nobody uses them. */
const IDLE_ACCOUNTS = 100

/** The embedded mail store: one Maildir++ for each account, with Dovecot's uidlist, and an IMAP server over it. */
export class MailStore {
  readonly #root: string
  readonly #now: () => Date
  readonly #log: Log
  readonly #directories = new DirectorySync()
  readonly #structures = new StructureCache()
  readonly #accounts = new Map<string, AccountMail>()
  readonly #closing = new AbortController()
  readonly #sessions = new Set<Promise<void>>()

  constructor(root: string, options: { readonly now?: () => Date; readonly log?: Log } = {}) {
    this.#root = root
    this.#now = options.now ?? (() => new Date())
    this.#log = options.log ?? silentLog()
  }

  /**
   * Stores a message; when this resolves it survives a crash.
   * @throws LENGTH_MISMATCH when the content is not sizeOctets long
   */
  async deliver(account: string, message: NewMessage): Promise<void> {
    if (!/^[A-Za-z0-9_=+-]{1,150}$/.test(message.uniqueName))
      throw new GatewayError("MAILBOX_NAME", "mailbox: unique name with characters that mean something in Maildir")
    const mail = this.#account(account)
    await mail.ensure()
    const folder = folderOf(mail.maildir, message.junk && (await mail.exists("Junk")) ? "Junk" : "INBOX")
    // An earlier attempt may have been before there was a Junk.
    if (message.repeated)
      for (const place of new Set([folder, mail.maildir])) if (await isDelivered(place, message.uniqueName)) return
    const seconds = Math.floor(this.#now().getTime() / 1000)
    try {
      await writeMessage(folder, { ...message, seconds, letters: "" }, this.#directories)
    } catch (error) {
      // An attempt at the same time, or a crash of this very second, has left the name in tmp/.
      if (isCode(error, "EEXIST"))
        throw new GatewayError("MAILBOX_BUSY", "mailbox: the message is just being stored", { cause: error })
      throw error
    }
  }

  /** Serves one pre-authenticated IMAP session on `stream` until it ends; the stream is ended or destroyed then. */
  async serve(account: string, stream: Duplex, options: ServeOptions): Promise<void> {
    const mail = this.#account(account)
    if (options.readOnly) await mail.ensure()
    else await mail.ensureSpecial()
    const session = this.#serve(mail, stream, options)
    this.#sessions.add(session)
    try {
      await session
    } finally {
      this.#sessions.delete(session)
    }
  }

  /** Ends all sessions. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await Promise.allSettled(this.#sessions)
    this.#accounts.clear()
  }

  async #serve(mail: AccountMail, stream: Duplex, options: ServeOptions): Promise<void> {
    let counter = 0
    const session = Buffer.from(randomOctets(6)).toString("hex")
    const context: Context = {
      account: mail,
      input: new Input(stream),
      output: new Output(stream),
      readOnly: options.readOnly ?? false,
      now: this.#now,
      log: this.#log,
      structures: this.#structures,
      directories: this.#directories,
      uniqueName: () => `M${this.#now().getMilliseconds()}R${session}Q${(counter += 1)}`,
      view: null,
      ended: false,
    }
    // An error of the connection ends the session; reading and writing learn of it.
    stream.on("error", (error) => this.#log.debug("mailbox.connection-lost", { reason: error.message }))
    try {
      // Here, since a thread that only delivers serves nobody.
      const { runSession } = await import("./imap/session.ts")
      await runSession(context, stream, AbortSignal.any([options.signal, this.#closing.signal]))
    } catch (error) {
      if (!stream.destroyed) this.#log.error("mailbox.session-failed", {}, error)
      stream.destroy()
    }
  }

  #account(account: string): AccountMail {
    const maildir = maildirOf(this.#root, account)
    const mail = this.#accounts.get(maildir) ?? new AccountMail(maildir, this.#now, this.#log, this.#directories)
    this.#accounts.delete(maildir)
    this.#accounts.set(maildir, mail)
    for (const [path, other] of this.#accounts) {
      if (this.#accounts.size <= IDLE_ACCOUNTS) break
      if (other !== mail && !other.inUse) this.#accounts.delete(path)
    }
    return mail
  }
}
