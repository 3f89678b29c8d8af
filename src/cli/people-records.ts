import { minimalCertificate } from "../crypto/openpgp/certificate.ts"
import { type Address, formatAddress, parseAddress } from "../message/address.ts"
import { type DaneType, daneName } from "../profiles/dane-records.ts"
import type { Account } from "../store/account.ts"
import type { DnsRecord } from "./dns-records.ts"

/** What DNS should say of a key of one of our people. */
export interface PersonRecord {
  readonly address: string
  readonly type: DaneType
  /** Without a last dot. */
  readonly name: string
  readonly data: Uint8Array
}

/** Of the current keys of everybody in `domain`: OPENPGPKEY (RFC 7929) and SMIMEA 3 0 0, this very certificate (RFC 8162). */
export function keyRecordsOf(accounts: readonly Account[], domain: string): readonly PersonRecord[] {
  return accounts
    .map((account) => ({ account, address: parseAddress(account.address) }))
    .filter(({ address }) => address.domain === domain)
    .flatMap(({ account, address }) => recordsOf(account, address))
}

/** As a zone file has it: by the types' own notation, or as octets of a type that has only a number (RFC 3597 §5). */
export function personRecord({ address, type, name, data }: PersonRecord, isGeneric: boolean): DnsRecord {
  const about = `${type === "SMIMEA" ? "S/MIME" : "OpenPGP"} of ${address}`
  const hex = Buffer.from(data).toString("hex")
  if (isGeneric) return { name: `${name}.`, type: `TYPE${NUMBERS[type]}`, value: `\\# ${data.length} ${hex}`, about }
  const [usage, selector, matchingType] = data
  const smimea = `${usage} ${selector} ${matchingType} ${hex.slice(6)}`
  return { name: `${name}.`, type, value: type === "SMIMEA" ? smimea : Buffer.from(data).toString("base64"), about }
}

function recordsOf({ keys }: Account, address: Address): readonly PersonRecord[] {
  return keys
    .filter(({ current }) => current)
    .map(({ format, certificate }) => {
      const type = format === "smime" ? "SMIMEA" : "OPENPGPKEY"
      const data =
        format === "smime" ? Uint8Array.of(...THIS_CERTIFICATE, ...certificate) : minimalCertificate(certificate)
      return { address: formatAddress(address), type, name: daneName(address, type), data }
    })
}

/** RFC 6698 §2.1: DANE-EE, the whole certificate, as it is. */
const THIS_CERTIFICATE = [3, 0, 0] as const
const NUMBERS: Readonly<Record<DaneType, number>> = { SMIMEA: 53, OPENPGPKEY: 61 }
