import { GatewayError } from "../errors.ts"

/** Judges octets that must all be encrypted, or be what belongs around encrypted octets; pieces may be of any size. */
export interface Recogniser {
  /** @throws GatewayError when something is in clear or malformed */
  push(octets: Uint8Array): void
  /** @throws GatewayError when what was begun is not complete */
  end(): void
  /** What the ciphertext seen so far belongs to; null: none seen yet. */
  readonly found: "smime" | "openpgp" | null
}

/** Offset of the first octet that is no white space, or the length. */
export function firstNotBlank(octets: Uint8Array): number {
  const at = octets.findIndex((octet) => octet !== 10 && octet !== 13 && octet !== 32 && octet !== 9)
  return at < 0 ? octets.length : at
}

/** @throws GatewayError CLEAR_CONTENT when there is anything but white space */
export function onlyBlank(octets: Uint8Array): void {
  if (firstNotBlank(octets) < octets.length) throw new GatewayError("CLEAR_CONTENT", "content: octets behind the end")
}
