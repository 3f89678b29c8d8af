import { type DestinationStream, destination as fileDestination, type Logger, pino, stdTimeFunctions } from "pino"
import type { Log, LogFields, LogLevel } from "./log.ts"

/** JSON lines on stderr (or `destination`); stdout belongs to the commands. */
export function createLog(
  level: LogLevel,
  destination: DestinationStream = fileDestination({ fd: 2, sync: true }),
): Log {
  return new PinoLog(loggerOf(level, destination))
}

/**
 * As {@link createLog}, for a process that tells of every connection and message: lines that come within a moment go out together, since
 * each write wakes whoever reads them, which was a tenth of a login's work and of an accepted message's. Warnings and errors go out at
 * once, behind what waits. Only a process that is killed loses what waits.
 */
export function createGatheringLog(level: LogLevel): Log {
  gathered ??= new GatheredLines()
  return new PinoLog(loggerOf(level, gathered), gathered.flush)
}

/** Lines on stderr, those of a moment in one write. A process that has nothing to say is not woken. */
class GatheredLines implements DestinationStream {
  readonly #lines = fileDestination({ fd: 2, sync: true, minLength: GATHERED_OCTETS })
  #timer: NodeJS.Timeout | null = null
  readonly flush = (): void => {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#lines.flushSync()
  }

  constructor() {
    process.once("exit", this.flush)
  }

  write(line: string): void {
    this.#lines.write(line)
    this.#timer ??= setTimeout(this.flush, GATHERED_MS).unref()
  }
}

/** One for all logs of this thread. */
let gathered: GatheredLines | null = null

function loggerOf(level: LogLevel, destination: DestinationStream): Logger {
  return pino({ level, base: null, timestamp: stdTimeFunctions.isoTime }, destination)
}

/** One object for a log and its methods: every IMAP session has a log of its own. */
class PinoLog implements Log {
  readonly #logger: Logger
  /** Sees to it that what was logged goes out now. */
  readonly #flush: () => void

  constructor(logger: Logger, flush: () => void = () => undefined) {
    this.#logger = logger
    this.#flush = flush
  }

  debug(event: string, fields?: LogFields): void {
    this.#logger.debug({ event, ...fields })
  }

  info(event: string, fields?: LogFields): void {
    this.#logger.info({ event, ...fields })
  }

  warn(event: string, fields?: LogFields): void {
    this.#logger.warn({ event, ...fields })
    this.#flush()
  }

  error(event: string, fields?: LogFields, error?: unknown): void {
    this.#logger.error({ event, ...fields, ...(error === undefined ? {} : { err: error }) })
    this.#flush()
  }

  with(fields: LogFields): Log {
    return new PinoLog(this.#logger.child({ ...fields }), this.#flush)
  }
}

/** For so long a line may wait: nobody notices, and under load a dozen lines come in it. */
const GATHERED_MS = 10
const GATHERED_OCTETS = 8_192
