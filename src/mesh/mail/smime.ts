/** PURE */
import type { CmsRecipient } from "../../crypto/cms/recipient.ts"
import { secondEnvelopeHead } from "../../crypto/cms/second-envelope.ts"
import { GatewayError } from "../../errors.ts"
import { ReceivedMailBody } from "./body.ts"
import type { MailStatement } from "./statement.ts"

/**
 * The mail as a CMS ContentInfo (EnvelopedData, DER) for the recipient's S/MIME certificate, made by a gateway that can open nothing. Statement and signatures
 * have been checked; everything in the DER but key, point and IV is made of the gateway's own copy of the certificate.
 * @param source the DARE envelope, enclosed or fetched
 * @throws GatewayError SECOND_ENVELOPE_INVALID, also when there is none; LENGTH_MISMATCH, CERTIFICATE_UNSUPPORTED; MESH_MAIL_ALTERED, behind a part of it
 */
export async function* secondEnvelopeOf(
  statement: MailStatement,
  source: AsyncIterable<Uint8Array>,
  recipient: CmsRecipient,
): AsyncGenerator<Uint8Array> {
  if (statement.cms === null) throw new GatewayError("SECOND_ENVELOPE_INVALID", "second envelope: the mail has none")
  const head = secondEnvelopeHead(recipient, statement.cms, statement.payloadOctets)
  const body = await ReceivedMailBody.open(statement, source)
  yield head
  yield* body.payload()
}
