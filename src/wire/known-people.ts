import { type HmacKey, hmacKey } from "../crypto/primitives/hash.ts"
import { queueName } from "../queue/one-queue.ts"
import { Presence } from "../store/presence.ts"
import { secret } from "../store/secrets.ts"
import type { Core } from "./core.ts"
import { PeopleDirectory } from "./directory.ts"
import { AccountRecryptors } from "./recryptors.ts"

/** Our people as one thread of a process knows them. */
export interface KnownPeople extends Disposable {
  readonly directory: PeopleDirectory
  readonly recryptors: AccountRecryptors
  readonly markerKey: HmacKey
  /** Tells of changes, and confirms them for this thread when all who listen have reacted. */
  readonly presence: Presence
}

export function knowPeople(core: Core): KnownPeople {
  const { config, people, roles, now, log } = core
  const recryptors = new AccountRecryptors(people)
  const hasMarkers = roles.has("worker") || roles.has("imap")
  const markerKey = hmacKey(hasMarkers ? secret(config.secrets, "marker") : new Uint8Array(32))
  const directory = new PeopleDirectory(people, config, markerKey, recryptors)
  const onError = (error: unknown) => log.error("presence.failed", {}, error)
  const onReturn = () => log.info("presence.returned")
  const queue = roles.has("worker") && config.store.kind !== "embedded" ? queueName(config) : null
  const presence = new Presence(core.database, { roles: [...roles], queue, now, onError, onReturn })
  // A worker has no connections of devices, but it holds what turns their blocks back.
  presence.onChange(() => {
    recryptors.refresh()
    directory.refresh()
  })
  presence.onDoubt(() => {
    recryptors.forget()
    core.counters.add("postern_state_lost_total")
  })
  return { directory, recryptors, markerKey, presence, [Symbol.dispose]: () => presence[Symbol.dispose]() }
}
