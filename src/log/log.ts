import { type DestinationStream, destination as fileDestination, type Logger, pino, stdTimeFunctions } from "pino"

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

/** JSON lines on stderr (or `destination`); stdout belongs to the commands. */
export function createLog(
  level: LogLevel,
  destination: DestinationStream = fileDestination({ fd: 2, sync: true }),
): Log {
  return new PinoLog(pino({ level, base: null, timestamp: stdTimeFunctions.isoTime }, destination))
}

/** For tests and for commands that log nothing. */
export function silentLog(): Log {
  return createLog("silent")
}

/** One object for a log and its methods: every IMAP session has a log of its own. */
class PinoLog implements Log {
  readonly #logger: Logger

  constructor(logger: Logger) {
    this.#logger = logger
  }

  debug(event: string, fields?: LogFields): void {
    this.#logger.debug({ event, ...fields })
  }

  info(event: string, fields?: LogFields): void {
    this.#logger.info({ event, ...fields })
  }

  warn(event: string, fields?: LogFields): void {
    this.#logger.warn({ event, ...fields })
  }

  error(event: string, fields?: LogFields, error?: unknown): void {
    this.#logger.error({ event, ...fields, ...(error === undefined ? {} : { err: error }) })
  }

  with(fields: LogFields): Log {
    return new PinoLog(this.#logger.child({ ...fields }))
  }
}
