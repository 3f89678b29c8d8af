import { type HmacKey, hmacSha256, sha256 } from "../crypto/primitives/hash.ts"
import { ascii, outerFields } from "../mime/compose.ts"

/** Header field of an encrypted message that took the place of one in clear: says of which, to who has the key. */
export const REPLACES_FIELD = "Postern-Replaces"

/** The message that is replaced. */
interface Replaced {
  readonly account: string
  readonly uidValidity: bigint
  readonly uid: number
  readonly sizeOctets: number
  readonly receivedAt: Date | null
  readonly header: Uint8Array
}

/**
 * Names a message, so that a later run knows its successor. It is made of what IMAP promises to be this message's alone (RFC 9051
 * §2.3.1.1), and, for servers that break their promise, of the header fields that stand outside its encryption anyway: nothing that is
 * encrypted can be guessed at by it.
 */
export function replacementToken(key: HmacKey, { account, header, ...replaced }: Replaced): string {
  const { uidValidity, uid, sizeOctets, receivedAt } = replaced
  const outside = sha256(Buffer.concat(outerFields(header, "hidden")))
  const text = [encodeURIComponent(account), uidValidity, uid, sizeOctets, receivedAt?.getTime() ?? ""].join("\0")
  const mac = hmacSha256(key)
    .update(ascii(`postern replaces 1\0${text}\0`))
    .update(outside)
    .digest()
  return Buffer.from(mac.subarray(0, TOKEN_OCTETS)).toString("base64url")
}

/** The field that carries a token. */
export function replacesField(token: string): Uint8Array {
  return ascii(`${REPLACES_FIELD}: v=1; id=${token}\r\n`)
}

/** The token in a field as it stands in a header, or null. */
export function tokenIn(field: string): string | null {
  return /^postern-replaces:\s*v=1;\s+id=([A-Za-z0-9_-]{22})(?:\s|$)/i.exec(field)?.[1] ?? null
}

/** RFC 2104 §5: no less than half of the hash. */
const TOKEN_OCTETS = 16
