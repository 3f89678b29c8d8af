import type { Command } from "../../imap-proxy/wire/command-reader.ts"
import type { Log } from "../../log/log.ts"
import type { AccountMail } from "../account-mail.ts"
import type { DirectorySync } from "../directory-sync.ts"
import type { StructureCache } from "../structure-cache.ts"
import type { Input } from "./input.ts"
import type { Output } from "./output.ts"
import type { View } from "./view.ts"

/** One session: what its commands work with. */
export interface Context {
  readonly account: AccountMail
  readonly input: Input
  readonly output: Output
  readonly readOnly: boolean
  readonly now: () => Date
  readonly log: Log
  readonly structures: StructureCache
  readonly directories: DirectorySync
  readonly uniqueName: () => string
  /** The selected mailbox; null in authenticated state. */
  view: View | null
  /** Set by LOGOUT. */
  ended: boolean
}

/** Does a command and returns its tagged response without the tag: `OK done`, `NO [TRYCREATE] …`. */
export type Handler = (context: Context, command: Command) => Promise<string>
