import { replyOf, type SessionSecurity } from "./client.ts"
import type { Target } from "./exchange.ts"
import { matchesMx, type StsPolicy } from "./sts-policy.ts"
import { type AppliedPolicy, resultOfCode, type TlsResultType } from "./tls-result.ts"
import type { TlsDemand } from "./transport.ts"

type ResultAndReason = readonly [result: TlsResultType, reason: string]

/** What a session that was had counts as. Under `testing` it may fall short of the policy, and that is what is reported (RFC 8461 §5). */
export function resultOf(
  security: SessionSecurity,
  demand: TlsDemand,
  policy: AppliedPolicy,
  sts: StsPolicy | null,
  target: Target,
): ResultAndReason {
  if (security.kind === "clear") return ["starttls-not-supported", ""]
  if (demand === "encrypted" && policy.type === "tlsa") return ["tlsa-invalid", ""]
  if (demand !== "opportunistic" || policy.type !== "sts" || sts === null) return ["success", ""]
  if (!matchesMx(target.host, sts.mx)) return ["validation-failure", "mx-mismatch"]
  return security.untrusted === null ? ["success", ""] : [resultOfCode(security.untrusted), security.untrusted]
}

/** What a session that was not had counts as; null: it did not come to TLS. */
export function resultOfFailure(error: unknown): readonly [result: TlsResultType | null, reason: string] {
  if (!(error instanceof Error) || !("code" in error) || error.code !== "ETLS") return [null, ""]
  if (replyOf(error) !== null) return ["starttls-not-supported", ""]
  const code = originalCode(error) ?? originalCode(error.cause) ?? "HANDSHAKE"
  return [resultOfCode(code), code]
}

function originalCode(error: unknown): string | null {
  return error instanceof Error && "originalCode" in error && typeof error.originalCode === "string"
    ? error.originalCode
    : null
}
