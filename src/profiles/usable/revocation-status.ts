/** What became of a question whether a certificate is revoked. */
export type RevocationStatus =
  /** `until`: when to ask again. null: it never can be revoked (RFC 9608). */
  | { readonly kind: "good"; readonly until: Date | null }
  | { readonly kind: "revoked"; readonly since: Date; readonly reason: string | null }
  /** Its authority's responder does not know it (RFC 6960 §2.2), and no CRL says more. */
  | { readonly kind: "unknown" }
  /** The certificate names no place to ask at, and nobody else has a CRL of its issuer. */
  | { readonly kind: "nowhere" }
  /** `because`: one clause for people. */
  | { readonly kind: "unanswered"; readonly because: string }
