import { hmacSha256, sha256 } from "../crypto/primitives/hash.ts"
import { randomOctets } from "../crypto/primitives/random.ts"
import { writtenKey } from "../message/address.ts"
import type { Core } from "./core.ts"
import { networkOf } from "./network.ts"
import { SeenLately } from "./seen-lately.ts"
import { WindowCounter } from "./window-counter.ts"

/** Whose login it is to be, and where from; in a form that tells nothing of what was typed. */
export interface LoginSource {
  readonly account: string
  readonly network: string
}

/** @param remote the client's address */
export function loginSource(username: string, remote: string): LoginSource {
  return { account: accountOf(username), network: networkOf(remote) }
}

/** How much may be guessed within {@link GuessLimits.windowMs}; 0: as much as anybody likes. */
export interface GuessLimits {
  readonly perNetwork: number
  readonly perAccount: number
  readonly windowMs: number
}

/** From the first wrong password on. */
const GUESS_WINDOW_MS = 15 * 60_000

/** What became of a login, in a form that tells nothing of what was typed; for the other processes of the gateway. */
export type LoginNews =
  | { readonly kind: "guess"; readonly network: string; readonly account: string; readonly guess: string }
  | { readonly kind: "known"; readonly network: string; readonly account: string }

/** Those of a gateway, as configured. `key`: that of the other processes. */
export function loginLimits({ config, now }: Pick<Core, "config" | "now">, key?: Uint8Array): LoginLimits {
  const { loginFailures, loginFailuresPerAccount } = config.limits
  const limits = { perNetwork: loginFailures, perAccount: loginFailuresPerAccount, windowMs: GUESS_WINDOW_MS }
  return new LoginLimits(limits, now, key)
}

/**
 * Slows down who guesses passwords, and never locks out their owner. What counts is a guess: a wrong password that the same network has
 * not tried for this account before. A device that goes on with the password it had before it was revoked makes one guess, however
 * often it comes, and does not shut out the office around it.
 *
 * A login is looked at
 * - always, where this account has logged in from this network within {@link KNOWN_MS};
 * - else while the network has made fewer than `perNetwork` guesses, whomever at;
 * - and, once all networks together have made `perAccount` guesses at this account, only where this network has made none.
 *
 * So whoever attacks an account from elsewhere shuts out nobody but himself: the owner comes from where he was before, or from where
 * nobody has guessed. Refused logins are not counted, so every limit ends with its window. The counters are in memory; processes
 * that share a key tell each other what they count.
 */
export class LoginLimits {
  readonly #limits: GuessLimits
  readonly #networks: WindowCounter
  readonly #accounts: WindowCounter
  readonly #guesses: WindowCounter
  /** Which accounts have logged in from which networks. */
  readonly #known: SeenLately
  /** Names guesses: what was tried is kept nowhere. */
  readonly key: Uint8Array
  #tell: (news: LoginNews) => void = () => undefined

  constructor(limits: GuessLimits, now: () => Date, key: Uint8Array = randomOctets(32)) {
    this.key = key
    const counter = () => new WindowCounter(limits.windowMs, MAX_GUESSES)
    this.#limits = limits
    this.#networks = counter()
    this.#accounts = counter()
    this.#guesses = counter()
    this.#known = new SeenLately(now, KNOWN_MS, MAX_KNOWN)
  }

  /** Whether the password is to be looked at. */
  async admits(source: LoginSource): Promise<boolean> {
    const { account, network } = source
    const { perNetwork, perAccount } = this.#limits
    if (this.#known.has(knownName(source))) return true
    const guesses = await this.#networks.of(network)
    if (perNetwork > 0 && guesses >= perNetwork) return false
    return perAccount === 0 || guesses === 0 || (await this.#accounts.of(account)) < perAccount
  }

  /** The password was wrong. */
  async failed({ account, network }: LoginSource, password: string): Promise<void> {
    const news: LoginNews = {
      kind: "guess",
      network,
      account,
      guess: this.#nameOf(`${network}\0${account}\0${password}`),
    }
    if (await this.hear(news)) this.#tell(news)
  }

  /** The password was right. */
  succeeded(source: LoginSource): void {
    const name = knownName(source)
    if (!this.#known.has(name)) this.#tell({ kind: "known", ...source })
    this.#known.add(name)
  }

  /** `listener` is told what this process counts, but not what it heard. */
  onNews(listener: (news: LoginNews) => void): void {
    this.#tell = listener
  }

  /** Counts what another process has seen. @returns whether it was new */
  async hear(news: LoginNews): Promise<boolean> {
    const { network, account } = news
    if (news.kind === "known") {
      this.#known.add(knownName(news))
      return true
    }
    if ((await this.#guesses.of(news.guess)) > 0 || (await this.#guesses.add(news.guess)) === null) return false
    await Promise.all([this.#networks.add(network), this.#accounts.add(account)])
    return true
  }

  #nameOf(guess: string): string {
    return Buffer.from(hmacSha256(this.key).update(Buffer.from(guess)).digest().subarray(0, 12)).toString("base64")
  }
}

function knownName({ network, account }: LoginSource): string {
  return `${network} ${account}`
}

/** Of one length, whatever was typed. */
function accountOf(username: string): string {
  const digest = sha256(Buffer.from(writtenKey(username) ?? username))
  return Buffer.from(digest.subarray(0, 12)).toString("base64")
}

/** A phone that was away for a holiday is still known where it comes from. */
const KNOWN_MS = 30 * 86_400_000
/** Ten thousand devices, each from a few places; some 120 octets each. */
const MAX_KNOWN = 50_000
/** Remembered at once, each from a network of its own at worst: with their counters and timers some 3 KB each (measured). */
const MAX_GUESSES = 10_000
