/** PURE. Whether what a certificate names is the address that mail goes to. */
import { printable } from "../../crypto/x509/names.ts"
import { GatewayError } from "../../errors.ts"
import { type Address, parseAddress, withoutTag } from "../../message/address.ts"

/**
 * Whether one of the names, as they stand in a certificate, is `address`. Local parts are compared without the case of ASCII letters, octet for octet
 * otherwise; domains as A-labels. What is no address as it stands (white space, NUL, two of them) is nobody's. With `tags` a certificate for
 * `a@` is good for `a+tag@`, never the other way round.
 */
export function namesAddress(names: readonly string[], address: Address, tags: boolean): boolean {
  const plain = tags ? withoutTag(address) : null
  const wanted = [address, ...(plain ? [plain] : [])].map(comparable)
  return names.some((name) => {
    const named = parsed(name)
    return named !== null && wanted.includes(comparable(named))
  })
}

/** For people: whose a certificate is that was not for them. */
export function whoseItIs(names: readonly string[]): string {
  if (names.length === 0) return "it names no mail address"
  const shown = names
    .slice(0, MAX_SHOWN)
    .map((name) => (parsed(name) ? printable(name) : `“${printable(name)}” (which is no address)`))
  const more = names.length - shown.length
  return `it is for ${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}`
}

function comparable({ localPart, domain }: Address): string {
  // Not toLowerCase: that would make one of K (U+212A KELVIN SIGN) and k.
  return `${localPart.replace(/[A-Z]/g, (letter) => letter.toLowerCase())}@${domain}`
}

function parsed(name: string): Address | null {
  try {
    return parseAddress(name)
  } catch (error) {
    if (error instanceof GatewayError) return null
    throw error
  }
}

const MAX_SHOWN = 3
