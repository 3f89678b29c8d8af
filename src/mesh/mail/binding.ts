/** PURE */
import { commitment, type SecondEnvelope } from "../../crypto/cms/second-envelope.ts"
import { writeJsonB } from "../../crypto/jsonb/write.ts"
import { equalConstantTime, hkdfSha256, sha512 } from "../../crypto/primitives/hash.ts"
import { GatewayError } from "../../errors.ts"
import { writeTime } from "../object.ts"
import type { MailStatement } from "./statement.ts"

/** What a mail's content key is bound to: who writes to whom, as which message, and what exactly. */
export type BoundFields = Pick<
  MailStatement,
  | "messageId"
  | "sender"
  | "recipient"
  | "senderUdf"
  | "recipientUdf"
  | "serviceUdf"
  | "date"
  | "salt"
  | "payloadDigest"
  | "recipientsDigest"
>

/**
 * 32 octets that only somebody can state who knows the content key: so nobody takes another's ciphertext, strips its statement and signs one of his own. DARE's
 * witness does the same for the base seed; this one can be checked by who opens the S/MIME side, too, and covers names, not the payload alone.
 *
 *     HKDF-SHA256(content key, salt: SHA-512(fields in JSON-B), info: "postern/mail-binding", 32)
 */
export function mailBinding(contentKey: Uint8Array, fields: BoundFields): Uint8Array {
  const { messageId, sender, recipient, senderUdf, recipientUdf, serviceUdf, date, salt } = fields
  const names = [messageId, sender, recipient, senderUdf, recipientUdf, serviceUdf, writeTime(date)]
  const bound = writeJsonB([...names, salt, fields.payloadDigest, fields.recipientsDigest])
  return hkdfSha256(contentKey, sha512(bound), "postern/mail-binding", 32)
}

/**
 * For whoever has opened a mail, by DARE or by S/MIME, recrypted or not: that this key is the one that the statement speaks of.
 * @throws GatewayError DECRYPTION_FAILED, in one form
 */
export function checkContentKey(
  statement: MailStatement,
  { key, iv }: { readonly key: Uint8Array; readonly iv: Uint8Array },
): void {
  const isBound = equalConstantTime(statement.binding, mailBinding(key, statement))
  const isCommitted = statement.cms === null || isCommitment(statement.cms, key, iv, statement.payloadDigest)
  if (!isBound || !isCommitted) throw new GatewayError("DECRYPTION_FAILED", "mail: cannot open")
}

function isCommitment(cms: SecondEnvelope, key: Uint8Array, iv: Uint8Array, payloadDigest: Uint8Array): boolean {
  return equalConstantTime(cms.iv, iv) && equalConstantTime(cms.commit, commitment(key, iv, payloadDigest))
}
