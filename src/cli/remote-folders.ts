import { canonical, chosenBy, type FolderChoice } from "./folder-choice.ts"
import type { RemoteMailbox } from "./remote-store.ts"

/** A mailbox that is left out, and why. */
export interface LeftOut {
  readonly name: string
  readonly reason: string
}

/**
 * The mailboxes to work on, INBOX first. Those that show mail of other mailboxes again are left out unless they are asked for by name.
 * @throws GatewayError MAILBOX_UNKNOWN
 */
export function chooseMailboxes(
  listed: readonly RemoteMailbox[],
  choice: FolderChoice,
  address: string,
): { readonly mailboxes: readonly RemoteMailbox[]; readonly leftOut: readonly LeftOut[] } {
  const holding = listed.filter(({ attributes }) => !has(attributes, NOT_SELECTABLE)).toSorted(inboxFirst)
  const isChosen = chosenBy(
    choice,
    holding.map(({ name }) => name),
    address,
  )
  const chosen = holding.filter(({ name }) => isChosen(name))
  if (choice.folder !== undefined && choice.folder.length > 0) return { mailboxes: chosen, leftOut: [] }
  const repeats = chosen.filter(({ attributes }) => has(attributes, REPEATING))
  return {
    mailboxes: chosen.filter((mailbox) => !repeats.includes(mailbox)),
    leftOut: repeats.map(({ name }) => ({ name, reason: "shows mail of other mailboxes again; --folder takes it" })),
  }
}

function has(attributes: readonly string[], wanted: ReadonlySet<string>): boolean {
  return attributes.some((attribute) => wanted.has(attribute.toLowerCase()))
}

function inboxFirst({ name: a }: RemoteMailbox, { name: b }: RemoteMailbox): number {
  if (canonical(a) === "INBOX" || canonical(b) === "INBOX") return canonical(a) === "INBOX" ? -1 : 1
  return a < b ? -1 : 1
}

// RFC 9051 §7.3.1
const NOT_SELECTABLE: ReadonlySet<string> = new Set(["\\noselect", "\\nonexistent"])
// RFC 6154 §2: "a virtual mailbox"; RFC 8457 §4
const REPEATING: ReadonlySet<string> = new Set(["\\all", "\\flagged", "\\important"])
