/** PURE. What is demanded of TLS with one mail exchanger: the configuration's rule, DANE (RFC 7672), MTA-STS (RFC 8461), REQUIRETLS (RFC 8689). */
import { matchesMx, type StsPolicy } from "./sts-policy.ts"
import type { TlsaRecord } from "./tlsa.ts"

/** A certificate that DANE vouches for. */
export interface DaneDemand {
  readonly kind: "dane"
  /** Usable ones, at least one. */
  readonly records: readonly TlsaRecord[]
  /** Reference identifiers for DANE-TA (RFC 7672 §3.2.2). The first is the TLSA base domain, which is SNI as well (§8.1). */
  readonly names: readonly string[]
}

/** From the least. `encrypted`: TLS with any certificate; `required`: one of the host's name by an authority that is trusted here. */
export type TlsDemand = "opportunistic" | "encrypted" | "required" | DaneDemand

/** What an administrator demands for a domain. */
export interface TransportLevel {
  readonly tls: "published" | "opportunistic" | "required" | "dane"
  /** Mail exchangers allowed; none: any. */
  readonly mx: readonly string[]
}

/** What DNS says about TLSA of a mail exchanger. */
export type TlsaFinding =
  /** Securely none, or its names are not signed: DANE does not apply. */
  | { readonly kind: "none" }
  | { readonly kind: "usable"; readonly demand: DaneDemand }
  /** There are records, and none of them can be used (RFC 7672 §2.2: TLS is mandatory then, authentication impossible). */
  | { readonly kind: "unusable" }
  /** Bogus, or no answer: nothing may be sent there now (RFC 7672 §2.1.1). */
  | { readonly kind: "unanswered"; readonly why: string }

/** What one message asks for. */
export interface MessageDemand {
  /** MAIL had REQUIRETLS. */
  readonly requireTls: boolean
  /** TLS-Required: No (RFC 8689 §5): what the recipient's domain publishes is no reason not to deliver. */
  readonly tlsOptional: boolean
}

/** What is known before a connection is made. */
export interface ExchangerFacts {
  readonly host: string
  readonly level: TransportLevel
  readonly message: MessageDemand
  /** The MX records were validated by DNSSEC. */
  readonly mxSecure: boolean
  readonly tlsa: TlsaFinding
  readonly sts: StsPolicy | null
}

/** `refused`: this mail exchanger must not be used; `why` in words for the log and the sender. */
export type TransportDecision =
  | { readonly kind: "try"; readonly tls: TlsDemand }
  | {
      readonly kind: "refused"
      readonly result: "validation-failure" | "dnssec-invalid" | "dane-required"
      readonly why: string
    }

/** Nothing but the administrator's word counts for such a message or rule: DNS need not be asked for TLSA and policies. */
export function asksPublished(level: TransportLevel, message: MessageDemand): boolean {
  return effective(level, message) !== "opportunistic"
}

/** What is demanded of a session with this mail exchanger. */
export function decideTransport(facts: ExchangerFacts): TransportDecision {
  const { host, level, message, mxSecure, tlsa, sts } = facts
  const wanted = effective(level, message)
  const listed = level.mx.length > 0
  if (listed && !matchesMx(host, level.mx)) return refused("validation-failure", `${host} is none of relay.domains.mx`)
  if (wanted === "opportunistic") return { kind: "try", tls: "opportunistic" }
  if (tlsa.kind === "unanswered")
    return refused("dnssec-invalid", `no secure answer about TLSA of ${host}: ${tlsa.why}`)
  const inPolicy = sts !== null && sts.mode !== "none" && matchesMx(host, sts.mx)
  // RFC 8689 §4.2.1: whose mail exchanger this is must be known from DNSSEC or MTA-STS.
  if (message.requireTls && !mxSecure && !inPolicy && !(listed && level.tls === "required"))
    return refused("validation-failure", `neither DNSSEC nor MTA-STS says that ${host} is the domain's (RFC 8689)`)
  // RFC 8461 §2: MTA-STS never overrides DANE.
  if (tlsa.kind === "usable") return { kind: "try", tls: tlsa.demand }
  if (wanted === "dane") return refused("dane-required", `${host} has no TLSA records that can be used`)
  if (sts?.mode === "enforce" && !inPolicy) return refused("validation-failure", `${host} is not in the MTA-STS policy`)
  if (wanted === "required" || sts?.mode === "enforce") return { kind: "try", tls: "required" }
  return { kind: "try", tls: tlsa.kind === "unusable" ? "encrypted" : "opportunistic" }
}

function effective({ tls }: TransportLevel, { requireTls, tlsOptional }: MessageDemand): TransportLevel["tls"] {
  if (requireTls) return tls === "dane" ? "dane" : "required"
  return tlsOptional && tls === "published" ? "opportunistic" : tls
}

function refused(result: Extract<TransportDecision, { kind: "refused" }>["result"], why: string): TransportDecision {
  return { kind: "refused", result, why }
}
