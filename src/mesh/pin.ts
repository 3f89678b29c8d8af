/** PURE */
import { hmacSha512 } from "../crypto/primitives/hash.ts"
import { macUdf } from "../crypto/udf/authenticator.ts"
import { dataOfUdf, presentUdf } from "../crypto/udf/udf.ts"

/** What a PIN is good for. */
export type PinAction = "Device" | "Contact"

/**
 * The PIN as the account keeps it, bound to one action. From it whoever holds a PIN is recognised, and it can be forged by whoever reads it.
 * @param pin a UDF of type A
 * @throws GatewayError UDF_MALFORMED
 */
export function saltedPin(pin: string, action: PinAction): string {
  return presentUdf(macUdf(dataOfUdf(pin, "authenticator"), Buffer.from(action)))
}

/** Which PIN is meant: the MessageId of the account's MessagePin. @throws GatewayError UDF_MALFORMED */
export function pinId(salted: string, account: string): string {
  return presentUdf(macUdf(saltedKey(salted), Buffer.from(account.toLowerCase())))
}

/**
 * What shows that the sender of a message has the PIN, 64 octets: over the account, the sender's nonce, and the digest of the payload that the
 * message carries (AuthenticatedData). Compare in constant time.
 * @throws GatewayError UDF_MALFORMED
 */
export function pinWitness(salted: string, account: string, nonce: Uint8Array, payloadDigest: Uint8Array): Uint8Array {
  return hmacSha512(saltedKey(salted)).update(Buffer.from(account)).update(nonce).update(payloadDigest).digest()
}

/** The octets that the presented text decodes to, 16 of 64: the reference keys with these, not with the whole MAC. */
function saltedKey(salted: string): Uint8Array {
  return dataOfUdf(salted, "authenticator")
}
