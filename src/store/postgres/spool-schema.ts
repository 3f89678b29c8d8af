/**
 * Tables of the spool in PostgreSQL.
 *
 * A message is a row of spool_message; what fits into `tail` stands there. Larger ones have their first octets, `pieces` rows of
 * spool_piece, in a spool_body: written while the message arrives, and a leftover until a message refers to it.
 * Sealed octets do not compress. Rows come and go in seconds: a vacuum by share of the table would come too rarely.
 * Migrations are only ever added; one that was released is never edited.
 */
export const SPOOL_MIGRATIONS = [
  `
  CREATE TABLE spool_key (id text COLLATE "C" PRIMARY KEY, point bytea NOT NULL);

  CREATE TABLE spool_body (
    id uuid PRIMARY KEY, head bytea NOT NULL, writer text NOT NULL, begun_at timestamptz NOT NULL DEFAULT now());

  CREATE TABLE spool_piece (
    body uuid NOT NULL REFERENCES spool_body ON DELETE CASCADE, place integer NOT NULL, octets bytea NOT NULL,
    PRIMARY KEY (body, place));

  CREATE TABLE spool_message (
    id text COLLATE "C" PRIMARY KEY, head bytea NOT NULL, body uuid REFERENCES spool_body, pieces integer NOT NULL,
    tail bytea NOT NULL);
  CREATE INDEX spool_message_body ON spool_message (body) WHERE body IS NOT NULL;

  ALTER TABLE spool_piece ALTER COLUMN octets SET STORAGE EXTERNAL;
  ALTER TABLE spool_message ALTER COLUMN tail SET STORAGE EXTERNAL;
  ALTER TABLE spool_message SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 10000);
  ALTER TABLE spool_piece SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 10000);
  `,
]
