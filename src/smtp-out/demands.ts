import { hasCode } from "../errors.ts"
import { fieldText, findField, readHeader } from "../mime/header.ts"
import { findTlsa } from "./dane.ts"
import type { Target } from "./exchange.ts"
import type { ExchangeHop, RelayMessage } from "./hop.ts"
import { type StsPolicy, stsPolicyLines } from "./sts-policy.ts"
import type { AppliedPolicy, TlsResultType } from "./tls-result.ts"
import { tlsaText } from "./tlsa.ts"
import {
  asksPublished,
  decideTransport,
  type MessageDemand,
  type TlsaFinding,
  type TransportDecision,
  type TransportLevel,
} from "./transport.ts"

/** What is known of a domain's MTA-STS policy. */
export interface StsFinding {
  /** null: there is none, or none could ever be had. */
  readonly policy: StsPolicy | null
  /** A policy is announced and was not had just now; `policy` is then what was known before. */
  readonly failure: { readonly result: TlsResultType; readonly why: string } | null
}

/** Policies of MTA-STS. */
export interface StsPolicies {
  /** @throws what keeps it from telling whether a policy is known: nothing may be sent then */
  find(hop: Pick<ExchangeHop, "domain" | "resolver">, signal: AbortSignal): Promise<StsFinding>
}

/** What is demanded of one mail exchanger, and by which policy. */
export interface Demanded {
  readonly decision: TransportDecision
  readonly policy: AppliedPolicy
}

/** What is demanded for one message of the mail exchangers of a domain. */
export interface Demands {
  readonly sts: StsFinding
  of(target: Target): Promise<Demanded>
}

/** Finds out what message, configuration and domain demand; each mail exchanger's TLSA are asked for when its turn has come. */
export async function findDemands(
  message: RelayMessage,
  hop: ExchangeHop,
  mxSecure: boolean,
  policies: StsPolicies | null,
  signal: AbortSignal,
): Promise<Demands> {
  const level = hop.level ?? PUBLISHED
  const asked = await demandOf(message, level)
  const published = asksPublished(level, asked)
  const sts =
    published && policies !== null && !hop.domain.startsWith("[") ? await policies.find(hop, signal) : NO_POLICY
  const known = new Map<string, Promise<TlsaFinding>>()
  const tlsaOf = (target: Target): Promise<TlsaFinding> => {
    const found = known.get(target.host) ?? findTlsa(target, hop.domain, hop.port ?? 25, hop.resolver)
    known.set(target.host, found)
    return found
  }
  return {
    sts,
    async of(target) {
      const tlsa: TlsaFinding = published ? await tlsaOf(target) : { kind: "none" }
      const facts = { host: target.host, level, message: asked, mxSecure, tlsa, sts: sts.policy }
      return { decision: decideTransport(facts), policy: appliedPolicy(tlsa, sts.policy) }
    },
  }
}

/** RFC 8689 §5: TLS-Required: No in the header, where REQUIRETLS does not say the contrary. */
async function demandOf({ requireTls, content }: RelayMessage, level: TransportLevel): Promise<MessageDemand> {
  if (requireTls) return { requireTls: true, tlsOptional: false }
  // What an administrator demands is not the sender's to give up.
  if (level.tls !== "published") return { requireTls: false, tlsOptional: false }
  const octets = content()[Symbol.asyncIterator]()
  try {
    const { header } = await readHeader(octets)
    const field = findField(header, "tls-required")
    return { requireTls: false, tlsOptional: field !== null && fieldText(field).toLowerCase() === "no" }
  } catch (error) {
    // What cannot be read asks for nothing.
    if (hasCode(error, "HEADER_TOO_LARGE")) return { requireTls: false, tlsOptional: false }
    throw error
  } finally {
    await octets.return?.()
  }
}

function appliedPolicy(tlsa: TlsaFinding, sts: StsPolicy | null): AppliedPolicy {
  if (tlsa.kind === "usable") return { type: "tlsa", strings: tlsa.demand.records.map(tlsaText), mx: [] }
  if (tlsa.kind !== "none") return { type: "tlsa", strings: [], mx: [] }
  if (sts !== null && sts.mode !== "none") return { type: "sts", strings: stsPolicyLines(sts), mx: sts.mx }
  return { type: "no-policy-found", strings: [], mx: [] }
}

const PUBLISHED: TransportLevel = { tls: "published", mx: [] }
const NO_POLICY: StsFinding = { policy: null, failure: null }
