/** PURE. The words of key discovery: what sources give, and what is made of it. */
import type { Address } from "../message/address.ts"

/** `mesh`: not a key alone, but an account of the Mesh with the service that takes mail for it. */
export type KeyFormat = "smime" | "openpgp" | "mesh"

/** How far a source is believed, best first. */
export const TRUST = ["pinned", "directory", "dnssec", "domain", "harvested", "keyserver"] as const
/**
 * `pinned`: an administrator vouches for it. `directory`: one that an administrator named. `dnssec`: signed by the domain (DANE). `domain`: published
 * by the domain over HTTPS (mail profile, WKD). `harvested`: came with authenticated mail. `keyserver`: anybody may have put it there.
 */
export type Trust = (typeof TRUST)[number]

/** What the holder of the key asks of those who write to him (mail profile: prefer, require; Autocrypt: prefer-encrypt). null: nothing. */
export type Wish = "require" | "prefer" | "clear" | null

/** A key as a source gave it: nothing in it is believed yet. */
export interface KeyCandidate {
  readonly format: KeyFormat
  /** S/MIME: DER of one certificate. OpenPGP: one certificate, binary. Mesh: the signed mail profile of version 2 (docs/PROFILE.md). */
  readonly octets: Uint8Array
  /** S/MIME: DER of certificates that came beside it, to build its path with. */
  readonly chain: readonly Uint8Array[]
  /**
   * S/MIME: DER of certificates that the source itself vouches for, so that a path may end at one of them as at a configured root; none when it is
   * missing. DANE-EE (3) gives the certificate itself, DANE-TA (2) its authority, PKIX-EE (1) nothing (RFC 6698 §2.1.1, RFC 8162); the mail profile
   * its holder's personal root; a directory that an administrator believes, the certificate itself.
   */
  readonly anchors?: readonly Uint8Array[]
  /** S/MIME: DER of SMIMECapabilities (RFC 8551 §2.5.2, as in the extension of RFC 4262) that came beside it, not verified. */
  readonly capabilities?: Uint8Array
  /** Name of the source. */
  readonly source: string
  readonly trust: Trust
  /** Where it stood: a URL, a DNS name, a distinguished name. */
  readonly place: string
  readonly wish: Wish
  /** What stays when the key is renewed, where the source knows it (the fingerprint of a personal root); null: the key itself. */
  readonly lineage: string | null
}

/** What a source said of an address. */
export interface SourceAnswer {
  /** Empty: it answered that there is none. */
  readonly candidates: readonly KeyCandidate[]
  /** For people: what was odd, or what stood there instead of a key. */
  readonly remarks: readonly string[]
}

/** One place where keys are published. */
export interface KeySource {
  readonly name: string
  readonly trust: Trust
  /** It knows what it knows, at once: its answers are not kept. */
  readonly isLocal?: true
  /**
   * @returns null when this source is not for such addresses, and was not asked
   * @throws GatewayError KEY_SOURCE_SILENT when it could not answer: then nobody knows whether there is a key
   */
  lookup(address: Address, signal: AbortSignal): Promise<SourceAnswer | null>
}

declare const judged: unique symbol

/** A key that mail may be encrypted to. Only {@link file://./usable.ts} makes one. */
export interface UsableKey extends KeyCandidate {
  readonly [judged]: true
  /** S/MIME: the certificate as it came. OpenPGP: reduced to what its signatures vouch for, as `openPgpRecipient` wants it. */
  readonly octets: Uint8Array
  /** Hexadecimal. S/MIME: SHA-256 of SubjectPublicKeyInfo. OpenPGP: of the primary key. Mesh: the profile's UDF. */
  readonly fingerprint: string
  /** OpenPGP: hexadecimal fingerprints of the subkeys that are encrypted to. */
  readonly subkeys?: readonly string[]
  readonly lineage: string
  /** An authority that an administrator named vouches for it, as for the one before: that it is another one is no surprise. */
  readonly vouched: boolean
  /** For people: `RSA 3072`, `P-256`, `X25519`. */
  readonly algorithm: string
  /** null: never. */
  readonly expiresAt: Date | null
  /** What its holder's programs read beside what everybody reads (RFC 8551 §2.5.2, RFC 9580 §5.2.3.32). */
  readonly reads: { readonly aesGcm: boolean; readonly seipdV2: boolean }
}

/** A candidate that is not used. */
export interface RejectedKey {
  readonly candidate: KeyCandidate
  /** One sentence for people. */
  readonly because: string
  readonly revoked?: Revocations
}

/** OpenPGP: what a certificate's own signatures revoke, in whatever copy of it. Fingerprints in hexadecimal. */
export interface Revocations {
  /** Of the primary key that has signed them. */
  readonly of: string
  /** Of itself, or of its subkeys for encryption. */
  readonly keys: readonly string[]
}

export type Judged =
  | {
      readonly kind: "usable"
      readonly key: UsableKey
      /** One sentence for people: who vouches for it, and what could not be learned. */
      readonly because: string
      /** When the verdict has to be made anew (expiry, next CRL); null: never. */
      readonly until: Date | null
      readonly revoked?: Revocations
    }
  | ({ readonly kind: "rejected" } & RejectedKey)
  /** Whether it is revoked could not be learned, and the rules want to know. */
  | ({ readonly kind: "undecided" } & RejectedKey)
