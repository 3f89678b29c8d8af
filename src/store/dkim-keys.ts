import { existsSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { type DkimAlgorithm, type DkimSigner, readDkimKey } from "../crypto/primitives/dkim-key.ts"
import { equalConstantTime } from "../crypto/primitives/hash.ts"
import { GatewayError } from "../errors.ts"
import { destroyFile, filePrint, makePrivateFolder, syncFolder, systemCode, writeDurably } from "./durable.ts"
import {
  type Alone,
  dateOf,
  exposure,
  manifestKeys,
  namesIn,
  readManifest,
  type SigningTimes,
  signingKeyState,
  writeManifest,
} from "./signing-folder.ts"

/** A signing key without its secret. */
export interface DkimKey extends SigningTimes {
  /** A-labels. */
  readonly domain: string
  readonly selector: string
  readonly algorithm: DkimAlgorithm
  /** What p= of its record holds. */
  readonly publicKey: Uint8Array
  readonly madeAt: Date
}

/**
 * The signing keys of our domains: `DOMAIN/SELECTOR.pem` (PKCS #8, for its owner only), and beside them `DOMAIN/keys.json`, which says what each
 * is doing. A key is there when keys.json names it. While it is pending its record is to be published; when it is retired the record stays until the last
 * message that was accepted before is read.
 */
export class DkimKeys {
  readonly #folder: string
  readonly #alone: Alone

  /**
   * `folder` is secrets/dkim; made with the first key.
   * @param alone keeps changes of several processes apart; for whoever only reads there is nothing to keep apart
   */
  constructor(folder: string, alone: Alone = (act) => act()) {
    this.#folder = folder
    this.#alone = alone
  }

  /** Domains that have keys, or remains of them. */
  domains(): string[] {
    return namesIn(this.#folder).filter((name) => !name.startsWith("."))
  }

  /**
   * The keys of a domain, oldest first. [] when it has none.
   * @throws GatewayError DKIM_KEYS_CORRUPT when there are keys and nobody knows what they are doing
   */
  of(domain: string): DkimKey[] {
    return readManifest(this.#manifestPath(domain), {
      parse: (text) => parseKeys(domain, text),
      hasSecrets: () => namesIn(join(this.#folder, domain)).some((name) => name.endsWith(".pem")),
      code: "DKIM_KEYS_CORRUPT",
    })
  }

  /**
   * Adds a pending key.
   * @param pem what `makeDkimKey` makes, or `readDkimKey` reads
   * @throws GatewayError DKIM_KEY_EXISTS, DKIM_KEY_UNUSABLE, USAGE (no selector)
   */
  add(domain: string, selector: string, pem: string, at: Date): DkimKey {
    return this.#alone(() => {
      if (!SELECTOR.test(selector) || `${selector}._domainkey.${domain}`.length > MAX_NAME_OCTETS)
        throw new GatewayError("USAGE", `dkim selector ${JSON.stringify(selector)}: is a-z 0-9 and - within, up to 63`)
      const { algorithm, publicKey } = readDkimKey(pem)
      const keys = this.of(domain)
      const path = this.#pemPath(domain, selector)
      if (keys.some((key) => key.selector === selector))
        throw new GatewayError("DKIM_KEY_EXISTS", `dkim key ${selector} of ${domain}: exists already`)
      // Somebody put it there, or a crash left it behind. It may be the only copy.
      if (existsSync(path))
        throw new GatewayError("DKIM_KEY_EXISTS", `${path}: is there, and no key of ${domain}: move it away first`)
      const key = { domain, selector, algorithm, publicKey, madeAt: at, activeAt: null, retiredAt: null }
      makePrivateFolder(join(this.#folder, domain))
      writeDurably(path, new TextEncoder().encode(pem))
      this.#write(domain, [...keys, key])
      return key
    })
  }

  /**
   * Makes pending keys of a domain, all unless `selectors` names some, sign what is accepted from `at` on; those of the same algorithms that signed until then retire.
   * @returns the keys that are active now
   * @throws GatewayError DKIM_KEY_STATE when none is pending, DKIM_KEY_UNUSABLE when one could not sign
   */
  activate(domain: string, at: Date, selectors: readonly string[] | null = null): DkimKey[] {
    return this.#alone(() => {
      const keys = this.of(domain)
      const pending = keys.filter(
        (key) => signingKeyState(key) === "pending" && (selectors === null || selectors.includes(key.selector)),
      )
      if (pending.length === 0) throw new GatewayError("DKIM_KEY_STATE", `dkim keys of ${domain}: none is pending`)
      for (const key of pending) this.signer(key)
      const algorithms = new Set(pending.map(({ algorithm }) => algorithm))
      const changed = keys.map((key) => {
        if (pending.includes(key)) return { ...key, activeAt: at }
        return signingKeyState(key) === "active" && algorithms.has(key.algorithm) ? { ...key, retiredAt: at } : key
      })
      this.#write(domain, changed)
      return changed.filter((key) => signingKeyState(key) === "active")
    })
  }

  /**
   * Ends signing with an active key, without a successor.
   * @throws GatewayError DKIM_KEY_UNKNOWN, DKIM_KEY_STATE
   */
  retire(domain: string, selector: string, at: Date): DkimKey {
    return this.#alone(() => {
      const keys = this.of(domain)
      const key = known(keys, domain, selector)
      if (signingKeyState(key) !== "active")
        throw new GatewayError(
          "DKIM_KEY_STATE",
          `dkim key ${selector} of ${domain}: is ${signingKeyState(key)}, not active`,
        )
      const retired = { ...key, retiredAt: at }
      this.#write(
        domain,
        keys.map((one) => (one === key ? retired : one)),
      )
      return retired
    })
  }

  /**
   * Destroys a key and forgets it, in whatever state.
   * @throws GatewayError DKIM_KEY_UNKNOWN
   */
  remove(domain: string, selector: string): DkimKey {
    return this.#alone(() => {
      const keys = this.of(domain)
      const key = known(keys, domain, selector)
      this.#write(
        domain,
        keys.filter((one) => one !== key),
      )
      if (existsSync(this.#pemPath(domain, selector))) destroyFile(this.#pemPath(domain, selector))
      if (keys.length === 1) rmSync(join(this.#folder, domain), { recursive: true, force: true })
      syncFolder(this.#folder)
      return key
    })
  }

  /**
   * Reads the secret of a key.
   * @throws GatewayError DKIM_KEY_UNUSABLE when others can read it, it is damaged, or is another one
   */
  signer(key: DkimKey): DkimSigner {
    const path = this.#pemPath(key.domain, key.selector)
    try {
      const exposed = exposure(path)
      if (exposed !== null) throw new GatewayError("DKIM_KEY_UNUSABLE", `dkim key: ${exposed}`)
      const signer = readDkimKey(readFileSync(path, "utf8"))
      if (signer.algorithm !== key.algorithm || !equalConstantTime(signer.publicKey, key.publicKey))
        throw new GatewayError("DKIM_KEY_UNUSABLE", "dkim key: is not the one whose record is published")
      return signer
    } catch (cause) {
      const what = cause instanceof GatewayError ? cause.message.replace(/^dkim key: /, "") : systemCode(cause)
      if (what === null) throw cause
      throw new GatewayError("DKIM_KEY_UNUSABLE", `dkim key ${path}: ${what}`, { cause })
    }
  }

  /** Changes whenever a file of these keys does: names, octets and modes. */
  print(domain: string, selectors: readonly string[]): string {
    const paths = [this.#manifestPath(domain), ...selectors.map((selector) => this.#pemPath(domain, selector))]
    return paths.map(filePrint).join(" ")
  }

  #manifestPath(domain: string): string {
    return join(this.#folder, domain, "keys.json")
  }

  #pemPath(domain: string, selector: string): string {
    return join(this.#folder, domain, `${selector}.pem`)
  }

  #write(domain: string, keys: readonly DkimKey[]): void {
    const written = keys.map((key) => ({ ...key, publicKey: Buffer.from(key.publicKey).toString("base64") }))
    writeManifest(this.#manifestPath(domain), written)
  }
}

function known(keys: readonly DkimKey[], domain: string, selector: string): DkimKey {
  const key = keys.find((one) => one.selector === selector)
  if (key === undefined) throw new GatewayError("DKIM_KEY_UNKNOWN", `dkim key ${selector} of ${domain}: there is none`)
  return key
}

/** Throws for what `#write` has not written. */
function parseKeys(domain: string, text: string): DkimKey[] {
  return manifestKeys<RawKey>(text).map((raw) => {
    if (!SELECTOR.test(raw.selector) || !ALGORITHMS.includes(raw.algorithm)) throw new Error("selector or algorithm")
    return {
      domain,
      selector: raw.selector,
      algorithm: raw.algorithm,
      publicKey: new Uint8Array(Buffer.from(raw.publicKey, "base64")),
      madeAt: dateOf(raw.madeAt),
      activeAt: raw.activeAt === null ? null : dateOf(raw.activeAt),
      retiredAt: raw.retiredAt === null ? null : dateOf(raw.retiredAt),
    }
  })
}

interface RawKey {
  readonly selector: string
  readonly algorithm: DkimAlgorithm
  readonly publicKey: string
  readonly madeAt: string
  readonly activeAt: string | null
  readonly retiredAt: string | null
}

/** One label (RFC 6376 §3.1 allows several), in lower case: it is a file's name, too. */
const SELECTOR = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/
const ALGORITHMS: readonly string[] = ["rsa-sha256", "ed25519-sha256"] satisfies DkimAlgorithm[]
/** RFC 1035 §2.3.4, as text. */
const MAX_NAME_OCTETS = 253
