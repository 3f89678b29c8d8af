import { generateKeyPairSync } from "node:crypto"
import { readFile, writeFile } from "node:fs/promises"
import { pemDecode } from "../../src/crypto/cms/pem.ts"
import { mustRun, type TemporaryFolder } from "./peers.ts"

export type KeyKind = "P-256" | "P-384" | "secp256k1" | "Ed25519" | "X25519" | `RSA ${number}` | `RSA-PSS ${number}`

/** A certificate that OpenSSL made, with its key beside it. */
export interface Made {
  readonly der: Uint8Array
  readonly certificateFile: string
  readonly keyFile: string
}

export interface Wanted {
  /** Of its files, and its common name unless there is a subject. */
  readonly name: string
  /** In the notation of `openssl req -subj`. */
  readonly subject?: string
  /** null, or missing: itself. */
  readonly by?: Made | null
  /** P-256 unless given. */
  readonly key?: KeyKind
  /** Somebody else's key instead of a new one. */
  readonly sameKeyAs?: Made
  /** Lines of x509v3_config(5). */
  readonly extensions?: readonly string[]
  /** 365 unless given. */
  readonly days?: number
  readonly digest?: "sha1" | "sha256" | "sha512"
  /** More arguments of `openssl req`. */
  readonly more?: readonly string[]
}

/** What a CA's certificate says. */
export const AUTHORITY = [
  "basicConstraints=critical,CA:TRUE",
  "keyUsage=critical,keyCertSign,cRLSign",
  "subjectKeyIdentifier=hash",
]

/** What an e-mail certificate for this address and a key on a curve says. */
export function forMail(address: string, usage = "keyAgreement,digitalSignature"): string[] {
  return [
    "basicConstraints=critical,CA:FALSE",
    `keyUsage=critical,${usage}`,
    "extendedKeyUsage=emailProtection",
    `subjectAltName=email:${address}`,
    "authorityKeyIdentifier=keyid",
  ]
}

/** Has OpenSSL make a certificate. */
export async function make(folder: TemporaryFolder, wanted: Wanted): Promise<Made> {
  const { name, by, sameKeyAs } = wanted
  const certificateFile = folder.file(`${name}.pem`)
  const keyFile = sameKeyAs?.keyFile ?? folder.file(`${name}.key`)
  const configFile = folder.file(`${name}.cnf`)
  if (!sameKeyAs) await writeFile(keyFile, privateKey(wanted.key ?? "P-256"))
  const lines = wanted.extensions ?? []
  await writeFile(configFile, `[req]\ndistinguished_name=dn\n[dn]\n[ext]\n${lines.join("\n")}\n`)
  await mustRun("openssl", [
    ...["req", "-x509", "-new", "-key", keyFile, "-subj", wanted.subject ?? `/CN=${name}`, "-utf8"],
    ...["-config", configFile, "-days", String(wanted.days ?? 365), `-${wanted.digest ?? "sha256"}`],
    ...(lines.length > 0 ? ["-extensions", "ext"] : []),
    ...(by ? ["-CA", by.certificateFile, "-CAkey", by.keyFile] : []),
    ...(wanted.more ?? []),
    ...["-out", certificateFile],
  ])
  const [der] = pemDecode("CERTIFICATE", await readFile(certificateFile, "latin1"))
  if (!der) throw new Error("openssl made no certificate")
  return { der, certificateFile, keyFile }
}

function privateKey(kind: KeyKind): string {
  const { privateKey: key } = keyPair(kind)
  return key.export({ type: "pkcs8", format: "pem" }).toString()
}

function keyPair(kind: KeyKind) {
  const bits = Number(kind.split(" ")[1])
  if (kind.startsWith("RSA-PSS ")) return generateKeyPairSync("rsa-pss", { modulusLength: bits })
  if (kind.startsWith("RSA ")) return generateKeyPairSync("rsa", { modulusLength: bits })
  if (kind === "Ed25519") return generateKeyPairSync("ed25519")
  if (kind === "X25519") return generateKeyPairSync("x25519")
  return generateKeyPairSync("ec", { namedCurve: kind })
}
