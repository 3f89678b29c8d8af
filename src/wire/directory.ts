import type { Config } from "../config/config.ts"
import { minimalCertificate } from "../crypto/openpgp/certificate.ts"
import type { HmacKey } from "../crypto/primitives/hash.ts"
import { autocryptField } from "../mime/autocrypt.ts"
import { atRestOf } from "../pipeline/at-rest.ts"
import type { Directory } from "../pipeline/ports.ts"
import type { AtRest } from "../pipeline/protect.ts"
import type { People } from "../store/people.ts"
import type { AccountRecryptors } from "./recryptors.ts"

/** Our people as the pipeline asks for them; what is derived from their certificates is kept until somebody changes. */
export class PeopleDirectory implements Directory {
  readonly #people: People
  readonly #config: Config
  readonly #markerKey: HmacKey
  readonly #recryptors: AccountRecryptors
  readonly #atRest = new Map<string, AtRest>()
  readonly #autocrypt = new Map<string, Uint8Array | null>()
  #sequence = -1

  constructor(people: People, config: Config, markerKey: HmacKey, recryptors: AccountRecryptors) {
    this.#people = people
    this.#config = config
    this.#markerKey = markerKey
    this.#recryptors = recryptors
  }

  resolve(...[address]: Parameters<Directory["resolve"]>): ReturnType<Directory["resolve"]> {
    return this.#people.resolve(address)
  }

  atRest(address: string): AtRest | null {
    this.refresh()
    const known = this.#atRest.get(address)
    if (known) return known
    const account = this.#people.account(address)
    if (account === null) return null
    const made = atRestOf(account, {
      subject: this.#config.policy.subject,
      markerKey: this.#markerKey,
      restorers: this.#recryptors.restorers(account),
    })
    this.#atRest.set(address, made)
    return made
  }

  autocrypt(address: string): Uint8Array | null {
    this.refresh()
    const known = this.#autocrypt.get(address)
    if (known !== undefined) return known
    const key = this.#people.account(address)?.keys.find(({ format, current }) => format === "openpgp" && current)
    // Mail to our people is stored so that all their devices read it: they may well be written to encrypted.
    const made = key === undefined ? null : autocryptField(address, "mutual", minimalCertificate(key.certificate))
    this.#autocrypt.set(address, made)
    return made
  }

  /** Forgets everything when people or devices have changed. */
  refresh(): void {
    const sequence = this.#people.changeSequence()
    if (sequence === this.#sequence) return
    this.#sequence = sequence
    this.#atRest.clear()
    this.#autocrypt.clear()
  }
}
