import { type Database, dateIn, optionalOctetsIn, optionalTextIn, type Row } from "./database.ts"
import type { ProcessName } from "./process.ts"

/** What is remembered of mail that came over the Mesh. */
export interface MeshMailRow {
  /** UDF of the recipient's profile. */
  readonly recipient: string
  readonly messageId: string
  /** SHA-512 of the message. */
  readonly digest: Uint8Array
  /** UDF of the sender's profile. */
  readonly sender: string
  readonly salt: Uint8Array
  readonly payloadDigest: Uint8Array
}

/** It is being put where it belongs, or was: its keeper knows. It is nowhere else. */
export interface BegunMail {
  readonly keeper: ProcessName
  readonly since: Date
}

export type MailStanding = "new" | "accepted" | BegunMail | "other message" | "other text"

/** Mail that came over the Mesh, so that none comes twice and no key meets two texts. */
export class KeptMeshMail {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** What is known of a mail. Two that come at the same time are both new; of each sender, they are his own to tell apart. */
  look({ recipient, messageId, digest, sender, salt, payloadDigest }: MeshMailRow): MailStanding {
    // In one question: each takes locks, and every mail asks.
    const found = this.#database.sql.get`
      SELECT same.digest AS known, same.keeper AS keeper, same.accepted_at AS accepted_at,
        (SELECT payload_digest FROM mesh_mail WHERE sender = ${sender} AND salt = ${salt} LIMIT 1) AS before
      FROM (SELECT 1 AS one) AS asked LEFT JOIN mesh_mail AS same ON same.recipient = ${recipient} AND same.message_id = ${messageId}`
    const [known, before] = [optionalOctetsIn(found, "known"), optionalOctetsIn(found, "before")]
    if (known !== null) return isSame(known, digest) ? standingIn(found ?? {}) : "other message"
    return before === null || isSame(before, payloadDigest) ? "new" : "other text"
  }

  /**
   * What is kept is on the disk: forgetting this by a crash is harmless, for it is kept once more under the same name. With a `keeper` it is not: he has just
   * begun with them.
   */
  add(mails: readonly MeshMailRow[], now: Date, keeper: ProcessName | null = null): void {
    const nowMs = now.getTime()
    this.#database.transaction(() => {
      const { sql } = this.#database
      sql.run`DELETE FROM mesh_mail WHERE accepted_at < ${nowMs - KEPT_MS}`
      for (const { recipient, messageId, digest, sender, salt, payloadDigest } of mails)
        sql.run`
          INSERT INTO mesh_mail (recipient, message_id, digest, sender, salt, payload_digest, accepted_at, keeper)
          VALUES (${recipient}, ${messageId}, ${digest}, ${sender}, ${salt}, ${payloadDigest}, ${nowMs}, ${keeper})
          ON CONFLICT (recipient, message_id) DO NOTHING`
    })
  }
}

function standingIn(row: Row): "accepted" | BegunMail {
  const keeper = optionalTextIn(row, "keeper")
  return keeper === null ? "accepted" : { keeper, since: dateIn(row, "accepted_at") }
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

/** Longer than mail may be old when it comes. */
const KEPT_MS = 60 * 86_400_000
