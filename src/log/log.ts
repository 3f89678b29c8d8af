/** Values that may stand in a log line: never content, never secrets. */
export type LogFields = Readonly<Record<string, string | number | boolean | null | undefined | readonly string[]>>

/** One line per decision. `event` is a stable dotted name (`smtp.accepted`), the fields say the rest. */
export interface Log {
  debug(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  /** `error` is logged with its stack when it is ours to mend. */
  error(event: string, fields?: LogFields, error?: unknown): void
  /** A log whose lines all carry `fields`. */
  with(fields: LogFields): Log
}

export type LogLevel = "debug" | "info" | "warn" | "error" | "silent"

const SILENT: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  with: () => SILENT,
}

/** For tests and for commands that log nothing, which need not load what writes logs. */
export function silentLog(): Log {
  return SILENT
}
