import type { Token } from "../../imap-proxy/wire/tokens.ts"
import { string } from "../../mime/bodystructure.ts"
import type { Folder } from "../folder.ts"
import { sizesOf } from "../paths.ts"
import { atom, bad, list } from "./arguments.ts"
import type { Context } from "./context.ts"

const ITEMS: Readonly<Record<string, (folder: Folder) => number>> = {
  MESSAGES: (folder) => folder.messages.length,
  RECENT: (folder) => folder.messages.filter(({ uid }) => uid >= folder.firstRecentUid).length,
  UIDNEXT: (folder) => folder.nextUid,
  UIDVALIDITY: (folder) => folder.uidValidity,
  UNSEEN: (folder) => folder.messages.filter(({ letters }) => !letters.includes("S")).length,
  DELETED: (folder) => folder.messages.filter(({ letters }) => letters.includes("T")).length,
  SIZE: (folder) => folder.messages.reduce((sum, { base }) => sum + (sizesOf(base).wireOctets ?? 0), 0),
}

/** The items of a STATUS command, upper case. @throws PROTOCOL */
export function parseStatusItems(token: Token | undefined): string[] {
  const items = list(token).map((item) => atom(item).toUpperCase())
  if (items.length === 0 || items.some((item) => !Object.hasOwn(ITEMS, item))) throw bad("unknown status item")
  return items
}

/** Writes the STATUS response (RFC 3501 §7.2.4). @throws MAILBOX_UNKNOWN */
export async function mailboxStatus(
  { account, output }: Context,
  name: string,
  items: readonly string[],
): Promise<void> {
  const folder = await account.open(name)
  try {
    const values = items.map((item) => `${item} ${ITEMS[item]?.(folder) ?? 0}`)
    output.line(`* STATUS ${mailboxText(name)} (${values.join(" ")})`)
  } finally {
    account.release(folder)
  }
}

/** A mailbox name as astring; what is no atom in quotes. */
export function mailboxText(name: string): string {
  return /^[!#$&'+,\-./0-9:;<=>?@A-Z[^_`a-z|}~]+$/.test(name) ? name : string(name)
}
