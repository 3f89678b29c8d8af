import { readFileSync } from "node:fs"
import { readCertificate } from "../../../src/crypto/cms/certificate.ts"
import { type CmsRecryption, cmsRecryptor } from "../../../src/crypto/recryption/cms.ts"

interface Party {
  readonly scalar: string
  readonly certificate: string
}

interface CmsVectors {
  readonly plaintext: string
  readonly account: Party
  readonly devices: readonly (Party & { readonly name: string; readonly recryptionKey: string })[]
  readonly messages: readonly {
    readonly form: string
    readonly original: string
    readonly recrypted: Readonly<Record<string, string>>
  }[]
}

interface OpenPgpVectors {
  readonly original: string
  readonly recrypted: string
  readonly recryptionKeyBigEndian: string
}

export const cms: CmsVectors = read("cms-p256.json")
export const openpgp: OpenPgpVectors = read("openpgp-curve25519.json")

/** The recryption from the vectors' account to the device called `name`. */
export function cmsRecryption(name: string): CmsRecryption {
  const device = cms.devices.find((candidate) => candidate.name === name)
  if (!device) throw new Error(`no device ${name}`)
  return { from: identity(cms.account), to: identity(device), scalar: hex(device.recryptionKey) }
}

export const dev1 = cmsRecryptor(cmsRecryption("dev1"))
export const OPENPGP_KEY_ID = hex("28e0eff386c518a7")
export const openpgpScalar = hex(openpgp.recryptionKeyBigEndian).reverse()

export function identity(party: Party): CmsRecryption["from"] {
  const pem = party.certificate.replace(/-----[A-Z ]+-----|\s/g, "")
  return readCertificate(base64(pem)).identity
}

export function hex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "hex"))
}

export function base64(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "base64"))
}

export function read<T>(file: string): T {
  return JSON.parse(readFileSync(new URL(`../../vectors/recryption/${file}`, import.meta.url), "utf8"))
}
