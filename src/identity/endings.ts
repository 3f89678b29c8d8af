/** PURE. Keys and certificates that have an end: whose they are, until when, and what to do about it. */
import { type Certificate, readCertificate } from "../crypto/cms/certificate.ts"
import { readCertificate as readOpenPgp } from "../crypto/openpgp/certificate.ts"
import { subkeyOf } from "../crypto/openpgp/gateway-subkey.ts"
import { sha256 } from "../crypto/primitives/hash.ts"
import type { GatewayKey } from "../store/gateway-keys.ts"
import type { EndingRow } from "../store/key-memory.ts"
import type { Account, Device, People } from "../store/people.ts"
import { subkeyFitness } from "./gateway-certificate.ts"

/** A key or certificate that ends at some time. */
export interface Ending {
  readonly kind: "account" | "device" | "server" | "correspondent"
  /** What it is and whose, for people. */
  readonly about: string
  /** Whose business it is; null: postmaster's. */
  readonly owner: string | null
  /** Hexadecimal, as programs show it: SHA-256 of an X.509 certificate, of the key of a login; of an OpenPGP primary key. */
  readonly fingerprint: string
  /** null: not known. */
  readonly since: Date | null
  readonly until: Date
  /** From how many days before its end on it is near. */
  readonly nearDays: number
  /** What to do, as a sentence without full stop. */
  readonly remedy: string
}

/** Days before the end at which people are told, the most first. */
export const WARNING_DAYS = [30, 14, 3, 1] as const
export const NEAR_DAYS = WARNING_DAYS[0]

/** Days that are left, rounded down; negative once it is over. */
export function daysLeft({ until }: Pick<Ending, "until">, now: Date): number {
  return Math.floor((until.getTime() - now.getTime()) / DAY_MS)
}

/** It holds, and its end is near. */
export function isNear(ending: Ending, now: Date): boolean {
  const leftMs = ending.until.getTime() - now.getTime()
  return leftMs > 0 && leftMs <= ending.nearDays * DAY_MS
}

/** "in 14 days". */
export function leftText({ until }: Pick<Ending, "until">, now: Date): string {
  const days = Math.ceil((until.getTime() - now.getTime()) / DAY_MS)
  return days <= 1 ? "within a day" : `in ${days} days`
}

/** Which of {@link WARNING_DAYS} is met: the fewest days that are not yet over. null: its end is far, or was. */
export function warningDays(ending: Ending, now: Date): number | null {
  const leftMs = ending.until.getTime() - now.getTime()
  if (leftMs <= 0) return null
  return WARNING_DAYS.findLast((days) => days <= ending.nearDays && leftMs <= days * DAY_MS) ?? null
}

/** Everything of our own people that is in use. */
export function peopleEndings(people: Pick<People, "accounts" | "devices">): readonly Ending[] {
  return people.accounts().flatMap((account) => personEndings(account, people))
}

/** Everything of one of our people that is in use. */
export function personEndings(account: Account, people: Pick<People, "devices">): readonly Ending[] {
  const devices = people.devices(account.address).filter(({ revokedAt }) => revokedAt === null)
  return [...accountEndings(account), ...devices.flatMap(deviceEndings)]
}

function accountEndings({ address, root, intermediate, keys }: Account): readonly Ending[] {
  const own = { kind: "account", owner: address, remedy: `postern account renew ${address}` } as const
  return [
    { ...own, about: `root of ${address}`, ...lifeOf(readCertificate(root)) },
    { ...own, about: `intermediate of ${address}`, ...lifeOf(readCertificate(intermediate)) },
    ...keys
      .filter(({ current }) => current)
      .flatMap(({ format, certificate }): Ending[] => {
        if (format === "smime")
          return [{ ...own, about: `certificate of ${address}`, ...lifeOf(readCertificate(certificate)) }]
        const life = openPgpLife(certificate)
        return life === null ? [] : [{ ...own, about: `OpenPGP key of ${address}`, ...life }]
      }),
  ]
}

function deviceEndings({ account, name, certificates, signingCertificate, login }: Device): readonly Ending[] {
  const own = { kind: "device", owner: account, remedy: `postern device renew ${account} ${name}` } as const
  const about = `device ${name} of ${account}`
  return [
    ...[
      { der: certificates[0], what: about },
      { der: signingCertificate, what: `signing certificate of ${about}` },
    ].flatMap(({ der, what }) => (der ? [{ ...own, about: what, ...lifeOf(readCertificate(der)) }] : [])),
    ...(login === null
      ? []
      : [
          {
            ...own,
            about: `login certificate of ${about}`,
            ...{ fingerprint: hex(login.key), since: null, until: login.notAfter, nearDays: NEAR_DAYS },
          },
        ]),
  ]
}

