/** PURE. What checking a message's signature came to, in the words of Authentication-Results. */
import { type Address, formatAddress } from "../../message/address.ts"
import { resultsField } from "../../mime/authentication-results.ts"
import type { SignedBy } from "../../mime/signed.ts"

/**
 * `pass`: all that readers show is signed, and by its author, with a key of theirs that is known here. `fail`: a signature that is wrong. `policy`: one that
 * may be right and does not count. `neutral`: one that could not be checked. `temperror`: the same, and a later look might. `permerror`: malformed.
 */
export type SignatureResult = "pass" | "fail" | "policy" | "neutral" | "temperror" | "permerror"

export interface SignatureVerdict {
  readonly by: SignedBy
  readonly result: SignatureResult
  /** One clause for people. */
  readonly because: string
  /** Whose certificate it is that passed; hexadecimal serial number of X.509, fingerprint of OpenPGP. */
  readonly signer?: { readonly address: Address; readonly key: string }
}

/**
 * An Authentication-Results field (RFC 8601) with the verdict: method `smime` of RFC 7281. For OpenPGP none is registered: `openpgp` is ours, which RFC
 * 8601 §2.7.7 allows within one administration.
 */
export function signatureField(authservId: string, { by, result, because, signer }: SignatureVerdict): string {
  const reason = because.replace(/["\\]/g, "'")
  const properties = signer === undefined ? [] : propertiesOf(by, signer)
  return resultsField(authservId, [[`${by}=${result} reason="${reason}"`, ...properties].join(" ")])
}

function propertiesOf(by: SignedBy, { address, key }: NonNullable<SignatureVerdict["signer"]>): readonly string[] {
  const written = formatAddress(address)
  const shown = PLAIN.test(written) ? [written] : []
  return by === "smime"
    ? [...shown.map((text) => `body.smime-identifier=${text}`), `body.smime-serial=${key}`]
    : [...shown.map((text) => `header.from=${text}`), `policy.fingerprint=${key}`]
}

/** An address that stands as a pvalue (RFC 8601 §2.2) without quotes. */
const PLAIN = /^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+$/
