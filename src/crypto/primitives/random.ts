import { randomBytes, randomInt } from "node:crypto"

/** `count` octets from the operating system's generator. */
export function randomOctets(count: number): Uint8Array {
  return new Uint8Array(randomBytes(count))
}

const ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

/** A password of `[A-Za-z0-9]`; 24 characters hold 142 bits. */
export function randomPassword(characters = 24): string {
  return Array.from({ length: characters }, () => ALPHANUMERIC[randomInt(ALPHANUMERIC.length)]).join("")
}
