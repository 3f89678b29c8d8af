import { arcSet } from "../mime/arc-set.ts"
import { findField, MAX_HEADER_OCTETS } from "../mime/header.ts"
import type { SpoolEntry } from "../store/spool.ts"
import { ADDED_OCTETS, bodyHashOf } from "./dkim.ts"
import type { Signatories } from "./ports.ts"
import { atHand, type Prepared, prefixed } from "./prepared.ts"
import { splitHeader } from "./protect.ts"

/** A message with an ARC set of ours on top, or one sentence for people why it has none. */
type Sealed =
  | { readonly kind: "sealed"; readonly message: Prepared }
  | { readonly kind: "unsealed"; readonly because: string }

/**
 * A message that is sent on, with an ARC set on top (RFC 8617 §5.1) over its octets as they leave: what was found of it when it came, and the chain that it came
 * with. The same message and keys give the same octets.
 * @param domain one of ours, which seals
 * @throws GatewayError DKIM_KEY_UNUSABLE, DKIM_KEYS_CORRUPT
 */
export async function sealed(
  message: Prepared,
  { authentication, receivedAt }: Pick<SpoolEntry, "authentication" | "receivedAt">,
  domain: string,
  signatories: Signatories,
): Promise<Sealed> {
  const found = findField(Buffer.from(authentication?.field ?? ""), "authentication-results")
  if (authentication?.chain === undefined || found === null)
    return { kind: "unsealed", because: "nobody has looked at whom it is by" }
  const signers = signatories.of(domain, receivedAt)
  // Verifiers need not know Ed25519.
  const signing = signers.find(({ signer }) => signer.algorithm === "rsa-sha256") ?? signers[0]
  if (signing === undefined) return { kind: "unsealed", because: `${domain} has no DKIM key` }
  const source = await atHand(message)
  const { header, body } = await splitHeader(source, MAX_HEADER_OCTETS + ADDED_OCTETS)
  const set = arcSet(header, {
    ...signing,
    bodyHash: await bodyHashOf(body),
    chain: authentication.chain,
    results: found.octets,
    at: receivedAt,
  })
  if (set.kind === "none") return { kind: "unsealed", because: set.because }
  return { kind: "sealed", message: prefixed(set.fields, source) }
}
