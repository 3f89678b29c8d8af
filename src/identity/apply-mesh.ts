import { readCertificate } from "../crypto/cms/certificate.ts"
import { GatewayError } from "../errors.ts"
import { ROLE_SEND_MAIL } from "../mesh/mail/check.ts"
import { verifyProfileUser } from "../mesh/profile.ts"
import type { Account } from "../store/account.ts"
import type { MeshAccountRecord, MeshAccounts, PublishedAccount } from "../store/mesh-accounts.ts"
import { checkGatewayConnection, type MeshHost } from "../store/mesh-host.ts"
import { checkEscrow } from "./escrow.ts"
import { type MailProfile, overMesh, verifyMailProfile } from "./mail-profile.ts"

/** The part of the state that is about the Mesh. */
export interface MeshTarget {
  readonly accounts: MeshAccounts
  /** What this gateway is, made when it is first asked for; null: it takes no part, and accounts of it neither. */
  readonly host: (() => MeshHost) | null
}

type Owner = Pick<Account, "address" | "root">

/**
 * Takes what an owner says of the account's part in the Mesh: that this gateway is its service, and a device which may send mail and do nothing else.
 * @throws GatewayError REQUEST_INVALID; as `checkGatewayConnection` and `verifyMailProfile`
 */
export function putMesh({ accounts, host }: MeshTarget, owner: Owner, record: MeshAccountRecord, now: Date): void {
  if (host === null) throw invalid("is about the Mesh, in which this server has no part")
  const here = host()
  const before = accounts.publishedOf(owner.address)
  const profile = verifyProfileUser(record.profile, before?.udf ?? null)
  if (profile.address !== owner.address) throw invalid("has a Mesh profile of another address")
  if (profile.serviceUdf !== here.service.profile.udf) throw invalid("has a Mesh profile of another service's account")
  const { connection, activation } = record
  const { roles } = checkGatewayConnection(here, { profile, connection, activation }, now)
  if (roles.length !== 1 || roles[0] !== ROLE_SEND_MAIL) throw invalid("lets this gateway do more than send mail")
  const published = mailProfileOf(record.mailProfile, owner, profile.udf)
  refuseOlder(published, before)
  const isOurs = (udf: string) => udf === here.device.profile.udf
  if (!published.connection.every((entry) => entry.protocol !== "Mesh" || isOurs(entry.deviceUdf)))
    throw invalid("has a mail profile that names another device than this gateway's")
  accounts.put(record)
}

/**
 * Takes what the owner of an account says that has left the Mesh: its mail profile is all that is kept, for everybody who knows an older one. Asked again it is the same.
 * @param mailProfile null: none came, which says nothing
 * @throws GatewayError REQUEST_INVALID; as `verifyMailProfile`
 */
export function leave({ accounts }: MeshTarget, owner: Owner, mailProfile: Uint8Array | null): void {
  if (mailProfile === null) throw invalid("leaves the Mesh without a mail profile that says so")
  const before = accounts.publishedOf(owner.address)
  const published = mailProfileOf(mailProfile, owner, before?.udf ?? null)
  if (!hasLeft(published)) throw invalid("leaves the Mesh, and its mail profile names a service of it")
  refuseOlder(published, before)
  accounts.leave({ profile: published.profile.envelope, mailProfile })
}

/** Puts a mail profile in place of the published one. @throws GatewayError REQUEST_INVALID; as `verifyMailProfile` */
export function republishMail(target: MeshTarget, owner: Owner, mailProfile: Uint8Array): void {
  const { accounts } = target
  const account = accounts.of(owner.address)
  const published = mailProfileOf(mailProfile, owner, account?.udf ?? null)
  // Who has left goes on saying so, with the keys of the day; that the server has not heard of it before changes nothing.
  if (hasLeft(published)) {
    leave(target, owner, mailProfile)
    return
  }
  if (account === null) throw invalid("has a mail profile that names a service, and its account no part in the Mesh")
  refuseOlder(published, account)
  accounts.republish(owner.address, mailProfile)
}

function hasLeft(published: MailProfile): boolean {
  return published.profile.serviceUdf === null && overMesh(published) === undefined
}

/** Keeps what the owner leaves here. @throws GatewayError REQUEST_INVALID; as `checkEscrow` */
export function keepEscrow({ accounts }: MeshTarget, address: string, escrow: Uint8Array): void {
  const account = accounts.publishedOf(address)
  if (account === null) throw invalid("leaves an escrow, and its account has no part in the Mesh")
  checkEscrow(escrow, account.profile)
  accounts.putEscrow(address, escrow)
}

/** A mail profile that is this account's, vouched for by this owner's root. `udf`: of its profile; null: none is known. */
function mailProfileOf(envelope: Uint8Array, { address, root }: Owner, udf: string | null): MailProfile {
  const published = verifyMailProfile(envelope)
  if (published.address !== address) throw invalid("has a mail profile of another address")
  if (udf !== null && published.profile.udf !== udf) throw invalid("has a mail profile of another account")
  const [known, stated] = [root, published.root].map((der) => readCertificate(der).subjectPublicKeyInfo)
  if (known === undefined || stated === undefined || Buffer.compare(known, stated) !== 0)
    throw invalid("has a mail profile with another root key")
  return published
}

/** An older profile would bring back keys, or a gateway, that were given up. */
function refuseOlder(published: MailProfile, known: PublishedAccount | null): void {
  if (known !== null && published.issuedAt < verifyMailProfile(known.mailProfile).issuedAt)
    throw invalid("brings a mail profile older than the published one")
}

function invalid(what: string): GatewayError {
  return new GatewayError("REQUEST_INVALID", `request: ${what}`)
}
