import { join } from "node:path"
import type { Config } from "../config/config.ts"
import { type CommitsReachDisk, type Database, numberIn, type State } from "./database.ts"
import { makePrivateFolder } from "./durable.ts"
import { PostgresState } from "./postgres/state.ts"
import { openDatabase } from "./sqlite.ts"

/**
 * The schema of data/state.db: people, their devices, and who must hear of changes. Times are milliseconds since 1970.
 * Migrations are only ever added; one that was released is never edited.
 */
export const STATE_MIGRATIONS = [
  `
  CREATE TABLE setting (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
  INSERT INTO setting VALUES ('password key', randomblob(32));

  CREATE TABLE change (only INTEGER PRIMARY KEY CHECK (only = 1), sequence INTEGER NOT NULL) STRICT;
  INSERT INTO change VALUES (1, 1);

  CREATE TABLE account (
    place INTEGER PRIMARY KEY, address TEXT NOT NULL UNIQUE, name TEXT NOT NULL, formats TEXT NOT NULL,
    root BLOB NOT NULL, intermediate BLOB NOT NULL, profile TEXT NOT NULL, added_at INTEGER NOT NULL) STRICT;

  CREATE TABLE account_key (
    place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL REFERENCES account (address) ON DELETE CASCADE,
    format TEXT NOT NULL, certificate BLOB NOT NULL, current INTEGER NOT NULL, added_at INTEGER NOT NULL) STRICT;
  CREATE INDEX account_key_account ON account_key (account);

  CREATE TABLE device (
    place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL REFERENCES account (address) ON DELETE CASCADE,
    name TEXT NOT NULL, read_only INTEGER NOT NULL, password BLOB UNIQUE, signing_certificate BLOB,
    added_at INTEGER NOT NULL, revoked_at INTEGER) STRICT;
  CREATE UNIQUE INDEX device_live ON device (account, name) WHERE revoked_at IS NULL;
  CREATE INDEX device_account ON device (account);

  CREATE TABLE device_certificate (
    place INTEGER PRIMARY KEY, device TEXT NOT NULL REFERENCES device (id) ON DELETE CASCADE, certificate BLOB NOT NULL) STRICT;
  CREATE INDEX device_certificate_device ON device_certificate (device);

  CREATE TABLE recryption_key (
    id TEXT PRIMARY KEY, device TEXT NOT NULL REFERENCES device (id), account_key TEXT NOT NULL REFERENCES account_key (id),
    wrapped BLOB NOT NULL, UNIQUE (device, account_key)) STRICT;

  CREATE TABLE alias_target (
    place INTEGER PRIMARY KEY, alias TEXT NOT NULL, target TEXT NOT NULL, UNIQUE (alias, target)) STRICT;

  CREATE TABLE pinned_certificate (
    place INTEGER PRIMARY KEY, address TEXT NOT NULL, format TEXT NOT NULL, certificate BLOB NOT NULL, added_at INTEGER NOT NULL,
    UNIQUE (address, format, certificate)) STRICT;

  CREATE TABLE process (
    name TEXT PRIMARY KEY, roles TEXT NOT NULL, acknowledged INTEGER NOT NULL, seen_at INTEGER NOT NULL) STRICT;
  `,
  `
  CREATE TABLE upstream_credential (
    account TEXT PRIMARY KEY REFERENCES account (address) ON DELETE CASCADE, id TEXT NOT NULL, key TEXT NOT NULL, sealed BLOB NOT NULL,
    set_at INTEGER NOT NULL, asked_until INTEGER NOT NULL) STRICT;
  `,
  `
  ALTER TABLE device ADD COLUMN login_key BLOB;
  ALTER TABLE device ADD COLUMN login_until INTEGER;
  CREATE UNIQUE INDEX device_login_key ON device (login_key);
  `,
  `
  CREATE TABLE sts_policy (
    domain TEXT PRIMARY KEY, id TEXT NOT NULL, mode TEXT NOT NULL, mx TEXT NOT NULL, max_age INTEGER NOT NULL,
    fetched_at INTEGER NOT NULL, used_at INTEGER NOT NULL) STRICT;

  CREATE TABLE tls_result (
    day TEXT NOT NULL, domain TEXT NOT NULL, policy TEXT NOT NULL, result TEXT NOT NULL, mx TEXT NOT NULL, address TEXT NOT NULL,
    reason TEXT NOT NULL, sessions INTEGER NOT NULL,
    PRIMARY KEY (day, domain, policy, result, mx, address, reason)) STRICT, WITHOUT ROWID;
  `,
  // Earlier versions made it with the first request.
  `
  CREATE TABLE IF NOT EXISTS applied_request (id TEXT PRIMARY KEY, account TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT;
  `,
  `
  CREATE TABLE key_answer (
    address TEXT NOT NULL, source TEXT NOT NULL, answer TEXT NOT NULL, asked_at INTEGER NOT NULL,
    PRIMARY KEY (address, source)) STRICT, WITHOUT ROWID;
  CREATE INDEX key_answer_age ON key_answer (asked_at);

  CREATE TABLE key_memory (
    address TEXT NOT NULL, format TEXT NOT NULL, lineage TEXT NOT NULL, domain TEXT NOT NULL, source TEXT NOT NULL, trust TEXT NOT NULL,
    first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL, PRIMARY KEY (address, format, lineage)) STRICT, WITHOUT ROWID;
  CREATE INDEX key_memory_domain ON key_memory (domain, trust);

  CREATE TABLE departure (
    spool_id TEXT NOT NULL, recipient TEXT NOT NULL, sender TEXT NOT NULL, at INTEGER NOT NULL, decision TEXT NOT NULL,
    facts TEXT NOT NULL, PRIMARY KEY (spool_id, recipient)) STRICT, WITHOUT ROWID;
  CREATE INDEX departure_time ON departure (at, spool_id, recipient);
  `,
  `
  CREATE TABLE autocrypt_peer (
    address TEXT PRIMARY KEY, certificate BLOB NOT NULL, mutual INTEGER NOT NULL, said_at INTEGER NOT NULL, seen_at INTEGER NOT NULL) STRICT;

  CREATE TABLE harvested_key (
    address TEXT NOT NULL, format TEXT NOT NULL, digest TEXT NOT NULL, certificate BLOB NOT NULL, chain BLOB NOT NULL,
    capabilities BLOB NOT NULL, sent_at INTEGER NOT NULL, PRIMARY KEY (address, format, digest)) STRICT;

  CREATE TABLE signature_verdict (spool_id TEXT PRIMARY KEY, field TEXT NOT NULL, decided_at INTEGER NOT NULL) STRICT;
  CREATE INDEX signature_verdict_age ON signature_verdict (decided_at);
  ALTER TABLE key_memory ADD COLUMN fingerprint TEXT NOT NULL DEFAULT '';
  ALTER TABLE key_memory ADD COLUMN expires_at INTEGER;
  CREATE INDEX key_memory_expiry ON key_memory (expires_at);

  CREATE TABLE expiry_warning (
    name TEXT PRIMARY KEY, days INTEGER NOT NULL, ends_at INTEGER NOT NULL, told_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  `,
  `
  CREATE TABLE keyserver_request (
    address TEXT NOT NULL REFERENCES account (address) ON DELETE CASCADE, host TEXT NOT NULL, fingerprint TEXT NOT NULL, state TEXT NOT NULL,
    because TEXT NOT NULL, asked_at INTEGER NOT NULL, changed_at INTEGER NOT NULL, PRIMARY KEY (address, host)) STRICT, WITHOUT ROWID;
  `,
  `
  CREATE TABLE profile_seen (
    address TEXT NOT NULL, udf TEXT NOT NULL, issued_at INTEGER NOT NULL, seen_at INTEGER NOT NULL, PRIMARY KEY (address, udf)) STRICT, WITHOUT ROWID;
  `,
  `
  CREATE TABLE mesh_account (
    account TEXT PRIMARY KEY REFERENCES account (address) ON DELETE CASCADE, name TEXT NOT NULL UNIQUE, profile BLOB NOT NULL,
    connection BLOB NOT NULL, activation BLOB NOT NULL, mail_profile BLOB NOT NULL) STRICT;

  CREATE TABLE mesh_escrow (
    account TEXT PRIMARY KEY REFERENCES mesh_account (account) ON DELETE CASCADE, envelope BLOB NOT NULL) STRICT;
  `,
  `
  CREATE TABLE mesh_request (digest BLOB PRIMARY KEY, until INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE INDEX mesh_request_end ON mesh_request (until);

  CREATE TABLE mesh_store (
    account TEXT NOT NULL REFERENCES mesh_account (account) ON DELETE CASCADE, name TEXT NOT NULL, frames INTEGER NOT NULL,
    octets INTEGER NOT NULL, digest BLOB NOT NULL, links TEXT NOT NULL, PRIMARY KEY (account, name)) STRICT, WITHOUT ROWID;

  CREATE TABLE mesh_frame (
    place INTEGER PRIMARY KEY, account TEXT NOT NULL, store TEXT NOT NULL, number INTEGER NOT NULL, entry TEXT NOT NULL,
    content_start INTEGER NOT NULL, content_end INTEGER NOT NULL, frame BLOB NOT NULL, added_at INTEGER NOT NULL,
    UNIQUE (account, store, number), FOREIGN KEY (account, store) REFERENCES mesh_store (account, name) ON DELETE CASCADE) STRICT;
  CREATE INDEX mesh_frame_entry ON mesh_frame (account, store, entry, number);
  `,
  `
  CREATE TABLE mesh_mail (
    recipient TEXT NOT NULL, message_id TEXT NOT NULL, digest BLOB NOT NULL, sender TEXT NOT NULL, salt BLOB NOT NULL,
    payload_digest BLOB NOT NULL, accepted_at INTEGER NOT NULL,
    PRIMARY KEY (recipient, message_id)) STRICT, WITHOUT ROWID;
  CREATE INDEX mesh_mail_salt ON mesh_mail (sender, salt);
  CREATE INDEX mesh_mail_age ON mesh_mail (accepted_at);
  `,
  `
  CREATE TABLE mesh_contact (
    place INTEGER PRIMARY KEY, account TEXT NOT NULL REFERENCES account (address) ON DELETE CASCADE, address TEXT NOT NULL, domain TEXT NOT NULL,
    udf TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, label TEXT NOT NULL, profile BLOB NOT NULL, message BLOB NOT NULL, service TEXT NOT NULL, introducer TEXT NOT NULL,
    decided_by TEXT NOT NULL, message_at INTEGER NOT NULL, asked_at INTEGER NOT NULL, changed_at INTEGER NOT NULL, told_at INTEGER,
    UNIQUE (account, address)) STRICT;
  CREATE UNIQUE INDEX mesh_contact_name ON mesh_contact (account, name) WHERE name <> '';
  CREATE INDEX mesh_contact_service ON mesh_contact (service, message_at);
  CREATE INDEX mesh_contact_domain ON mesh_contact (domain, message_at);
  CREATE INDEX mesh_contact_time ON mesh_contact (message_at);
  CREATE INDEX mesh_contact_untold ON mesh_contact (asked_at) WHERE told_at IS NULL;

  CREATE TABLE mesh_contact_post (
    place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL REFERENCES account (address) ON DELETE CASCADE, address TEXT NOT NULL, udf TEXT NOT NULL,
    kind TEXT NOT NULL, text TEXT NOT NULL, introduction BLOB NOT NULL, pin TEXT NOT NULL, response_id TEXT NOT NULL, message BLOB NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL, attempts INTEGER NOT NULL, due_at INTEGER NOT NULL, made_at INTEGER NOT NULL,
    UNIQUE (account, address)) STRICT;
  CREATE INDEX mesh_contact_post_due ON mesh_contact_post (due_at) WHERE state = 'due';

  CREATE TABLE mesh_delegate (
    account TEXT PRIMARY KEY REFERENCES account (address) ON DELETE CASCADE, delegate TEXT NOT NULL REFERENCES account (address) ON DELETE CASCADE,
    added_at INTEGER NOT NULL) STRICT;
  `,
  `
  ALTER TABLE mesh_store ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX mesh_frame_age ON mesh_frame (store, added_at);
  `,
  `
  ALTER TABLE alias_target ADD COLUMN forward TEXT NOT NULL DEFAULT '';

  CREATE TABLE return_path (token TEXT PRIMARY KEY, sender TEXT NOT NULL, used_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE INDEX return_path_age ON return_path (used_at);
  `,
  `
  CREATE TABLE return_alias (name TEXT PRIMARY KEY, alias TEXT NOT NULL, used_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE INDEX return_alias_age ON return_alias (used_at);
  `,
  "ALTER TABLE mesh_mail ADD COLUMN keeper TEXT",
]

