import type { Config } from "../config/config.ts"
import { readCertificate } from "../crypto/cms/certificate.ts"
import { openPgpRecipient } from "../crypto/openpgp/encrypt.ts"
import { addressKey } from "../message/address.ts"
import type { Directory } from "../pipeline/ports.ts"
import type { AtRest, EncryptionTarget } from "../pipeline/protect.ts"
import type { Account, Format, People } from "../store/people.ts"
import type { AccountRecryptors } from "./recryptors.ts"

/** Our people as the pipeline asks for them; what is derived from their certificates is kept until somebody changes. */
export class PeopleDirectory implements Directory {
  readonly #people: People
  readonly #config: Config
  readonly #markerKey: Uint8Array
  readonly #recryptors: AccountRecryptors
  readonly #atRest = new Map<string, AtRest>()
  #sequence = -1

  constructor(people: People, config: Config, markerKey: Uint8Array, recryptors: AccountRecryptors) {
    this.#people = people
    this.#config = config
    this.#markerKey = markerKey
    this.#recryptors = recryptors
  }

  resolve(...[address]: Parameters<Directory["resolve"]>): ReturnType<Directory["resolve"]> {
    return this.#people.resolve(address)
  }

  atRest(address: string): AtRest | null {
    this.#forgetOld()
    const known = this.#atRest.get(address)
    if (known) return known
    const account = this.#people.account(address)
    if (account === null) return null
    const made: AtRest = {
      account: account.address,
      target: targetOf(account),
      subject: this.#config.policy.subject,
      markerKey: this.#markerKey,
      restorers: this.#recryptors.restorers(account),
    }
    this.#atRest.set(address, made)
    return made
  }

  pinned(address: Parameters<Directory["pinned"]>[0]): EncryptionTarget | null {
    const [newest] = this.#people.pinned(addressKey(address))
    return newest ? encryptionTarget(newest.format, newest.certificate) : null
  }

  #forgetOld(): void {
    const sequence = this.#people.changeSequence()
    if (sequence === this.#sequence) return
    this.#sequence = sequence
    this.#atRest.clear()
  }
}

/** The current key of the account's first format. */
function targetOf(account: Account): EncryptionTarget {
  const format = account.formats[0] ?? "smime"
  const key = account.keys.find((candidate) => candidate.current && candidate.format === format)
  if (!key) throw new Error(`account ${account.address} has no current ${format} key`)
  return encryptionTarget(format, key.certificate)
}

function encryptionTarget(format: Format, certificate: Uint8Array): EncryptionTarget {
  return format === "smime"
    ? { format, certificates: [readCertificate(certificate)], cipher: "aes-256-cbc" }
    : { format, recipients: [openPgpRecipient(certificate)] }
}
