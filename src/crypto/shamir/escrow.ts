import { binarySeed, parseBinarySeed, type Seed } from "../udf/seed.ts"
import { type RandomOctets, recoverSecret, splitSecret } from "./secret.ts"
import { parseShare, printShare } from "./share.ts"

/**
 * The recovery shares of an account: of its profile's seed, as the binary UDF with type and specifier (35 octets for seeds of 32).
 * @throws GatewayError SHARES_INVALID
 */
export function escrowSeed(seed: Seed, threshold: number, count: number, random: RandomOctets): string[] {
  return splitSecret(binarySeed(seed), threshold, count, random).map(printShare)
}

/**
 * The seed of an account from its shares. That it is a seed at all is told with it; whether it is this account's, its profile tells.
 * @throws GatewayError UDF_MALFORMED, SHARES_INVALID
 */
export function recoverSeed(shares: readonly string[]): Seed {
  return parseBinarySeed(recoverSecret(shares.map(parseShare)))
}
