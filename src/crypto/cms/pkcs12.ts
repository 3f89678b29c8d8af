import { GatewayError } from "../../errors.ts"
import { aesCbcEncryptor, type StreamCipher, tripleDesCbcEncryptor } from "../primitives/cipher.ts"
import { sha1 } from "../primitives/hash.ts"
import { p256Pkcs8, p256PublicPoint } from "../primitives/p256.ts"
import { PKCS12_ID, type Pkcs12Digest, pbkdf2Sha256, pkcs12Key, pkcs12Mac } from "../primitives/pkcs12-keys.ts"
import { randomOctets } from "../primitives/random.ts"
import { readCertificate } from "./certificate.ts"
import { bmpString, explicit, implicit, integer, nil, octetString, oid, sequence, setOf } from "./der.ts"

/**
 * How a PKCS#12 file is protected. `modern`: PBES2 with AES-256 and HMAC-SHA-256. `legacy`: 3DES and SHA-1 for macOS 12, iOS 15,
 * Android 12, Windows Server 2016 and older, which say "wrong password" to the other; only as good as its password.
 */
export type Pkcs12Profile = "modern" | "legacy"

/** The content of a PKCS#12 file (RFC 7292). */
export interface Pkcs12Options {
  /** P-256. */
  readonly scalar: Uint8Array
  /** DER of the certificate that belongs to the scalar. */
  readonly certificate: Uint8Array
  /** DER of its issuers, nearest first. */
  readonly chain: readonly Uint8Array[]
  /** Shown by the client beside the key; 1 to 255 characters. */
  readonly friendlyName: string
  /** Not empty: macOS 15 refuses such files. */
  readonly password: string
  /** `modern` unless stated. */
  readonly profile?: Pkcs12Profile
  /** Rounds of each key derivation; {@link PKCS12_ITERATIONS} unless stated. */
  readonly iterations?: number
}

/**
 * Rounds slow down guessing, and nobody guesses the 142 random bits that our files are protected with: OpenSSL's own number, a few
 * milliseconds a file. A caller that takes a password from a person asks for hundreds of thousands.
 */
export const PKCS12_ITERATIONS: Readonly<Record<Pkcs12Profile, number>> = { modern: 2_048, legacy: 2_048 }
/** RFC 2985 §5.5.1: pkcs-9-ub-friendlyName. */
export const MAX_FRIENDLY_NAME_CHARACTERS = 255

/**
 * A PKCS#12 file in DER: the key, its certificate and the chain. Salts and vectors are random: two calls give two files.
 * @throws GatewayError CERTIFICATE_INVALID when the key is not the certificate's, or name or password is empty or too long
 */
export function makePkcs12(options: Pkcs12Options): Uint8Array {
  check(options)
  const profile = options.profile ?? "modern"
  const iterations = options.iterations ?? PKCS12_ITERATIONS[profile]
  const encrypt = (octets: Uint8Array) => encryption(profile, options.password, iterations, octets)
  // RFC 7292 §4: AuthenticatedSafe ::= SEQUENCE OF ContentInfo
  const safe = sequence(
    dataContent(sequence(keyBag(options, encrypt))),
    encryptedContent(certificateBags(options), encrypt),
  )
  const pfx = sequence(integer(3), dataContent(safe), macData(profile, options.password, iterations, safe))
  return new Uint8Array(pfx)
}

interface Encrypted {
  /** DER of AlgorithmIdentifier. */
  readonly algorithm: Uint8Array
  readonly octets: Uint8Array
}

type Encrypt = (octets: Uint8Array) => Encrypted

function check(options: Pkcs12Options): void {
  const { point } = readCertificate(options.certificate)
  if (point === null || Buffer.compare(point, p256PublicPoint(options.scalar)) !== 0)
    throw invalid("certificate is not of this key")
  const characters = options.friendlyName.length
  if (characters < 1 || characters > MAX_FRIENDLY_NAME_CHARACTERS)
    throw invalid("friendly name is not 1 to 255 characters")
  if (options.password === "") throw invalid("password is empty")
}

// RFC 7292 §4.2.2: pkcs8ShroudedKeyBag holds EncryptedPrivateKeyInfo.
function keyBag(options: Pkcs12Options, encrypt: Encrypt): Uint8Array {
  const { algorithm, octets } = encrypt(p256Pkcs8(options.scalar))
  const shrouded = sequence(algorithm, octetString(octets))
  return sequence(SHROUDED_KEY_BAG, explicit(0, shrouded), attributes(options))
}

