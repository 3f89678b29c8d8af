/**
 * A SubjectPublicKeyInfo in the textual encoding (RFC 7468 §13), from its head and the point. It is the fastest way to give node:crypto
 * a public key for one agreement: Node 24 asks of each object whether it is a KeyObject or a CryptoKey by throwing and catching an
 * error, five times a call for DER, never for a string. Measured with P-256, import and agreement, in microseconds: 146 as text,
 * 167 as DER without stack traces, 245 as DER.
 */
export function spkiText(head: Uint8Array, point: Uint8Array): string {
  return `-----BEGIN PUBLIC KEY-----\n${Buffer.concat([head, point]).toString("base64")}\n-----END PUBLIC KEY-----\n`
}
