import { hasCode } from "../../errors.ts"
import type { PrivateKey, PublicKey } from "../mesh-keys/key.ts"
import { agreementOf, ephemeralOf } from "../mesh-keys/use.ts"
import { type MontgomeryCurve, montgomeryOctets } from "../primitives/montgomery.ts"
import type { EnvelopeRecipient } from "./fields.ts"
import { type BaseSeed, unwrapBaseSeed, wrapBaseSeed } from "./key-schedule.ts"

/** Whom an envelope is written for. `kid` is the UDF of the key: the public one's fingerprint, or the symmetric one's identifier. */
export type Recipient =
  | { readonly kind: "agreement"; readonly kid: string; readonly key: PublicKey & { readonly curve: MontgomeryCurve } }
  | { readonly kind: "symmetric"; readonly kid: string; readonly key: Uint8Array }

/** A key that may open an envelope. */
export type OpeningKey =
  | {
      readonly kind: "agreement"
      readonly kid: string
      /**
       * The agreement with an ephemeral key: little-endian u, or the encoding of an Edwards point. Null when the key is on another curve.
       * Throws GatewayError POINT_INVALID. A shared key (a group's) answers with what both halves make together.
       */
      readonly agree: (ephemeral: PublicKey) => Uint8Array | null
    }
  | { readonly kind: "symmetric"; readonly kid: string; readonly key: Uint8Array }

/**
 * A private key that opens by itself. Published examples are encrypted to Ed25519; nothing else should be.
 * @throws GatewayError SCALAR_INVALID
 */
export function openingKey(kid: string, key: PrivateKey): OpeningKey {
  const agreement = agreementOf(key)
  return {
    kind: "agreement",
    kid,
    agree: (ephemeral) => (ephemeral.curve === key.curve ? agreement(ephemeral.octets) : null),
  }
}

/** The members of one recipient's entry. `ephemeral` makes a private key of so many octets for this one wrapping. */
export function recipientEntry(recipient: Recipient, baseSeed: Uint8Array, ephemeral: (octets: number) => Uint8Array) {
  const { kid } = recipient
  if (recipient.kind === "symmetric") return { kid, wmk: wrapBaseSeed(recipient.key, baseSeed) }
  const { curve, octets } = recipient.key
  const { publicKey, agree } = ephemeralOf(curve, ephemeral(montgomeryOctets(curve)))
  const epk = { PublicKeyECDH: { crv: curve, Public: publicKey.octets } }
  return { kid, epk, wmk: wrapBaseSeed(agree(octets), baseSeed) }
}

/**
 * The base seed of an envelope. Each key opens the first entry that names it.
 * @returns null when no entry names one of the keys, or none that does can be opened: the two look alike to whoever sent it
 */
export function openBaseSeed(recipients: readonly EnvelopeRecipient[], keys: readonly OpeningKey[]): BaseSeed | null {
  for (const key of keys) {
    const entry = recipients.find(({ kid }) => kid === key.kid)
    const seed = entry ? openEntry(entry, key) : null
    if (seed) return seed
  }
  return null
}

function openEntry({ ephemeral, wrappedSeed }: EnvelopeRecipient, key: OpeningKey): BaseSeed | null {
  if (key.kind === "symmetric") return ephemeral === "none" ? unwrapBaseSeed(key.key, wrappedSeed) : null
  if (ephemeral === "none" || ephemeral === "unsupported") return null
  const agreement = agreementWith(ephemeral, key.agree)
  return agreement && unwrapBaseSeed(agreement, wrappedSeed)
}

function agreementWith(ephemeral: PublicKey, agree: (ephemeral: PublicKey) => Uint8Array | null): Uint8Array | null {
  try {
    return agree(ephemeral)
  } catch (error) {
    // A point of small order, off the curve or in another form than its own opens nothing, as any wrong one.
    if (hasCode(error, "POINT_INVALID")) return null
    throw error
  }
}
