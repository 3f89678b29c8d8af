import type { Log } from "../log/log.ts"
import type { Account, Device, People } from "../store/people.ts"

/** A device that just proved its password. */
export interface LiveDevice {
  readonly account: Account
  readonly device: Device
  /** Aborts when the device is revoked or its account removed. */
  readonly revoked: AbortSignal
}

/** The devices that this process lets in: knows their passwords, and ends what they have open when they are revoked. */
export class LiveDevices {
  readonly #people: People
  readonly #log: Log
  readonly #open = new Map<string, AbortController>()

  constructor(people: People, log: Log) {
    this.#people = people
    this.#log = log
  }

  /** @returns null alike for a wrong name, a wrong password and a revoked device */
  authenticate(username: string, password: string): LiveDevice | null {
    const found = this.#people.authenticate(username, password)
    if (found === null) return null
    const controller = this.#open.get(found.device.id) ?? new AbortController()
    this.#open.set(found.device.id, controller)
    return { ...found, revoked: controller.signal }
  }

  /** After a change of state: ends the connections of devices that are no longer live. */
  refresh(): void {
    const live = new Set(
      this.#people.accounts().flatMap((account) =>
        this.#people
          .devices(account.address)
          .filter(isLive)
          .map(({ id }) => id),
      ),
    )
    for (const [id, controller] of this.#open) {
      if (live.has(id)) continue
      this.#open.delete(id)
      this.#log.info("device.ended", { device: id })
      controller.abort()
    }
  }
}

/** Neither revoked nor waiting for it. */
export function isLive(device: Device): boolean {
  return device.revokedAt === null
}
