import { P256_ORDER, p256ScalarFromNumber } from "../crypto/primitives/p256.ts"

const n = (octets: Uint8Array) => BigInt(`0x${Buffer.from(octets).toString("hex")}`)

export function recryptionScalarP256(account: Uint8Array, device: Uint8Array): Uint8Array {
  let [result, base, exponent] = [1n, n(device), P256_ORDER - 2n]
  for (; exponent > 0n; exponent >>= 1n) {
    if (exponent & 1n) result = (result * base) % P256_ORDER
    base = (base * base) % P256_ORDER
  }
  return p256ScalarFromNumber((n(account) * result) % P256_ORDER)
}
