import { GatewayError } from "../errors.ts"
import type { Counters } from "../log/counters.ts"
import type { Log } from "../log/log.ts"
import { isLive } from "../store/account.ts"
import type { Account, Device, KnownDevice, People } from "../store/people.ts"
import { type LoginLimits, loginSource } from "./login-limits.ts"

/** A password, as somebody gave it. */
export interface LoginAttempt {
  readonly username: string
  readonly password: string
  /** The client's address. */
  readonly remote: string
}

/** A device that just proved its password, or that it holds the key of its certificate. */
export interface LiveDevice {
  readonly account: Account
  readonly device: Device
  /** Aborts when the device is revoked or its account removed; with STATE_AWAY as its reason when nobody can say whether it is. */
  readonly revoked: AbortSignal
}

/** What {@link LiveDevices} stands on. */
export interface LiveDevicesParts {
  readonly people: People
  readonly limits: LoginLimits
  readonly counters: Pick<Counters, "add">
  readonly log: Log
  readonly now: () => Date
}

/** The devices that this process lets in: knows their passwords and keys, and ends what they have open when they are revoked. */
export class LiveDevices {
  readonly #parts: LiveDevicesParts
  readonly #open = new Map<string, AbortController>()

  constructor(parts: LiveDevicesParts) {
    this.#parts = parts
  }

  /**
   * Checking costs two hashes and a look-up, whatever is given: passwords are random, so nothing is slowed down on purpose.
   * @returns null alike for a wrong name, a wrong password and a revoked device; `limited`: too much was guessed, it was not checked
   */
  async authenticate({ username, password, remote }: LoginAttempt): Promise<LiveDevice | "limited" | null> {
    const { people, limits, counters } = this.#parts
    const source = loginSource(username, remote)
    if (!(await limits.admits(source))) {
      counters.add("postern_logins_refused_total", { reason: "limited" })
      return "limited"
    }
    const found = people.authenticate(username, password)
    if (found === null) {
      counters.add("postern_logins_refused_total", { reason: "wrong" })
      await limits.failed(source, password)
      return null
    }
    limits.succeeded(source)
    return this.#live(found)
  }

  /** The device that the key with this fingerprint is of. @returns null: no live device's */
  ownerOf(key: Uint8Array): { readonly account: string; readonly device: string; readonly expired: boolean } | null {
    const found = this.#parts.people.deviceOfKey(key)
    if (found === null) return null
    const { account, device } = found
    return { account: account.address, device: device.name, expired: !holds(device, this.#parts.now()) }
  }

  /** Lets in who has proved to hold the key. @returns null: no live device's, or its certificate has ended */
  certified(key: Uint8Array): LiveDevice | null {
    const found = this.#parts.people.deviceOfKey(key)
    return found !== null && holds(found.device, this.#parts.now()) ? this.#live(found) : null
  }

  /** After a change of state: ends the connections of devices that are no longer live. */
  refresh(): void {
    const { people, log } = this.#parts
    const live = new Set(
      people.accounts().flatMap((account) =>
        people
          .devices(account.address)
          .filter(isLive)
          .map(({ id }) => id),
      ),
    )
    for (const [id, controller] of this.#open) {
      if (live.has(id)) continue
      this.#open.delete(id)
      log.info("device.ended", { device: id })
      controller.abort()
    }
  }

  /** Nobody knows any more who is live: ends all connections, and whoever is will log in again. */
  doubt(): void {
    if (this.#open.size === 0) return
    this.#parts.log.warn("devices.ended", {
      devices: this.#open.size,
      reason: "it is not known whether they are revoked",
    })
    const open = [...this.#open.values()]
    this.#open.clear()
    for (const controller of open)
      controller.abort(new GatewayError("STATE_AWAY", "devices: it is not known whether they are revoked"))
  }

  #live(found: KnownDevice): LiveDevice {
    const controller = this.#open.get(found.device.id) ?? new AbortController()
    this.#open.set(found.device.id, controller)
    return { ...found, revoked: controller.signal }
  }
}

function holds({ login }: Device, now: Date): boolean {
  return login !== null && now < login.notAfter
}
