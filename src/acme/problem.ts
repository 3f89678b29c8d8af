import { GatewayError } from "../errors.ts"

/** What a CA says is wrong (RFC 7807, RFC 8555 §6.7), fit for a log line. */
export interface Problem {
  /** `urn:ietf:params:acme:error:…`; "about:blank" where the CA gives none. */
  readonly type: string
  readonly detail: string
}

/**
 * Why there is no certificate. ACME_REFUSED: the CA said no, `problem` says why; ACME_UNREACHABLE: no answer, or not in time;
 * ACME_PROTOCOL: an answer that RFC 8555 does not know.
 */
export class AcmeError extends GatewayError {
  readonly problem: Problem | null
  /** The CA wants no request before (Retry-After); null: it does not say. */
  readonly retryAt: Date | null

  constructor(
    code: "ACME_REFUSED" | "ACME_UNREACHABLE" | "ACME_PROTOCOL",
    message: string,
    {
      cause,
      problem = null,
      retryAt = null,
    }: { cause?: unknown; problem?: Problem | null; retryAt?: Date | null } = {},
  ) {
    super(code, `acme: ${message}`, { cause })
    this.name = "AcmeError"
    this.problem = problem
    this.retryAt = retryAt
  }
}

/** The CA's refusal of `what`. */
export function refusal(what: string, document: unknown, retryAt: Date | null = null): AcmeError {
  const problem = readProblem(document)
  return new AcmeError("ACME_REFUSED", `${what}: ${problem.type}: ${problem.detail}`, { problem, retryAt })
}

/** Reads a problem document; what is missing in it, or is none, gets a word of ours. */
export function readProblem(document: unknown): Problem {
  const { type, detail, subproblems } = asObject(document)
  const more = Array.isArray(subproblems) ? subproblems.slice(0, MAX_SUBPROBLEMS).map(subproblem) : []
  return {
    type: typeof type === "string" ? plain(type, MAX_TYPE_CHARACTERS) : "about:blank",
    detail: plain([typeof detail === "string" ? detail : "no detail", ...more].join("; "), MAX_DETAIL_CHARACTERS),
  }
}

/** The members of a JSON object; none of what is no object. */
export function asObject(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {}
}

// RFC 8555 §6.7.1: one for each identifier.
function subproblem(document: unknown): string {
  const { identifier, detail } = asObject(document)
  return `${String(asObject(identifier)["value"] ?? "?")}: ${String(detail ?? "no detail")}`
}

/** One line, without what would drive a terminal. */
function plain(text: string, most: number): string {
  const line = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").trim()
  return line.length > most ? `${line.slice(0, most)}…` : line
}

/** The CA chooses the text, and it goes into log and terminal. */
const MAX_TYPE_CHARACTERS = 100
const MAX_DETAIL_CHARACTERS = 600
const MAX_SUBPROBLEMS = 10
