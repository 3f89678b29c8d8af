/**
 * Runs `work` with stack traces switched off. Node 24 builds (and throws away) an error with its trace for each KeyObject it makes:
 * measured at 20 to 25 of the 62 microseconds that importing a P-256 point takes. `work` must be synchronous; errors it throws have
 * their code and message, but no trace.
 */
export function withoutStackTraces<T>(work: () => T): T {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    return work()
  } finally {
    Error.stackTraceLimit = limit
  }
}
