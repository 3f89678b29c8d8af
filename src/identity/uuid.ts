/** PURE. Names that look random and are not. */
import { sha1 } from "../crypto/primitives/hash.ts"

/** RFC 9562 §6.6: the name space of URLs. */
const URL_NAMESPACE = Buffer.from("6ba7b8119dad11d180b400c04fd430c8", "hex")

/** The name-based UUID (version 5, RFC 9562 §5.5) of a URL: the same for the same URL, everywhere. */
export function urlUuid(url: string): string {
  const octets = sha1(Buffer.concat([URL_NAMESPACE, new TextEncoder().encode(url)])).slice(0, 16)
  octets[6] = ((octets[6] ?? 0) & 0x0f) | 0x50
  octets[8] = ((octets[8] ?? 0) & 0x3f) | 0x80
  const hex = Buffer.from(octets).toString("hex").toUpperCase()
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-")
}
