import { GatewayError } from "../../errors.ts"
import { binarySeed, parseBinarySeed, type Seed } from "../udf/seed.ts"
import { UDF_TYPE } from "../udf/udf.ts"
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
 * @throws GatewayError UDF_MALFORMED for what is no share; SHARES_INVALID, also where they make no seed
 */
export function recoverSeed(shares: readonly string[]): Seed {
  const secret = recoverSecret(shares.map(parseShare))
  if (secret[0] !== UDF_TYPE.seed || secret.length < MIN_SEED_OCTETS)
    throw new GatewayError("SHARES_INVALID", "shares: they make no seed: they are of different ones, or one is wrong")
  return parseBinarySeed(secret)
}

/** Type and specifier, and what {@link parseBinarySeed} asks for. */
const MIN_SEED_OCTETS = 3 + 16
