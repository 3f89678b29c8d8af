/** PURE. What an administrator lets count as a usable key. */
import { type Certificate, readCertificate } from "../../crypto/cms/certificate.ts"
import { pemDecode } from "../../crypto/cms/pem.ts"
import { GatewayError } from "../../errors.ts"
import type { RevocationStatus } from "./revocation-status.ts"

export interface KeyRules {
  readonly at: Date
  /** Authorities whose e-mail certificates are believed; what operating systems ship is for servers, so there are none unless somebody names them. */
  readonly roots: readonly Certificate[]
  readonly revocation: RevocationRule
  /** Whether a key for `a@` is good for mail to `a+tag@`. */
  readonly tags: boolean
}

/** `soft`: who cannot be asked has not revoked. `hard`: nothing is used before its authority said that it is not revoked. */
export type RevocationRule =
  | { readonly kind: "off" }
  | { readonly kind: "soft" | "hard"; readonly status: RevocationStatusOf }

/** Asks whether `certificate` is revoked by `issuer`, which has signed it. Never rejects: that nobody answers, or not in time, is an answer. */
export type RevocationStatusOf = (
  certificate: Certificate,
  issuer: Certificate,
  at: Date,
  signal: AbortSignal,
) => Promise<RevocationStatus>

/** The authorities of an administrator's PEM file. @throws GatewayError CONFIG_INVALID, saying which one is wrong */
export function readRoots(pem: string): readonly Certificate[] {
  const blocks = pemDecode("CERTIFICATE", pem)
  if (blocks.length === 0) throw new GatewayError("CONFIG_INVALID", "roots: no certificate in PEM")
  return blocks.map((der, at) => {
    try {
      return readCertificate(der)
    } catch (cause) {
      throw new GatewayError("CONFIG_INVALID", `roots: certificate ${at + 1} cannot be read`, { cause })
    }
  })
}
