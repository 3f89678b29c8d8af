/** PURE */
import { type ConnectionDevice, verifyConnectionDevice } from "./connection.ts"
import { checkTime } from "./key-data.ts"
import type { ProfileUser } from "./profile.ts"

/**
 * Verifies connections, the last one of each account once: of a correspondent's gateway there is one, and many messages. Whether its time is over is looked at each time.
 * @returns `verifyConnectionDevice`, remembering for as long as somebody holds the account's profile
 */
export function knownConnections(): typeof verifyConnectionDevice {
  const known = new WeakMap<ProfileUser, ConnectionDevice>()
  return (envelope, account, now) => {
    const kept = known.get(account)
    if (kept !== undefined && Buffer.compare(kept.envelope, envelope) === 0) {
      for (const key of Object.values(kept.keys)) checkTime(key, now)
      return kept
    }
    const connection = verifyConnectionDevice(envelope, account, now)
    known.set(account, connection)
    return connection
  }
}
