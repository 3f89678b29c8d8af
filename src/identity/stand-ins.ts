import { type Certificate, publicKeyFingerprint, readCertificate } from "../crypto/cms/certificate.ts"
import { SERIAL_OCTETS, serialNumber } from "../crypto/cms/certificate-writer.ts"
import type { Addressee } from "../crypto/cms/recipient-infos.ts"
import {
  type FoundStandIn,
  isStandInAuthority,
  issueStandIn,
  issueStandInAuthority,
  STAND_IN_SECRET_OCTETS,
  type StandInPair,
  standInAuthorityId,
  standInKeyIdentifier,
  standInName,
  standInOwner,
  standInScalar,
  standInTagKey,
} from "../crypto/cms/stand-in.ts"
import { randomOctets } from "../crypto/primitives/random.ts"
import { hasCode } from "../errors.ts"
import { type Address, addressKey } from "../message/address.ts"
import type { Account } from "../store/account.ts"
import { type StandInAuthorities, type StandInAuthority, standInState } from "../store/stand-in-authorities.ts"

/** A stand-in as a directory shows it. */
export interface StandIn {
  /** For people: whose it is, and that the gateway opens it. */
  readonly name: string
  /** DER. */
  readonly certificate: Uint8Array
  /** DER of the authority's. */
  readonly authority: Uint8Array
}

/** Makes an authority that cannot certify mailboxes in `excluded`, good for ten years. */
export function makeStandInAuthority(name: string, excluded: readonly string[], now: Date) {
  const secret = randomOctets(STAND_IN_SECRET_OCTETS)
  const notAfter = new Date(now)
  notAfter.setUTCFullYear(now.getUTCFullYear() + AUTHORITY_YEARS)
  const serial = serialNumber(randomOctets(SERIAL_OCTETS))
  const certificate = issueStandInAuthority({ secret, name, excluded, serial, notBefore: now, notAfter })
  return {
    authority: { id: standInAuthorityId(secret), certificate, tagKey: standInTagKey(secret), excluded, madeAt: now },
    secret,
  }
}

/** The stand-ins of this gateway, as its authorities are at a moment; kept ready until they change. */
export class StandIns {
  readonly #authorities: StandInAuthorities
  readonly #accountOf: (address: string) => Account | null
  readonly #now: () => Date
  #known: Known | null = null

  constructor(authorities: StandInAuthorities, accountOf: (address: string) => Account | null, now: () => Date) {
    this.#authorities = authorities
    this.#accountOf = accountOf
    this.#now = now
  }

