import { x25519 } from "@noble/curves/ed25519.js"
import { describe, expect, test } from "vitest"
import { openAes256Gcm } from "../../../src/crypto/primitives/aead.ts"
import {
  aes256CbcDecryptor,
  aes256CfbDecryptor,
  aes256CfbEncryptor,
  aes256GcmDecryptor,
  aesCbcEncryptor,
  aesGcmEncryptor,
  type StreamCipher,
} from "../../../src/crypto/primitives/cipher.ts"
import { rsaTransport, unwrapKey, wrapKey } from "../../../src/crypto/primitives/keywrap.ts"
import { p256PublicPoint, p256Spki, randomP256Scalar } from "../../../src/crypto/primitives/p256.ts"
import { PKCS12_ID, pkcs12Key } from "../../../src/crypto/primitives/pkcs12-keys.ts"
import { randomOctets } from "../../../src/crypto/primitives/random.ts"
import { scryptKey } from "../../../src/crypto/primitives/scrypt.ts"
import {
  ed25519PublicKey,
  signEd25519,
  signP256,
  verifyEd25519,
  verifyP256,
} from "../../../src/crypto/primitives/sign.ts"
import {
  clampX25519,
  randomX25519Scalar,
  x25519Agreement,
  x25519Ephemeral,
  x25519PublicKey,
  x25519SharedKey,
} from "../../../src/crypto/primitives/x25519.ts"

const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(" ", ""), "hex")
const failing = (code: string) => expect.objectContaining({ code })

