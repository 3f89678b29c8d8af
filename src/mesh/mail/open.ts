/** PURE */
import type { OpeningKey } from "../../crypto/dare/agreement.ts"
import { contentKeys } from "../../crypto/dare/key-schedule.ts"
import { openPayload, seedOf } from "../../crypto/dare/open.ts"
import { GatewayError } from "../../errors.ts"
import { authoredBy } from "./author.ts"
import { checkContentKey } from "./binding.ts"
import { ReceivedMailBody } from "./body.ts"
import type { MailStatement } from "./statement.ts"

/**
 * Opens a mail whose statement has been verified, with a key of the recipient's: the entity, octet for octet. That the content key is the stated one and the
 * author the sender is known before anything is given out. A mail above 64 KiB is given out before its end is seen: who cannot take it back reads it twice.
 * @param source the envelope, enclosed or fetched
 * @throws GatewayError DECRYPTION_FAILED, also for another content key than is bound, and for what OpenPGP opens; MESH_MAIL_ALTERED; MESH_OBJECT_INVALID for
 * another author
 */
export async function* openMail(
  statement: MailStatement,
  source: AsyncIterable<Uint8Array>,
  keys: readonly OpeningKey[],
): AsyncGenerator<Uint8Array> {
  const body = await ReceivedMailBody.open(statement, source)
  try {
    const seed = seedOf(body.header, keys)
    if (seed === null) throw new GatewayError("DECRYPTION_FAILED", "mail: is sealed to no Mesh key")
    checkContentKey(statement, contentKeys(seed.base, seed.salt))
    // The body has been checked to its end by the time that `check` is asked.
    yield* authoredBy(
      statement.sender,
      openPayload(body, seed, () => undefined),
    )
  } finally {
    await body.close()
  }
}
