import { GatewayError } from "../errors.ts"
import { addressKey } from "../message/address.ts"
import { parseMailboxList } from "../message/mailboxes.ts"
import { fieldText, findField } from "../mime/header.ts"
import type { Directory } from "./ports.ts"

/**
 * The Autocrypt field that tells the readers of a message its author's OpenPGP certificate (Level 1 §2.1); none where the author has none, is not the
 * account itself, or his own program has put one there.
 */
export function autocryptFields(
  header: Uint8Array,
  account: string | null,
  directory: Pick<Directory, "autocrypt">,
): readonly Uint8Array[] {
  if (account === null || findField(header, "autocrypt") !== null || onlyAuthor(header) !== account) return []
  const field = directory.autocrypt(account)
  return field === null ? [] : [field]
}

function onlyAuthor(header: Uint8Array): string | null {
  const from = findField(header, "from")
  try {
    const [author, another] = from === null ? [] : parseMailboxList(fieldText(from))
    return author === undefined || another !== undefined ? null : addressKey(author)
  } catch (error) {
    if (error instanceof GatewayError) return null
    throw error
  }
}
