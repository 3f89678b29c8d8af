import { GatewayError } from "../../errors.ts"
import { binaryUdf, dataOfUdf, presentUdf, UDF_TYPE } from "../udf/udf.ts"
import { shamirPrime } from "./prime.ts"

/** One share of a secret (type S): the point (x, y) of the polynomial whose value at 0 is the secret. */
export interface Share {
  /** How many shares recover the secret, 1 to 15. */
  readonly threshold: number
  /** 1 to 16. */
  readonly x: number
  /** As many octets as the secret has, big-endian. */
  readonly y: Uint8Array
}

/**
 * Reads a share: `144 || threshold << 4 | x-1 || y`.
 * @throws GatewayError UDF_MALFORMED for what is no share; SHARES_INVALID for a threshold of 0, or more octets than there are primes for
 */
export function parseShare(text: string): Share {
  const data = dataOfUdf(text, "share")
  const [head = 0] = data
  const share = { threshold: head >> 4, x: (head & 15) + 1, y: data.slice(1) }
  if (share.threshold === 0 || shamirPrime(share.y.length) === null)
    throw new GatewayError("SHARES_INVALID", "share: threshold or length is not possible")
  return share
}

/** The share as a UDF of type S. Fewer than the threshold say nothing of the secret. */
export function printShare({ threshold, x, y }: Share): string {
  return presentUdf(binaryUdf(UDF_TYPE.share, Uint8Array.of((threshold << 4) | (x - 1), ...y)))
}
