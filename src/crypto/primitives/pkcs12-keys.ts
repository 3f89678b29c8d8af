import { createHmac, hash, pbkdf2Sync } from "node:crypto"

/** The digests of PKCS#12 files: SHA-256, and SHA-1 for systems that know nothing newer. */
export type Pkcs12Digest = "sha1" | "sha256"

/** What a key derived by RFC 7292 Appendix B.3 is for: its diversifier. */
export const PKCS12_ID = { encryption: 1, iv: 2, mac: 3 } as const

/** PBKDF2 with HMAC-SHA-256 (RFC 8018 §5.2) of a passphrase in UTF-8; about 0.2 s for 600,000 iterations, on the calling thread. */
export function pbkdf2Sha256(
  passphrase: string,
  salt: Uint8Array,
  iterations: number,
  lengthOctets: number,
): Uint8Array {
  return pbkdf2Sync(passphrase, salt, iterations, lengthOctets, "sha256")
}

/** The key derivation of RFC 7292 Appendix B.2 over a passphrase as a BMPString with its terminating zero (B.1); about 1.8 us a round, on the calling thread. */
export function pkcs12Key(
  digest: Pkcs12Digest,
  id: (typeof PKCS12_ID)[keyof typeof PKCS12_ID],
  passphrase: string,
  salt: Uint8Array,
  iterations: number,
  lengthOctets: number,
): Uint8Array {
  const password = Buffer.from(`${passphrase}\0`, "utf16le").swap16()
  const diversifier = new Uint8Array(BLOCK_OCTETS).fill(id)
  const input = Buffer.concat([filled(salt), filled(password)])
  const blocks: Uint8Array[] = []
  for (let made = 0; made < lengthOctets; ) {
    let block: Uint8Array = hash(digest, Buffer.concat([diversifier, input]), "buffer")
    for (let round = 1; round < iterations; round++) block = hash(digest, block, "buffer")
    blocks.push(block)
    made += block.length
    addToBlocks(input, block)
  }
  return new Uint8Array(Buffer.concat(blocks).subarray(0, lengthOctets))
}

/** HMAC over the contents of a PKCS#12 file (RFC 7292 §5.1). */
export function pkcs12Mac(digest: Pkcs12Digest, key: Uint8Array, octets: Uint8Array): Uint8Array {
  return createHmac(digest, key).update(octets).digest()
}

/** Copies of `octets`, the last one cut, up to the next whole block (B.2 steps 2 and 3). */
function filled(octets: Uint8Array): Uint8Array {
  const length = Math.ceil(octets.length / BLOCK_OCTETS) * BLOCK_OCTETS
  return Uint8Array.from({ length }, (_, at) => octets[at % octets.length] ?? 0)
}

/** Adds `digest` (repeated to a block) plus one to every block of `input`, modulo 2^512 (B.2 step 6.C). */
function addToBlocks(input: Uint8Array, digest: Uint8Array): void {
  for (let block = 0; block < input.length; block += BLOCK_OCTETS) {
    let carry = 1
    for (let at = BLOCK_OCTETS - 1; at >= 0; at--) {
      const sum = (input[block + at] ?? 0) + (digest[at % digest.length] ?? 0) + carry
      input[block + at] = sum & 0xff
      carry = sum >> 8
    }
  }
}

/** Block of SHA-1 and SHA-256: v/8 in RFC 7292's words. */
const BLOCK_OCTETS = 64
