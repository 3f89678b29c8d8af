import { addressKey } from "../message/address.ts"
import { findField, parseFields } from "../mime/header.ts"
import { authorOf } from "./author.ts"
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
  if (account === null || findField(header, "autocrypt") !== null) return []
  const author = authorOf(parseFields(header))
  if (author === null || addressKey(author) !== account) return []
  const field = directory.autocrypt(account)
  return field === null ? [] : [field]
}
