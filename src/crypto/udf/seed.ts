import { GatewayError } from "../../errors.ts"
import { binaryUdf, dataOfUdf, presentUdf, UDF_TYPE } from "./udf.ts"

/** A secret seed (type Z) that keys are derived from: `specifier (2 octets) || seed`. Whoever has the text has all the keys. */
export interface Seed {
  /** Which algorithm, or which kind of profile, the keys are for: {@link SEED_SPECIFIER}, or an algorithm's identifier. */
  readonly specifier: number
  readonly octets: Uint8Array
}

/** Specifiers of seeds that keys of several algorithms are derived from (draft-hallambaker-mesh-udf §4.5). */
export const SEED_SPECIFIER = {
  any: 0,
  profileDevice: 0x100,
  activationDevice: 0x101,
  profileAccount: 0x102,
  activationAccount: 0x103,
  profileService: 0x104,
  activationService: 0x105,
} as const

/**
 * Reads a seed.
 * @throws GatewayError UDF_MALFORMED for anything else, and for fewer than `minimumOctets`: keys are not made of what can be guessed
 */
export function parseSeed(text: string, minimumOctets = MIN_SEED_OCTETS): Seed {
  return seedOfData(dataOfUdf(text, "seed"), minimumOctets)
}

/** The seed as a UDF of type Z. */
export function printSeed(seed: Seed): string {
  return presentUdf(binarySeed(seed))
}

/** Type octet, specifier and seed: what is escrowed. */
export function binarySeed({ specifier, octets }: Seed): Uint8Array {
  return binaryUdf(UDF_TYPE.seed, Buffer.concat([specifierOctets(specifier), octets]))
}

/**
 * Reverses {@link binarySeed}.
 * @throws GatewayError UDF_MALFORMED
 */
export function parseBinarySeed(udf: Uint8Array): Seed {
  if (udf[0] !== UDF_TYPE.seed) throw new GatewayError("UDF_MALFORMED", "seed: is of another type")
  return seedOfData(udf.subarray(1), MIN_SEED_OCTETS)
}

/** The two octets of a specifier. */
export function specifierOctets(specifier: number): Uint8Array {
  return Uint8Array.of(specifier >> 8, specifier & 255)
}

function seedOfData(data: Uint8Array, minimumOctets: number): Seed {
  if (data.length < 2 + minimumOctets) throw new GatewayError("UDF_MALFORMED", "seed: too short")
  return { specifier: (data[0] ?? 0) * 256 + (data[1] ?? 0), octets: data.slice(2) }
}

/** The drafts' minimum; profiles have 32. */
const MIN_SEED_OCTETS = 16
