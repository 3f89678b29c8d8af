/**
 * The record of what became of mail, in PostgreSQL. Times are milliseconds since 1970. A pair of message and recipient is queued once and ends
 * once, whoever writes it. Migrations are only ever added; one that was released is never edited.
 */
export const AUDIT_MIGRATIONS = [
  `
  CREATE TABLE audit (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, spool_id text COLLATE "C" NOT NULL, recipient text COLLATE "C" NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('queued', 'done', 'failed', 'dropped', 'held', 'released')), status text, at bigint NOT NULL);
  CREATE UNIQUE INDEX audit_queued ON audit (spool_id, recipient) WHERE outcome = 'queued';
  CREATE UNIQUE INDEX audit_final ON audit (spool_id, recipient) WHERE outcome IN ('done', 'failed', 'dropped');
  CREATE INDEX audit_spool ON audit (spool_id);
  CREATE INDEX audit_failed ON audit (place) WHERE outcome = 'failed';
  CREATE INDEX audit_at ON audit (at);
  `,
]
