/** PURE */
import type { MailVerdict } from "../../mesh/mail/check.ts"
import { resultsField } from "../../mime/authentication-results.ts"

/**
 * An Authentication-Results field (RFC 8601) with what was found of a mail that came over the Mesh. No such method is registered: `mesh` is ours, which §2.7.7
 * allows within one administration. Who wrote, by which device and which service, stands there under the names that were checked.
 */
export function verdictField(
  authservId: string,
  { statement, via, connection }: Extract<MailVerdict, { readonly kind: "verified" }>,
): string {
  const { sender, senderUdf, serviceUdf } = statement
  const shown = PLAIN.test(sender) ? [`header.from=${sender}`] : []
  const words = ["mesh=pass", `reason="signed ${SIGNED[via]} and by its service"`, ...shown]
  const device = connection.subject === null ? [] : [`policy.device=${connection.subject}`]
  return resultsField(authservId, [
    [...words, `policy.profile=${senderUdf}`, `policy.service=${serviceUdf}`, `policy.via=${via}`, ...device].join(" "),
  ])
}

const SIGNED = { gateway: "by the gateway of its sender", device: "by a device of its sender" } as const
/** An address that stands as a pvalue (RFC 8601 §2.2) without quotes. */
const PLAIN = /^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+$/
