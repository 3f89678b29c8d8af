import type { Pool } from "pg"
import { keyIdOf } from "../../crypto/seal/seal.ts"
import { rowsOf } from "./pool.ts"
import { Together } from "./together.ts"

const STATEMENTS = 4
/** Measured: 8 messages of 10 KB in one statement are accepted twice as fast as one by one. */
const MESSAGES = 8
const OCTETS = 512 * 1024

/** A sealed message whose octets all fit into its row. */
interface Whole {
  readonly id: string
  readonly head: Uint8Array
  readonly tail: Uint8Array
}

/** Accepts messages that are whole. */
export class Acceptances {
  readonly #together: Together<Whole, ReadonlySet<string>>

  constructor(pool: Pool) {
    const share = ({ tail }: Whole) => Math.max(1 / MESSAGES, tail.length / OCTETS)
    this.#together = new Together({ statements: STATEMENTS, share }, (messages) => acceptAll(pool, messages))
  }

  /**
   * Resolves when the message would survive a power cut; with false when it was not accepted: its id is taken, or its key is gone.
   * @throws GatewayError STATE_AWAY when whether it was accepted is not known, STATE_REFUSED
   */
  async accept(message: Whole): Promise<boolean> {
    return (await this.#together.run(message)).has(message.id)
  }
}

/** @returns ids of those accepted */
async function acceptAll(pool: Pool, messages: readonly Whole[]): Promise<ReadonlySet<string>> {
  // In the same order everywhere: who comes second to an id waits for who came first, and never both for one another.
  const rows = messages.toSorted((one, other) => (one.id < other.id ? -1 : 1))
  const values = rows.flatMap(({ id, head, tail }) => [id, head, tail, keyNameOf(head)])
  const statement = { name: `spool-accept-${rows.length}`, text: acceptText(rows.length), values }
  return new Set((await rowsOf<{ readonly id: string }>(pool, statement)).map(({ id }) => id))
}

/** The id, in hex, of the key that what begins with `head` is sealed to: as spool_key has it. */
export function keyNameOf(head: Uint8Array): string {
  return Buffer.from(keyIdOf(head) ?? []).toString("hex")
}

/** The key must be there: it is destroyed when nothing is sealed to it, and from then on nothing may be. */
function acceptText(count: number): string {
  const message = (at: number) => `($${at + 1}::text, $${at + 2}::bytea, $${at + 3}::bytea, $${at + 4}::text)`
  const messages = Array.from({ length: count }, (_, index) => message(index * 4))
  return `
    INSERT INTO spool_message (id, head, pieces, tail)
    SELECT message.id, head, 0, tail
    FROM (VALUES ${messages.join(", ")}) AS message (id, head, tail, key), set_config('synchronous_commit', 'on', true)
    WHERE EXISTS (SELECT FROM spool_key WHERE spool_key.id = message.key)
    ON CONFLICT DO NOTHING RETURNING id`
}
