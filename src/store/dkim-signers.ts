import type { DkimSigner } from "../crypto/primitives/dkim-key.ts"
import type { DkimIdentity } from "../mime/dkim-signature.ts"
import type { DkimKey, DkimKeys } from "./dkim-keys.ts"
import { signingKeyState } from "./signing-folder.ts"

/** A key that signs, and as whom. */
export interface DkimSignatory extends DkimIdentity {
  readonly signer: DkimSigner
}

/** Signing keys as mail needs them: those of a moment, kept ready until a file changes. */
export class DkimSigners {
  readonly #keys: DkimKeys
  readonly #known = new Map<string, Known>()

  constructor(keys: DkimKeys) {
    this.#keys = keys
  }

  /**
   * Who signs mail of `domain` that was accepted `at`: the keys that were active then, so that each attempt has the same signatures; of mail
   * from before the first key, those that are active now. [] when the domain does not sign.
   * @throws GatewayError DKIM_KEYS_CORRUPT, DKIM_KEY_UNUSABLE: it would sign and cannot
   */
  of(domain: string, at: Date): readonly DkimSignatory[] {
    const known = this.#current(domain)
    const signing = known.keys.filter((key) => signedAt(key, at))
    const chosen = signing.length > 0 ? signing : known.keys.filter((key) => signingKeyState(key) === "active")
    return chosen.map((key) => {
      const signer = known.signers.get(key.selector) ?? this.#keys.signer(key)
      known.signers.set(key.selector, signer)
      return { domain, selector: key.selector, signer }
    })
  }

  #current(domain: string): Known {
    const known = this.#known.get(domain)
    if (known && this.#keys.print(domain, known.selectors) === known.print) return known
    this.#known.delete(domain)
    const keys = this.#keys.of(domain)
    const selectors = keys.map(({ selector }) => selector)
    const current = { keys, selectors, signers: new Map(), print: this.#keys.print(domain, selectors) }
    this.#known.set(domain, current)
    return current
  }
}

interface Known {
  readonly keys: readonly DkimKey[]
  readonly selectors: readonly string[]
  readonly print: string
  readonly signers: Map<string, DkimSigner>
}

function signedAt({ activeAt, retiredAt }: DkimKey, at: Date): boolean {
  return activeAt !== null && activeAt <= at && (retiredAt === null || at < retiredAt)
}
