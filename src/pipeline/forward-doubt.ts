import { hasCode } from "../errors.ts"
import { parseMailboxList } from "../message/mailboxes.ts"
import { type Field, fieldText, parseFields } from "../mime/header.ts"
import type { SpoolEntry } from "../store/spool.ts"

/**
 * Why what came for an alias is not sent on, whatever the keys; null: it is. Our server and our domain would speak for it: SPF passes for both, and with it
 * DMARC, where its author's domain is of ours. So nothing goes that says it is by us unless that was found to be so, and nothing that came under suspicion.
 */
export function forwardDoubt(
  header: Uint8Array,
  { origin, authentication }: Pick<SpoolEntry, "origin" | "authentication">,
  domains: readonly string[],
): string | null {
  if (origin.isOurs) return null
  if (authentication?.quarantine) return "it came under suspicion (DMARC or a scanner), and such mail is not forwarded"
  const authors = parseFields(header)
    .filter(({ name }) => name === "from")
    .flatMap(domainsIn)
  const vouched = authentication?.author
  if (vouched === undefined && authors.includes(null)) return "nobody can read whom it is by"
  const ours = authors.find((author) => author !== null && author !== vouched && isOfOurs(author, domains))
  return ours === undefined ? null : `it says that it is by somebody of ${ours}, and nobody vouches for that`
}

/** null: it cannot be read, so that others may read what they like in it. */
function domainsIn(from: Field): readonly (string | null)[] {
  try {
    return parseMailboxList(fieldText(from)).map(({ domain }) => domain)
  } catch (error) {
    if (hasCode(error, "ADDRESS_SYNTAX")) return [null]
    throw error
  }
}

/** Related to one of ours as DMARC's relaxed alignment sees it (RFC 9989 §4.4), from above and from below. */
function isOfOurs(author: string, domains: readonly string[]): boolean {
  return domains.some((ours) => ours === author || author.endsWith(`.${ours}`) || ours.endsWith(`.${author}`))
}
