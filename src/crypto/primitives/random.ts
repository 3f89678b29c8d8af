import { randomBytes } from "node:crypto"

/** `count` octets from the operating system's generator. */
export function randomOctets(count: number): Uint8Array {
  return new Uint8Array(randomBytes(count))
}