function certificateBags(options: Pkcs12Options): Uint8Array {
  const own = sequence(CERTIFICATE_BAG, explicit(0, certificateBag(options.certificate)), attributes(options))
  // Apple refuses files whose other certificates carry attributes.
  const others = options.chain.map((der) => sequence(CERTIFICATE_BAG, explicit(0, certificateBag(der))))
  return sequence(own, ...others)
}

function certificateBag(der: Uint8Array): Uint8Array {
  return sequence(X509_CERTIFICATE, explicit(0, octetString(der)))
}

/** Equal on key and certificate: Windows and NSS pair them by localKeyId alone. */
function attributes(options: Pkcs12Options): Uint8Array {
  return setOf(
    sequence(FRIENDLY_NAME, setOf(bmpString(options.friendlyName))),
    sequence(LOCAL_KEY_ID, setOf(octetString(sha1(options.certificate)))),
  )
}

function dataContent(octets: Uint8Array): Uint8Array {
  return sequence(DATA, explicit(0, octetString(octets)))
}

// RFC 5652 §8: EncryptedData, version 0.
function encryptedContent(plain: Uint8Array, encrypt: Encrypt): Uint8Array {
  const { algorithm, octets } = encrypt(plain)
  const content = sequence(DATA, algorithm, implicit(0, octets))
  return sequence(ENCRYPTED_DATA, explicit(0, sequence(integer(0), content)))
}

function encryption(profile: Pkcs12Profile, password: string, iterations: number, octets: Uint8Array): Encrypted {
  const salt = randomOctets(SALT_OCTETS)
  if (profile === "legacy") {
    const key = pkcs12Key("sha1", PKCS12_ID.encryption, password, salt, iterations, 24)
    const iv = pkcs12Key("sha1", PKCS12_ID.iv, password, salt, iterations, 8)
    const algorithm = sequence(PBE_SHA1_3DES, sequence(octetString(salt), integer(iterations)))
    return { algorithm, octets: whole(tripleDesCbcEncryptor(key, iv), octets) }
  }
  // RFC 8018 §6.2, Appendix A.4
  const iv = randomOctets(16)
  const key = pbkdf2Sha256(password, salt, iterations, 32)
  const derivation = sequence(PBKDF2, sequence(octetString(salt), integer(iterations), sequence(HMAC_SHA256, nil())))
  const algorithm = sequence(PBES2, sequence(derivation, sequence(AES256_CBC, octetString(iv))))
  return { algorithm, octets: whole(aesCbcEncryptor(key, iv), octets) }
}

// RFC 7292 §4: MacData ::= SEQUENCE { mac DigestInfo, macSalt, iterations }
function macData(profile: Pkcs12Profile, password: string, iterations: number, safe: Uint8Array): Uint8Array {
  const digest: Pkcs12Digest = profile === "legacy" ? "sha1" : "sha256"
  const salt = randomOctets(SALT_OCTETS)
  const key = pkcs12Key(digest, PKCS12_ID.mac, password, salt, iterations, digest === "sha1" ? 20 : 32)
  const info = sequence(sequence(DIGESTS[digest], nil()), octetString(pkcs12Mac(digest, key, safe)))
  return sequence(info, octetString(salt), integer(iterations))
}

function whole(cipher: StreamCipher, octets: Uint8Array): Uint8Array {
  return Buffer.concat([cipher.update(octets), cipher.final()])
}

function invalid(what: string): GatewayError {
  return new GatewayError("CERTIFICATE_INVALID", `pkcs12: ${what}`)
}

const SALT_OCTETS = 16
const DATA = oid("1.2.840.113549.1.7.1")
const ENCRYPTED_DATA = oid("1.2.840.113549.1.7.6")
const SHROUDED_KEY_BAG = oid("1.2.840.113549.1.12.10.1.2")
const CERTIFICATE_BAG = oid("1.2.840.113549.1.12.10.1.3")
const X509_CERTIFICATE = oid("1.2.840.113549.1.9.22.1")
const FRIENDLY_NAME = oid("1.2.840.113549.1.9.20")
const LOCAL_KEY_ID = oid("1.2.840.113549.1.9.21")
const PBE_SHA1_3DES = oid("1.2.840.113549.1.12.1.3")
const PBES2 = oid("1.2.840.113549.1.5.13")
const PBKDF2 = oid("1.2.840.113549.1.5.12")
const HMAC_SHA256 = oid("1.2.840.113549.2.9")
const AES256_CBC = oid("2.16.840.1.101.3.4.1.42")
const DIGESTS = { sha1: oid("1.3.14.3.2.26"), sha256: oid("2.16.840.1.101.3.4.2.1") }
