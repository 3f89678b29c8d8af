import { ascii } from "./compose.ts"

/** Whether the author wants answers encrypted (Autocrypt Level 1 §2.1.1); null: says nothing of it. */
export type PreferEncrypt = "mutual" | null

/** Longest field that programs must take (Autocrypt Level 1 §2.1: 10 KiB, and longer ones may be passed over). */
export const MAX_AUTOCRYPT_OCTETS = 10_240

/**
 * The Autocrypt field of a message from `address` (Level 1 §2.1), line end included. `certificate`: binary, reduced to what senders need.
 * @returns null when the address cannot stand in such a field, or the certificate is too large for it
 */
export function autocryptField(
  address: string,
  preferEncrypt: PreferEncrypt,
  certificate: Uint8Array,
): Uint8Array | null {
  // Attributes end at semicolons, and there is no way to quote one; addresses of other scripts have no form here.
  if (!/^[\x21-\x3a\x3c-\x7e]+$/.test(address)) return null
  const wish = preferEncrypt === null ? "" : ` prefer-encrypt=${preferEncrypt};`
  const data = Buffer.from(certificate)
    .toString("base64")
    .replaceAll(/.{1,76}/g, "\r\n $&")
  const field = ascii(`Autocrypt: addr=${address};${wish} keydata=${data}\r\n`)
  return field.length > MAX_AUTOCRYPT_OCTETS ? null : field
}
