import { readCertificate } from "../crypto/cms/certificate.ts"
import type { CmsIdentity } from "../crypto/cms/signed.ts"
import { apartIdentity } from "../crypto/openpgp/gateway-subkey.ts"
import type { OpenPgpIdentity } from "../crypto/openpgp/sign.ts"
import { signP256Alike } from "../crypto/primitives/sign-alike.ts"
import type { Account, Format } from "../store/account.ts"
import type { GatewayKey, GatewayKeys } from "../store/gateway-keys.ts"
import { signingKeyState } from "../store/signing-folder.ts"
import { type Fitness, fitnessOf } from "./gateway-certificate.ts"

/** A gateway key that is ready to sign, or one sentence why there is none. */
export type FoundSigner =
  | { readonly kind: "signer"; readonly format: "smime"; readonly signer: CmsIdentity }
  | { readonly kind: "signer"; readonly format: "openpgp"; readonly signer: OpenPgpIdentity }
  | { readonly kind: "none"; readonly because: string }

/** Mail is on its way for days, and is read days later: what signs it must hold then. */
export const SIGNING_MARGIN_MS = 14 * 86_400_000

/** Gateway keys as mail needs them: those of a moment, kept ready until a file, or the account, changes. */
export class GatewaySigners {
  readonly #keys: GatewayKeys
  readonly #accountOf: (address: string) => Account | null
  readonly #now: () => Date
  readonly #known = new Map<string, Known>()

  constructor(keys: GatewayKeys, accountOf: (address: string) => Account | null, now: () => Date) {
    this.#keys = keys
    this.#accountOf = accountOf
    this.#now = now
  }

  /**
   * Who signs for `address` a message that was accepted `at`: the key that was active then; for mail from before the first key, or where that one
   * is gone, the key that is active now.
   * @param format null: the first of the account's formats that has a key
   * @throws GatewayError GATEWAY_KEYS_CORRUPT, GATEWAY_KEY_UNUSABLE: it would sign and cannot
   */
  of(address: string, format: Format | null, at: Date): FoundSigner {
    const account = this.#accountOf(address)
    if (account === null) return { kind: "none", because: `${address} has no account here any more` }
    const known = this.#current(account)
    const formats = format === null ? account.formats : [format]
    const certified = known.keys.filter((key) => formats.includes(key.format))
    const lasting = certified.filter((key) => this.#lasts(key, known))
    const [key] = formats.flatMap((one) => chosen(lasting, one, at) ?? [])
    if (key === undefined) return { kind: "none", because: withoutKey(address, formats, certified, known) }
    const signer = known.signers.get(key.id) ?? this.#load(key, account)
    known.signers.set(key.id, signer)
    return signer
  }

  #lasts({ id }: CertifiedKey, { fitness }: Known): boolean {
    const found = fitness.get(id)
    return found?.kind === "fit" && found.until.getTime() - this.#now().getTime() >= SIGNING_MARGIN_MS
  }

  #load(key: CertifiedKey, { intermediate, root }: Account): FoundSigner {
    const secret = this.#keys.secret(key)
    if (key.format === "openpgp")
      return { kind: "signer", format: "openpgp", signer: apartIdentity(key.publicKey, secret) }
    const signer: CmsIdentity = {
      certificate: readCertificate(key.certificate),
      chain: [intermediate, root],
      // What is sealed and posted again has to be the same message: another signature would make it another, which comes twice.
      key: { algorithm: "ecdsa", sign: async (octets) => signP256Alike(secret, octets) },
    }
    return { kind: "signer", format: "smime", signer }
  }

  #current(account: Account): Known {
    const { address } = account
    const known = this.#known.get(address)
    const print = this.#keys.print(address)
    if (known?.account === account && known.print === print) return known
    this.#known.delete(address)
    const keys = this.#keys.of(address).filter(isCertified)
    const fitness = new Map(keys.map((key) => [key.id, fitnessOf(key, key.certificate, account, this.#now())]))
    const current = { account, print, keys, fitness, signers: new Map() }
    this.#known.set(address, current)
    return current
  }
}

interface Known {
  readonly account: Account
  readonly print: string
  readonly keys: readonly CertifiedKey[]
  readonly fitness: ReadonlyMap<string, Fitness>
  readonly signers: Map<string, FoundSigner>
}

type CertifiedKey = GatewayKey & { readonly certificate: Uint8Array }

function isCertified(key: GatewayKey): key is CertifiedKey {
  return key.certificate !== null
}

function chosen(keys: readonly CertifiedKey[], format: Format, at: Date): CertifiedKey | null {
  const ours = keys.filter((key) => key.format === format)
  return ours.find((key) => signedAt(key, at)) ?? ours.find((key) => signingKeyState(key) === "active") ?? null
}

function signedAt({ activeAt, retiredAt }: GatewayKey, at: Date): boolean {
  return activeAt !== null && activeAt <= at && (retiredAt === null || at < retiredAt)
}

function withoutKey(
  address: string,
  formats: readonly Format[],
  certified: readonly CertifiedKey[],
  { fitness }: Known,
): string {
  const last = certified.findLast((key) => signingKeyState(key) === "active")
  const found = last && fitness.get(last.id)
  if (last === undefined || found === undefined)
    return `${address} has no ${formats.map((format) => NAMES[format]).join(" or ")} key at this gateway`
  return found.kind === "unfit"
    ? `${nameOf(last)} may not sign: ${found.because}`
    : `${nameOf(last)} ends on ${found.until.toISOString().slice(0, 10)}`
}

function nameOf({ account, format }: GatewayKey): string {
  return `the ${NAMES[format]} key of ${account} at this gateway`
}

const NAMES = { smime: "S/MIME", openpgp: "OpenPGP" } as const satisfies Record<Format, string>
