import type { AuditTable } from "./audit-table.ts"
import type { AuditRow, RecordedPair } from "./queue.ts"

/** The record of what became of mail, for a queue whose jobs are elsewhere and may be lost: it is what keeps settled mail from being sent again. */
export interface AuditLog extends AsyncDisposable {
  /**
   * Resolves when the rows are written, all or none: on the disk, or there within half a second where the driver says so. Of a pair `queued` is written once, and a final outcome too: the first counts.
   * Throws GatewayError STATE_* when they cannot be written.
   */
  write(...rows: readonly AuditRow[]): Promise<void>
  /** Recipients of the message for whom all is over. */
  settled(spoolId: string): Promise<ReadonlySet<string>>
  /** Oldest first. */
  of(spoolId: string): Promise<AuditRow[]>
  /** What failed for good, newest first. */
  failures(limit: number): Promise<AuditRow[]>
  /** How many failed for good. */
  failed(): Promise<number>
  /** Forgets messages of which nothing was heard since `before`, but for those that live. @returns how many rows went */
  prune(before: Date, living: ReadonlySet<string>): Promise<number>
  /** All pairs of messages of which something was heard since then, by message. */
  pairs(since: Date): AsyncIterable<RecordedPair>
}

/** Pairs of a table, a page at a time. */
export function* pagedPairs(record: AuditTable, since: Date): Iterable<RecordedPair> {
  let page = record.page("", since, PAGE)
  while (page.length > 0) {
    yield* page
    page = record.page(page.at(-1)?.spoolId ?? "", since, PAGE)
  }
}

/** Messages. */
const PAGE = 500