  /**
   * The stand-in that an account's clients encrypt to.
   * @returns null when there is no authority that makes any, no such account, or the address can stand in no certificate
   * @throws GatewayError STAND_INS_CORRUPT, STAND_IN_UNUSABLE: it would make one and cannot
   */
  of(account: string, recipient: Address): StandIn | null {
    const pair = this.#pairOf(account, recipient)
    const at = this.#now()
    const active = this.#current().find(({ authority }) => standInState(authority) === "active")
    if (pair === null || active === undefined || active.certificate.notAfter <= at) return null
    const { certificate, authority } = active
    const issued = issuedOrNone(() => issueStandIn({ certificate, secret: this.#secret(active) }, pair, at))
    return issued && { name: standInName(pair.recipient), certificate: issued, authority: authority.certificate }
  }

  /**
   * Which key opens a message of an account for a recipient, of those that it is encrypted to.
   * @throws GatewayError STAND_INS_CORRUPT, STAND_IN_UNUSABLE
   */
  find(addressees: readonly Addressee[], account: string, recipient: Address): FoundStandIn {
    const ours = this.#current().flatMap((known) => meant(known, addressees))
    const known = this.#current().map(({ certificate }) => certificate.subject)
    const isUnknown = addressees.some((one) => one.kind === "issuer" && isUnknownAuthority(one.issuer, known))
    if (isUnknown)
      return refused("it is encrypted to a gateway's certificate whose authority is not known here (any more)")
    const isByKey = addressees.some(({ kind }) => kind === "key")
    if (ours.length === 0 && !isByKey) return NONE
    const pair = this.#pairOf(account, recipient)
    if (pair === null) return ours.length === 0 ? NONE : refused(`${account} has no account here any more`)
    const owners = ours.map((one) => ({ ...one, owner: standInOwner(one.known.authority.tagKey, one.serial, pair) }))
    const own = owners.find(({ owner }) => owner === "pair")
    if (own !== undefined) return this.#opening(own.known, pair, own.serial)
    if (owners.some(({ owner }) => owner === "others"))
      return refused("it is encrypted to a certificate of this gateway's that was made for somebody else's mail")
    return isByKey ? this.#byKeyIdentifier(addressees, pair) : NONE
  }

  #opening(known: Known[number], pair: StandInPair, serial: Uint8Array): FoundStandIn {
    if (standInState(known.authority) === "destroyed")
      return refused(`the key of the certificate that it is encrypted to was destroyed (${known.authority.id})`)
    const secret = this.#secret(known)
    const subjectKeyIdentifier = standInKeyIdentifier(secret, pair)
    const identity = { issuer: known.certificate.subject, serial, subjectKeyIdentifier }
    return { kind: "key", key: { identity, scalar: standInScalar(secret, pair) } }
  }

  #byKeyIdentifier(addressees: readonly Addressee[], pair: StandInPair): FoundStandIn {
    for (const known of this.#current()) {
      if (standInState(known.authority) === "destroyed") continue
      const identifier = standInKeyIdentifier(this.#secret(known), pair)
      if (addressees.some((one) => one.kind === "key" && Buffer.compare(one.keyIdentifier, identifier) === 0))
        return this.#opening(known, pair, NO_SERIAL)
    }
    return NONE
  }

  /** @returns null when the account is gone */
  #pairOf(address: string, recipient: Address): StandInPair | null {
    const account = this.#accountOf(address)
    if (account === null) return null
    // Who gets the address later is somebody else.
    const root = Buffer.from(publicKeyFingerprint(readCertificate(account.root))).toString("hex")
    return { account: `${account.address} ${root}`, recipient: addressKey(recipient) }
  }

  #secret(known: Known[number]): Uint8Array {
    known.secret ??= this.#authorities.secret(known.authority)
    return known.secret
  }

  #current(): Known {
    const print = this.#authorities.print()
    if (this.#known === null || this.#known.print !== print) {
      const all = this.#authorities.all().map((authority) => ({
        authority,
        certificate: readCertificate(authority.certificate),
        secret: null,
      }))
      this.#known = Object.assign(all, { print })
    }
    return this.#known
  }
}

/** Each with its secret, once it was needed. */
type Known = readonly {
  readonly authority: StandInAuthority
  readonly certificate: Certificate
  secret: Uint8Array | null
}[] & { readonly print: string }

/** The serial numbers of this authority's among these. */
function meant(known: Known[number], addressees: readonly Addressee[]) {
  return addressees.flatMap((one) =>
    one.kind === "issuer" && Buffer.compare(one.issuer, known.certificate.subject) === 0
      ? [{ known, serial: one.serial }]
      : [],
  )
}

function isUnknownAuthority(issuer: Uint8Array, known: readonly Uint8Array[]): boolean {
  return isStandInAuthority(issuer) && !known.some((name) => Buffer.compare(name, issuer) === 0)
}

function issuedOrNone(issue: () => Uint8Array): Uint8Array | null {
  try {
    return issue()
  } catch (error) {
    // No client reads certificates for such addresses.
    if (hasCode(error, "CERTIFICATE_UNSUPPORTED")) return null
    throw error
  }
}

function refused(because: string): FoundStandIn {
  return { kind: "refused", because }
}

const NONE: FoundStandIn = { kind: "none" }
const NO_SERIAL = new Uint8Array()
const AUTHORITY_YEARS = 10
