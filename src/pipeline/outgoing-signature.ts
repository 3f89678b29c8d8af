/** Whether the gateway signs a message that leaves for its author. */
import { addressKey } from "../message/address.ts"
import { parseFields } from "../mime/header.ts"
import { isSignedByAuthor } from "../mime/header-protection.ts"
import type { KeyFormat } from "../profiles/key.ts"
import type { StatedPolicy } from "../profiles/policy.ts"
import type { SpoolEntry } from "../store/spool.ts"
import { authorOf } from "./author.ts"
import type { FoundSigner, SigningIdentities } from "./ports.ts"
import type { Signing } from "./signing.ts"

/** What policy and the author's key come to. `because` is a sentence for people. */
export type OutgoingSignature =
  | { readonly kind: "sign"; readonly signing: Pick<Signing, "identity" | "at"> }
  | { readonly kind: "none"; readonly because: string }
  /** It must be signed and cannot be. */
  | { readonly kind: "hold"; readonly because: string }

/**
 * Only for mail that one of our people has submitted under the address of the account, and has not signed: a key says who wrote it.
 * @param format that of the key it is encrypted to; null: it leaves in clear
 * @throws GatewayError GATEWAY_KEYS_CORRUPT, GATEWAY_KEY_UNUSABLE: it must not go out unsigned
 */
export function outgoingSignature(
  { origin, receivedAt }: Pick<SpoolEntry, "origin" | "receivedAt">,
  header: Uint8Array,
  stated: Pick<StatedPolicy, "policy" | "statedBy">,
  format: KeyFormat | null,
  identities: SigningIdentities,
): OutgoingSignature {
  const { sign } = stated.policy
  if (sign === "off") return { kind: "none", because: "signing is off" }
  if (origin.kind !== "submission" || origin.account === null)
    return { kind: "none", because: "not of one of our people" }
  if (isSignedByAuthor(header)) return { kind: "none", because: "its author has signed it" }
  const found: FoundSigner = isAuthor(header, origin.account)
    ? identities.of(origin.account, format, receivedAt)
    : { kind: "none", because: `its From is not ${origin.account} alone, whom the key at this gateway is for` }
  return found.kind === "signer" ? signing(found, receivedAt) : withoutKey(found.because, stated)
}

/** What is to become of a message that cannot be signed as it is. */
export function withoutKey(
  because: string,
  { policy, statedBy }: Pick<StatedPolicy, "policy" | "statedBy">,
): OutgoingSignature {
  if (policy.sign !== "require") return { kind: "none", because }
  const rule = statedBy.sign === null ? "" : ` (rule "${statedBy.sign}")`
  return { kind: "hold", because: `it must be signed, but ${because}${rule}` }
}

/** Every mail program shows what is signed in clear, and those without S/MIME show its text. */
function signing(found: Exclude<FoundSigner, { readonly kind: "none" }>, at: Date): OutgoingSignature {
  const identity =
    found.format === "smime" ? ({ format: "smime", form: "clear", signer: found.signer } as const) : found
  return { kind: "sign", signing: { identity, at } }
}

/** Verifiers compare: a certificate for another address than the author's makes a signature worse than none. */
function isAuthor(header: Uint8Array, account: string): boolean {
  const author = authorOf(parseFields(header))
  return author !== null && addressKey(author) === account
}
