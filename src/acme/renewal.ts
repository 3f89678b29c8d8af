/** PURE. When the CA is asked. */

/** What the configuration wants a certificate for. */
export interface WantedCertificate {
  /** URL of the CA's directory. */
  readonly directory: string
  readonly names: readonly string[]
}

/** The certificate that the CA issued last. */
export interface LastIssued extends WantedCertificate {
  readonly notBefore: Date
  readonly notAfter: Date
}

/** Attempts that failed, one after another, the last of them at `at`. */
export interface LastFailure extends WantedCertificate {
  readonly at: Date
  /** 1 or more. */
  readonly failures: number
  /** The CA wants no request before; null: it did not say. */
  readonly retryAt: Date | null
}

/** `at`: when the CA is asked next; now or earlier: at once. */
export interface RenewalPlan {
  readonly at: Date
  readonly why: "none-issued" | "other-names" | "other-ca" | "renewal"
}

/**
 * Decides when to ask: at once for what was never issued as it is wanted, else when a third of the lifetime is left, up to 12 hours (or a
 * tenth of that third) earlier by `jitter`, so that not all of the world asks at the same minute. After a failure not before its back-off is over.
 * @param jitter from 0 to 1, the same for the same certificate
 */
export function planRenewal(
  wanted: WantedCertificate,
  issued: LastIssued | null,
  failure: LastFailure | null,
  jitter: number,
): RenewalPlan {
  const why = reasonOf(wanted, issued)
  const due = why === "renewal" && issued !== null ? renewalTime(issued, jitter).getTime() : 0
  // What failed for other names, or at another CA, says nothing of this.
  const waits = failure !== null && isSame(failure, wanted) ? nextAttempt(failure).getTime() : 0
  return { at: new Date(Math.max(due, waits)), why }
}

/** An hour after the first failure, then twice as long each time up to 12 hours; never before the CA's own Retry-After. */
export function nextAttempt({ at, failures, retryAt }: LastFailure): Date {
  const ms = Math.min(FIRST_BACKOFF_MS * 2 ** (failures - 1), MAX_BACKOFF_MS)
  return new Date(Math.max(at.getTime() + ms, retryAt?.getTime() ?? 0))
}

function reasonOf(wanted: WantedCertificate, issued: LastIssued | null): RenewalPlan["why"] {
  if (issued === null) return "none-issued"
  if (issued.directory !== wanted.directory) return "other-ca"
  return isSame(issued, wanted) ? "renewal" : "other-names"
}

function renewalTime({ notBefore, notAfter }: LastIssued, jitter: number): Date {
  const third = (notAfter.getTime() - notBefore.getTime()) / 3
  return new Date(notAfter.getTime() - third - jitter * Math.min(MAX_JITTER_MS, third / 10))
}

function isSame(a: WantedCertificate, b: WantedCertificate): boolean {
  return a.directory === b.directory && a.names.toSorted().join() === b.names.toSorted().join()
}

const FIRST_BACKOFF_MS = 3600e3
const MAX_BACKOFF_MS = 12 * 3600e3
const MAX_JITTER_MS = 12 * 3600e3
