import { readCertificate } from "../crypto/cms/certificate.ts"
import { type CmsRecipient, cmsRecipient } from "../crypto/cms/recipient.ts"
import { type OpenPgpEncryptionKey, readCertificate as readOpenPgpCertificate } from "../crypto/openpgp/certificate.ts"
import { type Account, type AccountKey, type Format, storageKeys } from "../store/account.ts"
import type { People } from "../store/people.ts"

/** What the devices of our people read stored mail with. */
export interface ReadingKeys {
  /** Certificates, the current one first; none: the account reads OpenPGP, or there is none. */
  certificatesOf(address: string): readonly CmsRecipient[]
  /** Encryption keys, the current one first; none: the account reads S/MIME, or there is none. */
  openPgpKeysOf(address: string): readonly OpenPgpEncryptionKey[]
}

/** Each account's keys are read once, for as long as the account stays as it is. */
export function readingKeys(people: Pick<People, "account">): ReadingKeys {
  return {
    certificatesOf: keysOf(people, "smime", ({ certificate }) => [cmsRecipient(readCertificate(certificate))]),
    openPgpKeysOf: keysOf(people, "openpgp", ({ certificate }) => readOpenPgpCertificate(certificate).encryption ?? []),
  }
}

function keysOf<T>(people: Pick<People, "account">, format: Format, read: (key: AccountKey) => T | readonly T[]) {
  const known = new WeakMap<Account, readonly T[]>()
  return (address: string): readonly T[] => {
    const account = people.account(address)
    if (account === null) return []
    const keys = known.get(account) ?? storageKeys(account, format).flatMap(read)
    known.set(account, keys)
    return keys
  }
}
