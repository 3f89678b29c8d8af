import type { RemoteMessage } from "./remote-store.ts"

/** So many messages at most are asked for by one command. */
const BATCH_MESSAGES = 16
/** Octets of them; a larger message is a batch alone. */
const BATCH_OCTETS = 1_048_576

/** Messages in their order, a few small ones or one large one at a time. */
export function* batches(messages: readonly RemoteMessage[]): Generator<readonly RemoteMessage[]> {
  let batch: RemoteMessage[] = []
  let octets = 0
  for (const message of messages) {
    if (batch.length === BATCH_MESSAGES || (batch.length > 0 && octets + message.sizeOctets > BATCH_OCTETS)) {
      yield batch
      batch = []
      octets = 0
    }
    batch.push(message)
    octets += message.sizeOctets
  }
  if (batch.length > 0) yield batch
}