/** Keys of this gateway that sign for one of our people. */
export function signerEndings(account: Account, keys: readonly GatewayKey[]): readonly Ending[] {
  return keys.flatMap((key) => {
    const { format, certificate, publicKey, activeAt, retiredAt } = key
    if (certificate === null || activeAt === null || retiredAt !== null) return []
    const life = format === "smime" ? lifeOf(readCertificate(certificate)) : subkeyLife(publicKey, account)
    const { address } = account
    const remedy = `postern gateway-key add ${address} --format ${format}`
    const own = { kind: "account", owner: address, remedy } as const
    return life === null ? [] : [{ ...own, about: `gateway key of ${address} (${format})`, ...life }]
  })
}

/** null: the account's certificate does not vouch for it, and it signs nothing. */
function subkeyLife(body: Uint8Array, account: Account) {
  const fitness = subkeyFitness(body, account)
  if (fitness.kind === "unfit") return null
  return { fingerprint: hex(subkeyOf(body).fingerprint), since: null, until: fitness.until, nearDays: NEAR_DAYS }
}

/** The end of a key that mail can be encrypted to: of the primary key or of the subkey, whichever is first. null: none. */
function openPgpLife(octets: Uint8Array) {
  const { fingerprint, expiresAt, encryptionKeys } = readOpenPgp(octets)
  const ends = [expiresAt, encryptionKeys[0]?.expiresAt ?? null].flatMap((end) => end ?? [])
  if (ends.length === 0) return null
  const until = new Date(Math.min(...ends.map((end) => end.getTime())))
  return { fingerprint: hex(fingerprint), since: null, until, nearDays: NEAR_DAYS }
}

/**
 * What listeners show by this name, its chain with it: it ends with the first of its certificates.
 * @param renewed a CA is asked for the next one before this one ends
 * @returns null when there is no certificate in it
 * @throws GatewayError CERTIFICATE_INVALID, DER_SYNTAX
 */
export function serverEnding(name: string, chain: readonly Uint8Array[], renewed: boolean): Ending | null {
  const certificates = chain.map(readCertificate)
  const [own] = certificates
  if (own === undefined) return null
  const until = new Date(Math.min(...certificates.map(({ notAfter }) => notAfter.getTime())))
  return {
    kind: "server",
    about: `certificate of the server ${name}`,
    owner: null,
    ...lifeOf(own),
    until,
    nearDays: renewed ? nearRenewed(own) : NEAR_DAYS,
    remedy: renewed
      ? "its CA should have renewed it by now: postern tls show says why not, postern tls renew asks again"
      : "put a new certificate and its key into the files that tls.certificate and tls.key (or [[tls.names]]) name",
  }
}

/** What is renewed with a third of its lifetime left is late at a quarter of it, and with two weeks left in any case. */
export function nearRenewed({ notBefore, notAfter }: Pick<Certificate, "notBefore" | "notAfter">): number {
  return Math.min(NEAR_RENEWED_DAYS, (notAfter.getTime() - notBefore.getTime()) / DAY_MS / 4)
}

/** Keys of other people; one that several addresses have is one. */
export function correspondentEndings(rows: readonly EndingRow[]): readonly Ending[] {
  const keys = Map.groupBy(rows, ({ format, fingerprint, expiresAt }) => `${format} ${fingerprint} ${+expiresAt}`)
  return [...keys.values()].flatMap((same) => {
    const [first] = same
    if (first === undefined) return []
    const { address, format, source, fingerprint, expiresAt } = first
    const others = same.length === 1 ? "" : ` and of ${same.length - 1} more`
    return [
      {
        kind: "correspondent" as const,
        about: `${format === "smime" ? "certificate" : "OpenPGP key"} of ${address}${others}`,
        owner: null,
        ...{ fingerprint, since: null, until: expiresAt, nearDays: NEAR_DAYS },
        remedy:
          source === "pinned"
            ? `ask for the new one, then postern certificate add ${address} FILE`
            : `its holder publishes it (${source}); without a new one policy decides: postern profile lookup ${address}`,
      },
    ]
  })
}

function lifeOf({ der, notBefore, notAfter }: Certificate) {
  return { fingerprint: hex(sha256(der)), since: notBefore, until: notAfter, nearDays: NEAR_DAYS }
}

function hex(octets: Uint8Array): string {
  return Buffer.from(octets).toString("hex")
}

const NEAR_RENEWED_DAYS = 14
const DAY_MS = 86_400_000
