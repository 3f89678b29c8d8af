import type { Address } from "../message/address.ts"

/** Who may look things up: our people's devices. Throws only when it cannot answer. */
export interface Devices {
  /**
   * @returns the account; null for a wrong name or password and for a revoked device alike; `limited`: too much was guessed from there, so that this
   * password was not looked at
   */
  authenticate(
    username: string,
    password: string,
    remote: string,
  ): Promise<{ readonly account: string } | "limited" | null>
}

/** What is shown for an address. */
export interface Found {
  /** For people; null: the address. */
  readonly name: string | null
  /** DER of certificates that mail for the address may be encrypted to, best first. */
  readonly certificates: readonly Uint8Array[]
  /** DER of those that issued the first one. */
  readonly chain: readonly Uint8Array[]
}

/** The certificates that a client is told of. Throws when it cannot tell now: the client hears that, not that there is none. */
export interface Certificates {
  /**
   * @param account whose device asks; null: anonymous
   * @returns null when there is none
   */
  find(address: Address, account: string | null, signal: AbortSignal): Promise<Found | null>
}

/** What the service is made of. */
export interface DirectoryOptions {
  readonly devices: Devices
  readonly certificates: Certificates
  /** Distinguished name that entries stand under, such as "o=example.org". */
  readonly base: string
  /** Those who do not log in are answered, too. */
  readonly allowsAnonymous: boolean
}
