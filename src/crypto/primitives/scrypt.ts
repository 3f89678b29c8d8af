import { scrypt } from "node:crypto"
import { GatewayError } from "../../errors.ts"

/** Cost of scrypt (RFC 7914 §2): memory is 128 * blockSize * 2^logN octets. */
export interface ScryptCost {
  readonly logN: number
  readonly blockSize: number
  readonly parallelization: number
}

/** 128 MiB and about 0.4 s on a server core: for a passphrase that a person types once in a while. */
export const INTERACTIVE_COST: ScryptCost = { logN: 17, blockSize: 8, parallelization: 1 }

/** The most memory that a cost read from a file may ask for: 1 GiB, eight times ours; a forged file must not exhaust the machine. */
export const MAX_SCRYPT_OCTETS = 1_073_741_824

/**
 * A key of `lengthOctets` from a passphrase (UTF-8, NFC) and a salt, off the main thread.
 * @throws GatewayError SCALAR_INVALID when the cost is no cost of scrypt, or needs over {@link MAX_SCRYPT_OCTETS}
 */
export function scryptKey(
  passphrase: string,
  salt: Uint8Array,
  cost: ScryptCost = INTERACTIVE_COST,
  lengthOctets = 32,
): Promise<Uint8Array> {
  const N = checkedN(cost)
  const { blockSize: r, parallelization: p } = cost
  // OpenSSL counts its own small buffers as well: twice the stated need is its limit, not what it takes.
  const options = { N, r, p, maxmem: 2 * MAX_SCRYPT_OCTETS }
  return new Promise((resolve, reject) => {
    scrypt(passphrase.normalize("NFC"), salt, lengthOctets, options, (cause, key) => {
      if (cause) reject(new GatewayError("SCALAR_INVALID", "scrypt: cost refused", { cause }))
      else resolve(key)
    })
  })
}

function checkedN(cost: ScryptCost): number {
  const { logN, blockSize, parallelization } = cost
  const whole = [logN, blockSize, parallelization].every((number) => Number.isInteger(number) && number >= 1)
  const octets = 128 * blockSize * (2 ** logN + parallelization)
  if (!whole || octets > MAX_SCRYPT_OCTETS + 128 * blockSize * parallelization || parallelization > 16)
    throw new GatewayError("SCALAR_INVALID", "scrypt: cost is out of range")
  return 2 ** logN
}
