import { GatewayError } from "../errors.ts"
import type { Address } from "../message/address.ts"
import { parseMailboxList } from "../message/mailboxes.ts"
import { type Field, fieldText } from "../mime/header.ts"

/** The one author of a message: one From field, with one mailbox (RFC 5322 §3.6.2 allows more). */
export function authorOf(fields: readonly Field[]): Address | null {
  const froms = fields.filter(({ octets }) => FROM.test(Buffer.from(octets.subarray(0, 64)).toString("latin1")))
  const [from, ...more] = froms
  if (from === undefined || from.name !== "from" || more.length > 0) return null
  try {
    const [author, ...others] = parseMailboxList(fieldText(from))
    return author === undefined || others.length > 0 ? null : author
  } catch (error) {
    if (error instanceof GatewayError) return null
    throw error
  }
}

/** Also as readers may take it that are less strict: with a line end before the colon. */
const FROM = /^from[ \t\r\n]*:/i