/** Where the state is: what the configuration says of it. */
export type StatePlace = Pick<Config, "data" | "store">

/**
 * Opens the state where the configuration says, and brings it to the newest schema. `runsOn`: for a process that confirms changes as long as it runs
 * (presence.ts); whoever waits for that waits for what it believes, too.
 * @throws GatewayError STATE_VERSION, STATE_CORRUPT, STATE_AWAY, CONFIG_INVALID
 */
export function openState({ data, store }: StatePlace, { runsOn = false } = {}): State {
  if (store.kind === "embedded") return openEmbeddedState(data, runsOn ? BELIEVED_MS : 0)
  return PostgresState.open(store)
}

/**
 * Opens data/state.db in the folder `data`. `believedMs`: how long a change by another process may go unseen here.
 * @throws GatewayError STATE_VERSION, STATE_CORRUPT
 */
export function openEmbeddedState(data: string, believedMs = 0): State {
  makePrivateFolder(data)
  const database = openDatabase(join(data, "state.db"), STATE_MIGRATIONS)
  const sequence = new BelievedSequence(database, believedMs)
  const transaction = database.transaction.bind(database)
  return Object.assign(database, {
    connection: 1,
    changeSequence: () => sequence.read(),
    transaction: <T>(act: () => T, reachDisk?: CommitsReachDisk): T => {
      sequence.doubt()
      try {
        return transaction(act, reachDisk)
      } finally {
        sequence.doubt()
      }
    },
  })
}

/** The change sequence as the file has it, asked for no more often than needed: asking takes locks, and every mail wants to know several times. */
class BelievedSequence {
  readonly #database: Database
  readonly #believedMs: number
  #known = 0
  #until = 0

  constructor(database: Database, believedMs: number) {
    this.#database = database
    this.#believedMs = believedMs
  }

  read(): number {
    const nowMs = performance.now()
    if (nowMs < this.#until) return this.#known
    this.#known = numberIn(this.#database.sql.get`SELECT sequence FROM change`, "sequence")
    this.#until = nowMs + this.#believedMs
    return this.#known
  }

  /** What was changed here is seen here at once, and a transaction sees what is. */
  doubt(): void {
    this.#until = 0
  }
}

/** A tenth of the time after which a process looks by itself. */
const BELIEVED_MS = 5