describe("X25519", () => {
  test("RFC 7748 §6.1", () => {
    const bob = hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    const alicePoint = hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    expect(x25519PublicKey(bob)).toEqual(hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"))
    expect(x25519SharedKey(bob, alicePoint)).toEqual(
      hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"),
    )
    expect(() => x25519PublicKey(bob.subarray(1))).toThrow(failing("SCALAR_INVALID"))
  })

  test("agrees with another implementation", () => {
    for (let round = 0; round < 10; round++) {
      const ours = randomX25519Scalar()
      const theirs = randomX25519Scalar()
      const theirPoint = x25519.getPublicKey(theirs)
      expect(x25519PublicKey(ours)).toEqual(Buffer.from(x25519.getPublicKey(ours)))
      const shared = Buffer.from(x25519.getSharedSecret(ours, theirPoint))
      expect(x25519SharedKey(ours, theirPoint)).toEqual(shared)
      expect(x25519Agreement(ours)(theirPoint)).toEqual(shared)
      expect(x25519Ephemeral(ours, theirPoint)).toEqual({ ephemeralPoint: x25519PublicKey(ours), sharedKey: shared })
    }
  })

  test("clamps: multiple of eight, bit 254 set, bit 255 clear", () => {
    const clamped = clampX25519(new Uint8Array(32).fill(0xff))
    expect([clamped[0], clamped[31]]).toEqual([0xf8, 0x7f])
    expect(x25519PublicKey(new Uint8Array(32).fill(0xff))).toEqual(x25519PublicKey(clamped))
  })

  const small: [name: string, point: Uint8Array][] = [
    ["zero", new Uint8Array(32)],
    ["one", Uint8Array.from({ length: 32 }, (_, at) => (at === 0 ? 1 : 0))],
    ["order eight", hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")],
    ["short", new Uint8Array(31).fill(9)],
  ]
  for (const [name, point] of small)
    test(`refuses a point: ${name}`, () => {
      expect(() => x25519SharedKey(randomX25519Scalar(), point)).toThrow(failing("POINT_INVALID"))
    })
})

describe("key wrap", () => {
  const data = hex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F")
  // RFC 3394 §4.1, §4.3, §4.6
  const rows: [name: string, kek: Uint8Array, key: Uint8Array, wrapped: string][] = [
    [
      "128/128",
      hex("000102030405060708090A0B0C0D0E0F"),
      data.subarray(0, 16),
      "1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5",
    ],
    [
      "256/128",
      hex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"),
      data.subarray(0, 16),
      "64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7",
    ],
    [
      "256/256",
      hex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"),
      data,
      "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21",
    ],
  ]
  for (const [name, kek, key, wrapped] of rows)
    test(`RFC 3394 §4: ${name}`, () => {
      expect(wrapKey(kek, key)).toEqual(hex(wrapped))
      expect(unwrapKey(kek, hex(wrapped))).toEqual(Buffer.from(key))
    })

  test("row 52: every wrong wrapping fails alike", () => {
    const kek = randomOctets(32)
    const wrapped = wrapKey(kek, data)
    const flipped = Uint8Array.from(wrapped, (octet, at) => (at === 5 ? octet ^ 1 : octet))
    for (const octets of [flipped, wrapped.subarray(0, 32), wrapped.subarray(1), new Uint8Array(0)])
      expect(() => unwrapKey(kek, octets)).toThrow(failing("DECRYPTION_FAILED"))
    expect(() => unwrapKey(randomOctets(32), wrapped)).toThrow(failing("DECRYPTION_FAILED"))
    expect(() => wrapKey(kek, data.subarray(1))).toThrow(failing("LENGTH_MISMATCH"))
    expect(() => wrapKey(kek.subarray(1), data)).toThrow(failing("LENGTH_MISMATCH"))
  })

  test("RSA transport: null for another key, an error for none", () => {
    expect(rsaTransport(p256Spki(p256PublicPoint(randomP256Scalar())))).toBeNull()
    expect(() => rsaTransport(hex("3000"))).toThrow(failing("CERTIFICATE_INVALID"))
  })
})

describe("stream ciphers", () => {
  const key = randomOctets(32)
  const iv = randomOctets(16)
  const plain = randomOctets(1000)
  const through = (cipher: StreamCipher, octets: Uint8Array, step: number): Uint8Array => {
    const parts: Uint8Array[] = []
    for (let at = 0; at < octets.length; at += step) parts.push(cipher.update(octets.subarray(at, at + step)))
    return Buffer.concat([...parts, cipher.final()])
  }
  const rows: [name: string, seal: () => StreamCipher, open: () => StreamCipher, size: number][] = [
    ["CBC", () => aesCbcEncryptor(key, iv), () => aes256CbcDecryptor(key, iv), 1008],
    ["CFB", () => aes256CfbEncryptor(key, iv), () => aes256CfbDecryptor(key, iv), 1000],
  ]
  for (const [name, seal, open, size] of rows)
    test(`${name}: whole, chunked and octet by octet are the same`, () => {
      const whole = through(seal(), plain, 1000)
      expect(whole).toHaveLength(size)
      for (const step of [1, 7, 64]) {
        expect(through(seal(), plain, step)).toEqual(whole)
        expect(through(open(), whole, step)).toEqual(Buffer.from(plain))
      }
    })

  test("NIST SP 800-38A F.3.17: CFB128 with AES-256", () => {
    const cfb = aes256CfbEncryptor(
      hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"),
      hex("000102030405060708090a0b0c0d0e0f"),
    )
    expect(cfb.update(hex("6bc1bee22e409f96e93d7e117393172a"))).toEqual(hex("dc7e84bfda79164b7ecd8486985d3860"))
  })

  test("GCM: opens what it sealed, refuses another tag, and is the same as the one-shot form", () => {
    const nonce = randomOctets(12)
    const associated = randomOctets(5)
    const cipher = aesGcmEncryptor(key, nonce, associated)
    const sealed = through(cipher, plain, 64)
    expect(openAes256Gcm(key, nonce, Buffer.concat([sealed, cipher.tag()]), associated)).toEqual(Buffer.from(plain))
    expect(through(aes256GcmDecryptor(key, nonce, cipher.tag(), associated), sealed, 7)).toEqual(Buffer.from(plain))
    const wrong = aes256GcmDecryptor(key, nonce, randomOctets(16), associated)
    expect(() => through(wrong, sealed, 64)).toThrow(failing("DECRYPTION_FAILED"))
    expect(() => aes256GcmDecryptor(key, nonce, cipher.tag().subarray(0, 4))).toThrow(failing("DECRYPTION_FAILED"))
  })

  test("CBC: wrong padding is a failure to decrypt", () => {
    expect(() => through(aes256CbcDecryptor(key, iv), plain.subarray(0, 15), 15)).toThrow(failing("DECRYPTION_FAILED"))
  })
})

describe("signatures", () => {
  const octets = randomOctets(100)
  const other = randomOctets(100)
  test("ECDSA, raw and DER", () => {
    const scalar = randomP256Scalar()
    const point = p256PublicPoint(scalar)
    for (const form of ["raw", "der"] as const) {
      const signature = signP256(scalar, octets, form)
      expect(verifyP256(point, octets, signature, form)).toBe(true)
      expect(verifyP256(point, other, signature, form)).toBe(false)
      expect(verifyP256(p256PublicPoint(randomP256Scalar()), octets, signature, form)).toBe(false)
      expect(verifyP256(point, octets, signature.subarray(1), form)).toBe(false)
      expect(verifyP256(new Uint8Array(65), octets, signature, form)).toBe(false)
    }
    expect(signP256(scalar, octets, "raw")).toHaveLength(64)
  })

  test("Ed25519: RFC 8032 §7.1 test 2", () => {
    const seed = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    const signature = hex(
      "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    )
    const key = ed25519PublicKey(seed)
    expect(key).toEqual(hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"))
    expect(signEd25519(seed, hex("72"))).toEqual(signature)
    expect(verifyEd25519(key, hex("72"), signature)).toBe(true)
    expect(verifyEd25519(key, hex("73"), signature)).toBe(false)
    expect(verifyEd25519(key.subarray(1), hex("72"), signature)).toBe(false)
    expect(() => signEd25519(seed.subarray(1), octets)).toThrow(failing("SCALAR_INVALID"))
  })
})

describe("keys from passphrases", () => {
  test("scrypt: RFC 7914 §12, and equal for both ways to write one character", async () => {
    const salt = new TextEncoder().encode("NaCl")
    const key = await scryptKey("password", salt, { logN: 10, blockSize: 8, parallelization: 16 }, 64)
    expect(Buffer.from(key).toString("hex")).toMatch(
      /^fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162/,
    )
    const cheap = { logN: 4, blockSize: 1, parallelization: 1 }
    expect(await scryptKey("\u00e4", salt, cheap)).toEqual(await scryptKey("a\u0308", salt, cheap))
  })

  test("scrypt: a cost over the limit is refused before it is paid", () => {
    for (const logN of [21, 40, 0, 1.5])
      expect(() => scryptKey("x", new Uint8Array(16), { logN, blockSize: 8, parallelization: 1 })).toThrow(
        failing("SCALAR_INVALID"),
      )
    expect(() => scryptKey("x", new Uint8Array(16), { logN: 4, blockSize: 1, parallelization: 17 })).toThrow(
      failing("SCALAR_INVALID"),
    )
  })

  // Vectors that BouncyCastle and others use for RFC 7292 Appendix B.
  test("PKCS#12: RFC 7292 Appendix B.2 with SHA-1", () => {
    const salt = hex("0A58CF64530D823F")
    expect(pkcs12Key("sha1", PKCS12_ID.encryption, "smeg", salt, 1, 24)).toEqual(
      new Uint8Array(hex("8AAAE6297B6CB04642AB5B077851284EB7128F1A2A7FBCA3")),
    )
    expect(pkcs12Key("sha1", PKCS12_ID.iv, "smeg", salt, 1, 8)).toEqual(new Uint8Array(hex("79993DFE048D3B76")))
  })
})
